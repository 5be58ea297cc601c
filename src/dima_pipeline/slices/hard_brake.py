"""Keyframes where the ego brakes hard: now, or within the next second.

Braking is what speed is lost from one keyframe to the next, by the CAN bus or, where it is silent, by the driven path:
half a second of it, so that a single noisy value of an accelerometer is no brake.
"""

from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Bool
from pydantic import Field

from dima_pipeline.plugins import config_dataclass
from dima_pipeline.slices._tracks import Track, by_sample, ego_tracks


@config_dataclass
class Config:
    """What counts as hard and as soon."""

    min_deceleration_mps2: float = Field(3.0, gt=0)
    """Mean over the time between two keyframes."""
    max_deceleration_mps2: float = Field(12.0, gt=0)
    """More than tyres can do is a wrong value of the CAN bus."""
    within_s: float = Field(1.0, ge=0)
    """How long before the end of such a brake a keyframe is in the slice."""
    max_gap_s: float = Field(1.0, gt=0)
    """Between keyframes: of what happened in a longer one nothing is known."""


class HardBrake:
    """See the module."""

    def __init__(self, config: Config) -> None:
        self.config = config

    def members(self, tables: Any) -> pd.Series:
        """Bool by sample_token."""
        is_member = np.zeros(len(tables.samples), bool)
        for track in ego_tracks(tables):
            ends_s = track.time_s[1:][self._is_hard(track)]
            later = ends_s[None] - track.time_s[:, None]
            # Time stamps jitter by some milliseconds.
            is_member[track.rows] = ((later > -0.1) & (later < self.config.within_s + 0.1)).any(1)
        return by_sample(is_member, tables)

    def _is_hard(self, track: Track) -> Bool[np.ndarray, "S"]:
        """For each step of the track; never where a speed is unknown."""
        gap_s = np.diff(track.time_s)
        lost_mps2 = -np.diff(np.abs(track.speed_mps)) / gap_s
        is_hard = (lost_mps2 >= self.config.min_deceleration_mps2) & (lost_mps2 <= self.config.max_deceleration_mps2)
        return is_hard & (gap_s <= self.config.max_gap_s)


build = HardBrake
