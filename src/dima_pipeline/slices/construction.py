"""Keyframes at a construction site (a long-tail set of TOKEN): three or more of its objects ahead beside the path."""

from typing import Any

import numpy as np
import pandas as pd
from pydantic import Field

from dima_pipeline.plugins import config_dataclass
from dima_pipeline.slices._tracks import by_sample, distance_to_paths, sample_rows

CATEGORIES = ("barrier", "traffic_cone", "construction_vehicle")


@config_dataclass
class Config:
    """What counts as a construction site."""

    min_objects: int = Field(3, ge=1)
    max_ahead_m: float = Field(20.0, gt=0)
    max_aside_m: float = Field(5.0, gt=0)
    """Distance to the driven path, which is prolonged straight."""


class Construction:
    """See the module."""

    def __init__(self, config: Config) -> None:
        self.config = config

    def members(self, tables: Any) -> pd.Series:
        """Bool by sample_token."""
        agents = tables.agents[tables.agents.category.isin(CATEGORIES)]
        agents = agents[agents.x_m.between(0.0, self.config.max_ahead_m)]
        is_beside = distance_to_paths(agents, tables, beyond_m=self.config.max_ahead_m) <= self.config.max_aside_m
        counts = np.bincount(sample_rows(agents, tables)[is_beside], minlength=len(tables.samples))
        return by_sample(counts >= self.config.min_objects, tables)


build = Construction
