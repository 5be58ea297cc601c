"""The hand-made root as VAD's converter is tested on it: LIDAR_TOP looks right and ahead (x right, y forward) as on the
real cars, so at the first heading, north, its axes are east and north.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from dima_pipeline.curation.vad_infos import VadScene, vad_infos
from dima_pipeline.curation.vad_sensors import LIDAR
from dima_pipeline.datasets._nuscenes_check import read_json
from dima_pipeline.datasets._nuscenes_store import LidarSweeps
from dima_pipeline.geometry import quaternion_from_yaw
from nuscenes_root import START_US, STEP_US, VERSION, Tables, make_tables, write_json
from vad_reference import read_all_records

SCENE, EMPTY_SCENE = "scene-0061", "scene-0103"
LIDAR_TURN = quaternion_from_yaw(-np.pi / 2).tolist()
LIDAR_AHEAD_M = 0.94

Can = dict[str, list[dict[str, Any]]]
"""Messages by file name, without ``.json``."""
Change = Callable[[Tables, Can], None]


def keep(tables: Tables, can: Can) -> None:
    """No change."""


def drive_tables() -> Tables:
    """The tables of the hand-made root with LIDAR_TOP turned."""
    tables = make_tables()
    row(tables, "calibrated_sensor", "calibrated-LIDAR_TOP")["rotation"] = LIDAR_TURN
    return tables


def drive_can() -> Can:
    """Messages of ``SCENE`` every 20 ms: 5 m/s, 0.5 m/s2, 0.1 rad/s; steering 0.2 rad. Keys in an odd order."""
    times = range(START_US - 1_000_000, START_US + 6_000_000, 20_000)
    place = {"pos": [1.0, 2.0, 3.0], "orientation": [0.5, 0.5, 0.5, 0.5]}
    motion = {"vel": [5.0, 0.0, 0.0], "accel": [0.5, 0.0, 9.8], "rotation_rate": [0.0, 0.0, 0.1]}
    return {
        f"{SCENE}_pose": [{"utime": time, **place, **motion} for time in times],
        f"{SCENE}_steeranglefeedback": [{"utime": time, "value": 0.2} for time in times],
    }


def row(tables: Tables, table: str, token: str) -> dict[str, Any]:
    """The row of a token."""
    return next(found for found in tables[table] if found["token"] == token)


def boxes_of(tables: Tables, instance: str) -> list[dict[str, Any]]:
    """The boxes of an object, in order."""
    return [found for found in tables["sample_annotation"] if found["instance_token"] == instance]


def poses_of(tables: Tables, scene: str = SCENE) -> list[dict[str, Any]]:
    """The ego poses of LIDAR_TOP in a scene, in order."""
    return [found for found in tables["ego_pose"] if found["token"].startswith(f"pose-data-LIDAR_TOP-{scene}-")]


def drop_box(tables: Tables, token: str) -> None:
    """Take a box out of its chain, as an annotator does who does not see the object for a moment."""
    gone = row(tables, "sample_annotation", token)
    tables["sample_annotation"].remove(gone)
    for end, back in (("prev", "next"), ("next", "prev")):
        if gone[end]:
            row(tables, "sample_annotation", gone[end])[back] = gone[back]


def add_sweeps(tables: Tables, num_between: int) -> None:
    """Readings of LIDAR_TOP between the keyframes, 50 ms apart, before each keyframe but the first of a scene."""
    keyframes = [found for found in tables["sample_data"] if "LIDAR_TOP" in found["token"]]
    for keyframe in keyframes:
        if not keyframe["prev"]:
            continue
        pose = row(tables, "ego_pose", keyframe["ego_pose_token"])
        before = row(tables, "sample_data", keyframe["prev"])
        for number in range(num_between, 0, -1):
            token = f"{keyframe['token']}-sweep{number}"
            north_m = pose["translation"][1] - 0.25 * number
            tables["ego_pose"].append({**pose, "token": f"pose-{token}", "translation": [100.0, north_m, 0.0]})
            sweep = {**keyframe, "token": token, "ego_pose_token": f"pose-{token}", "is_key_frame": False}
            sweep.update(timestamp=keyframe["timestamp"] - 50_000 * number, filename=f"sweeps/LIDAR_TOP/{token}.bin")
            sweep["prev"], before["next"] = before["token"], token
            tables["sample_data"].append(sweep)
            before = sweep
        before["next"], keyframe["prev"] = keyframe["token"], before["token"]


def write_drive(directory: Path, change: Change = keep) -> Path:
    """Write a root of tables, CAN bus and a map raster; returns its path."""
    tables, can = drive_tables(), drive_can()
    change(tables, can)
    for name, rows in tables.items():
        write_json(directory / VERSION / f"{name}.json", rows)
    (directory / "can_bus").mkdir()
    for name, messages in can.items():
        (directory / "can_bus" / f"{name}.json").write_text(json.dumps(messages))
    (directory / "maps").mkdir()
    Image.new("L", (8, 8)).save(directory / "maps" / "raster.png")
    return directory


def read_drive(root: Path, scene: str = SCENE, **options: Any) -> VadScene:
    """The infos of a scene of a root, sweeps and all."""
    folder = root / VERSION
    return vad_infos(read_all_records(folder), scene, root, sweeps=read_all_sweeps(folder), **options)


def read_all_sweeps(directory: Path) -> LidarSweeps:
    """The readings of LIDAR_TOP of a version folder with all its scenes, unchecked."""
    tables = {
        name: {row["token"]: row for row in read_json(directory / f"{name}.json")}
        for name in ("sensor", "calibrated_sensor", "sample_data", "ego_pose")
    }
    mounts = tables["calibrated_sensor"]
    channel_of = {token: tables["sensor"][mount["sensor_token"]]["channel"] for token, mount in mounts.items()}
    rows = {
        token: row
        for token, row in tables["sample_data"].items()
        if channel_of[row["calibrated_sensor_token"]] == LIDAR
    }
    return LidarSweeps(rows, tables["ego_pose"])


def make_crooked(tables: Tables, can: Can) -> None:
    """Everything at odds with everything: tilted poses and boxes, uneven times, gaps, sweeps, radar, Singapore."""
    rng = np.random.default_rng(5)
    add_sweeps(tables, 4)
    for found in [*tables["ego_pose"], *tables["sample_annotation"], *tables["calibrated_sensor"]]:
        found["rotation"] = _nudged(found["rotation"], rng)
        found["translation"] = (np.array(found["translation"]) + rng.normal(0, 0.3, 3)).tolist()
    for index, box in enumerate(tables["sample_annotation"]):
        box.update(num_lidar_pts=int(rng.integers(0, 2)), num_radar_pts=int(rng.integers(0, 2)))
        box["rotation"] = _nudged(quaternion_from_yaw(0.9 * index), rng)
    for found in tables["sample"]:
        found["timestamp"] += int(rng.integers(-60_000, 60_000))
    drop_box(tables, "slow-4")
    drop_box(tables, "walker-2")
    row(tables, "log", "log-scene-0061")["location"] = "singapore-onenorth"
    for messages in can.values():
        for message in messages:
            message.update(
                {key: rng.normal(0, 1, np.shape(value)).tolist() for key, value in message.items() if key != "utime"}
            )
    late = START_US + STEP_US
    can[f"{EMPTY_SCENE}_pose"] = [message for message in can[f"{SCENE}_pose"] if late < message["utime"] < late + 2e6]


def _nudged(wxyz: Any, rng: np.random.Generator) -> list[float]:
    turned = np.asarray(wxyz) + rng.normal(0, 0.05, 4)
    return (turned / np.linalg.norm(turned)).tolist()
