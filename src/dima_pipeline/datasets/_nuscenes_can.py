"""CAN bus of a nuScenes scene: ego motion at a keyframe from the message nearest in time, and the planned route."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import msgspec
import numpy as np

from dima_pipeline.contracts.findings import BrokenRecording
from dima_pipeline.datasets._nuscenes_check import MAX_NUMBER, read_json
from dima_pipeline.datasets._nuscenes_columns import TIME_US
from dima_pipeline.datasets._nuscenes_findings import broken, of_scene

MESSAGES = ("pose", "steeranglefeedback", "vehicle_monitor", "route")
"""Kinds of messages that are read, here and for VAD's infos."""

NO_CAN = frozenset([*range(161, 169), *range(170, 177), *range(309, 315)])
"""Numbers of the official scenes that were recorded without CAN bus (``can_blacklist`` of the devkit)."""

OFF_ROUTE = frozenset(
    (
        *(71, *range(73, 77), 85, 100, 101, *range(106, 111), *range(112, 120), *range(261, 265), 276),
        *(*range(302, 307), 334, *range(388, 391), 436, *range(499, 503), *range(504, 516), 517, 518),
        *(*range(547, 552), *range(556, 566), 730, 731, *range(733, 739), 778, *range(780, 785), 904, 905, 1073, 1074),
    )
)
"""Numbers of the official scenes whose route lies more than 5 m from the driven path (``route_blacklist``)."""

MAX_GAP_S = 0.5
"""A message further from the keyframe than this says nothing about it (vehicle_monitor comes at 2 Hz)."""
NUMBER = Annotated[float, msgspec.Meta(ge=-MAX_NUMBER, le=MAX_NUMBER)]
VECTOR = Annotated[list[NUMBER], msgspec.Meta(min_length=3)]
POINT = Annotated[list[NUMBER], msgspec.Meta(min_length=2, max_length=2)]


@dataclass(frozen=True)
class CanBus:
    """Messages of one scene; null (NaN) or None where there are none."""

    motion: np.ndarray
    """(N, 4) at the keyframes: speed (m/s, negative when reversing), acceleration (m/s2), yaw rate (rad/s), steering
    wheel angle (rad, left positive)."""
    route: np.ndarray | None
    """(M, 2) planned route, global x and y in metres."""


def scene_number(name: str) -> int | None:
    """103 of ``scene-0103``; None for other names."""
    digits = name.removeprefix("scene-")
    return int(digits) if name.startswith("scene-") and digits.isdigit() else None


def read_can_bus(dataroot: Path, scene_name: str, times_us: np.ndarray) -> CanBus:
    """Read what ``can_bus/`` has for a scene at the keyframes ``times_us``.

    Raises ``BrokenRecording`` for a broken file, and for messages that are all of another time.
    """
    motion = np.full((len(times_us), 4), np.nan)
    number = scene_number(scene_name)
    if number in NO_CAN:
        return CanBus(motion, None)
    files = _Files(dataroot / "can_bus", scene_name)
    pose = files.at("pose", {"vel": 0, "accel": 0, "rotation_rate": 2}, times_us)
    if pose is not None:
        motion[:, :3] = pose
    motion[:, 3] = _steering(files, times_us)
    return CanBus(motion, None if number in OFF_ROUTE else files.route())


def _steering(files: "_Files", times_us: np.ndarray) -> np.ndarray:
    feedback = files.at("steeranglefeedback", {"value": None}, times_us)
    if feedback is not None:
        return feedback[:, 0]
    monitor = files.at("vehicle_monitor", {"steering": None}, times_us)
    return np.full(len(times_us), np.nan) if monitor is None else np.deg2rad(monitor[:, 0])


def nearest(message_times_us: np.ndarray, values: np.ndarray, times_us: np.ndarray) -> np.ndarray:
    """Rows of ``values`` (M, F) nearest in time to ``times_us`` (N,), as (N, F); NaN where further than ``MAX_GAP_S``.

    The converter of VAD takes acceleration and velocity of the message after the one it means; time decides here.
    """
    later = np.clip(np.searchsorted(message_times_us, times_us), 1, max(len(message_times_us) - 1, 1))
    earlier = later - 1
    later = np.minimum(later, len(message_times_us) - 1)
    is_later_nearer = np.abs(message_times_us[later] - times_us) < np.abs(message_times_us[earlier] - times_us)
    row = np.where(is_later_nearer, later, earlier)
    is_near = np.abs(message_times_us[row] - times_us) <= MAX_GAP_S * 1e6
    return np.where(is_near[:, None], values[row], np.nan)


@dataclass(frozen=True)
class _Files:
    """The files of one scene."""

    folder: Path
    scene_name: str

    def at(self, kind: str, fields: dict[str, int | None], times_us: np.ndarray) -> np.ndarray | None:
        """Numbers (N, F) of the messages nearest in time, each a field or the element of one; None without messages."""
        types = [("utime", TIME_US), *((name, NUMBER if axis is None else VECTOR) for name, axis in fields.items())]
        expected = f"messages with utime, {', '.join(fields)}"
        messages = self._read(kind, list[msgspec.defstruct("Message", types)], expected)  # type: ignore[misc]
        if not messages:
            return None
        times = np.array([message.utime for message in messages], np.int64)
        columns = [[getattr(message, name) for message in messages] for name in fields]
        chosen = zip(columns, fields.values(), strict=True)
        values = [column if axis is None else [vector[axis] for vector in column] for column, axis in chosen]
        order = np.argsort(times, kind="stable")
        found = nearest(times[order], np.array(values, float).T[order], times_us)
        if np.isnan(found).all():
            raise self._broken(kind, "no message is near a keyframe in time: is it of another scene?")
        return found

    def route(self) -> np.ndarray | None:
        """Points (M, 2) that the route consists of."""
        route = np.array(self._read("route", list[POINT], "a list of points [x, y]"), float).reshape(-1, 2)  # type: ignore[valid-type]
        moves = np.linalg.norm(np.diff(route, axis=0), axis=1) > 1e-3
        route = route[np.concatenate([[True], moves])] if len(route) else route
        return route if len(route) > 1 else None

    def _read(self, kind: str, content_type: Any, expected: str) -> list[Any]:
        """Content of a file; empty where there is none."""
        path = self.folder / f"{self.scene_name}_{kind}.json"
        try:
            with of_scene(self.scene_name):
                content = read_json(path, f"can_bus/{path.name}", "broken_can_bus") if path.exists() else []
            return msgspec.convert(content, content_type)
        except (msgspec.ValidationError, UnicodeEncodeError) as error:
            raise self._broken(kind, f"expected {expected}: {error}") from None

    def _broken(self, kind: str, reason: str) -> BrokenRecording:
        path = self.folder / f"{self.scene_name}_{kind}.json"
        return broken("broken_can_bus", f"can_bus/{path.name}", f"{path}: {reason}", scene_name=self.scene_name)
