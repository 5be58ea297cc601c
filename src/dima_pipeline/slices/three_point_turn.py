"""Keyframes of a turn in several moves (a long-tail set of TOKEN): from the first turn of the wheel to the last.

The ego reverses, and while it keeps turning before, meanwhile and after, its heading changes by 100 degrees.
"""

from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Bool
from pydantic import Field

from dima_pipeline.contracts.frames import STEP_S
from dima_pipeline.plugins import config_dataclass
from dima_pipeline.slices._tracks import Track, by_sample, ego_tracks, ego_turn_rates, runs


@config_dataclass
class Config:
    """What counts as reversing and as turning."""

    min_reverse_mps: float = Field(0.3, gt=0)
    min_reverse_s: float = Field(0.5, gt=0)
    """Time spent reversing, all moves together."""
    min_turn_deg: float = Field(100.0, gt=0)
    """Between the headings furthest apart."""
    min_turn_radps: float = Field(0.05, gt=0)
    """A lower rate, but for a moment between two moves, is the end of it."""
    max_s: float = Field(40.0, gt=0)
    """Who takes longer is parking or waits."""


class ThreePointTurn:
    """See the module."""

    def __init__(self, config: Config) -> None:
        self.config = config

    def members(self, tables: Any) -> pd.Series:
        """Bool by sample_token."""
        is_member = np.zeros(len(tables.samples), bool)
        rates = np.abs(np.nan_to_num(ego_turn_rates(tables)))
        for track in ego_tracks(tables):
            is_member[track.rows] = self._turning_round(track, rates[track.rows] >= self.config.min_turn_radps)
        return by_sample(is_member, tables)

    def _turning_round(self, track: Track, turns: Bool[np.ndarray, "N"]) -> Bool[np.ndarray, "N"]:
        config = self.config
        reverses = track.speed_mps < -config.min_reverse_mps
        goes_on = turns | (track.speed_mps < config.min_reverse_mps)
        goes_on[1:-1] |= goes_on[:-2] & goes_on[2:]
        found = np.zeros(len(turns), bool)
        for first, last in runs(goes_on):
            # Standing before and after is no part of it.
            steered = first + np.flatnonzero((turns | reverses)[first : last + 1])
            if not len(steered):
                continue
            part = slice(steered[0], steered[-1] + 1)
            turn_deg = np.degrees(np.ptp(track.yaw[part]))
            lasts_s = track.time_s[steered[-1]] - track.time_s[steered[0]]
            is_long_enough = STEP_S * reverses[part].sum() >= config.min_reverse_s and lasts_s <= config.max_s
            found[part] = is_long_enough and turn_deg >= config.min_turn_deg
        return found


build = ThreePointTurn
