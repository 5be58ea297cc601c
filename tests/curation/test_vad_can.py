"""CAN bus in VAD's infos: which message a keyframe takes, and what a scene without some of them has."""

from pathlib import Path

import numpy as np
import pytest

from dima_pipeline.curation.vad_bugs import BUGS, Bug
from dima_pipeline.curation.vad_can import nearest_message, read_scene_can
from dima_pipeline.geometry import quaternion_from_yaw
from nuscenes_root import START_US, STEP_US, Tables
from vad_drives import SCENE, Can, drive_can, poses_of, read_drive, write_drive

NONE: frozenset[Bug] = frozenset()


def test_the_nearest_message_wins_and_the_later_of_two_as_near() -> None:
    messages, keyframes = np.array([100, 200, 400]), np.array([0, 149, 150, 151, 290, 399, 900])
    row, is_near = nearest_message(messages, keyframes, max_gap_s=100e-6)
    assert row.tolist() == [0, 0, 1, 1, 1, 2, 2]
    assert is_near.tolist() == [True, True, True, True, True, True, False]


def test_a_message_at_the_very_time_of_a_keyframe_is_the_one_before_it(tmp_path: Path) -> None:
    def number(_: Tables, can: Can) -> None:
        for index, message in enumerate(can[f"{SCENE}_pose"]):
            message.update(pos=[index, 0, 0], accel=[index, 0, 0])

    root = write_drive(tmp_path / "root", number)
    at = 50 + 3 * STEP_US // 20_000  # the first of 50 Hz is 1 s before the first keyframe
    for compat, after in (("none", 0), ("vad", 1)):
        bus = read_drive(root, compat=compat).samples["can_bus"][3]
        accelerations = bus[10] if compat == "vad" else bus[7]
        assert (bus[0], accelerations) == (at, at + after)


def test_a_broken_can_file_is_named(tmp_path: Path) -> None:
    def cut(_: Tables, can: Can) -> None:
        del can[f"{SCENE}_pose"][7]["accel"]

    with pytest.raises(
        ValueError, match=r"scene-0061_pose\.json: expected messages with utime, pos, orientation, accel"
    ):
        read_drive(write_drive(tmp_path / "root", cut))


def test_can_messages_far_from_a_keyframe_say_nothing(tmp_path: Path) -> None:
    def cut(_: Tables, can: Can) -> None:
        del can[f"{SCENE}_pose"][100:]  # 1 s before the first keyframe to 1 s after it

    found = read_drive(write_drive(tmp_path / "root", cut)).samples
    assert found["has_can_bus"].tolist() == [True] * 3 + [False] * 7
    assert not found["can_bus"][3:].any() and found["can_bus"][2, 13] == 5


def test_messages_out_of_order_are_put_in_order(tmp_path: Path) -> None:
    roots = [
        write_drive(tmp_path / name, change)
        for name, change in (
            ("sorted", lambda _, can: None),
            ("reversed", lambda _, can: [messages.reverse() for messages in can.values()]),
        )
    ]
    one, other = (read_drive(root).samples["can_bus"] for root in roots)
    np.testing.assert_array_equal(one, other)


def test_steering_comes_from_vehicle_monitor_where_there_is_no_feedback(tmp_path: Path) -> None:
    def change(_: Tables, can: Can) -> None:
        del can[f"{SCENE}_steeranglefeedback"]
        can[f"{SCENE}_vehicle_monitor"] = [{"utime": START_US + 3 * STEP_US, "steering": 90.0}]

    kappa = read_drive(write_drive(tmp_path / "root", change)).samples["gt_ego_lcf_feat"][:, 8]
    np.testing.assert_allclose(kappa[3], np.pi / 2.588, atol=1e-6)
    assert np.isnan(kappa[[0, 1, 5, 9]]).all()


def test_yaw_stands_in_the_loaded_message_from_0_to_360_degrees(tmp_path: Path) -> None:
    def look_south(tables: Tables, _: Can) -> None:
        for pose in poses_of(tables):
            pose["rotation"] = quaternion_from_yaw(np.float64(-np.pi / 2)).tolist()

    loaded = read_drive(write_drive(tmp_path / "root", look_south)).samples["can_bus_loaded"][3]
    np.testing.assert_allclose(loaded[[0, 1, -2, -1]], [100, 57.5, 1.5 * np.pi, 270], atol=1e-9)


@pytest.mark.parametrize("compat", BUGS)
def test_the_scenes_that_nuscenes_lists_as_without_can_bus_have_none(tmp_path: Path, compat: str) -> None:
    def rename(_: Tables, can: Can) -> None:
        can["scene-0161_pose"] = drive_can()[f"{SCENE}_pose"]

    root = write_drive(tmp_path / "root", rename)
    assert read_scene_can(root, "scene-0161", BUGS[compat]).messages == {}
    assert set(read_scene_can(root, SCENE, NONE).messages) == {"pose", "speed", "feedback"}
