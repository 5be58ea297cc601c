"""Scenes typed by hand for tests of annotation: ego poses and agents over time in, the tables of ingestion out."""

from dataclasses import dataclass, field
from types import SimpleNamespace

import numpy as np
import pandas as pd

from dima_pipeline.contracts.frames import CAMERAS, NUM_POLYLINE_POINTS
from dima_pipeline.geometry import quaternion_from_yaw, to_frame, wrap_angle
from scene_batches import CAMERA_YAWS_DEG

STEPS = (*range(-4, 0), *range(1, 7))
SIZES = {
    "car": (4.6, 1.9, 1.6),
    "truck": (7.0, 2.5, 3.0),
    "bus": (11.0, 2.9, 3.3),
    "pedestrian": (0.7, 0.7, 1.8),
    "bicycle": (1.8, 0.6, 1.5),
    "traffic_cone": (0.4, 0.4, 1.0),
    "barrier": (0.6, 2.0, 1.0),
    "construction_vehicle": (6.0, 2.8, 3.0),
}


@dataclass
class Actor:
    """An agent: x, y, yaw at every keyframe in the global frame, or one pose for all."""

    category: str
    track: object
    attribute: str | None = None
    visibility: float | None = None
    num_lidar_points: float | None = None


@dataclass
class HandScene:
    """Poses of the ego (N, 3) at 2 Hz in the global frame, agents by name and polylines by kind, all global."""

    ego: object
    actors: dict[str, Actor] = field(default_factory=dict)
    lines: list[tuple[str, object]] = field(default_factory=list)
    description: str = "Sunny, straight road"
    name: str = "scene-0001"
    speeds: object = None
    """CAN bus speeds; None: unknown."""


def straight(num: int, speed_mps: float, start_x: float = 0.0, y: float = 0.0) -> np.ndarray:
    """Poses of something that drives along x."""
    x = start_x + speed_mps * 0.5 * np.arange(num)
    return np.stack([x, np.full(num, y), np.zeros(num)], -1)


def from_speeds(speeds: object, yaw_rates: object = 0.0) -> np.ndarray:
    """Poses of an ego that drives each half second at a speed and turns at a rate (m/s, rad/s)."""
    speeds = np.asarray(speeds, float)
    yaw = np.cumsum(np.broadcast_to(yaw_rates, speeds.shape) * 0.5)
    heading = np.concatenate([[0.0], yaw])
    move = 0.5 * speeds[:, None] * np.stack([np.cos(heading[:-1]), np.sin(heading[:-1])], -1)
    return np.concatenate([np.concatenate([np.zeros((1, 2)), np.cumsum(move, axis=0)]), heading[:, None]], -1)


def make_tables(*scenes: HandScene) -> SimpleNamespace:
    """The tables of scenes, with the fields of ``datasets.SceneTables``."""
    parts = [_tables(scene) for scene in scenes]
    names = ("scenes", "samples", "agents", "ego_paths", "agent_futures", "map_elements")
    return SimpleNamespace(**{name: pd.concat([part[name] for part in parts], ignore_index=True) for name in names})


def token(scene: HandScene, index: int) -> str:
    """Sample token of a keyframe."""
    return f"{scene.name}-{index:03d}"


def _tables(scene: HandScene) -> dict[str, pd.DataFrame]:
    ego = np.asarray(scene.ego, float)
    tracks = {name: np.broadcast_to(np.asarray(actor.track, float), ego.shape) for name, actor in scene.actors.items()}
    return {
        "scenes": pd.DataFrame([_scene_row(scene, len(ego))]),
        "samples": pd.DataFrame([_sample_row(scene, ego, at) for at in range(len(ego))]),
        "agents": pd.DataFrame(_agent_rows(scene, ego, tracks), columns=_AGENT_COLUMNS),
        "ego_paths": pd.DataFrame(_ego_rows(scene, ego)),
        "agent_futures": pd.DataFrame(_future_rows(scene, ego, tracks), columns=_FUTURE_COLUMNS),
        "map_elements": pd.DataFrame(_map_rows(scene, ego), columns=["sample_token", "kind", "points"]),
    }


_AGENT_COLUMNS = [
    *("sample_token", "instance_token", "category", "attribute", "visibility"),
    *("x_m", "y_m", "z_m", "yaw_rad", "length_m", "width_m", "height_m", "vx_mps", "vy_mps", "num_lidar_points"),
]
_FUTURE_COLUMNS = ["sample_token", "instance_token", "step", "x_m", "y_m", "yaw_rad", "valid"]


def _scene_row(scene: HandScene, num: int) -> dict[str, object]:
    return {
        "scene_token": f"token-{scene.name}",
        "name": scene.name,
        "log_token": "log",
        "location": "boston-seaport",
        "description": scene.description,
        "split": "train",
        "num_samples": num,
        "first_timestamp_us": 0,
        "last_timestamp_us": 500_000 * (num - 1),
    }


