"""``kedro run --pipelines drift`` on a typed fleet: a planted shift ends the run, a split of the reference does not."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from dima_pipeline.contracts.frames import CAMERAS
from dima_pipeline.pipelines.datasets import TableDataset
from dima_pipeline.pipelines.ingestion.pipeline import TABLES
from dima_pipeline.storage.image_shards import ImageShardWriter
from dima_pipeline.storage.manifest import verify, write_manifest
from evaluation_scenes import LINES, as_tables
from hand_scenes import Actor, HandScene, straight
from planner_bundles import IMAGE_SIZE, exported

NUM_SCENES, NUM_NIGHT, NUM_KEYFRAMES = 14, 7, 4
TEST = "drift.min_samples=10,drift.num_splits=200,drift.on_drift=fail"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """What the pipelines before ``drift`` leave: every second scene is dark, speeds do not go by that."""
    speeds = np.random.default_rng(0).uniform(2, 8, NUM_SCENES)
    scenes = [
        HandScene(straight(NUM_KEYFRAMES, speed), {f"car-{i}": Actor("car", (20, 5, 0))}, LINES, name=f"scene-{i:04d}")
        for i, speed in enumerate(speeds)
    ]
    tables = as_tables(*scenes, num_train=NUM_SCENES)
    folder = tmp_path / "data"
    for name in TABLES:
        save(folder / "02_intermediate" / f"{name}.parquet", getattr(tables, name))
    writer = ImageShardWriter(folder / "02_intermediate" / "image_shards", IMAGE_SIZE)
    members = []
    for i, (scene, rows) in enumerate(tables.samples.groupby("scene_token")):
        tokens = rows["sample_token"].tolist()
        grey = 20 + i if i % 2 == 0 else 150 + i
        writer.add_scene(str(scene), tokens, np.full((len(tokens), len(CAMERAS), *IMAGE_SIZE, 3), grey, np.uint8))
        members += [{"sample_token": token, "slice": "night", "event_id": scene} for token in tokens if i % 2 == 0]
    writer.finish()
    save(folder / "04_feature" / "slice_members.parquet", pd.DataFrame(members))
    put_bundle(folder / "06_models" / "planner_bundle")
    return folder


def save(path: Path, table: pd.DataFrame) -> None:
    """A stamped table."""
    TableDataset(filepath=str(path), licence="test").save(table)


def put_bundle(directory: Path) -> None:
    """The bundle of an untrained planner that says which command it wants."""
    shutil.copytree(exported("vad")[1], directory)
    card = json.loads((directory / "card.json").read_text())
    card["training"]["command"] = "route"
    (directory / "card.json").write_text(json.dumps(card))
    write_manifest(directory, kind="planner_bundle")


def test_the_planted_shift_ends_the_run_after_all_is_written_and_a_split_of_the_reference_passes(
    kedro_run, data, tmp_path, capsys
):
    drift = ["--pipelines", "drift", "--params"]
    assert kedro_run(*drift, f"drift.current.split=train,drift.current.slice=night,{TEST}") == 1
    text = capsys.readouterr().err
    assert text.count("Error:") == 1 and "Traceback" not in text
    assert "the current window drifted" in text and "brightness (" in text
    verdict = json.loads((tmp_path / "metrics" / "drift.json").read_text())
    assert not verdict["passed"]
    assert (verdict["num_current_scenes"], verdict["num_reference_scenes"]) == (NUM_NIGHT, NUM_SCENES - NUM_NIGHT)
    assert set(verify(data / "08_reporting" / "drift")["files"]) == {"index.html", "drift.json"}

    assert kedro_run(*drift, f"drift.current.split=train,drift.current.part=odd,{TEST}") == 0
    verdict = json.loads((tmp_path / "metrics" / "drift.json").read_text())
    assert verdict["passed"] and verdict["num_features"] > 20 and verdict["num_drifted"] == 0
    features = TableDataset(filepath=str(data / "07_model_output" / "keyframe_features.parquet"), licence="test").load()
    assert len(features) == NUM_SCENES * NUM_KEYFRAMES
    assert features["brightness"].round(2).nunique() > 2


def test_a_misspelt_setting_is_named_before_anything_is_written(kedro_run, data, capsys):
    assert kedro_run("--pipelines", "drift", "--params", "drift.current.slcie=night") == 1
    assert "slcie" in capsys.readouterr().err
    assert not (data / "07_model_output").exists()
