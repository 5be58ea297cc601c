"""VAD's infos: equal to the converter call by call where asked for, and known by eye on a straight drive."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dima_pipeline.curation.vad_infos import VadScene, read_infos, vad_infos, write_infos
from dima_pipeline.curation.vad_sensors import LIDAR, invert, multiply, rotate
from dima_pipeline.datasets.nuscenes import Config, NuScenesDataset
from dima_pipeline.geometry import quaternion_from_yaw, rigid, rotation_from_quaternion
from nuscenes_root import NUM_SAMPLES, VERSION, Tables, edit_json
from vad_drives import (
    EMPTY_SCENE,
    LIDAR_AHEAD_M,
    SCENE,
    Can,
    add_sweeps,
    boxes_of,
    drive_tables,
    drop_box,
    make_crooked,
    poses_of,
    read_drive,
    row,
    write_drive,
)
from vad_reference import VadReference, assert_same, read_all_records, records_of

SHARED = Path(os.environ.get("DIMA_SHARED_DATA", Path(__file__).parents[3] / "shared" / "data"))
MINI = SHARED / "nuscenes-mini"
NOWHERE = Path("/nowhere")


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The hand-made root."""
    return write_drive(tmp_path_factory.mktemp("straight") / "root")


@pytest.fixture(scope="module")
def infos(straight: Path) -> VadScene:
    """Its moving scene."""
    return read_drive(straight)


def dataset_infos(root: Path, version: str, scenes: list[str]) -> Iterator[dict[str, Any]]:
    """Infos with the published faults, as ingestion makes them."""
    dataset = NuScenesDataset(Config(version=version, require_maps=False), dataroot=root)
    for scene in scenes or dataset.scene_names():
        records, sweeps = dataset.records(scene), dataset.sweeps(scene)
        yield from vad_infos(records, scene, root, compat="vad", sweeps=sweeps).infos(str(root))


def assert_equals_reference(root: Path, version: str, scenes: list[str], is_cached: bool = False) -> int:
    """Compare every field of every keyframe; returns their number."""
    reference, num_compared = VadReference(version, root, is_cached), 0
    for info in dataset_infos(root, version, scenes):
        assert_same(reference.info(reference.nusc.get("sample", info["token"])), info, info["token"])
        num_compared += 1
    return num_compared


@pytest.mark.parametrize("is_cached", [False, True], ids=["as published", "cached"])
def test_compat_vad_equals_the_converter_on_every_field_of_a_crooked_drive(tmp_path: Path, is_cached: bool) -> None:
    root = write_drive(tmp_path / "root", make_crooked)
    assert assert_equals_reference(root, VERSION, [SCENE, EMPTY_SCENE], is_cached) == 2 * NUM_SAMPLES


def test_compat_vad_equals_the_converter_on_a_real_scene() -> None:
    if not MINI.is_dir():
        pytest.skip(f"no recording at {MINI}: set DIMA_SHARED_DATA to the folder that holds nuscenes-mini")
    assert assert_equals_reference(MINI, "v1.0-mini", ["scene-0061"], is_cached=True) == 39


@pytest.mark.slow
def test_compat_vad_equals_the_converter_on_all_real_scenes() -> None:
    if not MINI.is_dir():
        pytest.skip(f"no recording at {MINI}: set DIMA_SHARED_DATA to the folder that holds nuscenes-mini")
    assert assert_equals_reference(MINI, "v1.0-mini", []) == 404


def test_sweeps_are_those_of_the_converter_at_all_real_keyframes() -> None:
    if not MINI.is_dir():
        pytest.skip(f"no recording at {MINI}: set DIMA_SHARED_DATA to the folder that holds nuscenes-mini")
    reference, counts = VadReference("v1.0-mini", MINI), []
    for info in dataset_infos(MINI, "v1.0-mini", []):
        expected = reference.sweeps(reference.nusc.get("sample", info["token"]))
        assert_same({"sweeps": expected}, {"sweeps": info["sweeps"]}, info["token"])
        counts.append(len(expected))
    # mini here has no readings between its keyframes, so the sweeps are the keyframes before.
    assert len(counts) == 404 and sum(counts) == 404 * 10 - 10 * sum(range(1, 11))


