"""Keyframes of a turn in several moves (a long-tail set of TOKEN): the ego reverses and turns by 100 degrees."""

from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Bool
from pydantic import Field

from dima_pipeline.contracts.frames import STEP_S
from dima_pipeline.plugins import config_dataclass
from dima_pipeline.slices._tracks import Track, by_sample, ego_tracks


@config_dataclass
class Config:
    """What counts as reversing and as turning."""

    min_reverse_mps: float = Field(0.3, gt=0)
    min_reverse_s: float = Field(0.5, gt=0)
    """Time spent reversing inside the window around a keyframe."""
    before_s: float = Field(4.0, ge=0)
    after_s: float = Field(6.0, ge=0)
    min_turn_deg: float = Field(100.0, gt=0)
    """Heading changes added up, whatever their sign."""
    turn_window_s: float = Field(25.0, gt=0)
    """Around the keyframe."""


class ThreePointTurn:
    """See the module."""

    def __init__(self, config: Config) -> None:
        self.config = config

    def members(self, tables: Any) -> pd.Series:
        """Bool by sample_token."""
        is_member = np.zeros(len(tables.samples), bool)
        for track in ego_tracks(tables):
            is_member[track.rows] = self._turning_round(track)
        return by_sample(is_member, tables)

    def _turning_round(self, track: Track) -> Bool[np.ndarray, "N"]:
        config = self.config
        later = track.time_s[None] - track.time_s[:, None]
        reversing = track.speed_mps < -config.min_reverse_mps
        in_window = (later >= -config.before_s) & (later <= config.after_s)
        reverse_s = STEP_S * (in_window & reversing[None]).sum(1)
        turned = np.abs(np.diff(track.yaw, prepend=track.yaw[:1]))
        turn_deg = np.degrees(((np.abs(later) <= config.turn_window_s / 2) * turned[None]).sum(1))
        return (reverse_s >= config.min_reverse_s) & (turn_deg >= config.min_turn_deg)


build = ThreePointTurn
