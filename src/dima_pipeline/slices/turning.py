"""Keyframes where the ego turns: its driven path ends 2 m or more to a side (the "targeted" subset of PARA-Drive).

The rule is VAD's for the command, on the last known step; keyframes without a complete future are left out.
"""

from typing import Any

import numpy as np
import pandas as pd
from pydantic import Field

from dima_pipeline.plugins import config_dataclass
from dima_pipeline.slices._tracks import by_sample
from dima_pipeline.storage.keyframes import ego_paths_by_sample


@config_dataclass
class Config:
    """What counts as a turn."""

    min_lateral_m: float = Field(2.0, gt=0)
    """Of the position after 3 s."""


class Turning:
    """See the module."""

    def __init__(self, config: Config) -> None:
        self.config = config

    def members(self, tables: Any) -> pd.Series:
        """Bool by sample_token."""
        _, _, ahead, valid = ego_paths_by_sample(tables)
        return by_sample(valid.all(1) & (np.abs(ahead[:, -1, 1]) >= self.config.min_lateral_m), tables)


build = Turning
