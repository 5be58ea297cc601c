"""Data sets: recordings in, tables and images out. A new one is one file with ``Config`` and ``build``."""

from dataclasses import dataclass
from typing import Annotated, Any, Protocol

import numpy as np
import pandas as pd
from pydantic import BeforeValidator

from dima_pipeline.plugins import Family

DATASETS = Family(__name__)
DatasetSpec = Annotated[Any, BeforeValidator(DATASETS.parse)]


@dataclass(frozen=True)
class SceneTables:
    """The tables of one or more scenes (``contracts.tables``)."""

    scenes: pd.DataFrame
    samples: pd.DataFrame
    agents: pd.DataFrame
    ego_paths: pd.DataFrame
    agent_futures: pd.DataFrame
    map_elements: pd.DataFrame


class Dataset(Protocol):
    """What ingestion asks of a data set."""

    def scene_names(self) -> list[str]:
        """Names of all scenes, in a fixed order."""

    def tables(self, scene_name: str) -> SceneTables:
        """The tables of one scene; a camera file that is not there has source ``missing``."""

    def images(self, sample: pd.Series) -> dict[str, np.ndarray | None]:
        """Recorded images by camera, uint8 H x W x 3 RGB at the recorded size; None where the file is missing."""
