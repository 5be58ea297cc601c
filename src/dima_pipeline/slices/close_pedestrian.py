"""Keyframes where somebody on foot or on a bicycle is ahead and within 3 m of the path that the ego will drive."""

from typing import Any

import numpy as np
import pandas as pd
from pydantic import Field

from dima_pipeline.plugins import config_dataclass
from dima_pipeline.slices._tracks import FRONT_M, by_sample, distance_to_paths, is_parked, sample_rows


@config_dataclass
class Config:
    """Who is close."""

    categories: tuple[str, ...] = ("pedestrian", "bicycle")
    max_distance_m: float = Field(3.0, gt=0)
    """Of the box centre to the path of the next 3 s, prolonged to the front bumper."""
    max_ahead_m: float = Field(30.0, gt=0)


class ClosePedestrian:
    """See the module."""

    def __init__(self, config: Config) -> None:
        self.config = config

    def members(self, tables: Any) -> pd.Series:
        """Bool by sample_token."""
        agents = tables.agents[tables.agents.category.isin(self.config.categories) & ~is_parked(tables)]
        agents = agents[agents.x_m.between(0.0, self.config.max_ahead_m)]
        is_close = distance_to_paths(agents, tables, beyond_m=FRONT_M) <= self.config.max_distance_m
        counts = np.bincount(sample_rows(agents, tables)[is_close], minlength=len(tables.samples))
        return by_sample(counts > 0, tables)


build = ClosePedestrian
