"""The hand-made root: one to read, one to break."""

import shutil
from pathlib import Path

import pytest

from nuscenes_root import make_root


@pytest.fixture(scope="session")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The hand-made root; read only."""
    return make_root(tmp_path_factory.mktemp("nuscenes") / "root")


@pytest.fixture
def own_root(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the hand-made root for one test to change."""
    return Path(shutil.copytree(root, tmp_path_factory.mktemp("own") / "root"))
