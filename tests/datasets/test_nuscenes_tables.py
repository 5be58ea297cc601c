"""Tables of the hand-made root, with answers known by eye."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dima_pipeline.contracts import tables as contracts
from dima_pipeline.datasets import DATASETS, SceneTables
from dima_pipeline.datasets._nuscenes_can import nearest
from dima_pipeline.datasets._nuscenes_tables import _planar, driven_commands, keyframe_at_steps
from dima_pipeline.datasets.nuscenes import Config, NuScenesDataset
from dima_pipeline.geometry import rigid, rotation_from_quaternion
from nuscenes_root import LOCATION, START_US, VERSION, edit_json, write_json


@pytest.fixture(scope="module")
def drive(dataset: NuScenesDataset) -> SceneTables:
    return dataset.tables("scene-0061")


def at(frame: pd.DataFrame, index: int, instance: str | None = None) -> pd.DataFrame:
    chosen = frame["sample_token"] == f"scene-0061-{index}"
    return frame[chosen if instance is None else chosen & (frame["instance_token"] == instance)]


def read(root: Path, scene: str = "scene-0061", **options: object) -> SceneTables:
    return NuScenesDataset(Config(version=VERSION, **options), dataroot=root).tables(scene)


def test_every_table_passes_its_contract(dataset: NuScenesDataset) -> None:
    for name in dataset.scene_names():
        tables = dataset.tables(name)
        for contract, table in (
            (contracts.Scenes, tables.scenes),
            (contracts.Samples, tables.samples),
            (contracts.Agents, tables.agents),
            (contracts.EgoPaths, tables.ego_paths),
            (contracts.AgentFutures, tables.agent_futures),
            (contracts.MapElements, tables.map_elements),
        ):
            contract.validate(table)


def test_places_carry_no_last_bits_that_differ_from_run_to_run(dataset: NuScenesDataset) -> None:
    # Turned by an arbitrary angle, hardly any product of matrices is a whole number of billionths by itself.
    turned = rotation_from_quaternion(np.array([0.9, 0.1, 0.2, 0.3]))
    placed = _planar(rigid(np.stack([turned] * 2), np.array([[1 / 3, 2 / 3, 0.0], [-1e-12, 0.1, 0.0]])))
    assert placed[0].tolist() == [0.333333333, 0.666666667, round(float(np.arctan2(turned[1, 0], turned[0, 0])), 9)]
    assert str(placed[1, 0]) == "0.0"
    for table in (dataset.tables("scene-0061").ego_paths, dataset.tables("scene-0061").agent_futures):
        values = table[["x_m", "y_m", "yaw_rad"]].to_numpy()
        assert (values == np.round(values, 9)).all()


def test_the_family_finds_the_data_set_by_its_file_name(root: Path) -> None:
    config = DATASETS.parse({"name": "nuscenes", "version": VERSION})
    assert DATASETS.build(config, dataroot=root).scene_names() == ["scene-0061", "scene-0103"]
    with pytest.raises(ValueError, match="did you mean 'version'"):
        DATASETS.parse({"name": "nuscenes", "versoin": VERSION})


def test_scene_row_states_log_town_and_length(drive: SceneTables) -> None:
    scene = drive.scenes.iloc[0]
    assert (scene["name"], scene["log_token"], scene["location"]) == ("scene-0061", "log-scene-0061", LOCATION)
    assert scene["num_samples"] == 10
    assert scene["last_timestamp_us"] - scene["first_timestamp_us"] == 4_500_000


def test_the_overtaken_car_falls_back_a_metre_and_a_half_a_keyframe_on_the_left(drive: SceneTables) -> None:
    for index in range(10):
        car = at(drive.agents, index, "slow").iloc[0]
        assert (car["x_m"], car["y_m"], car["z_m"]) == pytest.approx((10 - 1.5 * index, 3.5, 0.8))
        assert car["yaw_rad"] == pytest.approx(0.0)
        assert (car["vx_mps"], car["vy_mps"]) == pytest.approx((2.0, 0.0))
        assert (car["length_m"], car["width_m"], car["height_m"]) == (4.5, 1.9, 1.6)


def test_the_pedestrian_walks_to_the_left_and_has_no_future_after_its_last_box(drive: SceneTables) -> None:
    walker = at(drive.agents, 3, "walker").iloc[0]
    assert (walker["x_m"], walker["y_m"]) == pytest.approx((17.5, -3.5))
    assert (walker["vx_mps"], walker["vy_mps"]) == pytest.approx((0.0, 1.0), abs=1e-9)
    assert walker["category"] == "pedestrian"
    future = at(drive.agent_futures, 3, "walker")
    assert future["valid"].tolist() == [True, True, False, False, False, False]
    assert future["y_m"].tolist() == pytest.approx([-3.0, -2.5, 0, 0, 0, 0])
    assert future["x_m"].tolist() == pytest.approx([17.5, 17.5, 0, 0, 0, 0])
    assert future["yaw_rad"].tolist()[:2] == pytest.approx([np.pi / 2] * 2)


def test_an_agent_seen_again_after_a_gap_has_its_future_at_the_right_steps(own_root: Path) -> None:
    edit_json(own_root / VERSION / "sample_annotation.json", _forget_box_5)
    future = at(read(own_root).agent_futures, 3, "slow")
    assert future["valid"].tolist() == [True, False, True, True, True, True]
    assert future["x_m"].tolist() == pytest.approx([6.5, 0.0, 8.5, 9.5, 10.5, 11.5])


def _forget_box_5(rows: list) -> list:
    by_token = {row["token"]: row for row in rows}
    by_token["slow-4"]["next"], by_token["slow-6"]["prev"] = "slow-6", "slow-4"
    return [row for row in rows if row["token"] != "slow-5"]


def test_a_box_without_neighbours_has_no_velocity_and_unknown_stays_null(drive: SceneTables) -> None:
    lone = at(drive.agents, 3, "lone").iloc[0]
    assert np.isnan(lone["vx_mps"]) and np.isnan(lone["vy_mps"]) and np.isnan(lone["visibility"])
    assert lone["attribute"] is None or pd.isna(lone["attribute"])
    slow = at(drive.agents, 3, "slow").iloc[0]
    assert (slow["attribute"], slow["visibility"], slow["num_lidar_points"]) == ("vehicle.moving", 3.0, 7.0)


def test_what_is_no_agent_is_left_out_and_counted(root: Path) -> None:
    dataset = NuScenesDataset(Config(version=VERSION), dataroot=root)
    agents = dataset.tables("scene-0061").agents
    assert sorted(agents["instance_token"].unique()) == ["lone", "slow", "walker"]
    assert dataset.unmapped == {"movable_object.debris": 4}


def test_the_driven_path_runs_straight_ahead_and_is_invalid_beyond_the_scene(drive: SceneTables) -> None:
    path = at(drive.ego_paths, 2)
    assert path["step"].tolist() == [-4, -3, -2, -1, 1, 2, 3, 4, 5, 6]
    assert path["valid"].tolist() == [False, False] + [True] * 8
    assert path["x_m"].tolist() == pytest.approx([0, 0, -5, -2.5, 2.5, 5, 7.5, 10, 12.5, 15])
    assert path["y_m"].tolist() == pytest.approx([0.0] * 10)
    assert at(drive.ego_paths, 9)["valid"].tolist() == [True] * 4 + [False] * 6


def test_a_camera_is_placed_by_its_own_ego_pose(drive: SceneTables) -> None:
    point = np.array([10.0, 0.0, 1.5, 1.0])
    sample = drive.samples.iloc[4]
    front = np.reshape(sample["cam_front_camera_from_ego"], (4, 4)) @ point
    # the camera stands 1.5 m ahead of the ego origin, and fired when the car was 0.25 m further back
    assert front[:3] == pytest.approx((0.0, 0.0, 10.0 - 1.5 + 0.25), abs=1e-9)
    back = np.reshape(sample["cam_back_camera_from_ego"], (4, 4)) @ point
    assert back[:3] == pytest.approx((0.0, 0.0, -8.75), abs=1e-9)
    left = np.reshape(sample["cam_front_left_camera_from_ego"], (4, 4)) @ np.array([1.25, 5.0, 1.5, 1.0])
    assert left[:3] == pytest.approx((-5 * np.sin(np.deg2rad(35)), 0.0, 5 * np.cos(np.deg2rad(35))), abs=1e-9)
    assert np.reshape(sample["cam_front_intrinsics"], (3, 3))[0].tolist() == [80.0, 0.0, 80.0]
    assert (sample["cam_front_width"], sample["cam_front_height"]) == (160, 90)


def test_a_lost_camera_file_is_marked_missing_and_has_no_image(own_root: Path) -> None:
    (own_root / "samples" / "CAM_BACK" / "scene-0061-4.jpg").unlink()
    dataset = NuScenesDataset(Config(version=VERSION), dataroot=own_root)
    samples = dataset.tables("scene-0061").samples
    assert samples["cam_back_source"].tolist() == ["recorded"] * 4 + ["missing"] + ["recorded"] * 5
    images = dataset.images(samples.iloc[4])
    assert images["CAM_BACK"] is None and images["CAM_FRONT"].shape == (90, 160, 3)


def test_can_bus_gives_signed_speed_acceleration_yaw_rate_and_steering(drive: SceneTables) -> None:
    names = ["speed_mps", "acceleration_mps2", "yaw_rate_radps", "steering_rad"]
    assert np.allclose(drive.samples[names], [5.0, 0.5, 0.1, 0.2])


def test_without_can_bus_motion_is_null(dataset: NuScenesDataset) -> None:
    samples = dataset.tables("scene-0103").samples
    names = ["speed_mps", "acceleration_mps2", "yaw_rate_radps", "steering_rad"]
    assert samples[names].isna().all(axis=None)


def test_steering_falls_back_to_the_vehicle_monitor_in_degrees(own_root: Path) -> None:
    (own_root / "can_bus" / "scene-0061_steeranglefeedback.json").unlink()
    monitor = [{"utime": START_US + k * 500_000, "steering": 90.0} for k in range(10)]
    write_json(own_root / "can_bus" / "scene-0061_vehicle_monitor.json", monitor)
    assert read(own_root).samples["steering_rad"].tolist() == pytest.approx([np.pi / 2] * 10)


def test_the_can_message_nearest_in_time_is_taken_and_a_far_one_is_not() -> None:
    times = np.array([0, 1_000_000, 2_000_000])
    values = np.array([[1.0], [2.0], [3.0]])
    asked = np.array([-400_000, 490_000, 510_000, 2_400_000, 2_600_000])
    found = nearest(times, values, asked)[:, 0]
    assert found[:4].tolist() == [1.0, 1.0, 2.0, 3.0] and np.isnan(found[4])
    assert nearest(times[:1], values[:1], np.array([100_000]))[0, 0] == 1.0


@given(st.integers(1, 20), st.integers(-90_000, 90_000), st.integers(0, 10**15))
def test_at_two_hertz_a_step_is_the_keyframe_that_many_further(count: int, jitter: int, start: int) -> None:
    times = start + np.arange(count) * 500_000
    times[count // 2] += jitter
    steps = np.array([-4, -1, 1, 6])
    expected = np.arange(count)[:, None] + steps
    expected[(expected < 0) | (expected >= count)] = -1
    assert keyframe_at_steps(times, steps).tolist() == expected.tolist()


def test_the_drift_of_real_keyframes_does_not_change_the_count() -> None:
    early = np.concatenate([[0], np.cumsum([500_000, 450_000, 450_000, 450_000, 450_000, 449_000, 500_000])])
    assert keyframe_at_steps(early, np.array([5, 6, 7]))[0].tolist() == [5, 6, 7]


def test_a_lost_keyframe_is_not_counted_over() -> None:
    times = np.delete(np.arange(12) * 500_000, 4)
    assert keyframe_at_steps(times, np.array([1, 2, 3]))[2].tolist() == [3, -1, 4]


def test_a_gap_in_the_recording_leaves_the_steps_in_it_empty() -> None:
    times = np.array([0, 500_000, 2_000_000])
    assert keyframe_at_steps(times, np.array([1, 2, 3, 4])).tolist() == [[1, -1, -1, 2], [-1, -1, 2, -1], [-1] * 4]


def test_keyframes_at_ten_hertz_are_stepped_over_by_time() -> None:
    times = np.arange(40) * 100_000
    assert keyframe_at_steps(times, np.array([1, 6]))[0].tolist() == [5, 30]


@pytest.mark.parametrize(("lateral_m", "command"), [(2.0, "left"), (1.99, "straight"), (-2.0, "right")])
def test_the_driven_command_is_vads_rule_with_left_positive(lateral_m: float, command: str) -> None:
    path = pd.DataFrame({"y_m": [0.0] * 9 + [lateral_m], "valid": [True] * 10})
    assert driven_commands(path, 1) == [command]


def test_the_driven_command_near_the_end_takes_the_last_step_driven() -> None:
    path = pd.DataFrame({"y_m": [0.0] * 6 + [3.0, 0, 0, 0], "valid": [True] * 7 + [False] * 3})
    assert driven_commands(path, 1) == ["left"]
    assert driven_commands(path.assign(valid=False), 1) == ["unknown"]


def test_the_only_way_in_the_lane_graph_is_the_command(drive: SceneTables) -> None:
    assert set(drive.samples["command_route"]) == {"straight"}


def test_where_the_lane_forks_the_command_is_unknown_unless_a_route_decides(own_root: Path) -> None:
    path = own_root / "maps" / "expansion" / f"{LOCATION}.json"
    edit_json(path, lambda content: content["connectivity"]["right"].update(outgoing=["ahead", "turn"]))
    commands = read(own_root).samples["command_route"].tolist()
    # the look-ahead is 20 m, the fork lies at y = 80, and its turn (radius 10 m) is 2 m aside after 6.4 m: y = 66.4
    assert commands == ["straight"] * 7 + ["unknown"] * 3
    route = [[100.0, y] for y in range(0, 81, 5)] + [[101.5, 85.0], [105.0, 88.5], [110.0, 90.0], [150.0, 90.0]]
    write_json(own_root / "can_bus" / "scene-0061_route.json", route)
    assert read(own_root).samples["command_route"].tolist()[7:] == ["right"] * 3


def test_without_maps_there_are_no_elements_and_the_command_is_unknown(own_root: Path) -> None:
    (own_root / "maps" / "expansion" / f"{LOCATION}.json").unlink()
    tables = read(own_root, require_maps=False)
    assert len(tables.map_elements) == 0
    contracts.MapElements.validate(tables.map_elements)
    assert set(tables.samples["command_route"]) == {"unknown"}


def test_the_pose_of_a_keyframe_is_that_of_the_reference_channel(own_root: Path) -> None:
    north = [50.0 + 2.5 * index for index in range(10)]
    assert read(own_root).samples["ego_y_m"].tolist() == pytest.approx(north)
    early = read(own_root, reference_channel="CAM_FRONT").samples["ego_y_m"]
    assert early.tolist() == pytest.approx([y - 0.25 for y in north])


def test_an_unknown_scene_is_refused_with_the_nearest_name(dataset: NuScenesDataset) -> None:
    with pytest.raises(ValueError, match="did you mean 'scene-0061'"):
        dataset.tables("scene-0062")


def test_a_broken_can_file_is_named(own_root: Path) -> None:
    path = own_root / "can_bus" / "scene-0061_pose.json"
    path.write_text(json.dumps([{"utime": 1}]))
    with pytest.raises(ValueError, match=r"scene-0061_pose.json: expected messages with utime, vel"):
        read(own_root)
    path.write_text("[{")
    with pytest.raises(ValueError, match=r"scene-0061_pose.json is no valid JSON"):
        read(own_root)
