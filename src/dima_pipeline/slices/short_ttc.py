"""Keyframes with a short time to collision: the ego and somebody who crosses its way would soon meet.

Everybody goes on as he goes now, at constant speed and turn rate; so a bend of the road brings nobody on a collision
course who only follows it. Crossing is counted where they would meet: whoever drives ahead, comes towards the ego or
stands at the kerb is left out, as is who comes from behind and an ego that stands.
"""

from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int
from pydantic import Field

from dima_pipeline.geometry import boxes_overlap, ego_boxes
from dima_pipeline.plugins import config_dataclass
from dima_pipeline.slices._tracks import (
    MOVABLE,
    agent_motions,
    by_sample,
    ego_turn_rates,
    rolled_out,
    sample_rows,
)
from dima_pipeline.storage.keyframes import ego_speeds

Array = np.ndarray
TICK_S = 0.1
"""Between the moments at which boxes are compared: fast traffic moves by a metre, less than any box is long."""


@config_dataclass
class Config:
    """What is too soon, and for whom."""

    max_time_s: float = Field(4.0, ge=TICK_S)
    min_ego_mps: float = Field(1.0, ge=0)
    """A slower ego is as good as standing."""
    min_agent_mps: float = Field(0.8, ge=0)
    """Slower than anybody walks who means to cross."""
    min_crossing_deg: float = Field(45.0, ge=0, le=90)
    """Between the two courses where they meet, whichever way they point."""
    categories: tuple[str, ...] = MOVABLE


class ShortTtc:
    """See the module."""

    def __init__(self, config: Config) -> None:
        self.config = config

    def members(self, tables: Any) -> pd.Series:
        """Bool by sample_token."""
        rows = sample_rows(tables.agents, tables)
        speed, (velocity, turning) = np.nan_to_num(ego_speeds(tables)), agent_motions(tables)
        is_ahead = tables.agents.category.isin(self.config.categories) & (tables.agents.x_m > 0)
        both_move = np.linalg.norm(velocity, axis=1) >= self.config.min_agent_mps
        both_move &= np.abs(speed[rows]) >= self.config.min_ego_mps
        chosen = np.flatnonzero(both_move & is_ahead.to_numpy(bool))
        motion = np.column_stack([speed[rows], np.nan_to_num(ego_turn_rates(tables))[rows]])
        is_soon = self._meets(tables.agents.iloc[chosen], velocity[chosen], turning[chosen], motion[chosen])
        return by_sample(np.bincount(rows[chosen[is_soon]], minlength=len(tables.samples)) > 0, tables)

    def _meets(
        self, agents: pd.DataFrame, velocity: Float[Array, "N 2"], turning: Float[Array, "N"], ego: Float[Array, "N 2"]
    ) -> Bool[Array, "N"]:
        """Whether each agent, turning at a rate, crosses an ego of a speed and turn rate and would be hit in time."""
        seconds = TICK_S * np.arange(round(self.config.max_time_s / TICK_S) + 1)
        own = rolled_out(ego[:, 0], ego[:, 1], seconds)
        start = agents[["x_m", "y_m", "yaw_rad"]].to_numpy(float)
        course = np.arctan2(velocity[:, 1], velocity[:, 0])
        moved = rolled_out(np.linalg.norm(velocity, axis=1), turning, seconds)
        cos, sin = np.cos(course)[:, None], np.sin(course)[:, None]
        x = start[:, :1] + cos * moved[..., 0] - sin * moved[..., 1]
        y = start[:, 1:2] + sin * moved[..., 0] + cos * moved[..., 1]
        size = np.broadcast_to(agents[["length_m", "width_m"]].to_numpy(float)[:, None], (*x.shape, 2))
        boxes = np.concatenate([np.stack([x, y, start[:, 2:] + moved[..., 2]], -1), size], -1)
        touching = boxes_overlap(ego_boxes(own), boxes)
        first: Int[Array, "N"] = touching.argmax(1)
        between = course + np.take_along_axis(moved[..., 2] - own[..., 2], first[:, None], 1)[:, 0]
        return touching.any(1) & (np.abs(np.sin(between)) >= np.sin(np.radians(self.config.min_crossing_deg)))


build = ShortTtc