def test_products_are_added_up_from_left_to_right_so_that_infos_are_the_same_from_run_to_run() -> None:
    large = np.array([1.0, 1e16, -1e16])  # (1 + 1e16) - 1e16 is 0 in floats, 1 + (1e16 - 1e16) is not
    assert rotate(np.ones((1, 3)), large) == [0]
    matrix = np.ones((4, 4))
    matrix[:3, 0], matrix[3, 0] = large, 0
    assert multiply(np.ones((4, 4)), matrix)[0, 0] == 0
    turn = rigid(rotation_from_quaternion(np.array([0.5, 0.5, 0.5, 0.5])), np.array([1.0, 2, 3]))
    np.testing.assert_allclose(multiply(invert(turn), turn), np.eye(4), atol=1e-12)


def test_the_ego_drives_straight_ahead_along_y(infos: VadScene) -> None:
    samples = infos.samples
    np.testing.assert_allclose(samples["gt_ego_fut_trajs"][3], [[0, 2.5]] * 6, atol=1e-5)
    np.testing.assert_allclose(samples["gt_ego_his_trajs"][3], [[0, 2.5]] * 2, atol=1e-5)
    np.testing.assert_array_equal(samples["gt_ego_fut_cmd"], [[0, 0, 1]] * NUM_SAMPLES)
    status = [0, 5, 0, 0.5, 0, 4.084, 1.85, 5, 0.4 / 2.588]
    np.testing.assert_allclose(samples["gt_ego_lcf_feat"][3], status, atol=1e-5)


def test_what_lies_beyond_the_ends_of_a_scene_is_zero_and_masked(infos: VadScene) -> None:
    samples = infos.samples
    assert samples["fut_valid_flag"].tolist() == [True] * 4 + [False] * 6
    np.testing.assert_array_equal(samples["gt_ego_fut_masks"][7], [1, 1, 0, 0, 0, 0])
    np.testing.assert_allclose(samples["gt_ego_fut_trajs"][7], [[0, 2.5]] * 2 + [[0, 0]] * 4, atol=1e-5)
    np.testing.assert_array_equal(samples["gt_ego_his_masks"][:3], [[0, 0], [0, 1], [1, 1]])
    np.testing.assert_allclose(samples["gt_ego_his_trajs"][1], [[0, 2.5]] * 2, atol=1e-5)
    assert samples["frame_idx"].tolist() == list(range(NUM_SAMPLES))


def test_the_first_keyframe_knows_its_speed_from_the_can_bus_alone(infos: VadScene, straight: Path) -> None:
    np.testing.assert_allclose(infos.samples["gt_ego_lcf_feat"][0, [0, 1, 4]], [0, 5, 0.1], atol=1e-6)
    without = read_drive(straight, EMPTY_SCENE).samples["gt_ego_lcf_feat"]
    assert np.isnan(without[0, [0, 1, 4, 7]]).all() and not np.isnan(without[1, [0, 1, 4, 7]]).any()


