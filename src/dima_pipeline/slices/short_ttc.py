"""Keyframes where the ego, going on as it goes now, would hit somebody soon who goes on as he goes now.

Oriented boxes at constant velocity, as time to collision is defined: nobody turns and nobody brakes, and the first
contact is exact. Who comes up from behind is left out, it is for him to brake; so is an ego that stands.
"""

from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float
from pydantic import Field

from dima_pipeline.geometry import box_corners, ego_boxes
from dima_pipeline.plugins import config_dataclass
from dima_pipeline.slices._tracks import MOVABLE, by_sample, sample_rows
from dima_pipeline.storage.keyframes import agent_velocities, ego_speeds

Array = np.ndarray


@config_dataclass
class Config:
    """What is too soon, and for whom."""

    max_time_s: float = Field(2.5, gt=0)
    min_ego_mps: float = Field(1.0, ge=0)
    """A slower ego is as good as standing."""
    categories: tuple[str, ...] = MOVABLE
    """Cones and barriers are left out: in every bend that they line, straight on leads into them."""


class ShortTtc:
    """See the module."""

    def __init__(self, config: Config) -> None:
        self.config = config

    def members(self, tables: Any) -> pd.Series:
        """Bool by sample_token."""
        is_asked = (tables.agents.category.isin(self.config.categories) & (tables.agents.x_m > 0)).to_numpy(bool)
        agents = tables.agents[is_asked]
        velocity = np.nan_to_num(agent_velocities(tables)[is_asked])
        rows = sample_rows(agents, tables)
        speed = np.nan_to_num(ego_speeds(tables))[rows]
        boxes = agents[["x_m", "y_m", "yaw_rad", "length_m", "width_m"]].to_numpy(float)
        ego_velocity = np.stack([speed, np.zeros_like(speed)], -1)
        time_s = time_to_contact(ego_boxes(np.zeros((len(agents), 3))), boxes, velocity - ego_velocity)
        is_soon = (time_s <= self.config.max_time_s) & (np.abs(speed) >= self.config.min_ego_mps)
        return by_sample(np.bincount(rows[is_soon], minlength=len(tables.samples)) > 0, tables)


def time_to_contact(
    first: Float[Array, "N 5"], second: Float[Array, "N 5"], velocity: Float[Array, "N 2"]
) -> Float[Array, "N"]:
    """Seconds until the ``second`` box, moving at ``velocity`` (m/s) relative to the ``first``, overlaps it: 0 where it
    does now, infinity where it never will.

    Boxes that do not turn overlap while their shadows on all four edge normals do (separating axes), and each shadow
    does so from one moment to another.
    """
    corners = np.stack([box_corners(first), box_corners(second)], 1)
    yaws = np.stack([first[:, 2], first[:, 2] + np.pi / 2, second[:, 2], second[:, 2] + np.pi / 2], -1)
    axes = np.stack([np.cos(yaws), np.sin(yaws)], -1)
    shadows = np.einsum("nbcd,nad->nbac", corners, axes)
    low, high = shadows.min(-1), shadows.max(-1)
    closing = np.einsum("nd,nad->na", velocity, axes)
    # Without motion along an axis these are -inf and inf where the shadows overlap, else twice the same or NaN.
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        times = np.stack([(low[:, 0] - high[:, 1]) / closing, (high[:, 0] - low[:, 1]) / closing])
    begin, end = times.min(0).max(-1), times.max(0).min(-1)
    return np.where((begin < end) & (end > 0), np.maximum(begin, 0.0), np.inf)


build = ShortTtc
