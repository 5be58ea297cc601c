"""Roots that are whole or not there: what lies at the target, a full disk, a killed process, any number of workers."""

import builtins
import errno
import io
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from dima_pipeline.storage.manifest import publish, read_manifest, verify, write_manifest
from dima_pipeline.world.config import WorldConfig
from dima_pipeline.world.generate import generate, write_root
from dima_pipeline.world.publishing import make_world, may_replace, origin
from dima_pipeline.world.recording import SceneJob
from dima_pipeline.world.spreading import in_this_process, over_processes

NAMES = {"train": ["scene-0001", "scene-0002"], "val": ["scene-0003"]}
SMALL = WorldConfig(num_train_scenes=1, num_val_scenes=1, num_keyframes=4, image_width=32, image_height=18)


def stage_in(folder):
    """Gives an empty directory below ``folder``, as ``RuntimeConfig.staging`` does."""

    def stage():
        staged = folder / "staged"
        staged.mkdir()
        return staged

    return stage


def no_stage():
    raise AssertionError("a world was drawn")


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """A small world where it belongs; read only."""
    top = tmp_path_factory.mktemp("world")
    publish(make_world(SMALL, NAMES, top / "target", stage=stage_in(top)), top / "target")
    return top / "target"


@pytest.fixture
def own(published, tmp_path):
    """A copy for one test to change."""
    target = tmp_path / "own"
    subprocess.run(["cp", "-r", published, target], check=True)
    return target


