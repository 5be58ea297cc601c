"""``kedro run --pipelines=world``: published whole, taken as it is the second time, and never in place of others."""

import json

import pytest
import yaml

from dima_pipeline.storage.manifest import verify
from project_folder import PROJECT

SMALL = {"num_keyframes": 4, "image_width": 32, "image_height": 18}


@pytest.fixture
def world_run(kedro_run, tmp_path, capsys):
    """Runs the pipeline in a small environment; returns exit status and what it said."""
    catalog = (PROJECT / "conf/synthetic/catalog.yml").read_text()

    def run(*arguments, **changes):
        (tmp_path / "conf/tiny/catalog.yml").write_text(catalog)
        parameters = {"world": SMALL | changes, "runtime": {"num_processes": 1, "num_cpus": 1}}
        status = kedro_run("--pipelines", "world", *arguments, changes=parameters)
        return status, capsys.readouterr().err

    return run


def test_the_world_is_looked_for_where_the_catalog_publishes_it():
    catalog = yaml.safe_load((PROJECT / "conf/synthetic/catalog.yml").read_text())
    runtime = yaml.safe_load((PROJECT / "conf/base/parameters_runtime.yml").read_text())
    assert runtime["runtime"]["world_dir"] == catalog["dataroot"]["filepath"]


def test_a_world_is_made_once_and_replaced_only_on_request(world_run, tmp_path):
    root = tmp_path / "data/01_raw/nuscenes"
    status, said = world_run("--params", "world.num_scenes=2")
    assert status == 0, said
    assert verify(root)["kind"] == "dataroot"
    assert len(json.loads((root / "v1.0-synthetic-trainval/scene.json").read_text())) == 2
    before = (root / "manifest.json").stat().st_ino
    assert world_run("--params", "world.num_scenes=2")[0] == 0
    assert (root / "manifest.json").stat().st_ino == before, "the same world is not drawn again"
    status, said = world_run("--params", "world.num_scenes=2,world.seed=5")
    assert status == 1 and said.count("Error:") == 1 and "holds another world" in said and "Traceback" not in said
    assert (root / "manifest.json").stat().st_ino == before
    assert world_run("--params", "world.num_scenes=2,world.seed=5,world.overwrite=true")[0] == 0
    assert (root / "manifest.json").stat().st_ino != before
    assert [path.name for path in root.parent.iterdir() if path.name.startswith(".")] == []


def test_recordings_that_lie_there_are_left_alone(world_run, tmp_path):
    root = tmp_path / "data/01_raw/nuscenes"
    root.mkdir(parents=True)
    (root / "mine.txt").write_text("precious")
    status, said = world_run("--params", "world.num_scenes=2,world.overwrite=true")
    assert status == 1 and "no generated world" in said and "Traceback" not in said
    assert (root / "mine.txt").read_text() == "precious"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"num_train_scenes": 0, "num_val_scenes": 0}, "a world of no scenes"),
        ({"num_train_towns": 0}, "num_train_towns"),
        ({"image_width": -1}, "image_width"),
        ({"events": ["overtakin"]}, "did you mean 'overtaking'"),
        ({"num_scnes": 4}, "num_scnes"),
    ],
)
def test_an_impossible_world_is_named_and_nothing_is_written(world_run, tmp_path, changes, words):
    status, said = world_run(**changes)
    assert status == 1 and said.count("Error:") == 1 and words in said and "Traceback" not in said
    assert not (tmp_path / "data").exists()
