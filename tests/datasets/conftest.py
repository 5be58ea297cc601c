"""The hand-made root: one to read, one to break."""

import shutil
from pathlib import Path

import pytest

from dima_pipeline.datasets.nuscenes import Config, NuScenesDataset
from nuscenes_root import VERSION, make_root


@pytest.fixture(scope="session")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The hand-made root; read only."""
    return make_root(tmp_path_factory.mktemp("nuscenes") / "root")


@pytest.fixture
def own_root(root: Path, tmp_path: Path) -> Path:
    """A copy of the hand-made root for one test to change."""
    return Path(shutil.copytree(root, tmp_path / "own"))


@pytest.fixture(scope="session")
def dataset(root: Path) -> NuScenesDataset:
    """The hand-made data set."""
    return NuScenesDataset(Config(version=VERSION), dataroot=root)
