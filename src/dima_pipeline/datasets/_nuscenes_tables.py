"""Rows of one nuScenes scene as the project's tables: everything in the ego frame of its keyframe, without loops over
boxes. The formulas are VAD's and the devkit's, without the known faults of the converters (categories by position,
message after the one meant, futures that forget gaps).
"""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int

from dima_pipeline.contracts.frames import AGENT_CATEGORIES, CAMERAS, NUM_FUTURE_STEPS, NUM_PAST_STEPS, STEP_S
from dima_pipeline.datasets._nuscenes_check import Records, Row, vectors
from dima_pipeline.geometry import invert_rigid, rigid, rotation_from_quaternion, wrap_angle, yaw_from_rotation

FUTURE_STEPS = np.arange(1, NUM_FUTURE_STEPS + 1)
PATH_STEPS = np.concatenate([np.arange(-NUM_PAST_STEPS, 0), FUTURE_STEPS])
MAX_VELOCITY_GAP_S = 1.5
"""Boxes further apart in time give no velocity (``box_velocity`` of the devkit; twice that for both neighbours)."""
DRIVEN_OFFSET_M = 2.0
MAX_DRIFT_S = 0.4
"""A keyframe counted at 2 Hz may be this far from its nominal time; more is a gap in the recording."""


@dataclass(frozen=True)
class SceneFrames:
    """The keyframes of one scene."""

    name: str
    token: str
    samples: list[Row]
    times_us: Int[np.ndarray, "N"]
    pose: Float[np.ndarray, "N 7"]
    """Global position and quaternion of the reference sensor's ego pose."""
    global_from_ego: Float[np.ndarray, "N 4 4"]
    step_rows: Int[np.ndarray, "N 10"]
    """Keyframe at each of ``PATH_STEPS``, -1 where the scene has none."""

    @property
    def tokens(self) -> list[str]:
        """sample_token of every keyframe."""
        return [row["token"] for row in self.samples]


def scene_frames(records: Records, name: str, reference_channel: str) -> SceneFrames:
    """Poses and time of all keyframes of a scene."""
    samples = records.scene_samples(name)
    rows = [records.sensor_rows[sample["token"]][reference_channel] for sample in samples]
    position, quaternion = _poses(records, rows)
    times_us = np.array([sample["timestamp"] for sample in samples], np.int64)
    return SceneFrames(
        name=name,
        token=records.scenes[name]["token"],
        samples=samples,
        times_us=times_us,
        pose=np.concatenate([position, quaternion], 1),
        global_from_ego=rigid(rotation_from_quaternion(quaternion), position),
        step_rows=keyframe_at_steps(times_us, PATH_STEPS),
    )


def _poses(records: Records, rows: list[Row]) -> tuple[np.ndarray, np.ndarray]:
    poses = [records.ego_poses[row["ego_pose_token"]] for row in rows]
    return _placed(poses, records.directory / "ego_pose.json")


def _placed(rows: list[Row], table: Path) -> tuple[np.ndarray, np.ndarray]:
    """Translations (N, 3) and unit quaternions (N, 4) of rows that ``check_poses`` has seen."""
    quaternion = vectors(rows, "rotation", 4, table)
    return vectors(rows, "translation", 3, table), quaternion / np.linalg.norm(quaternion, axis=1)[:, None]


def keyframe_at_steps(times_us: Int[np.ndarray, "N"], steps: Int[np.ndarray, "S"]) -> Int[np.ndarray, "N S"]:
    """Index of the keyframe ``step`` half seconds away, -1 where there is none.

    At 2 Hz it is the index plus the step, as every published protocol counts, though real keyframes drift by up to
    0.3 s over six steps. Across gaps and at other rates it is the keyframe nearest in time, within half a step.
    """
    nearest, is_near = _nearest_in_time(times_us, steps)
    counted = np.arange(len(times_us))[:, None] + steps
    is_counted = (counted >= 0) & (counted < len(times_us)) & _is_two_hertz(times_us)
    counted = np.clip(counted, 0, len(times_us) - 1)
    is_counted &= np.abs(times_us[counted] - times_us[:, None] - steps * STEP_S * 1e6) <= MAX_DRIFT_S * 1e6
    return np.where(is_counted, counted, np.where(is_near, nearest, -1))


def _is_two_hertz(times_us: Int[np.ndarray, "N"]) -> bool:
    return len(times_us) > 1 and abs(float(np.median(np.diff(times_us))) / 1e6 - STEP_S) <= 0.2 * STEP_S


