"""The ego of VAD's infos: where LIDAR_TOP was and will be, the command that comes of it, status, CAN bus.

All of it stands in the LIDAR_TOP frame of the keyframe (x right, y forward) and comes from the poses of LIDAR_TOP;
faults of the published converter are asked for by name.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from dima_pipeline.contracts.frames import EGO_LENGTH_M, EGO_WIDTH_M, NUM_FUTURE_STEPS, STEP_S
from dima_pipeline.curation.vad_bugs import Bug
from dima_pipeline.curation.vad_can import SceneCan, can_columns
from dima_pipeline.curation.vad_sensors import Columns, SensorPoses, rotate
from dima_pipeline.datasets._nuscenes_tables import keyframe_at_steps
from dima_pipeline.geometry import wrap_angle, yaw_from_rotation

NUM_HISTORY_STEPS = 2
STEPS = np.arange(-NUM_HISTORY_STEPS, NUM_FUTURE_STEPS + 1)
COMMAND_OFFSET_M = 2.0
MAX_STEP_S = 1.5
"""A keyframe longer ago says nothing about speed."""
WHEELBASE_M = 2.588


@dataclass(frozen=True)
class Drive:
    """N keyframes of a scene."""

    lidar: SensorPoses
    times_us: Int[np.ndarray, "N"]
    step_rows: Int[np.ndarray, "N 9"]
    """Keyframe at each of ``STEPS``, -1 where there is none."""
    is_singapore: bool

    @property
    def future_rows(self) -> Int[np.ndarray, "N 6"]:
        """Keyframe at each of the next six steps."""
        return self.step_rows[:, NUM_HISTORY_STEPS + 1 :]


def keyframes_at(times_us: Int[np.ndarray, "N"], bugs: frozenset[Bug]) -> Int[np.ndarray, "N 9"]:
    """Keyframe at each of ``STEPS``: by time, or counted whatever the time."""
    if Bug.STEPS_ARE_COUNTED not in bugs:
        return keyframe_at_steps(times_us, STEPS)
    counted = np.arange(len(times_us))[:, None] + STEPS
    return np.where((counted >= 0) & (counted < len(times_us)), counted, -1)


def last_known(index: Int[np.ndarray, "R S"], first: Int[np.ndarray, "R 1"]) -> Int[np.ndarray, "R S"]:
    """Each -1 replaced by the entry before it, ``first`` before all of them."""
    padded = np.concatenate([first, index], 1)
    known = np.maximum.accumulate(np.where(padded >= 0, np.arange(padded.shape[1]), 0), 1)
    return np.take_along_axis(padded, known, 1)[:, 1:]


def ego_columns(drive: Drive, can: SceneCan, bugs: frozenset[Bug]) -> Columns:
    """Fields of the ego, (N, ...)."""
    past, future = _history(drive, bugs), _future(drive)
    past_valid, future_valid = drive.step_rows[:, :NUM_HISTORY_STEPS] >= 0, drive.future_rows >= 0
    bus = can_columns(can, drive.times_us, drive.lidar.ego2global_rotation, drive.lidar.ego2global_translation, bugs)
    status = _status(drive, can, (past, future), bus, bugs)
    return {
        **bus,
        "fut_valid_flag": future_valid.all(1),
        "gt_ego_his_trajs": past.astype(np.float32),
        "gt_ego_his_masks": np.logical_and.accumulate(past_valid[:, ::-1], 1)[:, ::-1].astype(np.float32),
        "gt_ego_fut_trajs": future.astype(np.float32),
        "gt_ego_fut_masks": future_valid.astype(np.float32),
        "gt_ego_fut_cmd": _commands(future),
        "gt_ego_lcf_feat": status.astype(np.float32),
    }


def _places(drive: Drive, rows: Int[np.ndarray, "N S"]) -> Float[np.ndarray, "N S 2"]:
    """LIDAR_TOP at other keyframes, in its frame at this one."""
    origin = drive.lidar.global_from_sensor[:, :3, 3]
    return rotate(drive.lidar.sensor_from_global[:, None, :2, :3], origin[rows] - origin[:, None])


def _future(drive: Drive) -> Float[np.ndarray, "N 6 2"]:
    """Offsets from step to step; 0 into a step that is not known."""
    now = drive.step_rows[:, [NUM_HISTORY_STEPS]]
    rows = last_known(drive.future_rows, now)
    return np.diff(_places(drive, np.concatenate([now, rows], 1)), axis=1)


def _history(drive: Drive, bugs: frozenset[Bug]) -> Float[np.ndarray, "N 2 2"]:
    """Offsets of the last two steps. An older one that is not known repeats the later; a later one is 0, or, looking
    ahead, the next step."""
    now = drive.step_rows[:, [NUM_HISTORY_STEPS]]
    one_valid, two_valid = drive.step_rows[:, 1] >= 0, (drive.step_rows[:, :2] >= 0).all(1)
    one = -_places(drive, np.where(one_valid[:, None], drive.step_rows[:, [1]], now))[:, 0]
    if Bug.LOOKS_AHEAD in bugs:
        following = np.minimum(now + 1, len(now) - 1)
        one = np.where(one_valid[:, None], one, _places(drive, following)[:, 0])
    two = -one - _places(drive, np.where(two_valid[:, None], drive.step_rows[:, [0]], now))[:, 0]
    return np.stack([np.where(two_valid[:, None], two, one), one], 1)


def _commands(future: Float[np.ndarray, "N 6 2"]) -> Float[np.ndarray, "N 3"]:
    """One-hot right, left, straight by the end of the known driven path: 2 m or more to a side."""
    end = future[..., 0].sum(1)
    right, left = end >= COMMAND_OFFSET_M, end <= -COMMAND_OFFSET_M
    return np.stack([right, left, ~(right | left)], 1).astype(np.float32)


def _status(
    drive: Drive, can: SceneCan, trajectories: tuple[np.ndarray, np.ndarray], bus: Columns, bugs: frozenset[Bug]
) -> Float[np.ndarray, "N 9"]:
    """vx, vy (m/s), ax, ay (m/s2), yaw rate (rad/s), length, width (m), v0 (m/s), kappa; NaN where unknown.

    kappa is VAD's 2 * steering wheel angle / wheelbase: no curvature in 1/m, as nuScenes states no steering ratio.
    """
    velocity, yaw_rate = _motion(drive, bus, bugs)
    v0, steering = can.at("speed", drive.times_us), can.at("feedback", drive.times_us)
    if Bug.CAN_ALL_OR_NOTHING in bugs:
        v0 = np.where(np.isfinite(steering), v0, np.nan)
    else:
        steering = np.where(np.isfinite(steering), steering, can.at("monitor", drive.times_us))
    if Bug.SINGAPORE_STEERING in bugs and drive.is_singapore:
        steering = -steering
    past, future = trajectories
    fallback = np.hypot(*(past[:, -1] + future[:, 0]).T) if Bug.LOOKS_AHEAD in bugs else velocity[:, 1]
    kappa = 2 * steering / WHEELBASE_M
    if Bug.ZERO_FOR_UNKNOWN in bugs:
        kappa = np.nan_to_num(kappa)
    size = np.broadcast_to([EGO_LENGTH_M, EGO_WIDTH_M], (len(v0), 2))
    acceleration = _acceleration(drive, bus, bugs)
    return np.column_stack([velocity, acceleration, yaw_rate, size, np.where(np.isfinite(v0), v0, fallback), kappa])


def _motion(
    drive: Drive, bus: Columns, bugs: frozenset[Bug]
) -> tuple[Float[np.ndarray, "N 2"], Float[np.ndarray, "N"]]:
    """Velocity and yaw rate over the step before each keyframe; of the first keyframe those of the CAN bus, or, looking
    ahead, those of the step after it."""
    num = len(drive.times_us)
    last = np.arange(num)
    first = np.maximum(last - 1, 0)
    if Bug.LOOKS_AHEAD in bugs:
        last = np.maximum(last, min(1, num - 1))
    elapsed_s = (drive.times_us[last] - drive.times_us[first]) / 1e6
    if Bug.FIXED_STEP in bugs:
        elapsed_s = np.where(last > first, STEP_S, 0.0)
    elapsed_s = np.where((elapsed_s > 0) & (elapsed_s <= MAX_STEP_S), elapsed_s, np.nan)[:, None]
    moved = drive.lidar.ego2global_translation[last] - drive.lidar.ego2global_translation[first]
    turned = _turned(drive, first, last, bugs)
    velocity, yaw_rate = _along(drive, moved, bugs) / elapsed_s, turned / elapsed_s[:, 0]
    if Bug.LOOKS_AHEAD not in bugs:
        of_can = _in_lidar_axes(drive, bus["can_bus"][0, 13:16], 0) if bus["has_can_bus"][0] else np.full(2, np.nan)
        velocity[0] = of_can
        yaw_rate[0] = bus["can_bus"][0, 12] if bus["has_can_bus"][0] else np.nan
    return velocity, yaw_rate


def _along(drive: Drive, moved: Float[np.ndarray, "N 3"], bugs: frozenset[Bug]) -> Float[np.ndarray, "N 2"]:
    if Bug.ROLL_FOR_YAW in bugs:
        angle = roll(drive.lidar.ego2global_rotation) + np.pi / 2
        return np.hypot(*moved[:, :2].T)[:, None] * np.stack([np.cos(angle), np.sin(angle)], 1)
    return rotate(drive.lidar.sensor_from_global[:, :2, :3], moved)


def _turned(
    drive: Drive, first: Int[np.ndarray, "N"], last: Int[np.ndarray, "N"], bugs: frozenset[Bug]
) -> Float[np.ndarray, "N"]:
    if Bug.ROLL_FOR_YAW in bugs:
        angle = roll(drive.lidar.ego2global_rotation)
        return angle[last] - angle[first]
    angle = yaw_from_rotation(drive.lidar.global_from_ego[:, :3, :3])
    return wrap_angle(angle[last] - angle[first])


def roll(wxyz: Float[np.ndarray, "N 4"]) -> Float[np.ndarray, "N"]:
    """Turn about the forward axis, rad."""
    w, x, y, z = wxyz.T
    return np.arctan2(2 * (w * x + y * z), 1 - 2 * (x * x + y * y))


def _acceleration(drive: Drive, bus: Columns, bugs: frozenset[Bug]) -> Float[np.ndarray, "N 2"]:
    acceleration = bus["can_bus"][:, 7:10]
    is_known: Bool[np.ndarray, "N"] = bus["has_can_bus"]
    turned = acceleration[:, :2] if Bug.MIXED_AXES in bugs else _in_lidar_axes(drive, acceleration)
    return turned if Bug.ZERO_FOR_UNKNOWN in bugs else np.where(is_known[:, None], turned, np.nan)


def _in_lidar_axes(
    drive: Drive, vector: Float[np.ndarray, "... 3"], row: int | slice = slice(None)
) -> Float[np.ndarray, "... 2"]:
    """The level part of a vector in ego axes, in LIDAR axes: gravity must not leak in through the tilt of the LIDAR."""
    lidar_from_ego = np.swapaxes(drive.lidar.ego_from_sensor[row, :2, :2], -1, -2)
    return rotate(lidar_from_ego, vector[..., :2])
