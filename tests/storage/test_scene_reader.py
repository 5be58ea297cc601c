"""Image shards and the reader: what was stored comes back, in the frame and scale the batch promises."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dima_pipeline.contracts.frames import CAMERAS
from dima_pipeline.geometry import quaternion_from_yaw
from dima_pipeline.storage.image_shards import ImageShards, ImageShardWriter
from dima_pipeline.storage.scene_reader import SceneReader

CAMERA_FROM_EGO = np.array([[0, -1, 0, 0], [0, 0, -1, 1.5], [1, 0, 0, -1], [0, 0, 0, 1]], float)


def sample(token: str, previous: str | None, pose: tuple[float, float, float], source: str = "recorded"):
    """A row of ``samples`` with what the reader reads."""
    quaternion = quaternion_from_yaw(pose[2])
    row = {"sample_token": token, "prev": previous, "ego_x_m": pose[0], "ego_y_m": pose[1]}
    row |= dict(zip(("ego_qw", "ego_qx", "ego_qy", "ego_qz"), quaternion, strict=True))
    row |= {"command_route": "straight", "command_driven": "left"}
    for camera in CAMERAS:
        name = camera.lower()
        row |= {f"{name}_width": 160, f"{name}_height": 90, f"{name}_source": source}
        row |= {f"{name}_intrinsics": np.array([100, 0, 80, 0, 100, 45, 0, 0, 1.0])}
        row |= {f"{name}_camera_from_ego": CAMERA_FROM_EGO.ravel()}
    return row


@pytest.fixture
def shards(tmp_path):
    """Two keyframes whose images hold the numbers 1 and 2."""
    writer = ImageShardWriter(tmp_path / "shards", image_size=(45, 80))
    images = np.stack([np.full((6, 45, 80, 3), value, np.uint8) for value in (1, 2)])
    writer.add_scene("s", ["a", "b"], images)
    writer.finish()
    return ImageShards(tmp_path / "shards")


def test_images_come_back_by_token_and_an_unknown_token_is_named(shards):
    assert shards.image_size == (45, 80)
    assert (shards.read("b") == 2).all()
    with pytest.raises(ValueError, match="sample_token c"):
        shards.read("c")


def test_shards_without_manifest_are_refused(tmp_path):
    ImageShardWriter(tmp_path / "half", image_size=(45, 80))
    with pytest.raises(ValueError, match="unfinished"):
        ImageShards(tmp_path / "half")


def test_the_batch_projects_to_pixels_of_the_stored_images(shards):
    reader = SceneReader(pd.DataFrame([sample("a", None, (0, 0, 0)), sample("b", "a", (3, 0, 0))]), shards)
    batch = reader.batch(["b", "a"])
    homogeneous = batch.image_from_ego[0, 0] @ [11, 1, 1.5, 1]
    assert np.allclose(homogeneous[:2] / homogeneous[2], [35, 22.5])
    assert batch.images[0, 0, 0, 0, 0] == 2
    assert batch.command.tolist() == [2, 2]
    assert batch.camera_valid.all()


def test_the_driven_command_is_used_only_when_asked_for(shards):
    frame = pd.DataFrame([sample("a", None, (0, 0, 0))])
    assert SceneReader(frame, shards, command="driven").batch(["a"]).command.tolist() == [0]


def test_a_missing_camera_is_not_valid(shards):
    reader = SceneReader(pd.DataFrame([sample("a", None, (0, 0, 0), source="missing")]), shards)
    assert not reader.batch(["a"]).camera_valid.any()


def test_motion_is_where_the_ego_stands_in_its_previous_frame(shards):
    frame = pd.DataFrame([sample("a", None, (5, 5, np.pi / 2)), sample("b", "a", (5, 8, np.pi))])
    motion = SceneReader(frame, shards).batch(["a", "b"]).prev_from_ego
    assert np.allclose(motion, [[0, 0, 0], [3, 0, np.pi / 2]], atol=1e-6)


@given(st.floats(-np.pi, np.pi), st.floats(-20, 20), st.floats(-20, 20))
def test_motion_does_not_depend_on_the_global_frame(yaw, x, y):
    from dima_pipeline.storage.scene_reader import global_poses

    frame = pd.DataFrame([sample("a", None, (x, y, yaw))])
    assert np.allclose(global_poses(frame)[0], [x, y, yaw], atol=1e-9) or abs(abs(yaw) - np.pi) < 1e-9
