"""Scenes spread over Ray actors: the same bytes as in one process, also after a kill; errors as they were raised."""

import os
import signal
from pathlib import Path

import pytest

from dima_pipeline.distributed.scene_workers import SceneWorkers
from dima_pipeline.storage.runtime import RuntimeConfig
from ingestion_runs import SCENES, finished_steps, kill_after, published, run, start
from nuscenes_root import make_root

TWO = RuntimeConfig(work_dir="unused", num_processes=2)


class Stand:
    """Stands in for a conversion."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def double(self, scene_name: str) -> str:
        return 2 * scene_name

    def refuse(self, scene_name: str) -> None:
        raise ValueError(f"{scene_name} is no good")

    def die_once(self, scene_name: str) -> str:
        """Kills its process where the scene has not been tried before."""
        tried = self.folder / scene_name
        if not tried.exists():
            tried.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return scene_name

    def die(self, scene_name: str) -> None:
        with (self.folder / "deaths").open("a") as file:
            file.write(f"{scene_name}\n")
        os.kill(os.getpid(), signal.SIGKILL)


@pytest.fixture
def stand(local_ray, tmp_path, monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    return Stand(tmp_path)


def test_every_scene_is_done_once_by_the_actors(stand):
    with SceneWorkers(TWO)(stand) as spread:
        assert sorted(spread("double", ["a", "b", "c"])) == ["aa", "bb", "cc"]
        assert list(spread("double", [])) == []


def test_an_error_in_an_actor_is_the_error_itself(stand):
    with SceneWorkers(TWO)(stand) as spread, pytest.raises(ValueError, match=r"^b is no good$") as raised:
        list(spread("refuse", ["b"]))
    assert type(raised.value) is ValueError


def test_a_scene_whose_process_dies_is_done_by_another(stand):
    with SceneWorkers(TWO)(stand) as spread:
        assert sorted(spread("die_once", ["a", "b"])) == ["a", "b"]


def test_a_scene_that_kills_every_process_is_named(stand, tmp_path):
    with SceneWorkers(TWO)(stand) as spread, pytest.raises(ValueError, match=r"worked on a died 3 times"):
        list(spread("die", ["a"]))
    assert (tmp_path / "deaths").read_text() == 3 * "a\n"


@pytest.fixture(scope="module")
def many_scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root with a dozen scenes."""
    return make_root(tmp_path_factory.mktemp("many") / "root", SCENES)


@pytest.mark.slow
def test_two_actors_publish_the_bytes_of_one_process_also_after_a_kill(many_scenes, tmp_path):
    run(many_scenes, tmp_path / "one")
    expected = published(tmp_path / "one")
    folder = tmp_path / "two"
    assert kill_after(many_scenes, folder, 0.2, num_processes=2)
    before = finished_steps(folder)
    process = start(many_scenes, folder, num_processes=2)
    assert process.wait() == 0, process.stderr.read().decode()
    assert published(folder) == expected
    assert before.items() <= finished_steps(folder).items()
