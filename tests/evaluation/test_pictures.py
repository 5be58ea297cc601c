"""Which keyframes are pictured, and that what is drawn is what is there."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from dima_pipeline.contracts.frames import CAMERAS
from dima_pipeline.datasets import SceneTables
from dima_pipeline.evaluation.baselines import constant_velocity
from dima_pipeline.evaluation.config import EvaluationConfig
from dima_pipeline.evaluation.drawing import DRIVEN_COLOUR, GAP, PLAN_COLOURS, TILE
from dima_pipeline.evaluation.pictures import Choice, choose_keyframes, draw_pictures, shard_images
from dima_pipeline.evaluation.scores import score
from dima_pipeline.storage.manifest import verify
from evaluation_scenes import make_fleet, write_shards

EVENTS = pd.DataFrame(
    [
        ("scene-0001-002", "night", "n1"),
        ("scene-0001-003", "night", "n1"),
        ("scene-0001-004", "night", "n1"),
        ("scene-0002-002", "night", "n2"),
        ("scene-0002-003", "rain", "r1"),
        ("scene-0000-003", "rain", "r0"),
    ],
    columns=["sample_token", "slice", "event_id"],
)


def scored(tables: SceneTables) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Plans that drift off to the left, more with every keyframe and twice as much in scene-0001, and their scores."""
    plans = constant_velocity(tables, "val").assign(planner="planner")
    index = plans["sample_token"].str[-3:].astype(int)
    twice = 1 + plans["sample_token"].str.startswith("scene-0001")
    plans["y_m"] += 0.1 * twice * index * plans["step"]
    plans = pd.concat([plans, plans.assign(planner="control", y_m=-plans["y_m"])], ignore_index=True)
    return plans, score(plans, tables, EvaluationConfig().metrics)


def test_the_worst_of_two_scenes_the_typical_one_and_events_of_slices_in_turn_are_chosen():
    tables = make_fleet(num_scenes=3, num_samples=12)
    _, scores = scored(tables)
    chosen = choose_keyframes(scores, tables.samples, EVENTS, planner="planner", num_pictures=10)
    reasons = {choice.sample_token: choice.reason for choice in chosen}
    assert [choice.sample_token for choice in chosen[:2]] == ["scene-0001-005", "scene-0002-005"]
    assert "typical" in chosen[2].reason
    # One event of each slice comes before the second event of a slice; training scenes are not pictured.
    assert [choice.sample_token for choice in chosen[3:] if choice.sample_token != chosen[2].sample_token][-1:] == [
        "scene-0002-002"
    ]
    assert "scene-0002-003" in reasons and "scene-0000-003" not in reasons
    assert len(reasons) == len(chosen)
    assert choose_keyframes(scores, tables.samples, EVENTS, planner="planner", num_pictures=2) == chosen[:2]
    assert choose_keyframes(scores, tables.samples, EVENTS, planner="nobody", num_pictures=2) == []


def near(pixels: np.ndarray, colour: str) -> np.ndarray:
    """Which pixels are of a colour."""
    wanted = np.array([int(colour[at : at + 2], 16) for at in (1, 3, 5)])
    return (np.abs(pixels.astype(int) - wanted).max(-1) < 12).nonzero()


def test_pictures_show_the_paths_where_they_lie_and_say_what_is_missing(tmp_path: Path):
    tables = make_fleet(num_scenes=3, num_samples=12)
    plans, scores = scored(tables)
    shards = write_shards(tmp_path / "shards", tables.samples)
    recorded = shard_images(shards)
    directory = draw_pictures(
        tmp_path / "pictures",
        [Choice("scene-0001-005", "largest distance")],
        tables,
        plans,
        planners=["planner", "control"],
        scores=scores,
        images=lambda sample: {**recorded(sample), "CAM_BACK": None},
    )
    verify(directory)
    (entry,) = json.loads((directory / "pictures.json").read_text())
    assert entry["title"] == "scene-0001, keyframe 5" and entry["reason"] == "largest distance"
    assert entry["l2_m"] == {"planner": pytest.approx(6.0), "control": pytest.approx(6.0)}
    assert entry["speed_mps"] == 5.0 and entry["command"] == "unknown"
    cameras = np.asarray(Image.open(directory / entry["cameras"]))
    assert cameras.shape == (2 * TILE[1] + GAP, 3 * TILE[0] + 2 * GAP, 3)
    assert (cameras[TILE[1] : TILE[1] + GAP] == cameras[TILE[1], 0]).all(), "a gap between the rows"
    rows, columns = near(cameras, PLAN_COLOURS[0])
    middle = cameras.shape[1] / 2
    assert len(rows) > 50 and (rows > TILE[1] / 2).all() and (rows < TILE[1]).all(), "on the road, below the horizon"
    assert columns.mean() < middle < near(cameras, PLAN_COLOURS[1])[1].mean(), "left and right of the driven path"
    assert abs(near(cameras, DRIVEN_COLOUR)[1].mean() - middle) < 5
    assert (cameras[-20, int(middle)] == (0x2A, 0x31, 0x39)).all(), "the missing camera is an empty tile"
    above = np.asarray(Image.open(directory / entry["above"]))
    legend = int(0.88 * above.shape[0])
    plan_rows, control_rows = (near(above[:legend], colour)[0] for colour in PLAN_COLOURS[:2])
    assert len(plan_rows) > 50 and plan_rows.mean() < control_rows.mean(), "left is up"


def test_images_that_the_recordings_lack_come_from_the_fallback(tmp_path: Path):
    tables = make_fleet(num_scenes=2, num_samples=12)
    plans, scores = scored(tables)
    asked: list[str] = []

    def rendered(sample: pd.Series) -> dict[str, np.ndarray]:
        asked.append(sample["sample_token"])
        return dict.fromkeys(CAMERAS, np.full((24, 40, 3), 200, np.uint8))

    draw_pictures(
        tmp_path / "pictures",
        [Choice("scene-0001-003", "r")],
        tables,
        plans,
        planners=["planner"],
        scores=scores,
        images=lambda _: dict.fromkeys(CAMERAS),
        fallback=rendered,
    )
    assert asked == ["scene-0001-003"]
    assert (np.asarray(Image.open(tmp_path / "pictures" / "00_cameras.png"))[100, 20] == 200).all()


def test_a_planner_without_plans_cannot_be_drawn(tmp_path: Path):
    tables = make_fleet(num_scenes=2, num_samples=12)
    plans, scores = scored(tables)
    images = shard_images(write_shards(tmp_path / "shards", tables.samples))
    with pytest.raises(ValueError, match="planner 'ghost' has no complete"):
        draw_pictures(
            tmp_path / "p",
            [Choice("scene-0001-003", "r")],
            tables,
            plans,
            planners=["ghost"],
            scores=scores,
            images=images,
        )
