"""What the devkit answers for every value of the tables, beside what the tables have.

The expected side is made of calls of the devkit (``NuScenes``, ``Box``, ``PredictHelper``, ``NuScenesCanBus``) and of
the quaternions it comes with, one value at a time, and of none of our own geometry. ``devkit_map`` has the map,
``devkit_table`` the table of checks.
"""

import math
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from dima_pipeline.contracts.frames import CAMERAS
from dima_pipeline.datasets import SceneTables

os.environ.setdefault("MPLBACKEND", "Agg")

from nuscenes.can_bus.can_bus_api import NuScenesCanBus
from nuscenes.eval.common.utils import quaternion_yaw
from nuscenes.eval.detection.utils import category_to_detection_name
from nuscenes.nuscenes import NuScenes
from nuscenes.prediction.helper import PredictHelper
from nuscenes.utils.data_classes import Box
from nuscenes.utils.geometry_utils import BoxVisibility, transform_matrix
from pyquaternion import Quaternion

LIDAR = "LIDAR_TOP"
PAST, FUTURE = (-4, -3, -2, -1), (1, 2, 3, 4, 5, 6)
MAX_CAN_GAP_US = 500_000
TURN_M = 2.0
"""A drive that ends so far to a side has that command, as in VAD's converter."""
VELOCITY = "boxes: velocity"
EXACT = "differ"
"""Unit of values that are equal or not: the deviation is the number of those that are not."""

Row = dict[str, Any]


@dataclass(frozen=True)
class Compared:
    """Values of a scene in the tables, and those of the devkit."""

    check: str
    columns: str
    """Where ours come from: ``table.column``, several with spaces between."""
    unit: str
    """``rad`` is compared around the circle, ``EXACT`` for equality, anything else by its size."""
    ours: Any
    theirs: Any

    def __len__(self) -> int:
        """How many there are, but for those that both know nothing of."""
        ours, theirs = self._arrays()
        return int(ours.size if ours.shape != theirs.shape else (~(pd.isna(ours) & pd.isna(theirs))).sum())

    def deviation(self) -> float:
        """The largest difference, or the number of values that differ; infinite where only one side is unknown."""
        ours, theirs = self._arrays()
        if ours.shape != theirs.shape:
            return math.inf
        if self.unit == EXACT:
            return float(sum(one != other for one, other in zip(ours.flat, theirs.flat, strict=True)))
        difference = np.abs(ours - theirs)
        if self.unit == "rad":
            difference = np.minimum(difference, np.abs(2 * np.pi - difference))
        difference = np.where(np.isnan(ours) & np.isnan(theirs), 0.0, difference)
        return float(np.nan_to_num(difference, nan=math.inf).max(initial=0.0))

    def _arrays(self) -> tuple[np.ndarray, np.ndarray]:
        if self.unit != EXACT:
            return np.asarray(self.ours, float), np.asarray(self.theirs, float)
        return _plain(self.ours), _plain(self.theirs)


def _plain(values: Any) -> np.ndarray:
    """As objects, unknown ones None."""
    array = np.array(values, object)
    return np.where(pd.isna(array), None, array)


class Devkit:
    """The devkit for one root, and what it says of samples and boxes."""

    def __init__(self, dataroot: Path, version: str) -> None:
        self.dataroot = dataroot
        self.nusc = NuScenes(version, str(dataroot), verbose=False)
        self.can = NuScenesCanBus(str(dataroot))

    @cached_property
    def prediction(self) -> PredictHelper:
        """Finds the annotation of an object in a keyframe."""
        return PredictHelper(self.nusc)

    def scene(self, name: str) -> Row:
        """The record of a scene."""
        return next(row for row in self.nusc.scene if row["name"] == name)

    def samples(self, name: str) -> list[Row]:
        """Keyframes of a scene, from ``first_sample_token`` on."""
        samples = [self.nusc.get("sample", self.scene(name)["first_sample_token"])]
        while samples[-1]["next"]:
            samples.append(self.nusc.get("sample", samples[-1]["next"]))
        return samples

    def pose(self, sample: Row, channel: str = LIDAR) -> Row:
        """Ego pose at the time of a sensor of a keyframe."""
        return self.nusc.get("ego_pose", self.nusc.get("sample_data", sample["data"][channel])["ego_pose_token"])

    def box_in_ego(self, token: str, pose: Row) -> Box:
        """A box, with its velocity, in the frame of an ego pose."""
        box = self.nusc.get_box(token)
        box.velocity = self.nusc.box_velocity(token)
        return in_ego(box, pose)

    def annotations(self, sample: Row) -> list[Row]:
        """The annotations of a keyframe that have a detection class."""
        rows = [self.nusc.get("sample_annotation", token) for token in sample["anns"]]
        return [row for row in rows if category_to_detection_name(row["category_name"])]

    def annotation(self, instance_token: str, sample_token: str) -> Row | None:
        """Of an object in a keyframe, where it has one."""
        if (sample_token, instance_token) not in self.prediction.inst_sample_to_ann:
            return None
        return self.prediction.get_sample_annotation(instance_token, sample_token)


