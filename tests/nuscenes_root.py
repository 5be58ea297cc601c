"""A hand-made nuScenes root for tests: two scenes of ten keyframes on a straight northbound road, answers known by eye.

``scene-0061``: the ego drives north from (100, 50) at 5 m/s. Car ``slow`` starts 10 m ahead in the lane to its left and
drives 2 m/s, so it is overtaken. ``walker`` starts 25 m ahead and 5 m to the right, walks to the left at 1 m/s and is
annotated in keyframes 0 ... 5. ``lone`` (a truck) is annotated in keyframe 3 only and ``debris`` is no agent.
``scene-0103``: the ego stands at (100, 50); nobody is there and there is no CAN bus.
"""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from dima_pipeline.contracts.frames import CAMERAS
from dima_pipeline.geometry import quaternion_from_yaw

VERSION = "v1.0-mini"
LOCATION = "boston-seaport"
NUM_SAMPLES = 10
START_US = 1_600_000_000_000_000
STEP_US = 500_000
CAMERA_EARLY_US = 50_000
"""Cameras fire this much before the LIDAR, 0.25 m earlier on the way of the moving ego."""
IMAGE_SIZE = (160, 90)
FOCAL = 80.0
MOUNT = (1.5, 0.0, 1.5)
NORTH = np.pi / 2
SCENES = {"scene-0061": 5.0, "scene-0103": 0.0}
"""Speed of the ego (m/s) by scene."""
CAMERA_YAWS_DEG = (0, -55, 55, 180, 110, -110)
"""In the order of ``CAMERAS``."""
CATEGORIES = ("vehicle.car", "human.pedestrian.adult", "vehicle.truck", "movable_object.debris")

Tables = dict[str, list[dict[str, Any]]]


def gray(camera: str, index: int) -> int:
    """Brightness of the image of a camera at a keyframe."""
    return 30 + 30 * CAMERAS.index(camera) + index


def make_root(directory: Path, scenes: Mapping[str, float] = SCENES) -> Path:
    """Write the root with ``scenes`` (names and speeds, ``scene-0061`` among them); returns its path."""
    (directory / VERSION).mkdir(parents=True)
    tables = make_tables(scenes)
    for name, rows in tables.items():
        write_json(directory / VERSION / f"{name}.json", rows)
    _write_images(directory, tables)
    write_json(directory / "maps" / "expansion" / f"{LOCATION}.json", make_map())
    Image.new("L", (8, 8)).save(directory / "maps" / "raster.png")
    _write_can(directory / "can_bus")
    return directory


