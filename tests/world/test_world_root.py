"""The generated root as the public devkit sees it."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from nuscenes.can_bus.can_bus_api import NuScenesCanBus
from nuscenes.eval.common.loaders import load_gt
from nuscenes.eval.detection.data_classes import DetectionBox
from nuscenes.map_expansion.arcline_path_utils import discretize_lane
from nuscenes.map_expansion.map_api import NuScenesMap
from nuscenes.nuscenes import NuScenes
from nuscenes.utils import splits
from nuscenes.utils.data_classes import LidarPointCloud
from nuscenes.utils.geometry_utils import points_in_box
from PIL import Image

from dima_pipeline.contracts.frames import CAMERAS
from dima_pipeline.contracts.tables import WorldTruth
from dima_pipeline.world.config import WorldConfig
from dima_pipeline.world.generate import write_root
from dima_pipeline.world.recording import SceneJob
from dima_pipeline.world.towns import CANVAS_EDGES

EVENTS = {
    "overtaking", "construction", "crossing_pedestrian", "turn_left", "turn_right", "resume_from_stop", "lead_vehicle",
    "curve",
}  # fmt: skip


@pytest.fixture(scope="module")
def nusc(world_root: Path, world_config: WorldConfig) -> NuScenes:
    return NuScenes(world_config.version, str(world_root), verbose=False)


@pytest.fixture(scope="module")
def maps(world_root: Path) -> dict[str, NuScenesMap]:
    return {location: NuScenesMap(str(world_root), location) for location in CANVAS_EDGES}


def split_of(name: str) -> str:
    """The official split of a scene."""
    return "train" if name in set(splits.train) else "val"


def read(root: Path, name: str) -> list[dict]:
    return json.loads((root / "v1.0-synthetic-trainval" / f"{name}.json").read_text())


def test_the_devkit_loads_every_scene_with_all_its_keyframes_and_sensors(nusc: NuScenes, world_root: Path) -> None:
    assert len(nusc.scene) == 18 and len(nusc.sample) == 18 * 28
    for sample in nusc.sample[::37]:
        assert set(sample["data"]) == {*CAMERAS, "LIDAR_TOP"}
        assert all(
            (world_root / nusc.get("sample_data", data)["filename"]).is_file() for data in sample["data"].values()
        )
    with Image.open(nusc.get_sample_data_path(nusc.sample[3]["data"]["CAM_FRONT"])) as image:
        assert image.size == (48, 27) and np.asarray(image).std() > 5
    chain = [nusc.scene[0]["first_sample_token"]]
    while nusc.get("sample", chain[-1])["next"]:
        chain.append(nusc.get("sample", chain[-1])["next"])
    assert len(chain) == 28 and chain[-1] == nusc.scene[0]["last_sample_token"]
    times = [nusc.get("sample", token)["timestamp"] for token in chain]
    assert set(np.diff(times)) == {500_000}


def test_categories_and_attributes_are_the_official_ones_by_name(nusc: NuScenes) -> None:
    assert len(nusc.category) == 23 and len(nusc.attribute) == 8
    assert {"vehicle.bus.bendy", "static_object.bicycle_rack", "animal"} < {row["name"] for row in nusc.category}
    used = {annotation["category_name"] for annotation in nusc.sample_annotation}
    assert {"vehicle.car", "human.pedestrian.adult", "movable_object.trafficcone", "vehicle.construction"} <= used


@pytest.mark.parametrize("split", ["train", "val"])
def test_detection_ground_truth_loads(nusc: NuScenes, split: str) -> None:
    boxes = load_gt(nusc, split, DetectionBox)
    assert len(boxes.sample_tokens) == 9 * 28
    found = {box.detection_name for box in boxes.all}
    assert {"car", "pedestrian", "traffic_cone", "barrier", "construction_vehicle"} <= found
    moving = [box for box in boxes.all if box.attribute_name == "vehicle.moving"]
    speeds = np.array([np.linalg.norm(box.velocity) for box in moving])
    assert np.nanmax(speeds) > 4 and np.nanmax(speeds) < 20


def test_annotations_form_chains_in_time(nusc: NuScenes) -> None:
    for instance in nusc.instance[::5]:
        tokens = [instance["first_annotation_token"]]
        while nusc.get("sample_annotation", tokens[-1])["next"]:
            tokens.append(nusc.get("sample_annotation", tokens[-1])["next"])
        assert len(tokens) == instance["nbr_annotations"] and tokens[-1] == instance["last_annotation_token"]
        rows = [nusc.get("sample_annotation", token) for token in tokens]
        assert len({row["sample_token"] for row in rows}) == len(rows)


def test_boxes_lie_within_range_of_the_ego(nusc: NuScenes) -> None:
    for annotation in nusc.sample_annotation[::11]:
        data = nusc.get("sample", annotation["sample_token"])["data"]["LIDAR_TOP"]
        ego = nusc.get("ego_pose", nusc.get("sample_data", data)["ego_pose_token"])["translation"]
        assert np.hypot(*np.subtract(annotation["translation"], ego)[:2]) <= 60.0


def test_lidar_points_lie_in_the_boxes_that_claim_them(nusc: NuScenes) -> None:
    claimed = counted = 0
    for sample in nusc.sample[::29]:
        path, boxes, _ = nusc.get_sample_data(sample["data"]["LIDAR_TOP"])
        cloud = LidarPointCloud.from_file(path).points[:3]
        assert 600 < cloud.shape[1] < 3000
        for box in boxes:
            num = nusc.get("sample_annotation", box.token)["num_lidar_pts"]
            inside = int(points_in_box(box, cloud).sum())
            assert abs(inside - num) <= max(1, 0.1 * num)
            claimed, counted = claimed + num, counted + inside
        # The ground is flat and the car stands on it: the lowest returns are 1.84 m below the sensor.
        assert cloud[2].min() == pytest.approx(-1.84, abs=0.02)
    assert claimed > 100 and counted == pytest.approx(claimed, rel=0.02)


def test_visibility_levels_vary(nusc: NuScenes) -> None:
    levels = [annotation["visibility_token"] for annotation in nusc.sample_annotation]
    assert {levels.count(level) > 20 for level in "1234"} == {True}


def test_all_four_maps_load_with_every_layer_and_consistent_lanes(maps: dict[str, NuScenesMap]) -> None:
    for location, known in maps.items():
        assert known.canvas_edge == list(CANVAS_EDGES[location])
        lanes = [row["token"] for row in known.lane + known.lane_connector]
        assert set(lanes) == set(known.arcline_path_3) == set(known.connectivity)
        assert any(row["is_intersection"] for row in known.road_segment)
        assert all(getattr(known, layer) for layer in ("walkway", "ped_crossing", "stop_line", "road_block"))
        for token in lanes:
            shape = known.extract_polygon(
                next(r for r in known.lane + known.lane_connector if r["token"] == token)["polygon_token"]
            )
            assert shape.is_valid and shape.area > 5


def test_lanes_lead_on_where_their_successors_begin(maps: dict[str, NuScenesMap]) -> None:
    known = maps["singapore-onenorth"]
    for token, links in list(known.connectivity.items())[::4]:
        line = discretize_lane(known.get_arcline_path(token), 0.5)
        declared = known.get_arcline_path(token)[-1]["end_pose"]
        assert np.allclose(line[-1][:2], declared[:2], atol=0.3)
        assert links["outgoing"] and links["incoming"]
        for after in links["outgoing"]:
            start = known.get_arcline_path(after)[0]["start_pose"]
            assert np.hypot(start[0] - declared[0], start[1] - declared[1]) < 0.01
            assert np.cos(start[2] - declared[2]) > 0.999


def test_the_ego_is_always_on_the_drivable_area_of_its_map(nusc: NuScenes, maps: dict[str, NuScenesMap]) -> None:
    for sample in nusc.sample[::7]:
        scene = nusc.get("scene", sample["scene_token"])
        known = maps[nusc.get("log", scene["log_token"])["location"]]
        pose = nusc.get("ego_pose", nusc.get("sample_data", sample["data"]["LIDAR_TOP"])["ego_pose_token"])
        x, y, _ = pose["translation"]
        assert known.layers_on_point(x, y, ["drivable_area"])["drivable_area"]
        assert known.get_map_mask((x, y, 4, 4), 0, ["drivable_area"], (8, 8)).mean() > 0.5


def test_traffic_keeps_right_in_boston_and_left_in_singapore(nusc: NuScenes, maps: dict[str, NuScenesMap]) -> None:
    sides = {}
    for location in ("boston-seaport", "singapore-queenstown"):
        known = maps[location]
        divider = known.road_divider[0]
        nodes = [known.get("node", token) for token in divider["node_tokens"]]
        middle = np.array([nodes[0]["x"] + nodes[1]["x"], nodes[0]["y"] + nodes[1]["y"]]) / 2
        lane = known.get_closest_lane(middle[0], middle[1], radius=6)
        poses = np.array(discretize_lane(known.get_arcline_path(lane), 0.5))
        nearest = poses[np.linalg.norm(poses[:, :2] - middle, axis=1).argmin()]
        away = middle - nearest[:2]
        sides[location] = np.sign(-away[0] * np.sin(nearest[2]) + away[1] * np.cos(nearest[2]))
    assert sides == {"boston-seaport": 1.0, "singapore-queenstown": -1.0}


def test_train_and_val_play_in_different_towns(nusc: NuScenes, world_root: Path) -> None:
    towns = read(world_root, "towns")
    assert {town["split"] for town in towns} == {"train", "val", "test"}
    for first in towns:
        for second in towns:
            if first is second or first["location"] != second["location"]:
                continue
            apart_x = first["x_max_m"] < second["x_min_m"] or second["x_max_m"] < first["x_min_m"]
            apart_y = first["y_max_m"] < second["y_min_m"] or second["y_max_m"] < first["y_min_m"]
            assert apart_x or apart_y
    for scene in nusc.scene:
        sample = nusc.get("sample", scene["first_sample_token"])
        data = nusc.get("sample_data", sample["data"]["LIDAR_TOP"])
        x, y, _ = nusc.get("ego_pose", data["ego_pose_token"])["translation"]
        location = nusc.get("log", scene["log_token"])["location"]
        hosts = [
            town["split"]
            for town in towns
            if town["location"] == location
            and town["x_min_m"] < x < town["x_max_m"]
            and town["y_min_m"] < y < town["y_max_m"]
        ]
        assert hosts == [split_of(scene["name"])]


def test_every_event_is_planted_in_train_and_val(nusc: NuScenes, world_root: Path) -> None:
    truth = WorldTruth.validate(pd.DataFrame(read(world_root, "world_truth")))
    split = truth["scene_token"].map({scene["token"]: split_of(scene["name"]) for scene in nusc.scene})
    events = {name: set(truth[(truth["kind"] == "event") & (split == name)]["value"]) for name in ("train", "val")}
    assert events["train"] >= EVENTS and events["val"] >= EVENTS | {"three_point_turn"}
    assert "three_point_turn" not in events["train"]
    assert (truth["begin_timestamp_us"] < truth["end_timestamp_us"]).all()
    instances = {instance["token"] for instance in nusc.instance}
    assert set(truth["instance_token"].dropna()) <= instances


def test_descriptions_say_what_happens(nusc: NuScenes) -> None:
    texts = [scene["description"] for scene in nusc.scene]
    assert any("turn left" in text for text in texts) and any(
        "Construction" in text or "construction" in text for text in texts
    )


def test_the_can_bus_agrees_with_the_poses(nusc: NuScenes, world_root: Path) -> None:
    can = NuScenesCanBus(str(world_root))
    for scene in nusc.scene[::4]:
        messages = can.get_messages(scene["name"], "pose")
        times = np.array([message["utime"] for message in messages])
        assert np.allclose(np.diff(times), 20_000, atol=1)
        sample = nusc.get("sample", scene["first_sample_token"])
        while sample["next"]:
            message = messages[int(np.abs(times - sample["timestamp"]).argmin())]
            data = nusc.get("sample_data", sample["data"]["LIDAR_TOP"])
            pose = nusc.get("ego_pose", data["ego_pose_token"])
            assert np.allclose(message["pos"], pose["translation"], atol=0.02)
            assert abs(np.dot(message["orientation"], pose["rotation"])) > 0.9999
            sample = nusc.get("sample", sample["next"])
        for name in ("steeranglefeedback", "vehicle_monitor", "meta", "route"):
            assert can.get_messages(scene["name"], name)


def test_speed_steering_and_yaw_rate_have_the_signs_of_the_motion(nusc: NuScenes, world_root: Path) -> None:
    can = NuScenesCanBus(str(world_root))
    for scene in nusc.scene:
        messages = can.get_messages(scene["name"], "pose")
        places = np.array([message["pos"][:2] for message in messages])
        yaw = np.array([2 * np.arctan2(message["orientation"][3], message["orientation"][0]) for message in messages])
        speed = np.array([message["vel"][0] for message in messages])
        rate = np.array([message["rotation_rate"][2] for message in messages])
        wheel = np.array([message["value"] for message in can.get_messages(scene["name"], "steeranglefeedback")])
        moved = np.gradient(places, 0.02, axis=0)
        ahead = moved[:, 0] * np.cos(yaw) + moved[:, 1] * np.sin(yaw)
        assert np.abs(ahead - speed).max() < 0.8 and np.abs(ahead - speed).mean() < 0.06
        turned = np.gradient(np.unwrap(yaw), 0.02)
        assert np.abs(turned - rate).mean() < 0.02
        driving = np.abs(rate) > 0.1
        assert (np.sign(wheel[driving]) == np.sign(rate[driving] * speed[driving])).all()


def test_the_route_is_planned_not_driven(nusc: NuScenes, world_root: Path) -> None:
    can = NuScenesCanBus(str(world_root))
    largest = 0.0
    for scene in nusc.scene:
        route, pose = can.get_pose_and_route(scene["name"])
        gap = np.linalg.norm(pose[:, None] - route[None], axis=-1).min(1)
        largest = max(largest, gap.max())
        length = np.linalg.norm(np.diff(route, axis=0), axis=1).sum()
        assert length > np.linalg.norm(np.diff(pose, axis=0), axis=1).sum() * 1.05
        assert gap.max() < 5.0
    # Overtaking leaves the lane, the route does not.
    assert largest > 1.5


def test_speeds_vary_enough_to_be_worth_predicting(nusc: NuScenes, world_root: Path) -> None:
    can = NuScenesCanBus(str(world_root))
    speeds = [m["vel"][0] for scene in nusc.scene for m in can.get_messages(scene["name"], "pose")[::25]]
    assert np.std(speeds) >= 2.4 and np.max(speeds) > 11 and np.min(speeds) < -1


def test_the_same_seed_gives_the_same_bytes(world_root: Path, world_config: WorldConfig, tmp_path: Path) -> None:
    name = read(world_root, "scene")[9]["name"]
    write_root(world_config, tmp_path / "again", [SceneJob(name, "val", 0, 9)])
    files = sorted(path for path in (tmp_path / "again").rglob("*") if path.is_file() and "v1.0" not in str(path))
    # sensor files, maps: expansion, semantic prior and base map of four places; five CAN messages
    assert len(files) == 28 * 7 + 3 * 4 + 5
    for path in files:
        twin = world_root / path.relative_to(tmp_path / "again")
        assert path.read_bytes() == twin.read_bytes(), path
    for table in ("sample_annotation", "ego_pose", "world_truth"):
        once = json.loads((tmp_path / "again" / world_config.version / f"{table}.json").read_text())
        assert once and all(row in read(world_root, table) for row in once[::40])


def test_another_seed_gives_another_world(world_config: WorldConfig, world_root: Path, tmp_path: Path) -> None:
    other = WorldConfig(seed=1, num_keyframes=4, image_width=48, image_height=27)
    write_root(other, tmp_path / "other", [SceneJob("scene-0001", "train", 0, 0)], with_images=False)
    poses = json.loads((tmp_path / "other" / other.version / "ego_pose.json").read_text())
    assert poses[0]["translation"] != read(world_root, "ego_pose")[0]["translation"]
