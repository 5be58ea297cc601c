"""CAN bus of a scene as VAD's infos have it: 18 numbers a keyframe, from messages that are read once a scene."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Int

from dima_pipeline.curation.vad_bugs import Bug
from dima_pipeline.curation.vad_sensors import Columns
from dima_pipeline.datasets._nuscenes_can import MAX_GAP_S, NO_CAN, scene_number
from dima_pipeline.datasets._nuscenes_check import Row, read_json
from dima_pipeline.geometry import rotation_from_quaternion, yaw_from_rotation

PLACE = {"pos": 3, "orientation": 4}
MOTION = {"accel": 3, "rotation_rate": 3, "vel": 3}
"""Parts of a pose message and their lengths, in the order of ``can_bus``."""
WIDTH = 18


@dataclass(frozen=True)
class Messages:
    """M messages of one kind, by time."""

    times_us: Int[np.ndarray, "M"]
    values: Float[np.ndarray, "M F"]


@dataclass(frozen=True)
class SceneCan:
    """What the CAN bus of a scene holds; kinds that it does not hold are not in ``messages``."""

    messages: dict[str, Messages]
    """``pose`` (M, 16), ``speed`` (its forward velocity), ``feedback`` and ``monitor``: steering wheel, rad."""
    file_order: tuple[str, ...]
    """The parts of ``MOTION`` in the order of the file."""
    max_gap_s: float

    def at(self, kind: str, times_us: Int[np.ndarray, "N"]) -> Float[np.ndarray, "N"]:
        """The only value of the message nearest in time; NaN where there is none near."""
        if kind not in self.messages:
            return np.full(len(times_us), np.nan)
        found = self.messages[kind]
        row, is_near = nearest_message(found.times_us, times_us, self.max_gap_s)
        return np.where(is_near, found.values[row, 0], np.nan)


def read_scene_can(dataroot: Path, scene_name: str, bugs: frozenset[Bug]) -> SceneCan:
    """Read ``can_bus/`` of a scene; raises ``ValueError`` that names a broken file."""
    folder = dataroot / "can_bus"
    max_gap_s = np.inf if Bug.CAN_TWO_MESSAGES in bugs else MAX_GAP_S
    if scene_number(scene_name) in NO_CAN:
        return SceneCan({}, tuple(MOTION), max_gap_s)
    found: dict[str, Messages] = {}
    order = tuple(MOTION)
    rows = _rows(folder / f"{scene_name}_pose.json")
    if rows:
        found["pose"] = _messages(rows, {**PLACE, **MOTION}, folder / f"{scene_name}_pose.json")
        found["speed"] = Messages(found["pose"].times_us, found["pose"].values[:, 13:14])
        order = tuple(name for name in rows[0] if name in MOTION)
    for kind, file, field in (("feedback", "steeranglefeedback", "value"), ("monitor", "vehicle_monitor", "steering")):
        path = folder / f"{scene_name}_{file}.json"
        rows = _rows(path)
        if rows:
            found[kind] = _messages(rows, {field: 1}, path)
    if "monitor" in found:
        found["monitor"] = Messages(found["monitor"].times_us, np.deg2rad(found["monitor"].values))
    return SceneCan(found, order, max_gap_s)


def _rows(path: Path) -> list[Row]:
    return read_json(path) if path.is_file() else []


def _messages(rows: list[Row], fields: dict[str, int], path: Path) -> Messages:
    try:
        times = np.array([row["utime"] for row in rows], np.int64)
        parts = [np.array([row[name] for row in rows], float).reshape(len(rows), size) for name, size in fields.items()]
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: expected messages with utime, {', '.join(fields)}: {error!r}") from None
    order = np.argsort(times, kind="stable")
    return Messages(times[order], np.concatenate(parts, 1)[order])


def nearest_message(
    message_times_us: Int[np.ndarray, "M"], times_us: Int[np.ndarray, "N"], max_gap_s: float
) -> tuple[Int[np.ndarray, "N"], Bool[np.ndarray, "N"]]:
    """Index of the message nearest in time, the later of two as near, and whether it is within ``max_gap_s``."""
    later = np.searchsorted(message_times_us, times_us)
    earlier = np.maximum(later - 1, 0)
    later = np.minimum(later, len(message_times_us) - 1)
    is_earlier = np.abs(times_us - message_times_us[earlier]) < np.abs(message_times_us[later] - times_us)
    row = np.where(is_earlier, earlier, later)
    return row, np.abs(message_times_us[row] - times_us) <= max_gap_s * 1e6


def can_columns(
    can: SceneCan, times_us: Int[np.ndarray, "N"], rotation: np.ndarray, translation: np.ndarray, bugs: frozenset[Bug]
) -> Columns:
    """``can_bus`` (N, 18): position 3, orientation 4, acceleration 3, rotation rate 3, velocity 3, two zeros; zeros and
    ``has_can_bus`` false without a message. ``can_bus_loaded`` is what VAD's data set makes of it: place and rotation
    (w, x, y, z) of the ego pose, and yaw in rad and degrees, [0, 360), at its end."""
    bus, is_known = _converted(can, times_us, bugs)
    loaded = bus.copy()
    loaded[:, :3] = translation
    loaded[:, 3:7] = rotation[:, :1] if Bug.CAN_SCALAR_ROTATION in bugs else rotation
    degrees = np.rad2deg(yaw_from_rotation(rotation_from_quaternion(rotation))) % 360
    loaded[:, -2], loaded[:, -1] = np.deg2rad(degrees), degrees
    return {"can_bus": bus, "can_bus_loaded": loaded, "has_can_bus": is_known}


def _converted(
    can: SceneCan, times_us: Int[np.ndarray, "N"], bugs: frozenset[Bug]
) -> tuple[Float[np.ndarray, "N 18"], Bool[np.ndarray, "N"]]:
    bus = np.zeros((len(times_us), WIDTH))
    if "pose" not in can.messages:
        return bus, np.zeros(len(times_us), bool)
    pose = can.messages["pose"]
    place, is_known = nearest_message(pose.times_us, times_us, can.max_gap_s)
    motion = place
    if Bug.CAN_TWO_MESSAGES in bugs:
        after = np.searchsorted(pose.times_us, times_us, side="right")
        place, motion = np.maximum(after - 1, 0), np.minimum(after, len(pose.times_us) - 1)
    bus[:, :7], bus[:, 7:16] = pose.values[place, :7], pose.values[motion][:, _motion_columns(can, bugs)]
    return np.where(is_known[:, None], bus, 0.0), is_known


def _motion_columns(can: SceneCan, bugs: frozenset[Bug]) -> list[int]:
    order = can.file_order if Bug.CAN_FILE_ORDER in bugs else tuple(MOTION)
    first = dict(zip(MOTION, (7, 10, 13), strict=True))
    return [first[name] + axis for name in order for axis in range(3)]