def content(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_same_world_is_taken_as_it_is(published):
    before = {path: path.stat().st_mtime_ns for path in published.rglob("*")}
    root = make_world(replace(SMALL, overwrite=True), NAMES, published, stage=no_stage)
    publish(root, published)
    assert root == published and verify(published)["kind"] == "dataroot"
    assert {path: path.stat().st_mtime_ns for path in published.rglob("*")} == before


def test_another_world_is_replaced_only_where_overwrite_says_so(own, tmp_path):
    other = replace(SMALL, seed=1)
    with pytest.raises(ValueError, match=r"holds another world.*world.overwrite=true"):
        make_world(other, NAMES, own, stage=no_stage)
    publish(make_world(replace(other, overwrite=True), NAMES, own, stage=stage_in(tmp_path)), own)
    assert read_manifest(own)["made_from"] == origin(other, NAMES) != origin(SMALL, NAMES)


def test_a_damaged_world_is_not_taken_for_whole(own):
    picture = next(own.glob("samples/CAM_FRONT/*.jpg"))
    picture.write_bytes(picture.read_bytes()[:100])
    with pytest.raises(ValueError, match=r"this world, damaged.*CAM_FRONT"):
        make_world(SMALL, NAMES, own, stage=no_stage)


def test_a_file_of_the_user_in_a_world_keeps_it_from_being_replaced(own):
    (own / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match=r"notes.txt was not written by the world"):
        make_world(replace(SMALL, seed=1, overwrite=True), NAMES, own, stage=no_stage)


@pytest.mark.parametrize("manifest", [None, "{}", '{"name": "my web page"}'])
def test_a_folder_of_the_user_is_never_replaced(tmp_path, manifest):
    target = tmp_path / "recordings"
    target.mkdir()
    (target / "drive.bag").write_text("precious")
    if manifest is not None:
        (target / "manifest.json").write_text(manifest)
    before = content(target)
    with pytest.raises(ValueError, match=r"no generated world.*never overwritten"):
        make_world(replace(SMALL, overwrite=True), NAMES, target, stage=no_stage)
    assert content(target) == before


def test_another_finished_directory_is_never_replaced(tmp_path):
    target = tmp_path / "bundle"
    target.mkdir()
    write_manifest(target, kind="planner")
    with pytest.raises(ValueError, match="holds a finished 'planner'"):
        make_world(replace(SMALL, overwrite=True), NAMES, target, stage=no_stage)


def test_an_empty_folder_and_a_missing_one_are_free(tmp_path):
    (tmp_path / "empty").mkdir()
    assert may_replace(tmp_path / "empty", "anything", overwrite=False)
    assert may_replace(tmp_path / "missing", "anything", overwrite=False)


def test_a_world_is_written_into_an_empty_directory_only(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(ValueError, match="is not empty"):
        generate(SMALL, tmp_path, NAMES)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_what_made_a_world_is_more_than_its_configuration():
    assert origin(SMALL, NAMES) == origin(replace(SMALL, overwrite=True), NAMES)
    more = {**NAMES, "train": [*NAMES["train"], "scene-0009"]}
    assert origin(SMALL, NAMES) == origin(SMALL, more), "no scene of that name is made"
    assert origin(SMALL, NAMES) != origin(SMALL, {**NAMES, "train": ["scene-0009", "scene-0010"]})
    assert origin(SMALL, NAMES) != origin(replace(SMALL, jpeg_quality=84), NAMES)


FILES = ["CAM_BACK", "LIDAR_TOP", "can_bus", "expansion", ".rows", "sample_annotation.json", "manifest.json"]


@pytest.mark.parametrize("place", FILES)
def test_a_full_disk_is_named_and_no_half_root_stays(tmp_path, monkeypatch, place):
    fill_the_disk(monkeypatch, place)
    target = tmp_path / "target"
    with pytest.raises(ValueError, match=r"the disk of .*staged is full.*data_dir"):
        make_world(SMALL, NAMES, target, stage=stage_in(tmp_path))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("place", ["LIDAR_TOP", "sample_annotation.json"])
def test_a_root_cut_short_by_a_full_disk_has_no_tables(tmp_path, monkeypatch, place):
    fill_the_disk(monkeypatch, place)
    with pytest.raises(ValueError, match="is full"):
        generate(SMALL, tmp_path / "root", NAMES)
    assert not (tmp_path / "root" / SMALL.version).exists()


def fill_the_disk(monkeypatch, place):
    """Let no file whose path holds ``place`` be opened for writing: the disk is full by then."""
    open_file = io.open

    def refuse(path, mode):
        if place in str(path) and ("w" in mode or "+" in mode):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    def open_or_refuse(file, mode="r", *arguments, **options):
        refuse(file, mode)
        return open_file(file, mode, *arguments, **options)

    monkeypatch.setattr(builtins, "open", open_or_refuse)
    monkeypatch.setattr(io, "open", open_or_refuse)


def test_a_full_disk_in_a_worker_process_is_named_too(tmp_path):
    with pytest.raises(ValueError, match="is full"):
        write_root(SMALL, tmp_path / "root", jobs(2), spread=lambda work, jobs: over_processes(2)(full_disk, jobs))


def full_disk(job):
    raise OSError(errno.ENOSPC, "No space left on device", "CAM_FRONT.jpg")


def killed(job):
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_worker_that_is_killed_is_explained(tmp_path):
    with pytest.raises(ValueError, match="was killed, most likely for lack of memory"):
        write_root(SMALL, tmp_path / "root", jobs(2), spread=lambda work, jobs: over_processes(2)(killed, jobs))


def jobs(num):
    return [SceneJob(f"scene-{number:04d}", "train", number, number) for number in range(num)]


def test_scenes_in_any_order_give_the_same_bytes(tmp_path):
    """Pictures of two scenes; black ones of more."""
    backwards = lambda work, jobs: in_this_process(work, jobs[::-1])  # noqa: E731
    for name, spread in {"one": in_this_process, "back": backwards, "two": over_processes(2)}.items():
        write_root(SMALL, tmp_path / name / "drawn", jobs(2), spread=spread)
        write_root(SMALL, tmp_path / name / "black", jobs(3), spread=spread, with_images=False)
    one = content(tmp_path / "one")
    assert len(one) > 2 * 4 * 7 + 3 * 4 * 7
    assert content(tmp_path / "back") == one
    assert content(tmp_path / "two") == one


KILLED = """
import sys
from pathlib import Path
from dima_pipeline.storage.manifest import publish
from dima_pipeline.world.config import WorldConfig
from dima_pipeline.world.publishing import make_world
top = Path(sys.argv[1])
def stage():
    (top / "staged").mkdir()
    return top / "staged"
config = WorldConfig(num_train_scenes=4, num_val_scenes=0, num_keyframes=8, image_width=32, image_height=18)
names = {"train": [f"scene-{n:04d}" for n in range(9)]}
publish(make_world(config, names, top / "target", stage=stage), top / "target")
"""


def test_a_killed_process_leaves_nothing_that_looks_whole(tmp_path):
    process = subprocess.Popen([sys.executable, "-c", KILLED, str(tmp_path)])
    while not list(tmp_path.glob("staged/.rows/*")):
        assert process.poll() is None, "it ended before it could be killed"
        time.sleep(0.05)
    process.kill()
    process.wait()
    staged = tmp_path / "staged"
    assert list(staged.glob("samples/CAM_FRONT/*.jpg")) and not list(staged.glob("v1.0*"))
    assert not (tmp_path / "target").exists()
    with pytest.raises(ValueError, match="unfinished"):
        publish(staged, tmp_path / "target")
    with pytest.raises(ValueError, match="no generated world"):
        make_world(SMALL, NAMES, Path(staged), stage=no_stage)
