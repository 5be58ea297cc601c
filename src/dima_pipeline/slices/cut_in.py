"""Keyframes of a cut-in: a vehicle that drove beside the ego's lane is in it a moment later, close ahead.

The lane is the ego's heading, so it is asked where the ego goes straight and the other drives along with it: on a bend
whoever is ahead stands aside first and in the middle later.
"""

from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Bool
from pydantic import Field

from dima_pipeline.plugins import config_dataclass
from dima_pipeline.slices._tracks import FRONT_M, by_sample, ego_tracks, sample_rows

VEHICLES = ("car", "truck", "bus", "trailer", "construction_vehicle", "motorcycle")


@config_dataclass
class Config:
    """What is beside the lane, what is in it, and how close."""

    max_gap_m: float = Field(15.0, gt=0)
    """From the ego's front to the rear of the vehicle when it is in the lane."""
    min_beside_m: float = Field(2.3, gt=0)
    max_beside_m: float = Field(5.5, gt=0)
    max_aside_m: float = Field(1.0, gt=0)
    """Of its middle when it is in the lane."""
    within_s: float = Field(4.0, gt=0)
    min_speed_mps: float = Field(2.0, gt=0)
    max_heading_deg: float = Field(20.0, gt=0)
    """Of the vehicle against the ego, throughout."""
    max_turn_deg: float = Field(5.0, gt=0)
    """Of the ego meanwhile."""


class CutIn:
    """See the module."""

    def __init__(self, config: Config) -> None:
        self.config = config

    def members(self, tables: Any) -> pd.Series:
        """Bool by sample_token."""
        time_s, yaw = (np.full(len(tables.samples), np.nan) for _ in range(2))
        for track in ego_tracks(tables):
            time_s[track.rows], yaw[track.rows] = track.time_s, track.yaw
        agents = tables.agents[tables.agents.category.isin(VEHICLES)]
        rows = sample_rows(agents, tables)
        is_member = np.zeros(len(tables.samples), bool)
        for found in agents.groupby("instance_token", sort=False).indices.values():
            ordered = found[np.argsort(time_s[rows[found]], kind="stable")]
            at = rows[ordered]
            is_member[at[self._cuts_in(agents.iloc[ordered], time_s[at], yaw[at])]] = True
        return by_sample(is_member, tables)

    def _cuts_in(self, seen: pd.DataFrame, time_s: np.ndarray, yaw: np.ndarray) -> Bool[np.ndarray, "N"]:
        """For the keyframes of one vehicle, in order: from the last one beside the lane to the first one in it."""
        config = self.config
        aside, heading = seen.y_m.abs().to_numpy(float), seen.yaw_rad.abs().to_numpy(float)
        rear = (seen.x_m - seen.length_m / 2).to_numpy(float)
        along = (heading <= np.radians(config.max_heading_deg)) & (seen.vx_mps >= config.min_speed_mps).to_numpy(bool)
        beside = along & (aside >= config.min_beside_m) & (aside <= config.max_beside_m) & (rear > 0)
        inside = along & (aside <= config.max_aside_m) & (rear > FRONT_M) & (rear <= FRONT_M + config.max_gap_m)
        found = np.zeros(len(seen), bool)
        for end in np.flatnonzero(inside[1:] & ~inside[:-1]) + 1:
            begins = np.flatnonzero(beside[:end] & (time_s[:end] >= time_s[end] - config.within_s - 0.1))
            if len(begins):
                part = slice(begins[-1], end + 1)
                turned = np.ptp(yaw[part])
                found[part] |= bool(along[part].all()) and turned <= np.radians(config.max_turn_deg)
        return found


build = CutIn
