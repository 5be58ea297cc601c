"""Keyframes where the ego resumes after a full stop (a long-tail set of TOKEN): standing for 2 s, then driving off."""

from typing import Any

import numpy as np
import pandas as pd
from pydantic import Field

from dima_pipeline.contracts.frames import NUM_PAST_STEPS, STEP_S
from dima_pipeline.plugins import config_dataclass
from dima_pipeline.slices._tracks import by_sample
from dima_pipeline.storage.keyframes import ego_paths_by_sample


@config_dataclass
class Config:
    """What counts as standing and as resuming."""

    max_standing_mps: float = Field(0.2, gt=0)
    """Mean speed over the known part of the last 2 s."""
    min_past_steps: int = Field(2, ge=1, le=NUM_PAST_STEPS)
    """Known steps of 0.5 s that a stop needs."""
    min_resumed_m: float = Field(2.0, gt=0)
    """Displacement over the next 3 s."""
    min_onset_m: float = Field(0.2, gt=0)
    """Displacement over the next 1.5 s: who waits longer is still standing."""


class ResumeFromStop:
    """See the module."""

    def __init__(self, config: Config) -> None:
        self.config = config

    def members(self, tables: Any) -> pd.Series:
        """Bool by sample_token."""
        config = self.config
        past, past_valid, ahead, ahead_valid = ego_paths_by_sample(tables)
        track = np.concatenate([past[..., :2], np.zeros((len(past), 1, 2))], axis=1)
        steps = np.linalg.norm(np.diff(track, axis=1), axis=-1)
        known = np.flip(np.logical_and.accumulate(np.flip(past_valid, 1), axis=1), 1)
        num_known = known.sum(1)
        mean_mps = (steps * known).sum(1) / np.maximum(num_known, 1) / STEP_S
        moved = np.linalg.norm(ahead[..., :2], axis=-1)
        is_standing = (num_known >= config.min_past_steps) & (mean_mps < config.max_standing_mps)
        resumes = (moved[:, -1] >= config.min_resumed_m) & (moved[:, 2] >= config.min_onset_m)
        return by_sample(is_standing & ahead_valid.all(1) & resumes, tables)


build = ResumeFromStop