def test_the_car_ahead_stands_where_it_was_put(infos: VadScene) -> None:
    start = infos.box_start
    assert start.tolist() == [0, 3, 6, 9, 13, 15, 17, 18, 19, 20, 21]
    at = start[3]
    assert infos.boxes["gt_names"][at : start[4]].tolist() == ["car", "pedestrian", "truck", "movable_object.debris"]
    # Keyframe 3: the ego at (100, 57.5), LIDAR 0.94 m ahead and 1.84 m up, the car at (96.5, 63) and 0.8 m up.
    box = [-3.5, 63 - 57.5 - LIDAR_AHEAD_M, 0.8 - 1.84, 1.9, 4.5, 1.6, -np.pi]
    np.testing.assert_allclose(infos.boxes["gt_boxes"][at], box, atol=1e-9)
    np.testing.assert_allclose(infos.boxes["gt_velocity"][at : at + 3], [[0, 2], [-1, 0], [np.nan] * 2], atol=1e-9)
    np.testing.assert_allclose(infos.boxes["gt_agent_fut_trajs"][at], [0, 1] * 6, atol=1e-6)
    np.testing.assert_array_equal(infos.boxes["gt_agent_fut_masks"][at + 1], [1, 1, 0, 0, 0, 0])
    assert infos.boxes["gt_agent_fut_goal"][[at, at + 2]].tolist()[1] == 9
    feature = [-3.5, 63 - 57.5 - LIDAR_AHEAD_M, np.pi / 2, 0, 2, 1.9, 4.5, 1.6, 17]
    np.testing.assert_allclose(infos.boxes["gt_agent_lcf_feat"][at], feature, atol=1e-6)


def test_goals_point_where_agents_go(tmp_path: Path) -> None:
    def go_east_by_north(tables: Tables, _: Can) -> None:
        for index, box in enumerate(boxes_of(tables, "slow")):
            box["translation"] = [96.5 + index, 60.0 + 0.5 * index, 0.8]

    found = read_drive(write_drive(tmp_path / "root", go_east_by_north))
    is_slow = found.boxes["instance_token"] == "slow"
    assert found.boxes["gt_agent_fut_goal"][is_slow][0] == 4, "sectors of 45 degrees from west, counter-clockwise"


def test_cameras_look_from_where_they_were(infos: VadScene) -> None:
    cams = infos.cams
    assert cams["data_path"][3, 0] == f"samples/CAM_FRONT/{SCENE}-3.jpg"
    # The front camera fires 0.25 m earlier, 1.5 m ahead of the ego and 1.5 m up; LIDAR stands 0.94 m ahead, 1.84 m up.
    place = [0, 1.5 - 0.25 - LIDAR_AHEAD_M, 1.5 - 1.84]
    np.testing.assert_allclose(cams["sensor2lidar_translation"][3, 0], place, atol=1e-9)
    ahead = cams["sensor2lidar_rotation"][3, 0] @ [0, 0, 1]
    np.testing.assert_allclose(ahead, [0, 1, 0], atol=1e-9)
    assert cams["cam_intrinsic"].shape == (NUM_SAMPLES, 6, 3, 3) and cams["cam_intrinsic"][0, 0, 0, 0] == 80.0


def test_up_to_ten_sweeps_come_nearest_first(tmp_path: Path) -> None:
    root = write_drive(tmp_path / "root", lambda tables, _: add_sweeps(tables, 4))
    found = read_drive(root)
    assert np.diff(found.sweep_start).tolist() == [0, 5] + [10] * 8
    times = found.sweeps["timestamp"][found.sweep_start[3] : found.sweep_start[4]]
    before_us = (found.samples["timestamp"][3] - times).tolist()
    assert before_us == [50_000, 100_000, 150_000, 200_000, 500_000, *range(550_000, 701_000, 50_000), 1_000_000]
    places = found.sweeps["sensor2lidar_translation"][found.sweep_start[3] :][:2]
    np.testing.assert_allclose(places, [[0, -0.25, 0], [0, -0.5, 0]], atol=1e-9)
    assert len(vad_infos(read_all_records(root / VERSION), SCENE, root).sweeps["timestamp"]) == 0


def test_infos_are_dictionaries_as_vad_reads_them(infos: VadScene) -> None:
    info = infos.infos("./data/nuscenes")[3]
    assert info["lidar_path"] == f"./data/nuscenes/samples/LIDAR_TOP/{SCENE}-3.pcd.bin"
    assert info["cams"]["CAM_BACK"]["data_path"] == f"./data/nuscenes/samples/CAM_BACK/{SCENE}-3.jpg"
    assert [type(info[name]) for name in ("token", "timestamp", "fut_valid_flag")] == [str, int, bool]
    assert info["gt_boxes"].shape == (4, 7) and info["gt_agent_fut_trajs"].shape == (4, 12)