def _nearest_in_time(times_us: np.ndarray, steps: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Keyframe nearest to each step's time, and whether it is less than half a step away, both (N, S)."""
    wanted = times_us[:, None] + steps * round(STEP_S * 1e6)
    later = np.clip(np.searchsorted(times_us, wanted), 0, len(times_us) - 1)
    earlier = np.maximum(later - 1, 0)
    is_earlier = np.abs(times_us[earlier] - wanted) <= np.abs(times_us[later] - wanted)
    row = np.where(is_earlier, earlier, later)
    return row, np.abs(times_us[row] - wanted) < STEP_S * 1e6 / 2


def camera_columns(records: Records, frames: SceneFrames, dataroot: Path) -> dict[str, list]:
    """Columns of the six cameras of ``samples``; a file that is not there has source ``missing``."""
    columns: dict[str, list] = {}
    table = records.directory / "calibrated_sensor.json"
    for camera in CAMERAS:
        rows = [records.sensor_rows[token][camera] for token in frames.tokens]
        calibrations = [records.calibrations[row["calibrated_sensor_token"]] for row in rows]
        at, turn = _placed(calibrations, table)
        ego_from_camera = rigid(rotation_from_quaternion(turn), at)
        there, heading = _poses(records, rows)
        global_from_camera = rigid(rotation_from_quaternion(heading), there) @ ego_from_camera
        camera_from_ego = invert_rigid(global_from_camera) @ frames.global_from_ego
        name = camera.lower()
        files = [row["filename"] for row in rows]
        columns[f"{name}_file"] = files
        columns[f"{name}_source"] = ["recorded" if (dataroot / file).is_file() else "missing" for file in files]
        columns |= {f"{name}_{side}": [int(row[side]) for row in rows] for side in ("width", "height")}
        columns[f"{name}_intrinsics"] = list(vectors(calibrations, "camera_intrinsic", 9, table))
        columns[f"{name}_camera_from_ego"] = list(camera_from_ego.reshape(-1, 16))
    return columns


def ego_paths(frames: SceneFrames) -> pd.DataFrame:
    """The driven path around every keyframe, as table ``ego_paths``."""
    num_samples, num_steps = frames.step_rows.shape
    valid = frames.step_rows >= 0
    ego_from_step = invert_rigid(frames.global_from_ego)[:, None] @ frames.global_from_ego[frames.step_rows]
    placed = np.where(valid[..., None], _planar(ego_from_step), 0.0).reshape(-1, 3)
    return pd.DataFrame(
        {
            "sample_token": np.repeat(frames.tokens, num_steps),
            "step": np.tile(PATH_STEPS, num_samples),
            **dict(zip(("x_m", "y_m", "yaw_rad"), placed.T, strict=True)),
            "valid": valid.ravel(),
        }
    )


def _planar(transform: Float[np.ndarray, "... 4 4"]) -> Float[np.ndarray, "... 3"]:
    """x, y and yaw of a transform, to a billionth: numpy's products of small matrices differ in the last bit with where
    the arrays happen to lie in memory, and tables must be the same from run to run."""
    yaw = yaw_from_rotation(transform[..., :3, :3])
    exact = np.concatenate([transform[..., :2, 3], wrap_angle(yaw)[..., None]], -1)
    return np.round(exact, 9) + 0.0  # no -0.0


def driven_commands(paths: pd.DataFrame, num_samples: int) -> list[str]:
    """VAD's rule: left or right where the driven 3 s end 2 m or more to that side; the last valid step near the end of
    a scene, ``unknown`` at the very end."""
    lateral = paths["y_m"].to_numpy().reshape(num_samples, -1)[:, NUM_PAST_STEPS:]
    valid = paths["valid"].to_numpy().reshape(num_samples, -1)[:, NUM_PAST_STEPS:]
    last = NUM_FUTURE_STEPS - 1 - valid[:, ::-1].argmax(1)
    offset = lateral[np.arange(num_samples), last]
    turn = np.where(offset >= DRIVEN_OFFSET_M, "left", np.where(offset <= -DRIVEN_OFFSET_M, "right", "straight"))
    return np.where(valid.any(1), turn, "unknown").tolist()


def speeds(frames: SceneFrames, can_speed_mps: Float[np.ndarray, "N"]) -> Float[np.ndarray, "N"]:
    """Speed known at each keyframe without looking ahead: of the CAN bus, else over the step before; NaN at first."""
    moved = np.linalg.norm(np.diff(frames.pose[:, :3], axis=0), axis=1)
    since = np.concatenate([[np.nan], moved / np.diff(frames.times_us) * 1e6])
    return np.where(np.isfinite(can_speed_mps), can_speed_mps, since)


@dataclass(frozen=True)
class SceneAgents:
    """Tables ``agents`` and ``agent_futures`` of one scene, and what has no place in them."""

    agents: pd.DataFrame
    futures: pd.DataFrame
    unmapped: Counter[str]
    """Boxes left out, by category name."""


def scene_agents(records: Records, frames: SceneFrames) -> SceneAgents:
    """Boxes of a scene in the ego frame of their keyframe."""
    rows, at_sample, unmapped = [], [], Counter[str]()
    for index, token in enumerate(frames.tokens):
        for row in records.annotations[token]:
            name = records.categories[row["instance_token"]]
            if agent_category(name) is None:
                unmapped[name] += 1
            else:
                rows.append(row)
                at_sample.append(index)
    sample = np.array(at_sample, np.int64)
    table = records.directory / "sample_annotation.json"
    center, quaternion = _placed(rows, table)
    rotation = rotation_from_quaternion(quaternion)
    agents = _agent_columns(records, frames, rows, sample)
    ego_from_global = invert_rigid(frames.global_from_ego)[sample]
    ego_from_box = ego_from_global @ rigid(rotation, center)
    velocity = np.einsum("aij,aj->ai", ego_from_global[:, :3, :3], _velocities(rows, center, frames.times_us[sample]))
    placed = _planar(ego_from_box)
    agents.update(x_m=placed[:, 0], y_m=placed[:, 1], z_m=ego_from_box[:, 2, 3], yaw_rad=placed[:, 2])
    agents.update(vx_mps=velocity[:, 0], vy_mps=velocity[:, 1])
    futures = _futures(frames, [row["instance_token"] for row in rows], sample, rigid(rotation, center))
    return SceneAgents(pd.DataFrame(agents)[list(AGENT_COLUMNS)], futures, unmapped)


AGENT_COLUMNS = (
    *("sample_token", "instance_token", "category", "attribute", "visibility", "x_m", "y_m", "z_m", "yaw_rad"),
    *("length_m", "width_m", "height_m", "vx_mps", "vy_mps", "num_lidar_points"),
)


def agent_category(name: str) -> str | None:
    """Detection class of a nuScenes category name, by the devkit's mapping; own class names pass; None for others."""
    from nuscenes.eval.detection.utils import category_to_detection_name

    return name if name in AGENT_CATEGORIES else category_to_detection_name(name)


def _agent_columns(records: Records, frames: SceneFrames, rows: list[Row], sample: np.ndarray) -> dict:
    table = records.directory / "sample_annotation.json"
    size = vectors(rows, "size", 3, table)
    attributes = [(row.get("attribute_tokens") or [""])[0] for row in rows]
    tokens = frames.tokens
    return {
        "sample_token": [tokens[index] for index in sample],
        "instance_token": [row["instance_token"] for row in rows],
        "category": [agent_category(records.categories[row["instance_token"]]) for row in rows],
        "attribute": [records.attributes.get(token) for token in attributes],
        "visibility": [_visibility(records, row.get("visibility_token")) for row in rows],
        **dict(zip(("width_m", "length_m", "height_m"), size.T, strict=True)),
        "num_lidar_points": [_count(row.get("num_lidar_pts")) for row in rows],
    }


def _visibility(records: Records, token: str | None) -> float:
    """Level 1 ... 4 by the name of the level (``v40-60``), whatever the token; NaN when unknown."""
    levels = {"v0-40": 1.0, "v40-60": 2.0, "v60-80": 3.0, "v80-100": 4.0}
    return levels.get(records.visibility_levels.get(token or "", ""), np.nan)


def _count(value: float | None) -> float:
    return np.nan if value is None or value < 0 else float(value)


def _velocities(rows: list[Row], center: np.ndarray, times_us: np.ndarray) -> Float[np.ndarray, "A 3"]:
    """Global velocity of each box by central differences along its chain, one-sided at the ends; NaN where unknown.

    The rule of the devkit's ``box_velocity``.
    """
    row_of = {row["token"]: index for index, row in enumerate(rows)}
    here = np.arange(len(rows))
    before = np.array([row_of.get(row["prev"], -1) for row in rows], np.int64)
    after = np.array([row_of.get(row["next"], -1) for row in rows], np.int64)
    first, last = np.where(before < 0, here, before), np.where(after < 0, here, after)
    elapsed_s = (times_us[last] - times_us[first]) / 1e6
    limit_s = np.where((before >= 0) & (after >= 0), 2, 1) * MAX_VELOCITY_GAP_S
    is_known = (elapsed_s > 0) & (elapsed_s <= limit_s)
    moved = center[last] - center[first]
    return np.where(is_known[:, None], moved / np.where(is_known, elapsed_s, 1.0)[:, None], np.nan)


def _futures(
    frames: SceneFrames, instances: list[str], sample: np.ndarray, global_from_box: Float[np.ndarray, "A 4 4"]
) -> pd.DataFrame:
    """Where each box's instance is at the future steps, in the ego frame of the box's keyframe."""
    names, instance = np.unique(np.array(instances, str), return_inverse=True)
    box_at = np.full((len(names), len(frames.samples) + 1), -1)
    box_at[instance, sample] = np.arange(len(sample))
    # Keyframe -1 (none) reads the spare last column, which stays -1.
    box = box_at[instance[:, None], frames.step_rows[sample][:, NUM_PAST_STEPS:]]
    valid: Bool[np.ndarray, "A 6"] = box >= 0
    ego_from_global = invert_rigid(frames.global_from_ego)[sample]
    boxes = global_from_box[box] if len(global_from_box) else np.zeros((*box.shape, 4, 4))
    placed = np.where(valid[..., None], _planar(ego_from_global[:, None] @ boxes), 0.0).reshape(-1, 3)
    tokens = np.array(frames.tokens, object)
    return pd.DataFrame(
        {
            "sample_token": np.repeat(tokens[sample], NUM_FUTURE_STEPS),
            "instance_token": np.repeat(np.array(instances, object), NUM_FUTURE_STEPS),
            "step": np.tile(FUTURE_STEPS, len(sample)),
            **dict(zip(("x_m", "y_m", "yaw_rad"), placed.T, strict=True)),
            "valid": valid.ravel(),
        }
    )
