"""Keyframes in dense traffic: many who take part in it, on wheels or on foot, are near.

A queue at a light is dense, a full car park is not: what is parked is left out. Where the annotation does not say
whether it is, only what moves is counted.
"""

from typing import Any

import numpy as np
import pandas as pd
from pydantic import Field

from dima_pipeline.plugins import config_dataclass
from dima_pipeline.slices._tracks import MOVABLE, by_sample, sample_rows
from dima_pipeline.storage.keyframes import agent_velocities

PARKED = ("vehicle.parked", "cycle.without_rider")
"""Attributes of nuScenes."""


@config_dataclass
class Config:
    """What counts as many and as near."""

    min_agents: int = Field(15, ge=1)
    max_distance_m: float = Field(30.0, gt=0)
    """Of the box centre to the origin of the ego frame."""
    min_moving_mps: float = Field(0.5, ge=0)


class Dense:
    """See the module."""

    def __init__(self, config: Config) -> None:
        self.config = config

    def members(self, tables: Any) -> pd.Series:
        """Bool by sample_token."""
        config, agents = self.config, tables.agents
        moves = np.linalg.norm(agent_velocities(tables), axis=1) >= config.min_moving_mps
        takes_part = np.where(agents.attribute.isna(), moves, ~agents.attribute.isin(PARKED))
        is_near = np.linalg.norm(agents[["x_m", "y_m"]].to_numpy(float), axis=1) <= config.max_distance_m
        rows = sample_rows(agents[is_near & takes_part & agents.category.isin(MOVABLE)], tables)
        return by_sample(np.bincount(rows, minlength=len(tables.samples)) >= config.min_agents, tables)


build = Dense
