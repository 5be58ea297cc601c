"""Real recordings, where they are: ``../shared/data`` beside the repository, or ``DIMA_SHARED_DATA``."""

import os
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from dima_pipeline.contracts import tables as contracts
from dima_pipeline.contracts.frames import AGENT_CATEGORIES, CAMERAS
from dima_pipeline.datasets import SceneTables
from dima_pipeline.datasets.nuscenes import Config, NuScenesDataset
from dima_pipeline.geometry import image_from_ego, project, rotation_from_quaternion

SHARED = Path(os.environ.get("DIMA_SHARED_DATA", Path(__file__).parents[3] / "shared" / "data"))
MINI = SHARED / "nuscenes-mini"

pytestmark = pytest.mark.skipif(not MINI.is_dir(), reason=f"no recordings at {MINI}: set DIMA_SHARED_DATA")


@pytest.fixture(scope="module")
def mini() -> NuScenesDataset:
    return NuScenesDataset(Config(version="v1.0-mini"), dataroot=MINI)


@pytest.fixture(scope="module")
def scenes(mini: NuScenesDataset) -> dict[str, SceneTables]:
    return {name: mini.tables(name) for name in mini.scene_names()}


@pytest.fixture(scope="module")
def samples(scenes: dict[str, SceneTables]) -> pd.DataFrame:
    return pd.concat([scene.samples for scene in scenes.values()], ignore_index=True)


def test_mini_has_its_scenes_keyframes_and_boxes(mini: NuScenesDataset, scenes: dict[str, SceneTables]) -> None:
    assert len(scenes) == 10
    assert sum(len(scene.samples) for scene in scenes.values()) == 404
    assert mini.unmapped.total() == 174
    assert sum(len(scene.agents) for scene in scenes.values()) == 18_538 - 174
    categories = {category for scene in scenes.values() for category in scene.agents["category"]}
    assert categories == set(AGENT_CATEGORIES)


def test_mini_passes_the_contracts(scenes: dict[str, SceneTables]) -> None:
    for scene in list(scenes.values())[:2]:
        contracts.Samples.validate(scene.samples)
        contracts.Agents.validate(scene.agents)
        contracts.EgoPaths.validate(scene.ego_paths)
        contracts.AgentFutures.validate(scene.agent_futures)
        contracts.MapElements.validate(scene.map_elements)


def test_poses_are_rigid(samples: pd.DataFrame) -> None:
    quaternion = samples[["ego_qw", "ego_qx", "ego_qy", "ego_qz"]].to_numpy()
    rotations = [rotation_from_quaternion(quaternion)]
    rotations += [np.stack(samples[f"{c.lower()}_camera_from_ego"]).reshape(-1, 4, 4)[:, :3, :3] for c in CAMERAS]
    for rotation in rotations:
        product = rotation @ np.swapaxes(rotation, -1, -2)
        assert product == pytest.approx(np.broadcast_to(np.eye(3), product.shape), abs=1e-9)
        assert np.linalg.det(rotation) == pytest.approx(1.0)


def test_six_images_are_recorded_and_the_rest_is_missing(mini: NuScenesDataset, samples: pd.DataFrame) -> None:
    sources = samples[[f"{camera.lower()}_source" for camera in CAMERAS]]
    assert sources.stack().value_counts().to_dict() == {"missing": 2418, "recorded": 6}
    assert (sources.iloc[0] == "recorded").all()
    images = mini.images(samples.iloc[0], (96, 160))
    assert all(image is not None and image.std() > 20 for image in images.values())


def test_boxes_around_the_car_land_in_some_image(scenes: dict[str, SceneTables]) -> None:
    scene = scenes["scene-0061"]
    sample = scene.samples.iloc[0]
    boxes = scene.agents[scene.agents["sample_token"] == sample["sample_token"]]
    points = boxes[["x_m", "y_m", "z_m"]].to_numpy(float)
    near = points[(np.linalg.norm(points[:, :2], axis=1) > 4) & (np.linalg.norm(points[:, :2], axis=1) < 40)]
    seen = np.zeros(len(near), bool)
    for camera in CAMERAS:
        name = camera.lower()
        projection = image_from_ego(
            np.reshape(sample[f"{name}_intrinsics"], (3, 3)), np.reshape(sample[f"{name}_camera_from_ego"], (4, 4))
        )
        pixel, depth = project(projection, near)
        inside = ((pixel >= 0) & (pixel < [sample[f"{name}_width"], sample[f"{name}_height"]])).all(1)
        seen |= inside & (depth > 0)
    assert len(near) > 15 and seen.mean() > 0.95


def test_cars_drive_where_the_lanes_are(scenes: dict[str, SceneTables]) -> None:
    scene = scenes["scene-1077"]
    centres = scene.map_elements[scene.map_elements["kind"] == "centerline"]
    nearest = []
    for token in scene.samples["sample_token"]:
        points = np.concatenate(
            [np.reshape(p, (-1, 2)) for p in centres.loc[centres["sample_token"] == token, "points"]]
        )
        nearest.append(np.linalg.norm(points, axis=1).min())
    assert np.median(nearest) < 2.0


def test_the_command_agrees_with_the_driven_path_where_it_knows(samples: pd.DataFrame) -> None:
    shares = samples["command_route"].value_counts(normalize=True)
    assert shares["straight"] > 0.5 and shares["unknown"] < 0.4
    turning = samples[
        samples["command_driven"].isin(["left", "right"]) & samples["command_route"].isin(["left", "right"])
    ]
    assert len(turning) > 10
    assert (turning["command_driven"] == turning["command_route"]).mean() > 0.9


def test_speed_of_the_can_bus_is_the_speed_driven(scenes: dict[str, SceneTables]) -> None:
    for scene in scenes.values():
        path = scene.ego_paths[scene.ego_paths["step"] == 1]
        driven = np.hypot(path["x_m"], path["y_m"]).to_numpy() / 0.5
        speed = scene.samples["speed_mps"].to_numpy()
        difference = (driven - speed)[path["valid"].to_numpy()]
        assert np.abs(np.median(difference)) < 0.5


def test_a_keyframe_takes_less_than_thirty_milliseconds(mini: NuScenesDataset, scenes: dict[str, SceneTables]) -> None:
    begin = time.perf_counter()
    num_samples = sum(len(mini.tables(name).samples) for name in ("scene-0061", "scene-0103"))
    assert (time.perf_counter() - begin) / num_samples < 0.030


def test_keyframes_without_lidar_and_maps_are_read_when_asked() -> None:
    root = SHARED / "nuscenes-keyframes"
    options = {"version": "v1.0-keyframes", "require_maps": False}
    with pytest.raises(ValueError, match="no keyframe row of LIDAR_TOP"):
        NuScenesDataset(Config(**options), dataroot=root)
    dataset = NuScenesDataset(Config(**options, reference_channel="CAM_FRONT"), dataroot=root)
    tables = [dataset.tables(name) for name in dataset.scene_names()]
    assert [len(table.samples) for table in tables] == [1, 4, 5]
    assert [len(table.agents) for table in tables] == [37, 0, 0]
    # these keyframes are 2.5 s and more apart: only the step of 2.5 s can lead to another one
    reached = {step for table in tables for step in table.ego_paths.loc[table.ego_paths["valid"], "step"]}
    assert reached <= {5, 6}
    for table in tables:
        contracts.Samples.validate(table.samples)
        contracts.Agents.validate(table.agents)