def _sample_row(scene: HandScene, ego: np.ndarray, at: int) -> dict[str, object]:
    qw, qx, qy, qz = quaternion_from_yaw(ego[at, 2])
    row: dict[str, object] = {
        "sample_token": token(scene, at),
        "scene_token": f"token-{scene.name}",
        "index": at,
        "timestamp_us": 500_000 * at,
        "prev": token(scene, at - 1) if at else None,
        "next": token(scene, at + 1) if at + 1 < len(ego) else None,
        **{"ego_x_m": ego[at, 0], "ego_y_m": ego[at, 1], "ego_z_m": 0.0},
        **{"ego_qw": qw, "ego_qx": qx, "ego_qy": qy, "ego_qz": qz},
        "speed_mps": np.nan if scene.speeds is None else float(np.asarray(scene.speeds)[at]),
        **{"acceleration_mps2": np.nan, "yaw_rate_radps": np.nan, "steering_rad": np.nan},
        **{"command_driven": "straight", "command_route": "unknown"},
    }
    for camera, yaw_deg in zip(CAMERAS, CAMERA_YAWS_DEG, strict=True):
        row |= _camera(camera.lower(), np.radians(yaw_deg))
    return row


def _camera(name: str, yaw: float) -> dict[str, object]:
    # Camera x right, y down, z forward; 1.5 m up at the origin; 70 degrees wide in an image of 800 x 450.
    rotation = np.array([[np.sin(yaw), -np.cos(yaw), 0], [0, 0, -1], [np.cos(yaw), np.sin(yaw), 0]])
    camera_from_ego = np.eye(4)
    camera_from_ego[:3, :3] = rotation
    camera_from_ego[:3, 3] = -rotation @ [0.0, 0.0, 1.5]
    focal = 400 / np.tan(np.radians(35))
    intrinsics = [focal, 0, 400, 0, focal, 225, 0, 0, 1]
    return {
        f"{name}_file": f"{name}.jpg",
        f"{name}_source": "recorded",
        f"{name}_width": 800,
        f"{name}_height": 450,
        f"{name}_intrinsics": intrinsics,
        f"{name}_camera_from_ego": camera_from_ego.ravel().tolist(),
    }


def _in_ego(pose: np.ndarray, ego: np.ndarray) -> tuple[float, float, float]:
    x, y = to_frame(pose[:2], ego)
    return float(x), float(y), float(wrap_angle(pose[2] - ego[2]))


def _agent_rows(scene: HandScene, ego: np.ndarray, tracks: dict[str, np.ndarray]) -> list[tuple[object, ...]]:
    rows = []
    for at in range(len(ego)):
        for name, actor in scene.actors.items():
            x, y, yaw = _in_ego(tracks[name][at], ego[at])
            length, width, height = SIZES[actor.category]
            nearby = tracks[name][max(at - 1, 0) : at + 2]
            velocity = (nearby[-1, :2] - nearby[0, :2]) / (0.5 * max(len(nearby) - 1, 1))
            vx, vy = to_frame(velocity, np.array([0.0, 0.0, ego[at, 2]]))
            named = (token(scene, at), name, actor.category, actor.attribute, actor.visibility)
            rows.append((*named, x, y, height / 2, yaw, length, width, height, vx, vy, actor.num_lidar_points))
    return rows


def _ego_rows(scene: HandScene, ego: np.ndarray) -> list[dict[str, object]]:
    rows = []
    for at in range(len(ego)):
        for step in STEPS:
            valid = 0 <= at + step < len(ego)
            x, y, yaw = _in_ego(ego[at + step], ego[at]) if valid else (0.0, 0.0, 0.0)
            rows.append(
                {"sample_token": token(scene, at), "step": step, "x_m": x, "y_m": y, "yaw_rad": yaw, "valid": valid}
            )
    return rows


def _future_rows(scene: HandScene, ego: np.ndarray, tracks: dict[str, np.ndarray]) -> list[tuple[object, ...]]:
    rows = []
    for at in range(len(ego)):
        for name, track in tracks.items():
            for step in range(1, 7):
                valid = at + step < len(ego)
                pose = _in_ego(track[at + step], ego[at]) if valid else (0.0, 0.0, 0.0)
                rows.append((token(scene, at), name, step, *pose, valid))
    return rows


def _map_rows(scene: HandScene, ego: np.ndarray) -> list[tuple[object, ...]]:
    rows = []
    for at in range(len(ego)):
        for kind, line in scene.lines:
            ends = to_frame(np.asarray(line, float), ego[at])
            share = np.linspace(0, 1, NUM_POLYLINE_POINTS)[:, None]
            points = ends[0] + share * (ends[1] - ends[0])
            # As in ingestion, a line is cut to the 60 x 30 m around the ego.
            inside = (np.abs(points) <= (30.0, 15.0)).all(1)
            if inside.sum() >= 2:
                first, last = np.flatnonzero(inside)[[0, -1]]
                points = points[first] + share * (points[last] - points[first])
                rows.append((token(scene, at), kind, points.ravel().tolist()))
    return rows