def in_ego(box: Box, pose: Row) -> Box:
    """Move a box from the world into the frame of an ego pose, as ``NuScenes.get_sample_data`` does."""
    box.translate(-np.array(pose["translation"]))
    box.rotate(Quaternion(pose["rotation"]).inverse)
    return box


def planar(box: Box) -> tuple[float, float, float]:
    """x, y and yaw of a box."""
    return float(box.center[0]), float(box.center[1]), quaternion_yaw(box.orientation)


def compare_scene(devkit: Devkit, name: str, tables: SceneTables) -> Iterator[Compared]:
    """Every value of the tables of a scene but those of ``map_elements``."""
    for compare in (scene_facts, keyframes, motion, cameras, boxes_in_cameras, boxes, ego_paths, agent_futures):
        yield from compare(devkit, name, tables)


def scene_facts(devkit: Devkit, name: str, tables: SceneTables) -> Iterator[Compared]:
    """Table ``scenes`` but for the split."""
    scene, samples = devkit.scene(name), devkit.samples(name)
    log = devkit.nusc.get("log", scene["log_token"])
    theirs = {
        "scene_token": scene["token"],
        **{field: scene[field] for field in ("name", "log_token", "description")},
        "location": log["location"],
        "num_samples": scene["nbr_samples"],
        "first_timestamp_us": samples[0]["timestamp"],
        "last_timestamp_us": samples[-1]["timestamp"],
    }
    columns = " ".join(f"scenes.{column}" for column in theirs)
    yield Compared("scene, log, location", columns, EXACT, tables.scenes.iloc[0][list(theirs)], list(theirs.values()))


def keyframes(devkit: Devkit, name: str, tables: SceneTables) -> Iterator[Compared]:
    """Order, times and ego poses of the keyframes."""
    samples, ours = devkit.samples(name), tables.samples
    fields = {"sample_token": "token", "scene_token": "scene_token", "timestamp_us": "timestamp"}
    for column, field in {**fields, "prev": "prev", "next": "next"}.items():
        theirs = [sample[field] or None for sample in samples]
        yield Compared("keyframes: tokens, times, order", f"samples.{column}", EXACT, ours[column], theirs)
    yield Compared("keyframes: tokens, times, order", "samples.index", EXACT, ours["index"], list(range(len(samples))))
    poses = [devkit.pose(sample) for sample in samples]
    at, turn = ["ego_x_m", "ego_y_m", "ego_z_m"], ["ego_qw", "ego_qx", "ego_qy", "ego_qz"]
    yield _of_columns("ego pose: position", "samples", ours, at, "m", [pose["translation"] for pose in poses])
    turns = [Quaternion(pose["rotation"]).normalised.elements for pose in poses]
    yield _of_columns("ego pose: quaternion", "samples", ours, turn, "1", turns)


def _of_columns(check: str, table: str, ours: pd.DataFrame, columns: Sequence[str], unit: str, theirs: Any) -> Compared:
    names = " ".join(f"{table}.{column}" for column in columns)
    kind = object if unit == EXACT else float
    expected = np.array(theirs, kind).reshape(len(ours), len(columns))
    return Compared(check, names, unit, ours[list(columns)].to_numpy(kind), expected)