def test_written_infos_come_back_and_are_the_same_bytes_again(infos: VadScene, tmp_path: Path) -> None:
    for name in ("first.npz", "second.npz"):
        write_infos(infos, tmp_path / name)
    assert (tmp_path / "first.npz").read_bytes() == (tmp_path / "second.npz").read_bytes()
    found = read_infos(tmp_path / "first.npz")
    assert found.name == SCENE
    for one, other in zip(infos.infos(), found.infos(), strict=True):
        np.testing.assert_equal(other, one)


def test_other_files_are_no_infos(infos: VadScene, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"must end in \.npz"):
        write_infos(infos, tmp_path / "infos.pkl")
    np.savez(tmp_path / "other.npz", contract_version=0)
    with pytest.raises(ValueError, match=r"other\.npz holds no infos of contract version"):
        read_infos(tmp_path / "other.npz")


def one_keyframe(tables: Tables, _: Can) -> None:
    """Cut the moving scene to its first keyframe."""
    row(tables, "scene", f"token-{SCENE}").update(last_sample_token=f"{SCENE}-0", nbr_samples=1)
    row(tables, "sample", f"{SCENE}-0")["next"] = ""


def test_a_scene_of_one_keyframe_has_infos_though_the_converter_stops_there(tmp_path: Path) -> None:
    root = write_drive(tmp_path / "root", one_keyframe)
    found = read_drive(root)
    assert len(found) == 1 and not found.samples["gt_ego_fut_masks"].any()
    with pytest.raises(ValueError, match="one keyframe: VAD's converter stops there"):
        read_drive(root, compat="vad")


def test_a_scene_without_boxes_has_empty_columns(straight: Path) -> None:
    found = read_drive(straight, EMPTY_SCENE)
    assert found.boxes["gt_boxes"].shape == (0, 7) and found.infos()[0]["gt_agent_fut_trajs"].shape == (0, 12)
    assert not found.samples["has_can_bus"].any() and not found.samples["can_bus"].any()


def test_an_unknown_compat_is_refused(straight: Path) -> None:
    with pytest.raises(ValueError, match="compat 'uniad' is not known: use none or vad"):
        read_drive(straight, compat="uniad")


def test_broken_recordings_are_named(straight: Path) -> None:
    def refuse(table: str, token: str, changed: dict[str, Any], words: str) -> None:
        tables = drive_tables()
        row(tables, table, token).update(changed)
        with pytest.raises(ValueError, match=words):
            vad_infos(records_of(tables, straight / VERSION), SCENE, NOWHERE)

    data = f"data-{LIDAR}-{SCENE}-2"
    refuse("ego_pose", f"pose-{data}", {"rotation": [0, 0, 0, 0]}, f"ego_pose.json.*pose-{data} is no unit quaternion")
    refuse("ego_pose", f"pose-{data}", {"translation": [1, 2]}, "translation of record .* expected 3 finite numbers")
    refuse("sample_annotation", "slow-3", {"size": [1, float("nan"), 1]}, "size of record slow-3")
    refuse("sample_data", f"data-CAM_BACK-{SCENE}-2", {"timestamp": None}, f"data-CAM_BACK-{SCENE}-2 has no timestamp")
    refuse("sensor", f"sensor-{LIDAR}", {"channel": "LIDAR_BACK"}, "has no LIDAR_TOP: VAD's infos stand in its frame")


def test_a_broken_chain_of_sweeps_is_refused(tmp_path: Path) -> None:
    root = write_drive(tmp_path / "root", lambda tables, _: add_sweeps(tables, 2))
    last = f"data-{LIDAR}-{SCENE}-9"

    def point(token: str, prev: str) -> None:
        edit_json(
            root / VERSION / "sample_data.json",
            lambda rows: next(r for r in rows if r["token"] == token).update(prev=prev),
        )

    point(f"{last}-sweep1", f"data-CAM_BACK-{SCENE}-9")
    with pytest.raises(ValueError, match="is no reading of LIDAR_TOP"):
        read_drive(root)
    point(f"{last}-sweep1", last)
    with pytest.raises(ValueError, match="no chain at"):
        read_drive(root)


