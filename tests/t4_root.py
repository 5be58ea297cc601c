"""A generated T4 root for tests: a drive annotated at 10 Hz, a parked car that nobody annotated; answers known by eye.

``DRIVE``, version 1 (version 0 is an empty leftover), 31 keyframes in 3 s: the ego drives north from (1000, 500) at
5 m/s. Car ``lead`` starts 20 m ahead and drives 4 m/s. ``worker`` stands 10 m ahead and 3 m to the right, annotated as
walking west at 1.5 m/s. ``dog`` (an animal) is no agent, ``blink`` (a motorbike) is seen between 2 Hz keyframes only,
and ``sign`` is marked in an image but has no box. The image of CAM_BACK at 1 s was lost.
``PARKED``, no versions, 4 keyframes at 2 Hz: nothing moves and ego poses have no twist.
"""

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from dima_pipeline.contracts.frames import CAMERAS
from dima_pipeline.geometry import quaternion_from_yaw
from nuscenes_root import IMAGE_SIZE, Tables, gray, make_tables, write_json

DRIVE, PARKED = "3f1c7a52-drive", "9b20e4d7-parked"
START_US = 1_700_000_000_000_000
CAMERA_EARLY_US = 20_000
NORTH = quaternion_from_yaw(np.pi / 2).tolist()
LIDAR = "LIDAR_CONCAT"
LOST = ("CAM_BACK", 10)
"""Camera and keyframe of the lost image."""
LEVELS = ("full", "most", "partial", "none")
CATEGORIES = ("car", "CONSTRUCTION_WORKER", "animal", "motorbike", "traffic_light")


def make_t4_root(directory: Path) -> Path:
    """Write the root; returns its path."""
    drive, parked = directory / DRIVE / "1", directory / PARKED
    (directory / DRIVE / "0").mkdir(parents=True)
    tables = _scene_tables(num_samples=31, step_us=100_000, speed_mps=5.0)
    _annotate(tables)
    tables["log"][0]["location"] = "Odaiba, Tokyo"
    lost = next(row for row in tables["sample_data"] if row["token"] == f"data-{LOST[0]}-{LOST[1]}")
    lost.update(is_key_frame=False, is_valid=False)
    states = range(START_US - 500_000, START_US + 4_000_000, 50_000)
    tables["vehicle_state"] = [_vehicle_state(time_us) for time_us in states]
    _write(drive, tables)
    _write(parked, _scene_tables(num_samples=4, step_us=500_000, speed_mps=None))
    return directory


def annotation(root: Path, table: str, dataset: str = DRIVE) -> Path:
    """Path of a table."""
    return root / dataset / ("1" if dataset == DRIVE else "") / "annotation" / f"{table}.json"


def _write(folder: Path, tables: Tables) -> None:
    for name, rows in tables.items():
        write_json(folder / "annotation" / f"{name}.json", rows)
    for row in tables["sample_data"]:
        path = folder / row["filename"]
        path.parent.mkdir(parents=True, exist_ok=True)
        if row["fileformat"] == "pcd.bin":
            path.write_bytes(b"")
        else:
            value = 0 if row["is_valid"] is False else gray(path.parent.name, int(path.stem))
            Image.new("RGB", IMAGE_SIZE, (value,) * 3).save(path, quality=95)
    (folder / "map").mkdir()
    (folder / "map" / "lanelet2_map.osm").write_text("<osm/>")
    (folder / "input_bag").mkdir()
    write_json(folder / "status.json", {})


def _scene_tables(num_samples: int, step_us: int, speed_mps: float | None) -> Tables:
    """A dataset without boxes, as the converter of recordings writes it."""
    names = (*CAMERAS, LIDAR)
    tables: Tables = {
        "sensor": [
            {"token": f"sensor-{name}", "channel": name, "modality": "lidar" if name == LIDAR else "camera"}
            for name in names
        ],
        "calibrated_sensor": _calibrations(),
        "log": [{"token": f"log-{step_us}", "logfile": "", "vehicle": "", "data_captured": "", "location": ""}],
        "map": [{"token": "map", "category": "", "filename": "", "log_tokens": [f"log-{step_us}"]}],
        "scene": [],
        **{name: [] for name in ("sample", "sample_data", "ego_pose")},
        **{name: [] for name in ("attribute", "category", "instance", "sample_annotation", "visibility")},
    }
    samples = [f"sample-{index}-{step_us}" for index in range(num_samples)]
    ends = {"first_sample_token": samples[0], "last_sample_token": samples[-1]}
    name = f"project/x2 {step_us}"  # no file name, and none is made of it
    tables["scene"].append(
        {"token": f"scene-{step_us}", "name": name, "description": "", "log_token": f"log-{step_us}"}
        | {"nbr_samples": num_samples, **ends}
    )
    for index, token in enumerate(samples):
        time_us = START_US + index * step_us
        scene = {"token": token, "timestamp": time_us, "scene_token": f"scene-{step_us}"}
        tables["sample"].append({**scene, **_neighbours(samples, index)})
        for channel in names:
            early_us = 0 if channel == LIDAR else CAMERA_EARLY_US
            _add_reading(tables, samples, (index, channel), time_us - early_us, speed_mps)
    return tables