def _at(ours: pd.DataFrame, keys: list[tuple]) -> pd.DataFrame:
    """The rows of ``keys``, unknown where there is none; that there is one of each is a check of its own."""
    return ours[~ours.index.duplicated()].reindex(keys)


def motion(devkit: Devkit, name: str, tables: SceneTables) -> Iterator[Compared]:
    """What the CAN bus message nearest in time says, unknown without one within half a second."""
    times = [sample["timestamp"] for sample in devkit.samples(name)]
    pose = messages(devkit, name, "pose")
    read_pose: dict[str, tuple[str, Callable[[Row], float]]] = {
        "speed_mps": ("m/s", lambda message: message["vel"][0]),
        "acceleration_mps2": ("m/s2", lambda message: message["accel"][0]),
        "yaw_rate_radps": ("rad/s", lambda message: message["rotation_rate"][2]),
    }
    for column, (unit, read) in read_pose.items():
        theirs = [at_nearest(pose, time, read) for time in times]
        yield Compared(f"CAN bus: {column}", f"samples.{column}", unit, tables.samples[column], theirs)
    found, read = messages(devkit, name, "steeranglefeedback"), lambda message: message["value"]
    if not found:
        found, read = messages(devkit, name, "vehicle_monitor"), lambda message: math.radians(message["steering"])
    theirs = [at_nearest(found, time, read) for time in times]
    yield Compared("CAN bus: steering_rad", "samples.steering_rad", "rad", tables.samples["steering_rad"], theirs)


def messages(devkit: Devkit, name: str, kind: str) -> list[Row]:
    """Messages of a scene; none where the devkit has none."""
    if int(name[-4:]) in devkit.can.can_blacklist or not (devkit.dataroot / f"can_bus/{name}_{kind}.json").is_file():
        return []
    return list(devkit.can.get_messages(name, kind))


def at_nearest(found: Sequence[Row], time_us: int, read: Callable[[Row], float]) -> float:
    """A value of the message nearest in time, the earlier of two as near."""
    near = min(found, key=lambda message: abs(message["utime"] - time_us), default=None)
    return math.nan if near is None or abs(near["utime"] - time_us) > MAX_CAN_GAP_US else read(near)


def cameras(devkit: Devkit, name: str, tables: SceneTables) -> Iterator[Compared]:
    """Files, sizes, intrinsics and poses of the six cameras."""
    nusc, samples = devkit.nusc, devkit.samples(name)
    for camera in CAMERAS:
        rows = [nusc.get("sample_data", sample["data"][camera]) for sample in samples]
        mounts = [nusc.get("calibrated_sensor", row["calibrated_sensor_token"]) for row in rows]
        paths = [Path(nusc.get_sample_data_path(row["token"])) for row in rows]
        column = {key: f"{camera.lower()}_{key}" for key in ("file", "source", "width", "height")}
        ours = {key: tables.samples[name] for key, name in column.items()}
        ours["file"] = [str(devkit.dataroot / file) for file in ours["file"]]
        theirs = {
            "file": list(map(str, paths)),
            "source": ["recorded" if path.is_file() else "missing" for path in paths],
            **{key: [row[key] for row in rows] for key in ("width", "height")},
        }
        for key, values in theirs.items():
            yield Compared("camera files and sizes", f"samples.{column[key]}", EXACT, ours[key], values)
        intrinsics, placed = (f"{camera.lower()}_{key}" for key in ("intrinsics", "camera_from_ego"))
        found = np.stack(tables.samples[intrinsics])
        theirs_3x3 = [np.ravel(mount["camera_intrinsic"]) for mount in mounts]
        yield Compared("camera intrinsics", f"samples.{intrinsics}", "px", found, theirs_3x3)
        found = np.stack(tables.samples[placed]).reshape(-1, 4, 4)
        theirs_4x4 = np.array(
            [camera_from_ego(devkit, sample, camera, mount) for sample, mount in zip(samples, mounts, strict=True)]
        )
        yield Compared("camera_from_ego: position", f"samples.{placed}", "m", found[:, :3, 3], theirs_4x4[:, :3, 3])
        turned = np.delete(found, 3, 2), np.delete(theirs_4x4, 3, 2)
        yield Compared("camera_from_ego: rotation", f"samples.{placed}", "1", *turned)


