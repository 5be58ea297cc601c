"""Fixtures of many tests: a hand-made nuScenes root to read and one to break, and a Kedro project to run."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from nuscenes_root import VERSION, make_root
from project_folder import PROJECT


@pytest.fixture(scope="session")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The hand-made root; read only."""
    return make_root(tmp_path_factory.mktemp("nuscenes") / "root")


@pytest.fixture
def own_root(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the hand-made root for one test to change."""
    return Path(shutil.copytree(root, tmp_path_factory.mktemp("own") / "root"))


@pytest.fixture
def kedro_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Runs ``kedro run`` of this project in an environment ``tiny`` whose data lies in ``tmp_path / "data"``.

    Called with command-line arguments, ``dataroot`` and ``changes`` (parameters by pipeline); returns the exit status.
    """
    from kedro.framework.cli.cli import KedroCLI

    conf = shutil.copytree(PROJECT / "conf", tmp_path / "conf")
    tiny = conf / "tiny"
    tiny.mkdir()
    facts: dict[str, object] = {"dataset": "hand-made", "generates_world": False, "licence": "test"}
    facts |= {"data_dir": str(tmp_path / "data"), "metrics_dir": str(tmp_path / "metrics")}
    (tiny / "globals.yml").write_text(yaml.safe_dump(facts))
    monkeypatch.chdir(PROJECT)
    monkeypatch.setenv("KEDRO_DISABLE_TELEMETRY", "1")

    def run(*arguments: str, dataroot: Path | str | None = None, changes: dict | None = None) -> int:
        os.environ.pop("DIMA_DATAROOT", None)
        if dataroot is not None:
            monkeypatch.setenv("DIMA_DATAROOT", str(dataroot))
        merged = {"ingestion": {"dataset": {"version": VERSION}}} | (changes or {})
        for pipeline, parameters in merged.items():
            (tiny / f"parameters_{pipeline}.yml").write_text(yaml.safe_dump({pipeline: parameters}))
        command = ["run", "--env", "tiny", "--conf-source", str(conf), *arguments]
        with pytest.raises(SystemExit) as ended:
            KedroCLI(PROJECT).main(command)
        return int(ended.value.code or 0)

    return run
