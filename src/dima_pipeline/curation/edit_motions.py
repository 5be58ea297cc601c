"""Motions of the ego that a kinematic bicycle can drive: the driven path, braking on it, passing aside, setting off.

A motion is a line to follow and an acceleration over time. The line is followed by pure pursuit (Coulter, 1992) at
10 Hz with the car of ``scoring.rollout``; what breaks a limit below is no motion. The controls are kept with every
motion, so that whoever doubts it integrates them again.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cache

import numpy as np
from jaxtyping import Bool, Float

from dima_pipeline.contracts.frames import NUM_FUTURE_STEPS
from dima_pipeline.geometry import wrap_angle
from dima_pipeline.scoring.rollout import (
    MAX_STEERING_RAD,
    MAX_STEERING_RATE_RADPS,
    NUM_TICKS,
    TICK_S,
    TICKS_PER_STEP,
    WHEELBASE_M,
)
from dima_pipeline.storage.keyframes import Keyframe

Array = np.ndarray
MAX_ACCELERATION_MPS2, MAX_BRAKING_MPS2 = 3.0, 6.0
MAX_JERK_MPS3 = 15.0
"""Full braking after 0.4 s; a car that comes to rest is exempt, its acceleration ends there."""
MAX_LATERAL_MPS2 = 5.0
"""As people drive (nuPlan: 4.89); tyres hold 8."""
TRACKED_M = 0.3
"""How far the bicycle may be from a recorded place at its time: keyframes are up to 0.1 s off their half second."""
START_MPS = 1.0
MIN_STEP_M = 0.05
"""A shorter step is noise of the localisation of a car that stands."""
LINE_STEP_M, LINE_POINTS = 0.5, 241
LOOK_M, LOOK_S = 3.0, 0.4
"""The bicycle aims at the line this far ahead, or as far as it comes in that time."""
PLACE_SIGMA_M, SPEED_SIGMA_MPS, JERK_SIGMA_MPS3, ACCELERATION_SIGMA_MPS2 = 0.05, 0.3, 3.0, 5.0
"""What the acceleration of a recorded drive is fitted with: how far off places and speed are, how rough drivers are."""
SLACK = 1e-6


@dataclass(frozen=True, kw_only=True)
class Motion:
    """K motions of 3 s at 10 Hz in the ego frame at t=0, S = 31 times from 0.0 s on, the controls held between them."""

    pose: Float[Array, "K S 3"]
    speed_mps: Float[Array, "K S"]
    acceleration_mps2: Float[Array, "K 30"]
    steering_rad: Float[Array, "K 30"]

    @property
    def path(self) -> Float[Array, "K 6 2"]:
        """Places at 0.5 ... 3.0 s."""
        return self.pose[:, TICKS_PER_STEP::TICKS_PER_STEP, :2]

    @property
    def way_m(self) -> Float[Array, "K"]:
        """How far each drives in 3 s."""
        return TICK_S * (self.speed_mps[:, 1:] + self.speed_mps[:, :-1]).sum(1) / 2

    def take(self, rows: Array | list[int]) -> "Motion":
        """The motions of some rows."""
        return Motion(**{field.name: getattr(self, field.name)[rows] for field in fields(self)})


@dataclass(frozen=True, kw_only=True)
class Driven:
    """What the driver did, as a line (ego frame) and the bicycle's motion along it."""

    line: Float[Array, "P 2"]
    motion: Motion

    @property
    def acceleration_mps2(self) -> Float[Array, "30"]:
        """The driver's."""
        return self.motion.acceleration_mps2[0]

    @property
    def speed_mps(self) -> float:
        """At t=0."""
        return float(self.motion.speed_mps[0, 0])


def driven_motions(frames: Sequence[Keyframe], speed_mps: Sequence[float]) -> list[Driven | None]:
    """The driven path of each keyframe as the bicycle drives it; None where it cannot within ``TRACKED_M``.

    ``speed_mps``: measured at each keyframe; the fit may differ by ``START_MPS`` or a fifth.
    """
    if not frames:
        return []
    found = [driven_line(frame.ego_future) for frame in frames]
    lines, measured = np.stack([line for line, _ in found]), np.array(speed_mps, float)
    fitted = np.concatenate([np.stack([along for _, along in found]), measured[:, None]], 1) @ _fit().T
    speed = np.maximum(np.cumsum(np.concatenate([fitted[:, :1], TICK_S * fitted[:, 1:]], 1), axis=1), 0.0)
    motion = follow(lines, np.diff(speed) / TICK_S, speed[:, 0], None)
    future = np.stack([frame.ego_future[:, :2] for frame in frames])
    good = np.linalg.norm(motion.path - future, axis=-1).max(1) <= TRACKED_M
    good &= is_drivable(motion) & (np.abs(speed[:, 0] - measured) <= np.maximum(START_MPS, 0.2 * measured))
    return [Driven(line=lines[at], motion=motion.take([at])) if is_good else None for at, is_good in enumerate(good)]