def camera_from_ego(devkit: Devkit, sample: Row, camera: str, mount: Row) -> np.ndarray:
    """From the ego at the LIDAR's time over the world into the camera at its own, (4, 4)."""
    now, then = devkit.pose(sample), devkit.pose(sample, camera)
    steps = [(mount, True), (then, True), (now, False)]
    first, second, third = (
        transform_matrix(np.array(row["translation"]), Quaternion(row["rotation"]), inverse=is_inverse)
        for row, is_inverse in steps
    )
    return first @ second @ third


def boxes_in_cameras(devkit: Devkit, name: str, tables: SceneTables) -> Iterator[Compared]:
    """Centres of all boxes of a keyframe in one camera, another one each time, as ``get_sample_data`` has them."""
    agents = tables.agents.set_index(["sample_token", "instance_token"])[["x_m", "y_m", "z_m"]]
    for index, (sample, row) in enumerate(zip(devkit.samples(name), tables.samples.to_dict("records"), strict=True)):
        camera = CAMERAS[index % len(CAMERAS)]
        _, found, _ = devkit.nusc.get_sample_data(sample["data"][camera], box_vis_level=BoxVisibility.NONE)
        theirs = {box.token: box.center for box in found}
        rows = devkit.annotations(sample)
        ours = _at(agents, [(sample["token"], row["instance_token"]) for row in rows]).to_numpy(float)
        projection = np.reshape(row[f"{camera.lower()}_camera_from_ego"], (4, 4))
        placed = ours @ projection[:3, :3].T + projection[:3, 3]
        centers = np.reshape([theirs[row["token"]] for row in rows], (-1, 3))
        yield Compared("box centres in a camera", "", "m", placed, centers)


def boxes(devkit: Devkit, name: str, tables: SceneTables) -> Iterator[Compared]:
    """Table ``agents``: which boxes there are, and all that it says of each."""
    rows = [(sample, row) for sample in devkit.samples(name) for row in devkit.annotations(sample)]
    keys = [(sample["token"], row["instance_token"]) for sample, row in rows]
    ours = tables.agents.set_index(["sample_token", "instance_token"])
    tokens = "agents.sample_token agents.instance_token"
    yield Compared("boxes: which there are", tokens, EXACT, sorted(ours.index), sorted(keys))
    ours = _at(ours, keys)
    found = [devkit.box_in_ego(row["token"], devkit.pose(sample)) for sample, row in rows]
    centers, sizes = [box.center for box in found], [box.wlh for box in found]
    yield _of_columns("boxes: position", "agents", ours, ["x_m", "y_m", "z_m"], "m", centers)
    yield _of_columns("boxes: size", "agents", ours, ["width_m", "length_m", "height_m"], "m", sizes)
    yaws = [quaternion_yaw(box.orientation) for box in found]
    yield _of_columns("boxes: yaw", "agents", ours, ["yaw_rad"], "rad", yaws)
    velocities, velocity = [box.velocity[:2] for box in found], ["vx_mps", "vy_mps"]
    yield _of_columns(VELOCITY, "agents", ours, velocity, "m/s", velocities)
    exact = [speed * rounding(devkit, row) for speed, (_, row) in zip(velocities, rows, strict=True)]
    yield _of_columns(f"{VELOCITY} without the devkit's rounding of times", "agents", ours, velocity, "m/s", exact)
    facts = {
        "category": [category_to_detection_name(row["category_name"]) for _, row in rows],
        "attribute": [attribute(devkit, row) for _, row in rows],
        "visibility": [visibility(devkit, row) for _, row in rows],
        "num_lidar_points": [row["num_lidar_pts"] for _, row in rows],
    }
    for column, theirs in facts.items():
        yield Compared(f"boxes: {column}", f"agents.{column}", EXACT, ours[column], theirs)


def attribute(devkit: Devkit, row: Row) -> str | None:
    """Name of the first attribute of an annotation."""
    tokens = row["attribute_tokens"]
    return devkit.nusc.get("attribute", tokens[0])["name"] if tokens else None


