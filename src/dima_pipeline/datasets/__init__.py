"""Data sets: recordings in, tables and images out. A new one is one file with ``Config`` and ``build``.

``build(config, dataroot=..., cache_dir=...)`` gives a ``Dataset`` that can be pickled; in ``cache_dir`` (or None) it
may keep what spares it work the next time.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Protocol

from pydantic import BeforeValidator

from dima_pipeline.plugins import Family

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

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

    unmapped: Counter[str]
    """Boxes left out of ``agents`` in the scenes read so far, by category name."""

    def scene_names(self) -> list[str]:
        """Names of all scenes, in a fixed order."""

    def fingerprint(self, scene_name: str) -> str:
        """Of all recorded content that the tables of a scene are made from: another content, another text."""

    def tables(self, scene_name: str) -> SceneTables:
        """The tables of one scene; a camera file that is not there has source ``missing``."""

    def camera_files(self, scene_name: str) -> list[Path]:
        """Paths of all camera files of a scene, there or not, keyframe by keyframe in the order of ``CAMERAS``."""

    def images(self, sample: pd.Series, image_size: tuple[int, int] | None = None) -> dict[str, np.ndarray | None]:
        """Recorded images by camera, uint8 H x W x 3 RGB at the recorded size or ``image_size`` (height, width); None
        where the file is missing."""

    def ground(
        self, location: str, center_xy: np.ndarray, radius_m: float
    ) -> tuple[list[tuple[str, np.ndarray, tuple[np.ndarray, ...]]], list[tuple[str, np.ndarray]]]:
        """Areas (kind, exterior, holes) and lines (kind, points) of the map around a place, global x and y in metres;
        empty where there is no map."""
