"""What VAD's converter works out for a keyframe, one keyframe and one box at a time with calls of the devkit.

Written from the formulas, faults included, and as straight as the original is: it is what ``compat: vad`` must equal
and what the benchmark compares with. With ``is_cached`` CAN messages are read once a scene and camera files are looked
up without the boxes in view, the published remedy.
"""

import copy
import math
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from nuscenes.can_bus.can_bus_api import NuScenesCanBus
from nuscenes.nuscenes import NuScenes
from nuscenes.utils.data_classes import Box
from nuscenes.utils.geometry_utils import transform_matrix
from pyquaternion import Quaternion

from dima_pipeline.contracts.frames import CAMERAS
from dima_pipeline.datasets._nuscenes_check import Records, read_json

Row = dict[str, Any]

LIDAR = "LIDAR_TOP"
FUTURE, PAST, SWEEPS = 6, 2, 10
TOLERANCE = 1e-6
OWN_FIELDS = {"has_can_bus", "gt_ego_his_masks", "annotation_token", "instance_token"}
"""Of our infos, beyond those of VAD."""
SHORT_NAMES = {
    **{
        f"human.pedestrian.{name}": "pedestrian" for name in ("adult", "child", "construction_worker", "police_officer")
    },
    **{f"vehicle.{name}": name for name in ("bicycle", "car", "motorcycle", "trailer", "truck")},
    **{f"vehicle.bus.{name}": "bus" for name in ("bendy", "rigid")},
    "vehicle.construction": "construction_vehicle",
    "movable_object.barrier": "barrier",
    "movable_object.trafficcone": "traffic_cone",
}


TABLES = (
    *("scene", "sample", "log", "sensor", "sample_data", "ego_pose", "calibrated_sensor", "sample_annotation"),
    *("instance", "category"),
)


def read_all_records(directory: Path) -> Records:
    """The rows of a version folder with all its scenes, unchecked."""
    return records_of({name: read_json(directory / f"{name}.json") for name in TABLES}, directory)


def records_of(rows: dict[str, list[Row]], directory: Path) -> Records:
    """The same from tables that are held already."""
    tables = {name: {row["token"]: row for row in rows[name]} for name in TABLES}
    sensor_rows: dict[str, dict[str, Row]] = {token: {} for token in tables["sample"]}
    for row in tables["sample_data"].values():
        sensor = tables["calibrated_sensor"][row["calibrated_sensor_token"]]["sensor_token"]
        if row["is_key_frame"]:
            sensor_rows[row["sample_token"]][tables["sensor"][sensor]["channel"]] = row
    annotations: dict[str, list[Row]] = {token: [] for token in tables["sample"]}
    for row in tables["sample_annotation"].values():
        annotations[row["sample_token"]].append(row)
    names_of = {token: tables["category"][row["category_token"]]["name"] for token, row in tables["instance"].items()}
    return Records(
        directory=directory,
        scenes={row["name"]: row for row in tables["scene"].values()},
        samples=tables["sample"],
        logs=tables["log"],
        sensor_rows=sensor_rows,
        ego_poses=tables["ego_pose"],
        calibrations=tables["calibrated_sensor"],
        annotations=annotations,
        categories=names_of,
        attributes={},
        visibility_levels={},
    )


def assert_same(expected: Any, found: Any, where: str) -> None:
    """Texts, counts and flags equal; numbers within ``TOLERANCE`` or the last bit of a float32; types equal."""
    if isinstance(expected, dict):
        assert expected.keys() == found.keys() - OWN_FIELDS, where
        for name, value in expected.items():
            assert_same(value, found[name], f"{where}.{name}")
    elif isinstance(expected, list) and expected and isinstance(expected[0], dict):
        assert len(expected) == len(found), where
        for one, other in zip(expected, found, strict=True):
            assert_same(one, other, where)
    else:
        one, other = np.asarray(expected), np.asarray(found)
        assert one.shape == other.shape and one.dtype.kind == other.dtype.kind, where
        if one.dtype.kind != "f":
            np.testing.assert_array_equal(other, one, err_msg=where)
            return
        relative = 2**-23 if one.dtype == np.float32 else 0.0
        np.testing.assert_allclose(other, one, rtol=relative, atol=TOLERANCE, err_msg=where)
        assert isinstance(expected, list) or one.dtype == other.dtype, where