@settings(max_examples=25, deadline=None)
@given(turn=st.floats(-3.1, 3.1), east_m=st.floats(-1000, 1000), lost=st.sets(st.integers(0, 9), max_size=8))
def test_infos_do_not_depend_on_where_the_world_lies(turn: float, east_m: float, lost: set[int]) -> None:
    moved, still = drive_tables(), drive_tables()
    for tables in (moved, still):
        for index in lost:
            drop_box(tables, f"slow-{index}")
    rotation = rotation_from_quaternion(quaternion_from_yaw(np.float64(turn)))
    for record in [*moved["ego_pose"], *moved["sample_annotation"]]:
        record["translation"] = (rotation @ record["translation"] + [east_m, 0, 0]).tolist()
        (w, _, _, z), (cos, _, _, sin) = record["rotation"], quaternion_from_yaw(np.float64(turn))
        record["rotation"] = [w * cos - z * sin, 0.0, 0.0, w * sin + z * cos]
    one, other = (vad_infos(records_of(tables, NOWHERE), SCENE, NOWHERE) for tables in (still, moved))
    for part, names in (
        ("samples", ("gt_ego_fut_trajs", "gt_ego_his_trajs", "gt_ego_lcf_feat", "gt_ego_fut_cmd")),
        ("boxes", ("gt_velocity", "gt_agent_fut_trajs", "gt_agent_fut_masks", "gt_agent_fut_yaw")),
        ("cams", ("sensor2lidar_rotation", "sensor2lidar_translation")),
    ):
        for name in names:
            np.testing.assert_allclose(getattr(one, part)[name], getattr(other, part)[name], atol=1e-5, err_msg=name)


@settings(max_examples=25, deadline=None)
@given(lost=st.sets(st.integers(0, 9), max_size=8))
def test_offsets_add_up_to_where_the_agent_is_at_every_known_step(lost: set[int]) -> None:
    tables = drive_tables()
    for index in lost:
        drop_box(tables, f"slow-{index}")
    found = vad_infos(records_of(tables, NOWHERE), SCENE, NOWHERE).boxes
    for at in np.flatnonzero(found["instance_token"] == "slow"):
        keyframe = int(found["annotation_token"][at].split("-")[1])
        is_there = [keyframe + step in set(range(NUM_SAMPLES)) - lost for step in range(1, 7)]
        np.testing.assert_array_equal(found["gt_agent_fut_masks"][at].astype(bool), is_there)
        path = found["gt_agent_fut_trajs"][at].reshape(6, 2).cumsum(0)
        np.testing.assert_allclose(path[is_there, 1], np.arange(1, 7)[is_there], atol=1e-5)


def test_the_yaw_rate_of_an_ego_that_passes_half_a_turn_is_small(tmp_path: Path) -> None:
    def pass_west(tables: Tables, _: Can) -> None:
        for index, pose in enumerate(poses_of(tables)):
            pose["rotation"] = quaternion_from_yaw(np.float64(np.pi - 0.35 + 0.1 * index)).tolist()

    rate = read_drive(write_drive(tmp_path / "root", pass_west)).samples["gt_ego_lcf_feat"][1:, 4]
    np.testing.assert_allclose(rate, [0.2] * 9, atol=1e-6)


def test_a_drive_that_ends_two_metres_to_the_right_has_the_command_right(tmp_path: Path) -> None:
    def to_the_right(tables: Tables, _: Can) -> None:
        for index, pose in enumerate(poses_of(tables)):
            pose["translation"] = [100.0 + 0.5 * index, 50.0 + 2.5 * index, 0.0]

    command = read_drive(write_drive(tmp_path / "root", to_the_right)).samples["gt_ego_fut_cmd"]
    np.testing.assert_array_equal(command[[0, 5, 7]], [[1, 0, 0], [1, 0, 0], [0, 0, 1]])