def write_json(path: Path, content: Any) -> None:
    """Write JSON, making folders."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def edit_json(path: Path, change: Callable[[Any], Any]) -> None:
    """Replace the content of a JSON file by ``change(content)``, or by the changed content where it returns None."""
    content = json.loads(path.read_text())
    changed = change(content)
    path.write_text(json.dumps(content if changed is None else changed))


def make_tables(scenes: Mapping[str, float] = SCENES) -> Tables:
    """The 13 tables."""
    tables = _fixed_tables([f"log-{name}" for name in scenes])
    for name, speed_mps in scenes.items():
        _add_scene(tables, name, speed_mps)
    _add_boxes(tables, "slow", "vehicle.car", range(NUM_SAMPLES), start=(96.5, 60.0, 0.8), step=(0.0, 1.0))
    _add_boxes(
        tables, "walker", "human.pedestrian.adult", range(6), start=(105.0, 75.0, 0.9), step=(-0.5, 0.0), yaw_rad=np.pi
    )
    _add_boxes(tables, "lone", "vehicle.truck", range(3, 4), start=(103.0, 90.0, 1.5))
    _add_boxes(tables, "debris", "movable_object.debris", range(4), start=(99.0, 95.0, 0.2))
    lone = next(row for row in tables["sample_annotation"] if row["instance_token"] == "lone")
    lone.update(visibility_token="", attribute_tokens=[])
    return tables


def _fixed_tables(logs: list[str]) -> Tables:
    facing = np.array([0.5, -0.5, 0.5, -0.5])  # camera axes (x right, y down, z forward) in the ego frame
    channels = [(camera, yaw) for camera, yaw in zip(CAMERAS, CAMERA_YAWS_DEG, strict=True)]
    intrinsic = [[FOCAL, 0.0, IMAGE_SIZE[0] / 2], [0.0, FOCAL, IMAGE_SIZE[1] / 2], [0.0, 0.0, 1.0]]
    calibrated = [
        {
            "token": f"calibrated-{camera}",
            "sensor_token": f"sensor-{camera}",
            "translation": list(MOUNT),
            "rotation": _multiply(quaternion_from_yaw(np.deg2rad(yaw)), facing),
            "camera_intrinsic": intrinsic,
        }
        for camera, yaw in channels
    ]
    calibrated.append(
        {
            "token": "calibrated-LIDAR_TOP",
            "sensor_token": "sensor-LIDAR_TOP",
            "translation": [0.94, 0.0, 1.84],
            "rotation": [1.0, 0.0, 0.0, 0.0],
            "camera_intrinsic": [],
        }
    )
    names = (*CAMERAS, "LIDAR_TOP")
    return {
        "category": [{"token": f"category-{name}", "name": name, "description": ""} for name in CATEGORIES],
        "attribute": [{"token": "moving", "name": "vehicle.moving", "description": ""}],
        "visibility": [
            {"token": str(level + 1), "level": name, "description": ""}
            for level, name in enumerate(("v0-40", "v40-60", "v60-80", "v80-100"))
        ],
        "sensor": [
            {"token": f"sensor-{name}", "channel": name, "modality": "lidar" if name == "LIDAR_TOP" else "camera"}
            for name in names
        ],
        "calibrated_sensor": calibrated,
        "map": [{"token": "map", "category": "", "filename": "maps/raster.png", "log_tokens": logs}],
        **{name: [] for name in ("log", "scene", "sample", "sample_data", "ego_pose", "sample_annotation", "instance")},
    }


def _multiply(first: Any, second: Any) -> list[float]:
    (a, b, c, d), (e, f, g, h) = first, second
    product = (
        a * e - b * f - c * g - d * h,
        a * f + b * e + c * h - d * g,
        a * g - b * h + c * e + d * f,
        a * h + b * g - c * f + d * e,
    )
    return [float(value) for value in product]


def _chain(tokens: list[str], index: int) -> dict[str, str]:
    return {
        "prev": tokens[index - 1] if index > 0 else "",
        "next": tokens[index + 1] if index + 1 < len(tokens) else "",
    }


def _add_scene(tables: Tables, name: str, speed_mps: float) -> None:
    samples = [f"{name}-{index}" for index in range(NUM_SAMPLES)]
    tables["log"].append(
        {"token": f"log-{name}", "logfile": name, "vehicle": "v", "date_captured": "2020-01-01", "location": LOCATION}
    )
    tables["scene"].append(
        {
            "token": f"token-{name}",
            "name": name,
            "description": "a straight drive",
            "log_token": f"log-{name}",
            "nbr_samples": NUM_SAMPLES,
            "first_sample_token": samples[0],
            "last_sample_token": samples[-1],
        }
    )
    for index, sample in enumerate(samples):
        time_us = START_US + index * STEP_US
        tables["sample"].append(
            {"token": sample, "timestamp": time_us, "scene_token": f"token-{name}", **_chain(samples, index)}
        )
        for channel in (*CAMERAS, "LIDAR_TOP"):
            early_us = 0 if channel == "LIDAR_TOP" else CAMERA_EARLY_US
            _add_reading(tables, samples, index, channel, (time_us - early_us, speed_mps))


def _add_reading(
    tables: Tables, samples: list[str], index: int, channel: str, time_and_speed: tuple[int, float]
) -> None:
    time_us, speed_mps = time_and_speed
    tokens = [f"data-{channel}-{sample}" for sample in samples]
    is_camera = channel != "LIDAR_TOP"
    north_m = 50.0 + speed_mps * (time_us - START_US) / 1e6
    tables["ego_pose"].append(
        {
            "token": f"pose-{tokens[index]}",
            "timestamp": time_us,
            "translation": [100.0, north_m, 0.0],
            "rotation": quaternion_from_yaw(NORTH).tolist(),
        }
    )
    tables["sample_data"].append(
        {
            "token": tokens[index],
            "sample_token": samples[index],
            "ego_pose_token": f"pose-{tokens[index]}",
            "calibrated_sensor_token": f"calibrated-{channel}",
            "timestamp": time_us,
            "fileformat": "jpg" if is_camera else "pcd",
            "is_key_frame": True,
            "width": IMAGE_SIZE[0] if is_camera else 0,
            "height": IMAGE_SIZE[1] if is_camera else 0,
            "filename": f"samples/{channel}/{samples[index]}.{'jpg' if is_camera else 'pcd.bin'}",
            **_chain(tokens, index),
        }
    )


def _add_boxes(
    tables: Tables,
    instance: str,
    category: str,
    keyframes: range,
    *,
    start: tuple[float, float, float],
    step: tuple[float, float] = (0.0, 0.0),
    yaw_rad: float = NORTH,
) -> None:
    """Boxes of an instance of ``scene-0061``; ``start`` is its place at keyframe 0, ``step`` its way a keyframe."""
    size = {"vehicle.car": [1.9, 4.5, 1.6], "vehicle.truck": [2.5, 8.0, 3.0]}.get(category, [0.6, 0.7, 1.8])
    tokens = [f"{instance}-{index}" for index in keyframes]
    for position, index in enumerate(keyframes):
        tables["sample_annotation"].append(
            {
                "token": tokens[position],
                "sample_token": f"scene-0061-{index}",
                "instance_token": instance,
                "visibility_token": "3",
                "attribute_tokens": ["moving"],
                "translation": [start[0] + step[0] * index, start[1] + step[1] * index, start[2]],
                "size": size,
                "rotation": quaternion_from_yaw(yaw_rad).tolist(),
                "num_lidar_pts": 7,
                "num_radar_pts": 0,
                **_chain(tokens, position),
            }
        )
    tables["instance"].append(
        {
            "token": instance,
            "category_token": f"category-{category}",
            "nbr_annotations": len(tokens),
            "first_annotation_token": tokens[0],
            "last_annotation_token": tokens[-1],
        }
    )


def _write_images(directory: Path, tables: Tables) -> None:
    for row in tables["sample_data"]:
        path = directory / row["filename"]
        path.parent.mkdir(parents=True, exist_ok=True)
        if row["fileformat"] == "pcd":
            path.write_bytes(b"")
        else:
            camera, index = path.parent.name, int(path.stem.rsplit("-", 1)[1])
            Image.new("RGB", IMAGE_SIZE, (gray(camera, index),) * 3).save(path, quality=95)


def make_map() -> dict[str, Any]:
    """A northbound road x 93 ... 103.5, y 0 ... 120: lane centres x = 96.5 and 100, divider x = 98.25.

    A crossing lies at y 70 ... 73. Lane ``right`` ends at y = 80 and goes on as ``ahead``; connector ``turn``, which
    no lane leads to, leaves there to the right.
    """
    content: dict[str, Any] = {"version": "1.3", "canvas_edge": [200.0, 200.0]}
    polygon_layers = ("drivable_area", "road_segment", "road_block", "lane", "ped_crossing", "walkway", "stop_line")
    for name in ("node", "polygon", "line", *polygon_layers, "carpark_area", "road_divider", "lane_divider"):
        content[name] = []
    content.update(traffic_light=[], lane_connector=[])
    road = _add_polygon(content, "road", (93.0, 0.0, 103.5, 120.0))
    content["drivable_area"].append({"token": "area", "polygon_tokens": [road]})
    content["road_segment"].append(
        {"token": "segment", "polygon_token": road, "is_intersection": False, "drivable_area_token": "area"}
    )
    for layer, bounds in (
        ("ped_crossing", (93.0, 70.0, 103.5, 73.0)),
        ("walkway", (104.0, 0.0, 107.0, 120.0)),
        ("carpark_area", (108.0, 40.0, 115.0, 60.0)),
    ):
        content[layer].append({"token": layer, "polygon_token": _add_polygon(content, layer, bounds)})
    content["stop_line"].append(
        {
            "token": "stop",
            "polygon_token": _add_polygon(content, "stop", (98.25, 68.0, 101.75, 69.0)),
            "stop_line_type": "STOP_SIGN",
        }
    )
    _add_line(content, "lane_divider", (98.25, 0.0), (98.25, 120.0))
    _add_line(content, "road_divider", (94.75, 0.0), (94.75, 120.0))
    _add_lanes(content)
    return content


def _add_nodes(content: dict[str, Any], name: str, points: list[tuple[float, float]]) -> list[str]:
    tokens = [f"node-{name}-{index}" for index in range(len(points))]
    content["node"] += [{"token": token, "x": x, "y": y} for token, (x, y) in zip(tokens, points, strict=True)]
    return tokens


def _add_polygon(content: dict[str, Any], name: str, bounds: tuple[float, float, float, float]) -> str:
    x0, y0, x1, y1 = bounds
    nodes = _add_nodes(content, name, [(x0, y0), (x1, y0), (x1, y1), (x0, y1)])
    content["polygon"].append({"token": f"polygon-{name}", "exterior_node_tokens": nodes, "holes": []})
    return f"polygon-{name}"


def _add_line(content: dict[str, Any], layer: str, *points: tuple[float, float]) -> None:
    content["line"].append({"token": f"line-{layer}", "node_tokens": _add_nodes(content, layer, list(points))})
    segments: dict[str, Any] = {"lane_divider_segments": []} if layer == "lane_divider" else {}
    content[layer].append({"token": layer, "line_token": f"line-{layer}", **segments})


def _add_lanes(content: dict[str, Any]) -> None:
    for name, x, y0, y1 in (("left", 96.5, 0.0, 120.0), ("right", 100.0, 0.0, 80.0), ("ahead", 100.0, 80.0, 120.0)):
        polygon = _add_polygon(content, name, (x - 1.75, y0, x + 1.75, y1))
        content["lane"].append(
            {
                "token": name,
                "polygon_token": polygon,
                "lane_type": "CAR",
                "from_edge_line_token": "",
                "to_edge_line_token": "",
                "left_lane_divider_segments": [],
                "right_lane_divider_segments": [],
            }
        )
    straight = {"shape": "LSL", "radius": 999.0}
    quarter = {"shape": "RSR", "radius": 10.0, "segment_length": [5 * np.pi, 0.0, 0.0]}
    content["arcline_path_3"] = {
        "left": [_arc((96.5, 0.0, NORTH), (96.5, 120.0, NORTH), segment_length=[0.0, 120.0, 0.0], **straight)],
        "right": [_arc((100.0, 0.0, NORTH), (100.0, 80.0, NORTH), segment_length=[0.0, 80.0, 0.0], **straight)],
        "ahead": [_arc((100.0, 80.0, NORTH), (100.0, 120.0, NORTH), segment_length=[0.0, 40.0, 0.0], **straight)],
        "turn": [_arc((100.0, 80.0, NORTH), (110.0, 90.0, 0.0), **quarter)],
    }
    content["connectivity"] = {
        "left": {"incoming": [], "outgoing": []},
        "right": {"incoming": [], "outgoing": ["ahead"]},
        "ahead": {"incoming": ["right"], "outgoing": []},
        "turn": {"incoming": [], "outgoing": []},
    }


def _arc(start: tuple[float, float, float], end: tuple[float, float, float], **shape: Any) -> dict[str, Any]:
    return {"start_pose": list(start), "end_pose": list(end), **shape}


def _write_can(folder: Path) -> None:
    """Messages of ``scene-0061`` every 20 ms: 5 m/s, 0.5 m/s2, 0.1 rad/s; steering 0.2 rad."""
    times = range(START_US - 1_000_000, START_US + 6_000_000, 20_000)
    pose = {"pos": [0.0, 0.0, 0.0], "orientation": [1.0, 0.0, 0.0, 0.0]}
    motion = {"vel": [5.0, 0.0, 0.0], "accel": [0.5, 0.0, 9.8], "rotation_rate": [0.0, 0.0, 0.1]}
    write_json(folder / "scene-0061_pose.json", [{"utime": time, **pose, **motion} for time in times])
    write_json(folder / "scene-0061_steeranglefeedback.json", [{"utime": time, "value": 0.2} for time in times])