def reverses(frame: Keyframe) -> bool:
    """Whether the ego drives backwards within the next 3 s."""
    poses = np.concatenate([np.zeros((1, 3)), frame.ego_future])
    step, yaw = np.diff(poses[:, :2], axis=0), poses[:-1, 2]
    return bool((step[:, 0] * np.cos(yaw) + step[:, 1] * np.sin(yaw) < -MIN_STEP_M).any())


def driven_line(future: Float[Array, "6 3"]) -> tuple[Float[Array, "P 2"], Float[Array, "6"]]:
    """The line through recorded poses (cubics with their headings), prolonged straight, and how far along each lies."""
    poses = np.concatenate([np.zeros((1, 3)), future])
    t = np.linspace(0.0, 1.0, 9)[1:, None]
    rise, leave, arrive = t * t * (3 - 2 * t), t * (1 - t) ** 2, t * t * (t - 1)
    points, along = [np.zeros((1, 2))], []
    last, reached = poses[0], 0.0
    for pose in poses[1:]:
        chord = float(np.linalg.norm(pose[:2] - last[:2]))
        if chord >= MIN_STEP_M:
            begin, end = (chord * np.array([np.cos(at[2]), np.sin(at[2])]) for at in (last, pose))
            curve = last[:2] + rise * (pose[:2] - last[:2]) + leave * begin + arrive * end
            reached += float(np.linalg.norm(np.diff(curve, axis=0, prepend=last[None, :2]), axis=1).sum())
            points.append(curve)
            last = pose
        along.append(reached)
    return even_line(np.concatenate(points), float(last[2])), np.array(along)


def even_line(points: Float[Array, "N 2"], yaw_rad: float) -> Float[Array, "P 2"]:
    """A line in steps of ``LINE_STEP_M``, prolonged straight from its end along ``yaw_rad`` to 120 m."""
    beyond = points[-1] + 150.0 * np.array([np.cos(yaw_rad), np.sin(yaw_rad)])
    points = np.concatenate([points, beyond[None]])
    along = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))])
    at = LINE_STEP_M * np.arange(LINE_POINTS)
    return np.stack([np.interp(at, along, points[:, axis]) for axis in (0, 1)], -1)


def beside(line: Float[Array, "P 2"], shift_m: Float[Array, "K"], within_m: float) -> Float[Array, "K P 2"]:
    """A line shifted sideways (left is positive), smoothly over its first ``within_m``."""
    along = np.gradient(line, axis=0)
    normal = np.stack([-along[:, 1], along[:, 0]], -1) / LINE_STEP_M
    share = np.clip(LINE_STEP_M * np.arange(LINE_POINTS) / within_m, 0.0, 1.0)
    return line + (shift_m[:, None] * (share**2 * (3 - 2 * share)))[..., None] * normal


def braking(driven: Driven, rates_mps2: Float[Array, "K"]) -> Float[Array, "K 30"]:
    """Accelerations that fall to -``rates_mps2``, and further where the driver brakes harder."""
    start = driven.acceleration_mps2[0]
    ramp = start - MAX_JERK_MPS3 * TICK_S * np.arange(1, NUM_TICKS + 1)
    return np.minimum(driven.acceleration_mps2, np.maximum(-rates_mps2[:, None], ramp))


def setting_off(driven: Driven, rates_mps2: Float[Array, "K"], to_mps: float) -> Float[Array, "K 30"]:
    """Accelerations that rise to ``rates_mps2`` and fade as the speed nears ``to_mps``."""
    speed = np.full(len(rates_mps2), driven.speed_mps)
    now = np.full(len(rates_mps2), driven.acceleration_mps2[0])
    found = []
    for _ in range(NUM_TICKS):
        wanted = np.clip((to_mps - speed) / 0.5, 0.0, rates_mps2)
        # A third of the limit: nobody is in a hurry to set off.
        now = now + np.clip(wanted - now, -MAX_JERK_MPS3 * TICK_S / 3, MAX_JERK_MPS3 * TICK_S / 3)
        speed = np.maximum(speed + TICK_S * now, 0.0)
        found.append(now)
    return np.stack(found, 1)