def visibility(devkit: Devkit, row: Row) -> int | None:
    """1 to 4: nuScenes' tokens of the levels are these numbers."""
    token = row["visibility_token"]
    return int(devkit.nusc.get("visibility", token)["token"]) if token else None


def rounding(devkit: Devkit, row: Row) -> float:
    """Time between the annotations that give a velocity as the devkit rounds it, over the true one.

    Its seconds since 1970 are floats, exact to 0.2 us, and so its velocities to 1e-5 m/s.
    """
    ends = [devkit.nusc.get("sample_annotation", row[end]) if row[end] else row for end in ("prev", "next")]
    first, last = (devkit.nusc.get("sample", end["sample_token"])["timestamp"] for end in ends)
    return (1e-6 * last - 1e-6 * first) / ((last - first) * 1e-6) if last > first else math.nan


def ego_paths(devkit: Devkit, name: str, tables: SceneTables) -> Iterator[Compared]:
    """Table ``ego_paths``, and the command that VAD makes of it."""
    samples, steps = devkit.samples(name), (*PAST, *FUTURE)
    theirs = np.zeros((len(samples), len(steps), 3))
    is_there = np.zeros((len(samples), len(steps)), bool)
    for index, sample in enumerate(samples):
        for column, step in enumerate(steps):
            if 0 <= index + step < len(samples):
                pose = devkit.pose(samples[index + step])
                box = Box(pose["translation"], [1.0, 1.0, 1.0], Quaternion(pose["rotation"]))
                theirs[index, column] = planar(in_ego(box, devkit.pose(sample)))
                is_there[index, column] = True
    keys = [(sample["token"], step) for sample in samples for step in steps]
    ours = tables.ego_paths.set_index(["sample_token", "step"])
    yield from _paths("ego past and future", "ego_paths", ours, keys, theirs, is_there)
    commands = [driven(path[len(PAST) :], known[len(PAST) :]) for path, known in zip(theirs, is_there, strict=True)]
    yield Compared("command_driven", "samples.command_driven", EXACT, tables.samples["command_driven"], commands)


def driven(path: np.ndarray, is_there: np.ndarray) -> str:
    """VAD's command: the side to which the drive ends."""
    if not is_there.any():
        return "unknown"
    side_m = path[is_there][-1, 1]
    return "left" if side_m >= TURN_M else "right" if side_m <= -TURN_M else "straight"


def agent_futures(devkit: Devkit, name: str, tables: SceneTables) -> Iterator[Compared]:
    """Table ``agent_futures``: where an object is annotated in the keyframes that follow."""
    samples = devkit.samples(name)
    rows = [(index, row) for index, sample in enumerate(samples) for row in devkit.annotations(sample)]
    theirs = np.zeros((len(rows), len(FUTURE), 3))
    is_there = np.zeros((len(rows), len(FUTURE)), bool)
    for number, (index, row) in enumerate(rows):
        for column, step in enumerate(FUTURE):
            later = samples[index + step]["token"] if index + step < len(samples) else ""
            found = devkit.annotation(row["instance_token"], later)
            if found is not None:
                box = devkit.nusc.get_box(found["token"])
                theirs[number, column] = planar(in_ego(box, devkit.pose(samples[index])))
                is_there[number, column] = True
    keys = [(samples[index]["token"], row["instance_token"], step) for index, row in rows for step in FUTURE]
    ours = tables.agent_futures.set_index(["sample_token", "instance_token", "step"])
    yield from _paths("agent futures", "agent_futures", ours, keys, theirs, is_there)


def _paths(
    check: str, table: str, ours: pd.DataFrame, keys: list, theirs: np.ndarray, is_there: np.ndarray
) -> Iterator[Compared]:
    tokens = " ".join(f"{table}.{level}" for level in ours.index.names)
    yield Compared(f"{check}: which there are", tokens, EXACT, sorted(ours.index), sorted(keys))
    ours = _at(ours, keys)
    yield _of_columns(f"{check}: mask", table, ours, ["valid"], EXACT, is_there)
    places = np.reshape(theirs, (-1, 3))
    yield _of_columns(f"{check}: position", table, ours, ["x_m", "y_m"], "m", places[:, :2])
    yield _of_columns(f"{check}: yaw", table, ours, ["yaw_rad"], "rad", places[:, 2])
