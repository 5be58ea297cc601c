"""Generated scenes spread over Ray actors: the same bytes as in one process; a kill and errors, as they should be."""

import errno
import os
import signal
from functools import partial

import pytest
import ray

from dima_pipeline.distributed.world_workers import WorldWorkers
from dima_pipeline.storage.runtime import RuntimeConfig
from dima_pipeline.world.config import WorldConfig
from dima_pipeline.world.generate import write_root
from dima_pipeline.world.recording import SceneJob

TWO = RuntimeConfig(work_dir="unused", num_processes=2)
SMALL = WorldConfig(num_keyframes=4, image_width=32, image_height=18)
JOBS = [SceneJob(f"scene-{number:04d}", "train", number, number) for number in range(5)]


@pytest.fixture
def workers(local_ray, monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    return WorldWorkers(TWO)


def name_of(job):
    return job.name


def test_every_scene_is_done_once(workers):
    assert sorted(workers(name_of, JOBS)) == [job.name for job in JOBS]
    assert list(workers(name_of, [])) == []


def test_two_actors_write_the_bytes_of_one_process(workers, tmp_path):
    """Two scenes with pictures; black ones of more."""
    for name, spread in {"one": None, "two": workers}.items():
        write_root(SMALL, tmp_path / name / "drawn", JOBS[:2], spread=spread)
        write_root(SMALL, tmp_path / name / "black", JOBS, spread=spread, with_images=False)
    one, two = (
        {path.relative_to(top): path.read_bytes() for path in top.rglob("*") if path.is_file()}
        for top in (tmp_path / "one", tmp_path / "two")
    )
    assert len(one) > 7 * 4 * 7 and one == two


def die_once(folder, job):
    """Kills its process where the scene has not been tried before."""
    tried = folder / job.name
    if not tried.exists():
        tried.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return job.number


def die(folder, job):
    with (folder / "deaths").open("a") as file:
        file.write(f"{job.name}\n")
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_scene_whose_process_dies_is_drawn_by_another(workers, tmp_path):
    assert sorted(workers(partial(die_once, tmp_path), JOBS[:2])) == [0, 1]


def test_a_scene_that_kills_every_process_is_named(workers, tmp_path):
    with pytest.raises(ValueError, match=r"worked on scene-0000 died 3 times.*num_processes"):
        list(workers(partial(die, tmp_path), JOBS[:1]))
    assert (tmp_path / "deaths").read_text() == 3 * "scene-0000\n"


def refuse(job):
    raise ValueError(f"{job.name} is no good")


def fill(job):
    raise OSError(errno.ENOSPC, "No space left on device", "CAM_FRONT.jpg")


def test_an_error_in_an_actor_is_the_error_itself(workers):
    with pytest.raises(ValueError, match=r"^scene-0003 is no good$") as raised:
        list(workers(refuse, JOBS[3:4]))
    assert type(raised.value) is ValueError


def test_a_full_disk_in_an_actor_is_named(workers, tmp_path):
    with pytest.raises(ValueError, match="is full"):
        write_root(SMALL, tmp_path / "root", JOBS[:2], spread=lambda work, jobs: workers(fill, jobs))


def test_one_process_is_this_one_without_ray(monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(ray, "remote", None)
    alone = WorldWorkers(RuntimeConfig(work_dir="unused", num_processes=1))
    assert list(alone(lambda job: os.getpid(), JOBS)) == [os.getpid()] * len(JOBS)
