"""What a vehicle drives along: a densely sampled path with a speed limit at every point, backwards where it must.

A path carries the rear axle, so a vehicle that follows it turns as a car does; its limit already slows down for bends
and brakes ahead of slower places.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float

from dima_pipeline.world.curves import Curve

Array = np.ndarray
STEP_M = 0.25
LATERAL_ACCELERATION_MPS2 = 2.2
BRAKING_MPS2 = 1.7
SLOWEST_MPS = 0.25
"""Speed at a cusp between forward and reverse, where the direction of travel flips."""


@dataclass(frozen=True)
class DrivePath:
    """Rear-axle poses (N, 3) with unwrapped yaw at distances ``along_m`` (N,) travelled, limits and directions."""

    along_m: Float[Array, "N"]
    poses: Float[Array, "N 3"]
    limit_mps: Float[Array, "N"]
    direction: Float[Array, "N"]
    """+1 forward, -1 reverse: of the step that follows."""

    @property
    def length(self) -> float:
        """Total length, m."""
        return float(self.along_m[-1])

    def pose(self, along_m: Float[Array, "..."] | float) -> Float[Array, "... 3"]:
        """Interpolated poses."""
        return np.stack([np.interp(along_m, self.along_m, self.poses[:, axis]) for axis in range(3)], -1)

    def limit(self, along_m: float) -> float:
        """Speed limit, m/s."""
        return float(np.interp(along_m, self.along_m, self.limit_mps))

    def direction_at(self, along_m: Float[Array, "..."] | float) -> Float[Array, "..."]:
        """+1 or -1 at distances along the path."""
        index = np.searchsorted(self.along_m, np.asarray(along_m), side="right") - 1
        return self.direction[np.clip(index, 0, len(self.direction) - 1)]

    def next_cusp(self, along_m: float) -> float:
        """Where the direction of travel flips next, m; infinite where it does not."""
        index = int(np.searchsorted(self._cusps, along_m, side="right"))
        return float(self._cusps[index]) if index < len(self._cusps) else float("inf")

    def bend_at(self, along_m: float) -> float:
        """Curvature, 1/m, of the step there; its sign is that of the steering wheel."""
        places, bends = self._bends
        return float(np.interp(along_m, places, bends))

    @cached_property
    def _cusps(self) -> Array:
        return self.along_m[1:][np.diff(self.direction) != 0]

    @cached_property
    def _bends(self) -> tuple[Array, Array]:
        """Middles of the steps, and their curvatures."""
        steps = np.diff(self.along_m)
        return self.along_m[:-1] + steps / 2, np.diff(self.poses[:, 2]) / np.maximum(steps, 1e-6) * self.direction[:-1]

    def curvature(self) -> Float[Array, "N"]:
        """Change of heading per metre driven forward, 1/m; its sign is that of the steering wheel."""
        return np.gradient(self.poses[:, 2], self.along_m) * self.direction


@dataclass(frozen=True)
class Shift:
    """A sideways excursion to ``left_m``: begins, is complete, goes back, is over at four distances along the base."""

    begin_m: float
    full_m: float
    back_m: float
    over_m: float
    left_m: float

    def at(self, along_m: Float[Array, "N"]) -> Float[Array, "N"]:
        """Sideways offset, m."""
        rise = smoothstep((along_m - self.begin_m) / max(self.full_m - self.begin_m, 1e-6))
        fall = smoothstep((along_m - self.back_m) / max(self.over_m - self.back_m, 1e-6))
        return self.left_m * (rise - fall)


def smoothstep(fraction: Float[Array, "N"]) -> Float[Array, "N"]:
    """0 to 1 with no jump in curvature at either end."""
    x = np.clip(fraction, 0.0, 1.0)
    return x**3 * (10 + x * (6 * x - 15))


def sample_curves(curves: Sequence[Curve], speeds_mps: Sequence[float]) -> tuple[Array, Array]:
    """Poses (N, 3) about ``STEP_M`` apart along joined curves, and the legal speed at each."""
    poses, speeds = [], []
    for curve, speed in zip(curves, speeds_mps, strict=True):
        count = max(2, int(np.ceil(curve.length / STEP_M)))
        poses.append(curve.poses(np.linspace(0.0, curve.length, count, endpoint=False)))
        speeds.append(np.full(count, speed))
    poses.append(np.array([curves[-1].end]))
    speeds.append(np.array([speeds_mps[-1]]))
    return np.concatenate(poses), np.concatenate(speeds)


def forward_path(
    poses: Float[Array, "N 3"],
    speeds_mps: Float[Array, "N"],
    shifts: Sequence[Shift] = (),
    caps: Sequence[tuple[float, float, float]] = (),
) -> DrivePath:
    """A path ahead: smoothed like a steering wheel would, shifted sideways, and capped (from m, to m, m/s)."""
    along = _travelled(poses[:, :2])
    offset = sum((shift.at(along) for shift in shifts), np.zeros(len(along)))
    normal = np.stack([-np.sin(poses[:, 2]), np.cos(poses[:, 2])], -1)
    xy = _smooth(poses[:, :2] + offset[:, None] * normal)
    speeds = speeds_mps.copy()
    for begin, end, cap in caps:
        inside = (along >= begin) & (along <= end)
        speeds[inside] = np.minimum(speeds[inside], cap)
    # Distances stay those of the base line: a shift lengthens the way by far less than a step.
    step = np.gradient(xy, axis=0)
    yaw = np.unwrap(np.arctan2(step[:, 1], step[:, 0]))
    yaw += 2 * np.pi * np.round((poses[0, 2] - yaw[0]) / (2 * np.pi))
    return with_limits(_travelled(xy), np.column_stack([xy, yaw]), speeds, np.ones(len(xy)))


def with_limits(along: Array, poses: Array, speeds: Array, direction: Array) -> DrivePath:
    """A path whose speeds respect its bends, stop at cusps, and brake in time."""
    bend = np.abs(np.gradient(poses[:, 2], along))
    limit = np.minimum(speeds, np.sqrt(LATERAL_ACCELERATION_MPS2 / np.maximum(bend, 1e-6)))
    flips = np.flatnonzero(np.diff(direction) != 0)
    limit[flips] = limit[np.minimum(flips + 1, len(limit) - 1)] = SLOWEST_MPS
    for index in range(len(limit) - 2, -1, -1):
        gap = along[index + 1] - along[index]
        limit[index] = min(limit[index], np.sqrt(limit[index + 1] ** 2 + 2 * BRAKING_MPS2 * gap))
    return DrivePath(along, poses, np.maximum(limit, SLOWEST_MPS), direction)


def _travelled(xy: Float[Array, "N 2"]) -> Float[Array, "N"]:
    return np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(xy, axis=0), axis=1))])


def _smooth(xy: Float[Array, "N 2"], sigma_m: float = 1.0) -> Float[Array, "N 2"]:
    """Gaussian mean along the path; the ends run on straight."""
    reach = int(3 * sigma_m / STEP_M)
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) * STEP_M / sigma_m) ** 2)
    kernel /= kernel.sum()
    before = xy[0] - np.arange(reach, 0, -1)[:, None] * (xy[1] - xy[0])
    after = xy[-1] + np.arange(1, reach + 1)[:, None] * (xy[-1] - xy[-2])
    padded = np.concatenate([before, xy, after])
    return np.stack([np.convolve(padded[:, axis], kernel, mode="valid") for axis in (0, 1)], -1)


THREE_POINT_RADIUS_M = 5.5
THREE_POINT_TURNS_RAD = (1.05, 0.87)
"""Heading change of the first (forward) and second (reverse) part; the third completes half a turn."""


def three_point_path(there: Curve, back: Curve, turn_at_m: float, speed_mps: float) -> tuple[DrivePath, float, float]:
    """Drive ``there`` up to ``turn_at_m``, turn round in three parts, drive ``back``; also where the turn begins, ends.

    ``back`` is the opposite lane. Traffic keeps right, so the turn goes left, back, left.
    """
    first, second = THREE_POINT_TURNS_RAD
    arcs = ((first, 1.0), (second, -1.0), (np.pi - first - second, 1.0))
    lead = there.poses(np.arange(0.0, turn_at_m, STEP_M))
    poses, signs = [lead], [np.ones(len(lead))]
    at = there.poses(np.array([turn_at_m]))[0]
    for turn, sign in arcs:
        count = int(np.ceil(turn * THREE_POINT_RADIUS_M / STEP_M))
        # Backwards on a right-hand arc the heading goes on turning left.
        curve = Curve((at[0], at[1], at[2]), ((sign * turn * THREE_POINT_RADIUS_M, sign / THREE_POINT_RADIUS_M),))
        knots = np.linspace(0.0, 1.0, count, endpoint=False)
        poses.append(_along_arc(curve, knots))
        signs.append(np.full(count, sign))
        at = _along_arc(curve, np.array([1.0]))[0]
    poses.append(_merge(at, back))
    signs.append(np.ones(len(poses[-1])))
    every = np.concatenate(poses)
    along = _travelled(every[:, :2])
    begin, end = along[len(lead)], along[len(every) - len(poses[-1])]
    speeds = np.where((along > begin) & (along < end), 2.8, speed_mps)
    every[:, 2] = np.unwrap(every[:, 2])
    return with_limits(along, every, speeds, np.concatenate(signs)), float(begin), float(end)


def _along_arc(curve: Curve, fraction: Float[Array, "N"]) -> Float[Array, "N 3"]:
    """Poses at fractions of a one-piece curve whose length may be negative (driven backwards)."""
    length, curvature = curve.pieces[0]
    x, y, yaw = curve.start
    turn = fraction * length * curvature
    radius = 1 / curvature
    return np.stack(
        [x + radius * (np.sin(yaw + turn) - np.sin(yaw)), y - radius * (np.cos(yaw + turn) - np.cos(yaw)), yaw + turn],
        -1,
    )


def _merge(at: Float[Array, "3"], lane: Curve, over_m: float = 14.0) -> Float[Array, "N 3"]:
    """From a pose beside a lane into the lane and along it."""
    grid = np.arange(0.0, lane.length, STEP_M)
    line = lane.poses(grid)
    nearest = int(np.linalg.norm(line[:, :2] - at[:2], axis=1).argmin())
    # Exactly beside ``at``: a first step of another length would be a kink.
    ahead = float((at[:2] - line[nearest, :2]) @ [np.cos(line[nearest, 2]), np.sin(line[nearest, 2])])
    grid = np.arange(grid[nearest] + ahead, lane.length, STEP_M)
    line = lane.poses(grid)
    normal = np.stack([-np.sin(line[:, 2]), np.cos(line[:, 2])], -1)
    left = float((at[:2] - line[0, :2]) @ normal[0])
    fade = left * (1 - smoothstep((grid - grid[0]) / over_m))
    xy = line[:, :2] + fade[:, None] * normal
    step = np.gradient(xy, axis=0)
    yaw = np.unwrap(np.arctan2(step[:, 1], step[:, 0]))
    return np.column_stack([xy, yaw + 2 * np.pi * np.round((at[2] - yaw[0]) / (2 * np.pi))])