def follow(
    lines: Float[Array, "K P 2"],
    acceleration_mps2: Float[Array, "K 30"],
    speed_mps: Float[Array, "K"] | float,
    steering_rad: float | None,
) -> Motion:
    """Drive lines (points every ``LINE_STEP_M``) from the origin, starting at a speed and, unless None, a steering
    angle; the car brakes to a halt and never reverses."""
    start = np.broadcast_to(speed_mps, len(lines))[:, None]
    speed = _speeds(start, acceleration_mps2)
    moved = TICK_S * (speed[:, 1:] + speed[:, :-1]) / 2
    along = np.cumsum(moved, axis=1) - moved
    aim = _points(lines, along + np.maximum(LOOK_M, LOOK_S * speed[:, :-1]))
    limit = np.arctan(WHEELBASE_M * MAX_LATERAL_MPS2 / np.maximum(speed[:, 1:] ** 2, 1e-6))
    limit = np.minimum(MAX_STEERING_RAD, limit)
    turn = MAX_STEERING_RATE_RADPS * TICK_S
    place, yaw = np.zeros((len(lines), NUM_TICKS + 1), complex), np.zeros((len(lines), NUM_TICKS + 1))
    steering = np.zeros((len(lines), NUM_TICKS))
    for tick in range(NUM_TICKS):
        ahead = (aim[:, tick] - place[:, tick]) * np.exp(-1j * yaw[:, tick])
        wanted = np.arctan(2 * WHEELBASE_M * ahead.imag / np.maximum(np.abs(ahead) ** 2, 1.0))
        wanted = np.clip(wanted, -limit[:, tick], limit[:, tick])
        last = steering[:, tick - 1] if tick else wanted if steering_rad is None else steering_rad
        steering[:, tick] = np.clip(wanted, last - turn, last + turn)
        half = moved[:, tick] * np.tan(steering[:, tick]) / WHEELBASE_M / 2
        # The chord of an arc, to a millionth.
        chord = moved[:, tick] * (1 - half**2 / 6)
        place[:, tick + 1] = place[:, tick] + chord * np.exp(1j * (yaw[:, tick] + half))
        yaw[:, tick + 1] = yaw[:, tick] + 2 * half
    pose = np.stack([place.real, place.imag, yaw], -1)
    return Motion(pose=pose, speed_mps=speed, acceleration_mps2=np.diff(speed) / TICK_S, steering_rad=steering)


def _speeds(start: Float[Array, "K 1"], acceleration: Float[Array, "K 30"]) -> Float[Array, "K 31"]:
    """Speeds that never fall below zero: of all that is braked away, what exceeds the speed there was is given back."""
    free = np.concatenate([start, start + TICK_S * np.cumsum(acceleration, axis=1)], 1)
    return free - np.minimum(np.minimum.accumulate(free, axis=1), 0.0)


def _points(lines: Float[Array, "K P 2"], along_m: Float[Array, "K 30"]) -> Array:
    """Places along lines, as complex numbers."""
    at = np.minimum(along_m / LINE_STEP_M, LINE_POINTS - 1.001)
    low, rows = at.astype(int), np.arange(len(lines))[:, None]
    line = lines[..., 0] + 1j * lines[..., 1]
    return line[rows, low] + (at - low) * (line[rows, low + 1] - line[rows, low])


def is_drivable(motion: Motion) -> Bool[Array, "K"]:
    """Which motions keep all limits: acceleration, jerk, steering angle and rate, lateral acceleration."""
    acceleration, steering = motion.acceleration_mps2, motion.steering_rad
    rests = motion.speed_mps[:, 2:] <= SLACK
    jerk = np.where(rests, 0.0, np.abs(np.diff(acceleration)) / TICK_S)
    lateral = motion.speed_mps[:, 1:] ** 2 * np.abs(np.tan(steering)) / WHEELBASE_M
    return (
        (acceleration <= MAX_ACCELERATION_MPS2 + SLACK).all(1)
        & (acceleration >= -MAX_BRAKING_MPS2 - SLACK).all(1)
        & (jerk <= MAX_JERK_MPS3 + SLACK).all(1)
        & (np.abs(steering) <= MAX_STEERING_RAD + SLACK).all(1)
        & (np.abs(np.diff(steering)) <= MAX_STEERING_RATE_RADPS * TICK_S + SLACK).all(1)
        & (lateral <= MAX_LATERAL_MPS2 + SLACK).all(1)
    )


@cache
def _fit() -> Float[Array, "31 7"]:
    """Start speed and accelerations of the least jerky drive, from the way driven at six steps and the speed measured
    (weighted least squares)."""
    time = TICK_S * np.arange(NUM_TICKS)
    ends = TICK_S * TICKS_PER_STEP * np.arange(1, NUM_FUTURE_STEPS + 1)[:, None]
    covered = np.where(time < ends - SLACK, TICK_S * (ends - time - TICK_S / 2), 0.0)
    places = np.concatenate([ends, covered], 1) / PLACE_SIGMA_M
    start = np.eye(1, NUM_TICKS + 1) / SPEED_SIGMA_MPS
    jerk = np.diff(np.eye(NUM_TICKS), axis=0) / TICK_S / JERK_SIGMA_MPS3
    rough = np.concatenate([jerk, np.eye(NUM_TICKS) / ACCELERATION_SIGMA_MPS2 / np.sqrt(NUM_TICKS)])
    rows = np.concatenate([places, start, np.pad(rough, ((0, 0), (1, 0)))])
    weights = np.array([1 / PLACE_SIGMA_M] * NUM_FUTURE_STEPS + [1 / SPEED_SIGMA_MPS])
    return np.linalg.pinv(rows)[:, : NUM_FUTURE_STEPS + 1] * weights


def poses_at_ticks(poses: Float[Array, "N 7 3"]) -> Float[Array, "N 31 3"]:
    """Poses every 0.1 s from those at 0, 0.5 ... 3 s, straight between them."""
    share = (np.arange(TICKS_PER_STEP) / TICKS_PER_STEP)[:, None]
    step = np.diff(poses, axis=1)
    step[..., 2] = wrap_angle(step[..., 2])
    between = poses[:, :-1, None] + share * step[:, :, None]
    return np.concatenate([between.reshape(len(poses), NUM_TICKS, 3), poses[:, -1:]], 1)
