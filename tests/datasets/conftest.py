"""The hand-made root as a data set."""

from pathlib import Path

import pytest

from dima_pipeline.datasets.nuscenes import Config, NuScenesDataset
from nuscenes_root import VERSION


@pytest.fixture(scope="session")
def dataset(root: Path) -> NuScenesDataset:
    """The hand-made data set."""
    return NuScenesDataset(Config(version=VERSION), dataroot=root)
