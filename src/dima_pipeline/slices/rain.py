"""Keyframes of scenes whose description speaks of rain, after rain included: the road is wet."""

from typing import Any

import pandas as pd

from dima_pipeline.plugins import config_dataclass
from dima_pipeline.slices._tracks import described


@config_dataclass
class Config:
    """How a rain scene is recognised."""

    pattern: str = r"\brain(y|ing|s|fall)?\b"
    """Regular expression, searched in the description whatever the case."""


class Rain:
    """See the module."""

    def __init__(self, config: Config) -> None:
        self.config = config

    def members(self, tables: Any) -> pd.Series:
        """Bool by sample_token."""
        return described(tables, self.config.pattern)


build = Rain