def rpy(quaternion: Any) -> tuple[float, float, float]:
    """Roll, pitch and yaw of a quaternion x, y, z, w."""
    x, y, z, w = quaternion
    return (
        math.atan2(2 * (w * x + y * z), 1 - 2 * (x * x + y * y)),
        math.asin(2 * (w * y - x * z)),
        math.atan2(2 * (w * z + x * y), 1 - 2 * (z * z + y * y)),
    )


def nearest(times: list[int], time: int) -> int:
    """Index of the nearest of sorted times, the later of two as near."""
    later = int(np.searchsorted(times, time))
    if later == len(times) or (later > 0 and time - times[later - 1] < times[later] - time):
        return later - 1
    return later


class VadReference:
    """The published converter for one root."""

    def __init__(self, version: str, dataroot: Path, is_cached: bool = False) -> None:
        self.nusc = NuScenes(version, str(dataroot), verbose=False)
        self.can = NuScenesCanBus(str(dataroot))
        self.is_cached = is_cached
        self._messages: dict[tuple[str, str], list[Row]] = {}
        self._frame_idx = 0

    @cached_property
    def category_position(self) -> dict[str, int]:
        """Position of each category in its table."""
        return {row["name"]: position for position, row in enumerate(self.nusc.category)}

    def info(self, sample: Row) -> Row:
        """All fields of a keyframe; to be called in the order of ``sample.json``."""
        _, mount, pose = self._reading(sample)
        path, boxes, _ = self.nusc.get_sample_data(sample["data"][LIDAR])
        can_bus = self._can_bus(sample)
        info = {
            **{name: sample[name] for name in ("token", "prev", "next", "scene_token", "timestamp")},
            "lidar_path": str(path),
            "can_bus": can_bus,
            "frame_idx": self._frame_idx,
            "map_location": self._location(sample),
            "lidar2ego_translation": mount["translation"],
            "lidar2ego_rotation": mount["rotation"],
            "ego2global_translation": pose["translation"],
            "ego2global_rotation": pose["rotation"],
            "fut_valid_flag": self._has_future(sample),
            "can_bus_loaded": loaded_can_bus(can_bus, pose),
        }
        self._frame_idx = self._frame_idx + 1 if sample["next"] else 0
        info["cams"] = {camera: self._camera(sample["data"][camera], camera, (mount, pose)) for camera in CAMERAS}
        info["sweeps"] = self.sweeps(sample)
        info.update(self._boxes(sample, boxes, (mount, pose)))
        info.update(self._ego(sample, (mount, pose), can_bus))
        return info

    def _reading(self, sample: Row) -> tuple[Row, Row, Row]:
        row = self.nusc.get("sample_data", sample["data"][LIDAR])
        mount = self.nusc.get("calibrated_sensor", row["calibrated_sensor_token"])
        return row, mount, self.nusc.get("ego_pose", row["ego_pose_token"])

    def _location(self, sample: Row) -> str:
        scene = self.nusc.get("scene", sample["scene_token"])
        return self.nusc.get("log", scene["log_token"])["location"]

    def _get_messages(self, scene_name: str, kind: str) -> list[Row]:
        if not self.is_cached:
            return self.can.get_messages(scene_name, kind)
        if (scene_name, kind) not in self._messages:
            try:
                self._messages[scene_name, kind] = self.can.get_messages(scene_name, kind)
            except Exception:  # noqa: BLE001 - the devkit raises it for scenes without CAN bus
                self._messages[scene_name, kind] = []
        if not self._messages[scene_name, kind]:
            raise FileNotFoundError(kind)
        return self._messages[scene_name, kind]

    def _can_bus(self, sample: Row) -> np.ndarray:
        name = self.nusc.get("scene", sample["scene_token"])["name"]
        try:
            messages = self._get_messages(name, "pose")
        except Exception:  # noqa: BLE001 - as the original
            return np.zeros(18)
        before = messages[0]
        for message in messages:
            if message["utime"] > sample["timestamp"]:
                break
            before = message
        keys = [key for key in before if key not in ("utime", "pos", "orientation")]
        rest = [number for key in keys for number in message[key]]
        return np.array([*before["pos"], *before["orientation"], *rest, 0.0, 0.0])

    def _has_future(self, sample: Row) -> bool:
        at = copy.deepcopy(sample)
        for _ in range(FUTURE):
            if not at["next"]:
                return False
            at = self.nusc.get("sample", at["next"])
        return True

    def _camera(self, token: str, camera: str, reference: tuple[Row, Row]) -> Row:
        if self.is_cached:
            mount = self.nusc.get("sample_data", token)["calibrated_sensor_token"]
            intrinsic = np.array(self.nusc.get("calibrated_sensor", mount)["camera_intrinsic"])
        else:
            _, _, intrinsic = self.nusc.get_sample_data(token)
        return {**self._sensor(token, camera, reference), "cam_intrinsic": intrinsic}

    def sweeps(self, sample: Row) -> list[Row]:
        """The field ``sweeps`` of a keyframe."""
        row, *reference = self._reading(sample)
        sweeps: list[Row] = []
        while len(sweeps) < SWEEPS and row["prev"]:
            sweeps.append(self._sensor(row["prev"], "lidar", (reference[0], reference[1])))
            row = self.nusc.get("sample_data", row["prev"])
        return sweeps

    def _sensor(self, token: str, kind: str, reference: tuple[Row, Row]) -> Row:
        row = self.nusc.get("sample_data", token)
        mount = self.nusc.get("calibrated_sensor", row["calibrated_sensor_token"])
        pose = self.nusc.get("ego_pose", row["ego_pose_token"])
        mount_inverse, pose_inverse = (
            np.linalg.inv(Quaternion(record["rotation"]).rotation_matrix) for record in reference
        )
        mount_turn, pose_turn = (Quaternion(record["rotation"]).rotation_matrix for record in (mount, pose))
        in_world = pose_turn @ np.array(mount["translation"]) + np.array(pose["translation"])
        in_ego = pose_inverse @ (in_world - np.array(reference[1]["translation"]))
        return {
            "data_path": str(self.nusc.get_sample_data_path(token)),
            "type": kind,
            "sample_data_token": token,
            "sensor2ego_translation": mount["translation"],
            "sensor2ego_rotation": mount["rotation"],
            "ego2global_translation": pose["translation"],
            "ego2global_rotation": pose["rotation"],
            "timestamp": row["timestamp"],
            "sensor2lidar_rotation": mount_inverse @ pose_inverse @ pose_turn @ mount_turn,
            "sensor2lidar_translation": mount_inverse @ (in_ego - np.array(reference[0]["translation"])),
        }

    def _boxes(self, sample: Row, boxes: list[Box], reference: tuple[Row, Row]) -> Row:
        rows = [self.nusc.get("sample_annotation", token) for token in sample["anns"]]
        points = [(row["num_lidar_pts"], row["num_radar_pts"]) for row in rows]
        velocity = np.array([self._velocity(row["token"], reference) for row in rows]).reshape(-1, 2)
        yaw = np.array([box.orientation.yaw_pitch_roll[0] for box in boxes])
        place = np.array([[*box.center, *box.wlh] for box in boxes]).reshape(-1, 6)
        kind = [self.category_position.get(row["category_name"], -1) for row in rows]
        futures = [self._agent_future(row, box, reference) for row, box in zip(rows, boxes, strict=True)]
        offsets, masks, turns = (np.array([future[part] for future in futures]) for part in range(3))
        size = np.array([row["size"] for row in rows]).reshape(-1, 3)
        return {
            "gt_boxes": np.column_stack([place, -yaw - np.pi / 2]),
            "gt_names": np.array([SHORT_NAMES.get(box.name, box.name) for box in boxes], dtype=str),
            "gt_velocity": velocity,
            "num_lidar_pts": np.array([lidar for lidar, _ in points], int),
            "num_radar_pts": np.array([radar for _, radar in points], int),
            "valid_flag": np.array([sum(both) > 0 for both in points], bool),
            "gt_agent_fut_trajs": offsets.reshape(-1, 2 * FUTURE).astype(np.float32),
            "gt_agent_fut_masks": masks.reshape(-1, FUTURE).astype(np.float32),
            "gt_agent_fut_yaw": turns.reshape(-1, FUTURE).astype(np.float32),
            "gt_agent_fut_goal": np.array([goal(path) for path in offsets], np.float32),
            "gt_agent_lcf_feat": np.column_stack([place[:, :2], yaw, velocity, size, kind]).astype(np.float32),
        }

    def _velocity(self, token: str, reference: tuple[Row, Row]) -> np.ndarray:
        mount, pose = (Quaternion(record["rotation"]).rotation_matrix for record in reference)
        flat = np.array([*self.nusc.box_velocity(token)[:2], 0.0])
        return (np.linalg.inv(mount) @ np.linalg.inv(pose) @ flat)[:2]

    def _agent_future(
        self, row: Row, box: Box, reference: tuple[Row, Row]
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        offsets, masks, turns = np.zeros((FUTURE, 2)), np.zeros(FUTURE), np.zeros(FUTURE)
        mount, pose = reference
        for step in range(FUTURE):
            if not row["next"]:
                break
            row = self.nusc.get("sample_annotation", row["next"])
            following = Box(row["translation"], row["size"], Quaternion(row["rotation"]))
            for frame in (pose, mount):
                following.translate(-np.array(frame["translation"]))
                following.rotate(Quaternion(frame["rotation"]).inverse)
            headings = [rpy((q.x, q.y, q.z, q.w))[2] for q in (box.orientation, following.orientation)]
            offsets[step] = following.center[:2] - box.center[:2]
            masks[step] = 1
            turns[step] = headings[1] - headings[0]
            box = following
        return offsets, masks, turns

    def _lidar_origin(self, sample: Row) -> np.ndarray:
        _, mount, pose = self._reading(sample)
        matrices = [transform_matrix(record["translation"], Quaternion(record["rotation"])) for record in (pose, mount)]
        return (matrices[0] @ matrices[1])[:3, 3]

    def _neighbour(self, sample: Row | None, end: str) -> Row | None:
        return self.nusc.get("sample", sample[end]) if sample and sample[end] else None

    def _ego(self, sample: Row, reference: tuple[Row, Row], can_bus: np.ndarray) -> Row:
        past, (future, masks) = self._past(sample), self._future(sample)
        past, future = (in_lidar(track, reference) for track in (past, future))
        end = future[-1, 0]
        command = [end >= 2, end <= -2, -2 < end < 2]
        past, future = (np.diff(track, axis=0)[:, :2] for track in (past, future))
        return {
            "gt_ego_his_trajs": past.astype(np.float32),
            "gt_ego_fut_trajs": future.astype(np.float32),
            "gt_ego_fut_masks": masks.astype(np.float32),
            "gt_ego_fut_cmd": np.array(command, np.float32),
            "gt_ego_lcf_feat": self._status(sample, can_bus, past[-1] + future[0]).astype(np.float32),
        }

    def _past(self, sample: Row) -> np.ndarray:
        """Where the LIDAR was two, one and no steps ago, in the world."""
        track, moves = np.zeros((PAST + 1, 3)), np.zeros((PAST + 1, 3))
        at: Row | None = sample
        for step in range(PAST, -1, -1):
            if at is None:
                track[step], moves[step] = track[step + 1] - moves[step + 1], moves[step + 1]
                continue
            track[step] = self._lidar_origin(at)
            following = self._neighbour(at, "next")
            if following is not None:
                moves[step] = self._lidar_origin(following) - track[step]
            at = self._neighbour(at, "prev")
        return track

    def _future(self, sample: Row) -> tuple[np.ndarray, np.ndarray]:
        """Where the LIDAR will be in no to six steps, in the world, and which of the six are known."""
        track, masks = np.zeros((FUTURE + 1, 3)), np.zeros(FUTURE + 1)
        at: Row | None = sample
        for step in range(FUTURE + 1):
            if at is None:
                track[step] = track[step - 1]
                continue
            track[step], masks[step] = self._lidar_origin(at), 1
            at = self._neighbour(at, "next")
        return track, masks[1:]

    def _status(self, sample: Row, can_bus: np.ndarray, two_steps: np.ndarray) -> np.ndarray:
        before, after = self._neighbour(sample, "prev"), self._neighbour(sample, "next")
        first, last = (self._reading(at)[2] for at in ((before, sample) if before else (sample, after)))
        now = self._reading(sample)[2]
        speed = np.linalg.norm(np.array(last["translation"])[:2] - np.array(first["translation"])[:2]) / 0.5
        heading = rpy(now["rotation"])[2] + np.pi / 2
        rate = (rpy(last["rotation"])[2] - rpy(first["rotation"])[2]) / 0.5
        v0, kappa = self._speed_and_kappa(sample, two_steps)
        velocity = (speed * math.cos(heading), speed * math.sin(heading))
        return np.array([*velocity, *can_bus[7:9], rate, 4.084, 1.85, v0, kappa])

    def _speed_and_kappa(self, sample: Row, two_steps: np.ndarray) -> tuple[float, float]:
        name = self.nusc.get("scene", sample["scene_token"])["name"]
        try:
            poses = self._get_messages(name, "pose")
            steering = self._get_messages(name, "steeranglefeedback")
            found = [
                messages[nearest([message["utime"] for message in messages], sample["timestamp"])]
                for messages in (poses, steering)
            ]
        except Exception:  # noqa: BLE001 - as the original
            return float(np.linalg.norm(two_steps)), 0.0
        sign = -1 if self._location(sample).startswith("singapore") else 1
        return found[0]["vel"][0], 2 * sign * found[1]["value"] / 2.588


def in_lidar(track: np.ndarray, reference: tuple[Row, Row]) -> np.ndarray:
    """Points of the world in the LIDAR frame of a keyframe."""
    for frame in reversed(reference):
        turn = Quaternion(frame["rotation"]).inverse.rotation_matrix
        track = (track - np.array(frame["translation"])) @ turn.T
    return track


def goal(offsets: np.ndarray) -> float:
    """Sector of the way from step 1 to step 6; 9 where it is short."""
    path = np.cumsum(offsets, axis=0)
    moved = path[-1] - path[0]
    return 9.0 if moved.max() < 1.0 else (np.arctan2(moved[1], moved[0]) + np.pi) // (np.pi / 4)


def loaded_can_bus(can_bus: np.ndarray, pose: Row) -> np.ndarray:
    """What VAD's data set makes of ``can_bus``."""
    loaded, rotation = can_bus.copy(), Quaternion(pose["rotation"])
    loaded[:3] = pose["translation"]
    loaded[3:7] = float(rotation)
    ahead = rotation.rotation_matrix @ np.array([1, 0, 0])
    degrees = math.degrees(math.atan2(ahead[1], ahead[0]))
    loaded[-1] = degrees + 360 if degrees < 0 else degrees
    loaded[-2] = math.radians(loaded[-1])
    return loaded
