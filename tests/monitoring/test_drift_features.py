"""Features of keyframes of a scene typed by hand, each known by eye."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from dima_pipeline.contracts import result_tables
from dima_pipeline.contracts.frames import CAMERAS
from dima_pipeline.contracts.result_tables import DRIFT_FEATURES
from dima_pipeline.datasets import SceneTables
from dima_pipeline.monitoring.features import describe
from dima_pipeline.storage.image_shards import ImageShards, ImageShardWriter
from evaluation_scenes import as_tables
from hand_scenes import Actor, HandScene, straight

NUM = 9
SPEED_MPS = 4.0
LINES = [
    ("divider", [(-50, 2), (90, 2)]),
    ("divider", [(-50, -2), (90, -2)]),
    ("ped_crossing", [(20, -6), (20, 9)]),
    ("boundary", [(-50, 9), (90, 9)]),
]


def make_scene() -> SceneTables:
    """4 m/s along x for 4 s past a car, a pedestrian, a cyclist and two cones; a bus is out of range."""
    actors = {
        "car": Actor("car", (6.0, 8.0, 0.0)),
        "bus": Actor("bus", (40.0, 0.0, 0.0)),
        "person": Actor("pedestrian", (0.0, 5.0, 0.0)),
        "cyclist": Actor("bicycle", (10.0, 0.0, 0.0)),
        "cone-1": Actor("traffic_cone", (10.0, 3.0, 0.0)),
        "cone-2": Actor("traffic_cone", (12.0, 3.0, 0.0)),
    }
    return as_tables(HandScene(straight(NUM, SPEED_MPS), actors, LINES))


def write_halves(directory: Path, samples: pd.DataFrame, left: int = 0, right: int = 255) -> ImageShards:
    """Images whose left half has one grey and whose right half another."""
    images = np.full((len(samples), len(CAMERAS), 4, 8, 3), left, np.uint8)
    images[..., 4:, :] = right
    writer = ImageShardWriter(directory, (4, 8))
    writer.add_scene("scene", samples["sample_token"].tolist(), images)
    writer.finish()
    return ImageShards(directory)


def described(tables: SceneTables, directory: Path, trajectory: np.ndarray | None = None) -> pd.DataFrame:
    """The features of a planner that plans 5 m/s straight ahead, by keyframe of the scene."""
    plans = np.zeros((NUM, 6, 2))
    plans[..., 0] = 2.5 * np.arange(1, 7)
    trajectory = plans if trajectory is None else trajectory
    found = describe(tables, tables.samples, write_halves(directory, tables.samples), trajectory, np.eye(NUM))
    return result_tables.KeyframeFeatures.validate(found)


@pytest.fixture(scope="module", name="features")
def describe_scene(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    return described(make_scene(), tmp_path_factory.mktemp("shards") / "shards")


@pytest.mark.parametrize(
    ("feature", "at", "value"),
    [
        ("num_vehicles", 0, 1),
        ("num_vehicles", 5, 2),
        ("nearest_vehicle_m", 0, 10.0),
        ("num_pedestrians", 0, 1),
        ("nearest_pedestrian_m", 6, 13.0),
        ("num_two_wheelers", 0, 1),
        ("num_obstacles", 0, 2),
        ("num_dividers", 0, 2),
        ("num_ped_crossings", 0, 1),
        ("num_boundaries", 0, 1),
        ("num_missing_cameras", 0, 0),
        ("brightness", 0, 0.5),
        ("contrast", 0, 0.5),
        ("speed_mps", 4, 4.0),
        ("acceleration_mps2", 4, 0.0),
        ("yaw_rate_radps", 4, 0.0),
        ("command_unknown", 4, 1),
        ("command_left", 4, 0),
        ("planned_speed_mps", 4, 5.0),
        ("planned_end_x_m", 4, 15.0),
        ("planned_end_y_m", 4, 0.0),
        ("planned_turn_rad", 4, 0.0),
        ("planned_gap_m", 4, 3.0),
        ("planning_l2_m", 2, 2.0),
    ],
)
def test_each_feature_is_what_one_sees(features: pd.DataFrame, feature: str, at: int, value: float):
    assert features[feature].iloc[at] == pytest.approx(value, abs=1e-6)


def test_what_is_unknown_is_null(features: pd.DataFrame):
    names = [name for group in DRIFT_FEATURES.values() for name in group]
    unknown = {name: np.flatnonzero(features[name].isna()).tolist() for name in names}
    assert {name: rows for name, rows in unknown.items() if rows} == {
        "speed_mps": [0, 8],
        "acceleration_mps2": [0, 8],
        "yaw_rate_radps": [0, 8],
        "steering_rad": list(range(9)),
        "planned_gap_m": [0],
        "planning_l2_m": [0, 3, 4, 5, 6, 7, 8],
    }, "no CAN bus, nothing behind the first keyframe, no 3 s ahead of the last six"


def test_a_turn_is_a_yaw_rate_and_a_planned_turn(tmp_path: Path):
    poses = straight(NUM, SPEED_MPS)
    poses[:, 2] = 0.1 * np.arange(NUM)
    tables = as_tables(HandScene(poses))
    circle = 0.2 * np.arange(1, 7)
    arc = 10 * np.stack([np.sin(circle), 1 - np.cos(circle)], -1)
    features = described(tables, tmp_path / "shards", np.repeat(arc[None], NUM, 0))
    assert features["yaw_rate_radps"].iloc[4] == pytest.approx(0.2)
    assert features["planned_turn_rad"].iloc[0] == pytest.approx(1.1, abs=0.01), "the last chord of an arc to 1.2 rad"
    assert features["planned_end_y_m"].iloc[0] == pytest.approx(10 * (1 - np.cos(1.2)))


def test_braking_is_a_negative_acceleration(tmp_path: Path):
    poses = np.zeros((NUM, 3))
    poses[:, 0] = [0, 4, 8, 12, 15, 17, 18, 18, 18]
    features = described(as_tables(HandScene(poses)), tmp_path / "shards")
    assert features["speed_mps"].iloc[3] == pytest.approx(7.0)
    assert features["acceleration_mps2"].iloc[3] == pytest.approx(-4.0)


@pytest.mark.filterwarnings("error")
def test_missing_cameras_are_counted_and_give_no_light(tmp_path: Path):
    tables = make_scene()
    sources = {f"{camera.lower()}_source": "missing" for camera in CAMERAS}
    one = tables.samples.assign(cam_back_source="missing")
    features = described(replace(tables, samples=one), tmp_path / "one")
    assert features["num_missing_cameras"].eq(1).all() and features["brightness"].eq(0.5).all()
    features = described(replace(tables, samples=tables.samples.assign(**sources)), tmp_path / "all")
    assert features["num_missing_cameras"].eq(6).all() and features["brightness"].isna().all()


def test_an_empty_place_has_nothing_nearest_and_zero_of_everything(tmp_path: Path):
    features = described(as_tables(HandScene(straight(NUM, SPEED_MPS))), tmp_path / "shards")
    assert features["nearest_vehicle_m"].isna().all() and features["nearest_pedestrian_m"].isna().all()
    counts = ["num_vehicles", "num_pedestrians", "num_two_wheelers", "num_obstacles", "num_dividers", "num_boundaries"]
    assert (features[counts] == 0).all(axis=None)


def test_rows_keep_the_order_of_the_keyframes_and_their_embedding(features: pd.DataFrame):
    assert features["sample_token"].tolist() == make_scene().samples["sample_token"].tolist()
    np.testing.assert_array_equal(np.stack(features["embedding"].to_list()), np.eye(NUM))
