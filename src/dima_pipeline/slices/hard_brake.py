"""Keyframes where the ego brakes hard: now, or within the next second.

Braking is what speed is lost in half a second, by the CAN bus or, where it is silent, by the driven path: a single
noisy value of an accelerometer is no brake. The half second may begin between two keyframes: speed and acceleration at
both give the speed between them (cubic Hermite).
"""

from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float
from pydantic import Field

from dima_pipeline.plugins import config_dataclass
from dima_pipeline.slices._tracks import Track, by_sample, ego_tracks

Array = np.ndarray
TICK_S = 0.05
BRAKES_S = 0.5


@config_dataclass
class Config:
    """What counts as hard and as soon."""

    min_deceleration_mps2: float = Field(3.0, gt=0)
    """Mean over half a second."""
    max_deceleration_mps2: float = Field(12.0, gt=0)
    """At a keyframe, and mean between two; more than tyres can do is a wrong value of the CAN bus."""
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
        acceleration = tables.samples.acceleration_mps2.to_numpy(float)
        for track in ego_tracks(tables):
            later = self._ends_s(track, acceleration[track.rows])[None] - track.time_s[:, None]
            # Time stamps jitter by some milliseconds.
            is_member[track.rows] = ((later > -0.1) & (later < self.config.within_s + 0.1)).any(1)
        return by_sample(is_member, tables)

    def _ends_s(self, track: Track, acceleration_mps2: Float[Array, "N"]) -> Float[Array, "E"]:
        """When half seconds of hard braking end; none where a speed is unknown."""
        if len(track.time_s) < 2:
            return np.zeros(0)
        time_s = np.arange(track.time_s[0], track.time_s[-1] + 1e-6, TICK_S)
        begin = np.clip(np.searchsorted(track.time_s, time_s, side="right") - 1, 0, len(track.time_s) - 2)
        speed = self._speed_between(track, acceleration_mps2, begin, time_s - track.time_s[begin])
        half = round(BRAKES_S / TICK_S)
        lost_mps2 = (speed[:-half] - speed[half:]) / BRAKES_S
        return time_s[half:][lost_mps2 >= self.config.min_deceleration_mps2 - 1e-6]

    def _speed_between(self, track: Track, acceleration: Array, begin: Array, after_s: Array) -> Float[Array, "T"]:
        """Speed (m/s, without sign) so long after a keyframe; NaN where it is unknown or cannot be."""
        speed, gap_s = np.abs(track.speed_mps), np.diff(track.time_s)
        slope = np.diff(speed) / gap_s
        is_good = (gap_s <= self.config.max_gap_s) & (-slope <= self.config.max_deceleration_mps2)
        pull = acceleration * np.sign(track.speed_mps)
        possible = np.abs(pull) <= self.config.max_deceleration_mps2
        first, last = np.where(possible[:-1], pull[:-1], slope), np.where(possible[1:], pull[1:], slope)
        share = after_s / gap_s[begin]
        bend = share * (1 - share) * ((1 - share) * (first - slope)[begin] - share * (last - slope)[begin])
        return np.where(is_good[begin], speed[begin] + slope[begin] * after_s + bend * gap_s[begin], np.nan)


build = HardBrake
