"""CAN-bus messages of a scene in the layout of the nuScenes expansion: what the car itself would have reported.

The planned route comes from the lanes alone and runs past the end of the scene; it does not know what was driven.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from dima_pipeline.geometry import quaternion_from_yaw, resample_polyline
from dima_pipeline.world.actors import LAMPS
from dima_pipeline.world.drama import Drama

Array = np.ndarray
POSE_HZ = 50
MONITOR_HZ = 2
STEERING_RATIO = 16.0
"""Steering wheel angle per angle of the front wheels."""
ROUTE_STEP_M = 2.0


def write_can_bus(directory: Path, scene_name: str, drama: Drama, start_us: int) -> None:
    """Write ``<scene>_{pose,steeranglefeedback,vehicle_monitor,route,meta}.json`` into ``directory``."""
    messages: dict[str, Any] = {
        "pose": pose_messages(drama, start_us),
        "steeranglefeedback": steering_messages(drama, start_us),
        "vehicle_monitor": monitor_messages(drama, start_us),
    }
    messages["meta"] = {name: summarise(rows) for name, rows in messages.items()}
    messages["route"] = planned_route(drama).round(3).tolist()
    for name, content in messages.items():
        (directory / f"{scene_name}_{name}.json").write_text(json.dumps(content))


def _motion(drama: Drama, rate_hz: int) -> dict[str, Array]:
    """Ego motion on the canvas at a fixed rate: times_s, pose (N, 3), signed speed, acceleration, yaw rate, wheel."""
    tracks, placement = drama.tracks, drama.town.placement
    fine = np.arange(0.0, tracks.times_s[-1] + 1e-9, 1 / POSE_HZ)
    pose = np.stack([np.interp(fine, tracks.times_s, values) for values in tracks.ego_poses.T], -1)
    speed = _mean_over(np.interp(fine, tracks.times_s, tracks.speeds[:, 0]), 5)
    steering = placement.side * np.interp(fine, tracks.times_s, tracks.steering_rad)
    motion = {
        "times_s": fine,
        "pose": placement.poses(pose),
        "speed": speed,
        "acceleration": np.gradient(speed, 1 / POSE_HZ),
        "yaw_rate": placement.side * _mean_over(np.gradient(pose[:, 2], 1 / POSE_HZ), 5),
        "wheel": STEERING_RATIO * steering,
    }
    return {name: values[:: POSE_HZ // rate_hz] for name, values in motion.items()}


def _mean_over(values: Float[Array, "N"], width: int) -> Float[Array, "N"]:
    padded = np.pad(values, width // 2, mode="edge")
    return np.convolve(padded, np.full(width, 1 / width), mode="valid")


def _utime(start_us: int, time_s: float) -> int:
    return start_us + round(time_s * 1e6)


def pose_messages(drama: Drama, start_us: int) -> list[dict[str, Any]]:
    """Ego pose at 50 Hz; velocity and acceleration in ego axes, so reversing has a negative ``vel[0]``."""
    motion = _motion(drama, POSE_HZ)
    quaternions = quaternion_from_yaw(motion["pose"][:, 2])
    rows = []
    for index, time in enumerate(motion["times_s"]):
        speed, rate = float(motion["speed"][index]), float(motion["yaw_rate"][index])
        rows.append(
            {
                "utime": _utime(start_us, time),
                "pos": [*map(float, motion["pose"][index, :2].round(4)), 0.0],
                "vel": [round(speed, 4), 0.0, 0.0],
                "accel": [round(float(motion["acceleration"][index]), 4), round(speed * rate, 4), 9.81],
                "orientation": [float(q) for q in quaternions[index]],
                "rotation_rate": [0.0, 0.0, round(rate, 5)],
            }
        )
    return rows


def steering_messages(drama: Drama, start_us: int) -> list[dict[str, Any]]:
    """Steering wheel angle at 50 Hz, rad, left positive."""
    motion = _motion(drama, POSE_HZ)
    pairs = zip(motion["times_s"], motion["wheel"], strict=True)
    return [{"utime": _utime(start_us, time), "value": round(float(angle), 4)} for time, angle in pairs]


def monitor_messages(drama: Drama, start_us: int) -> list[dict[str, Any]]:
    """The slow vehicle monitor: km/h, degrees, pedals, turn signals."""
    motion = _motion(drama, MONITOR_HZ)
    left, right = (LAMPS.index(side) for side in drama.town.placement.sides)
    ticks = np.searchsorted(drama.tracks.times_s, motion["times_s"] - 1e-6)
    rows = []
    for index, time in enumerate(motion["times_s"]):
        speed, pull = float(motion["speed"][index]), float(motion["acceleration"][index])
        lamps = drama.tracks.lights[ticks[index], 0]
        rows.append(
            {
                "utime": _utime(start_us, time),
                "vehicle_speed": round(abs(speed) * 3.6, 2),
                "steering": round(float(np.rad2deg(motion["wheel"][index])), 1),
                "yaw_rate": round(float(np.rad2deg(motion["yaw_rate"][index])), 2),
                "brake": round(max(0.0, -pull) * 20),
                "brake_switch": 2 if pull < -0.3 else 1,
                "throttle": round(max(0.0, pull) * 60),
                "gear_position": 2 if speed < -0.05 else 7,
                "left_signal": int(lamps[left]),
                "right_signal": int(lamps[right]),
            }
        )
    return rows


def planned_route(drama: Drama) -> Float[Array, "N 2"]:
    """Middle of the planned lanes on the canvas, a point every two metres."""
    curves = drama.stage.planned or tuple(lane.curve for lane in drama.stage.route.lanes)
    line = np.concatenate([curve.polyline(1.0) for curve in curves])
    length = float(np.linalg.norm(np.diff(line, axis=0), axis=1).sum())
    return drama.town.placement.points(resample_polyline(line, max(2, round(length / ROUTE_STEP_M))))


def summarise(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Message count, rate and per-field statistics, as the ``meta`` file has them."""
    times = np.array([row["utime"] for row in rows]) / 1e6
    fields: dict[str, Any] = {}
    for name in rows[0]:
        if name == "utime":
            continue
        values = np.array([row[name] for row in rows], float)
        fields[name] = {
            "min": values.min(0).tolist(),
            "max": values.max(0).tolist(),
            "mean": values.mean(0).round(6).tolist(),
        }
    gap = float(np.diff(times).mean()) if len(times) > 1 else 0.0
    return {"message_count": len(rows), "message_freq": round(1 / gap, 3) if gap else 0.0, "var_stats": fields}
