"""Slices: long-tail subsets of keyframes. A new one is one file with ``Config`` and ``build``; pandas only."""

from typing import Annotated, Any, Protocol

import pandas as pd
from pydantic import BeforeValidator

from dima_pipeline.plugins import Family

SLICES = Family(__name__)
SliceSpec = Annotated[Any, BeforeValidator(SLICES.parse)]


class Slice(Protocol):
    """A rule that finds keyframes."""

    def members(self, tables: Any) -> pd.Series:
        """Bool by sample_token, one entry for every row of ``tables.samples``. ``tables`` has the fields of
        ``datasets.SceneTables``."""
