"""CAN bus of a nuScenes scene: ego motion at a keyframe from the message nearest in time, and the planned route."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dima_pipeline.datasets._nuscenes_check import read_json

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
    """Read what ``can_bus/`` has for a scene at the keyframes ``times_us``; raises ``ValueError`` for a broken file."""
    motion = np.full((len(times_us), 4), np.nan)
    number = scene_number(scene_name)
    if number in NO_CAN:
        return CanBus(motion, None)
    folder = dataroot / "can_bus"
    pose = _read_messages(folder / f"{scene_name}_pose.json", {"vel": 0, "accel": 0, "rotation_rate": 2})
    if pose is not None:
        motion[:, :3] = nearest(*pose, times_us)
    motion[:, 3] = _steering(folder, scene_name, times_us)
    return CanBus(motion, None if number in OFF_ROUTE else _read_route(folder / f"{scene_name}_route.json"))


def _steering(folder: Path, scene_name: str, times_us: np.ndarray) -> np.ndarray:
    feedback = _read_messages(folder / f"{scene_name}_steeranglefeedback.json", {"value": None})
    if feedback is not None:
        return nearest(*feedback, times_us)[:, 0]
    monitor = _read_messages(folder / f"{scene_name}_vehicle_monitor.json", {"steering": None})
    if monitor is not None:
        return np.deg2rad(nearest(*monitor, times_us)[:, 0])
    return np.full(len(times_us), np.nan)


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


def _read_messages(path: Path, fields: dict[str, int | None]) -> tuple[np.ndarray, np.ndarray] | None:
    """Times (M,) and values (M, F) of a message file, sorted by time; None when missing or empty."""
    messages = read_json(path) if path.is_file() else []
    if not messages:
        return None
    try:
        times = np.array([message["utime"] for message in messages], np.int64)
        columns = [
            [message[name] if axis is None else message[name][axis] for message in messages]
            for name, axis in fields.items()
        ]
        values = np.array(columns, float).T
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: expected messages with utime, {', '.join(fields)}: {error!r}") from None
    order = np.argsort(times, kind="stable")
    return times[order], values[order]


def _read_route(path: Path) -> np.ndarray | None:
    if not path.is_file():
        return None
    try:
        route = np.array(read_json(path), float).reshape(-1, 2)
    except (TypeError, ValueError):
        raise ValueError(f"{path}: expected a list of points [x, y]") from None
    moves = np.linalg.norm(np.diff(route, axis=0), axis=1) > 1e-3
    route = route[np.concatenate([[True], moves])] if len(route) else route
    return route if len(route) > 1 else None
