"""Keyframes whose driven path leaves what constant speed and turn rate would give: ego status alone cannot plan them.

A planner that copies its own motion does well on most of nuScenes (BEV-Planner, AD-MLP); these keyframes are those on
which it fails, by construction.
"""

from typing import Any

import numpy as np
import pandas as pd
from pydantic import Field

from dima_pipeline.contracts.frames import NUM_FUTURE_STEPS, STEP_S
from dima_pipeline.plugins import config_dataclass
from dima_pipeline.slices._tracks import by_sample, ego_turn_rates, rolled_out
from dima_pipeline.storage.keyframes import ego_paths_by_sample, ego_speeds


@config_dataclass
class Config:
    """How far off is an outlier."""

    min_deviation_m: float = Field(8.0, gt=0)
    """Between where the ego is after 3 s and where it would be, had it kept its speed and turn rate."""
    quantile: float | None = Field(None, gt=0, lt=1)
    """Of the deviations in the tables at hand (0.95: one keyframe in twenty), where that is the larger bound. Data sets
    cannot be compared then, so by default the bound is fixed."""


class KinematicOutlier:
    """See the module."""

    def __init__(self, config: Config) -> None:
        self.config = config

    def members(self, tables: Any) -> pd.Series:
        """Bool by sample_token; never where speed, turn rate or the full future are unknown."""
        _, _, ahead, valid = ego_paths_by_sample(tables)
        seconds = np.array([NUM_FUTURE_STEPS * STEP_S])
        expected = rolled_out(ego_speeds(tables), ego_turn_rates(tables), seconds)[:, 0, :2]
        off_m = np.where(valid.all(1), np.linalg.norm(ahead[:, -1, :2] - expected, axis=1), np.nan)
        bound, known = self.config.min_deviation_m, off_m[~np.isnan(off_m)]
        if self.config.quantile is not None and len(known):
            bound = max(bound, float(np.quantile(known, self.config.quantile)))
        return by_sample(off_m >= bound, tables)


build = KinematicOutlier