def _calibrations() -> list[dict[str, Any]]:
    """The cameras of the nuScenes root, without distortion; the LIDAR is that of base_link."""
    rows = [row for row in make_tables()["calibrated_sensor"] if row["camera_intrinsic"]]
    lidar = {"translation": [0.0, 0.0, 0.0], "rotation": [1.0, 0.0, 0.0, 0.0], "camera_intrinsic": []}
    ours = {"token": f"calibrated-{LIDAR}", "sensor_token": f"sensor-{LIDAR}", "camera_distortion": []}
    return [*({**row, "camera_distortion": [0.0] * 5} for row in rows), {**ours, **lidar}]


def _add_reading(
    tables: Tables, samples: list[str], place: tuple[int, str], time_us: int, speed_mps: float | None
) -> None:
    index, channel = place
    tokens = [f"data-{channel}-{number}" for number in range(len(samples))]
    north_m = 500.0 + (speed_mps or 0.0) * (time_us - START_US) / 1e6
    moves = {"twist": [speed_mps, 0.0, 0.0, 0.1, 0.2, 0.3], "acceleration": [0.5, 0.0, 9.8]}
    still = {"twist": None, "acceleration": None, "geocoordinate": None}
    pose = {"timestamp": time_us, "translation": [1000.0, north_m, 3.0], "rotation": NORTH}
    tables["ego_pose"].append(
        {"token": f"pose-{tokens[index]}", **pose, **(still if speed_mps is None else {**still, **moves})}
    )
    is_camera = channel != LIDAR
    ending = "jpg" if is_camera else "pcd.bin"
    tables["sample_data"].append(
        {
            "token": tokens[index],
            "sample_token": samples[index],
            "ego_pose_token": f"pose-{tokens[index]}",
            "calibrated_sensor_token": f"calibrated-{channel}",
            "filename": f"data/{channel}/{index}.{ending}",
            "fileformat": ending,
            "width": IMAGE_SIZE[0] if is_camera else 0,
            "height": IMAGE_SIZE[1] if is_camera else 0,
            "timestamp": time_us,
            "is_key_frame": True,
            "is_valid": True,
            "info_filename": None,
            "autolabel_metadata": None,
            **_neighbours(tokens, index),
        }
    )


def _neighbours(tokens: list[str], index: int) -> dict[str, str]:
    around = ["", *tokens, ""]
    return {"prev": around[index], "next": around[index + 2]}


def _annotate(tables: Tables) -> None:
    tables["category"] = [
        {"token": f"category-{name}", "name": name, "description": "", "index": None} for name in CATEGORIES
    ]
    tables["attribute"] = [{"token": "standing", "name": "pedestrian_state.standing", "description": ""}]
    tables["visibility"] = [{"token": f"level-{name}", "level": name, "description": ""} for name in LEVELS]
    every = range(31)
    _add_boxes(tables, ("lead", "car", "full"), every, lambda s: (1000.0, 520.0 + 4 * s, 3.8), [1.9, 4.5, 1.6])
    person, size = ("worker", "CONSTRUCTION_WORKER", "partial"), [0.6, 0.7, 1.8]
    _add_boxes(tables, person, every, lambda s: (1003.0, 510.0, 3.9), size, velocity=[-1.5, 0.0, 0.0])
    _add_boxes(tables, ("dog", "animal", "none"), every, lambda s: (990.0, 530.0, 3.2), size)
    _add_boxes(tables, ("blink", "motorbike", "most"), range(1, 5), lambda s: (996.0, 515.0, 3.8), size)
    sign = {"token": "sign", "category_token": "category-traffic_light", "instance_name": f"{DRIVE}::sign"}
    ends = {"nbr_annotations": 0, "first_annotation_token": "", "last_annotation_token": ""}
    tables["instance"].append({**sign, **ends})
    marked = {"sample_data_token": "data-CAM_FRONT-0", "instance_token": "sign", "bbox": [10, 10, 20, 20]}
    tables["object_ann"] = [{"token": "mark", "category_token": "category-traffic_light", **marked}]


def _add_boxes(
    tables: Tables, what: tuple[str, str, str], keyframes: range, place: Any, size: list[float], velocity: Any = None
) -> None:
    """Boxes of instance, category and visibility ``what``; ``place`` is its centre s seconds after the start."""
    instance, category, level = what
    tokens = [f"{instance}-{index}" for index in keyframes]
    for position, index in enumerate(keyframes):
        tables["sample_annotation"].append(
            {
                "token": tokens[position],
                "sample_token": f"sample-{index}-100000",
                "instance_token": instance,
                "attribute_tokens": ["standing"] if instance == "worker" else [],
                "visibility_token": f"level-{level}",
                "translation": list(place(index / 10)),
                "velocity": velocity,
                "acceleration": None,
                "size": size,
                "rotation": NORTH,
                "num_lidar_pts": 12,
                "num_radar_pts": 0,
                "automatic_annotation": False,
                "autolabel_metadata": None,
                **_neighbours(tokens, position),
            }
        )
    ends = {"first_annotation_token": tokens[0], "last_annotation_token": tokens[-1]}
    named = {"token": instance, "category_token": f"category-{category}", "instance_name": f"{DRIVE}::{instance}"}
    tables["instance"].append({**named, "nbr_annotations": len(tokens), **ends})


def _vehicle_state(time_us: int) -> dict[str, Any]:
    pedals = {"accel_pedal": 0.1, "brake_pedal": 0.0, "steer_pedal": 0.0, "shift_state": "FORWARD"}
    steering = {"steering_tire_angle": 0.01, "steering_wheel_angle": 0.2}
    return {"token": f"state-{time_us}", "timestamp": time_us, **pedals, **steering, "additional_info": {"speed": 18.0}}
