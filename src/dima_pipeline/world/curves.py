"""Planar curves made of straight lines and circular arcs, exact in position and heading.

Offsets, reversals and mirror images of such a curve are such curves again, so lanes, kerbs and nuScenes' arc-line paths
come from one road axis without resampling.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Float

from dima_pipeline.geometry import wrap_angle

Array = np.ndarray
Numbers = Any
"""An array or a single number."""
Pose = tuple[float, float, float]


@dataclass(frozen=True)
class Curve:
    """A start pose x, y (m), yaw (rad) and pieces (length m, curvature 1/m; positive turns left)."""

    start: Pose
    pieces: tuple[tuple[float, float], ...]

    @cached_property
    def length(self) -> float:
        """Total length, m."""
        return float(sum(length for length, _ in self.pieces))

    @cached_property
    def knots(self) -> Float[Array, "K 4"]:
        """Distance, x, y and yaw at the start of each piece and at the end of the last; yaw is not wrapped."""
        rows = [(0.0, *self.start)]
        for length, curvature in self.pieces:
            distance, x, y, yaw = rows[-1]
            dx, dy, turn = _advance(length, curvature, yaw)
            rows.append((distance + length, x + float(dx), y + float(dy), yaw + float(turn)))
        return np.array(rows)

    def poses(self, along_m: Float[Array, "N"]) -> Float[Array, "N 3"]:
        """x, y and unwrapped yaw at distances along the curve; straight on beyond its ends."""
        along = np.atleast_1d(np.asarray(along_m, float))
        piece = np.clip(np.searchsorted(self.knots[:, 0], along, side="right") - 1, 0, len(self.pieces) - 1)
        inside = np.clip(along, 0.0, self.length)
        at = self.knots[piece]
        dx, dy, turn = _advance(inside - at[:, 0], self.curvatures[piece], at[:, 3])
        yaw = at[:, 3] + turn
        beyond = along - inside
        return np.stack([at[:, 1] + dx + beyond * np.cos(yaw), at[:, 2] + dy + beyond * np.sin(yaw), yaw], -1)

    @cached_property
    def curvatures(self) -> Float[Array, "P"]:
        """Curvature of each piece, 1/m."""
        return np.array([curvature for _, curvature in self.pieces])

    @property
    def end(self) -> Pose:
        """Pose at the end."""
        _, x, y, yaw = self.knots[-1]
        return float(x), float(y), float(yaw)

    def offset(self, left_m: float) -> "Curve":
        """The parallel curve ``left_m`` to the left; raises ``ValueError`` where an arc is too tight for it."""
        x, y, yaw = self.start
        pieces = []
        for length, curvature in self.pieces:
            scale = 1 - curvature * left_m
            if scale <= 0.05:
                raise ValueError(f"an arc of radius {1 / abs(curvature):.1f} m has no parallel curve at {left_m:.1f} m")
            pieces.append((length * scale, curvature / scale))
        return Curve((x - left_m * np.sin(yaw), y + left_m * np.cos(yaw), yaw), tuple(pieces))

    def part(self, begin_m: float, end_m: float) -> "Curve":
        """The stretch between two distances along the curve."""
        begins, ends = self.knots[:-1, 0], self.knots[1:, 0]
        lengths = np.minimum(ends, end_m) - np.maximum(begins, begin_m)
        pieces = [(float(n), k) for n, (_, k) in zip(lengths, self.pieces, strict=True) if n > 1e-6]
        if not pieces:
            raise ValueError(f"a curve of {self.length:.1f} m has no part from {begin_m:.1f} m to {end_m:.1f} m")
        x, y, yaw = self.poses(np.array([max(begin_m, 0.0)]))[0]
        return Curve((float(x), float(y), float(yaw)), tuple(pieces))

    def reversed(self) -> "Curve":
        """The same curve driven the other way."""
        x, y, yaw = self.end
        pieces = tuple((length, -curvature) for length, curvature in reversed(self.pieces))
        return Curve((x, y, float(wrap_angle(np.array(yaw + np.pi)))), pieces)

    def polyline(self, arc_step_m: float = 2.0) -> Float[Array, "N 2"]:
        """Points: the ends of straight pieces, and steps of at most ``arc_step_m`` on arcs."""
        along = [0.0]
        for (length, curvature), begin in zip(self.pieces, self.knots[:-1, 0], strict=True):
            steps = 1 if curvature == 0 else max(2, int(np.ceil(length / arc_step_m)))
            along.extend(begin + length * np.arange(1, steps + 1) / steps)
        return self.poses(np.array(along))[:, :2]


def _advance(length: Numbers, curvature: Numbers, yaw: Numbers) -> tuple[Numbers, Numbers, Numbers]:
    """Displacement x, y and turn after ``length`` on a circle of ``curvature``, starting at heading ``yaw``."""
    turn = length * curvature
    # sin(turn/2)/(turn/2) is finite at zero curvature: the chord formula covers line and arc alike.
    chord = length * np.sinc(turn / (2 * np.pi))
    return chord * np.cos(yaw + turn / 2), chord * np.sin(yaw + turn / 2), turn


def join(start: Pose, end: Pose, max_radius_m: float = np.inf) -> Curve:
    """Straight, arc of the largest radius allowed, straight, from one pose to another.

    The headings either agree, with ``end`` straight ahead, or differ by an angle of less than 180 degrees whose two
    straight lines meet ahead of ``start`` and behind ``end``; anything else raises ``ValueError``.
    """
    turn = float(wrap_angle(np.array(end[2] - start[2])))
    dx, dy = end[0] - start[0], end[1] - start[1]
    forward = dx * np.cos(start[2]) + dy * np.sin(start[2])
    left = -dx * np.sin(start[2]) + dy * np.cos(start[2])
    if abs(turn) < 1e-6:
        if abs(left) > 0.05 or forward <= 0:
            raise ValueError(f"no straight line joins {start} and {end}")
        return Curve(start, ((float(np.hypot(dx, dy)), 0.0),))
    into = forward - left / np.tan(turn)
    out = left / np.sin(turn)
    if min(into, out) <= 0.5:
        raise ValueError(f"no turn joins {start} and {end}")
    slope = float(np.tan(abs(turn) / 2))
    tangent = min(into, out, max_radius_m * slope)
    radius = tangent / slope
    pieces = ((into - tangent, 0.0), (radius * abs(turn), float(np.sign(turn)) / radius), (out - tangent, 0.0))
    return Curve(start, tuple((float(length), float(k)) for length, k in pieces if length > 1e-6))


def join_around(start: Pose, end: Pose, center: tuple[float, float], radii_m: tuple[float, float]) -> Curve:
    """Right into an anticlockwise ring round ``center``, along it, right out of it: ``start`` to ``end``.

    ``radii_m`` are those of the ring and of the two bends outside it. Equal headings go half way round, opposite ones
    too; raises ``ValueError`` where the ring begins before ``start`` or after ``end``.
    """
    ring, bend = radii_m
    into, turn_in = _tangent(start, center, ring, bend)
    x, y, yaw = end
    # Seen in a mirror and backwards, the way out is a way in.
    mirrored = (x, -y, float(np.pi - yaw))
    out, turn_out = _tangent(mirrored, (center[0], -center[1]), ring, bend)
    turn = float(np.angle(np.exp(1j * (yaw - start[2] - 1e-9)))) + 1e-9
    pieces = (
        (into, 0.0), (bend * turn_in, -1 / bend), (ring * (turn + turn_in + turn_out), 1 / ring),
        (bend * turn_out, -1 / bend), (out, 0.0),
    )  # fmt: skip
    if min(length for length, _ in pieces) < 0:
        raise ValueError(f"no ring of radius {ring:.1f} m round {center} joins {start} and {end}")
    return Curve(start, tuple((length, curvature) for length, curvature in pieces if length > 1e-6))


def _tangent(start: Pose, center: tuple[float, float], ring_m: float, bend_m: float) -> tuple[float, float]:
    """Straight length ahead of ``start`` and angle of the right bend that meets a left-turning ring."""
    dx, dy = center[0] - start[0], center[1] - start[1]
    forward = dx * np.cos(start[2]) + dy * np.sin(start[2])
    aside = bend_m - dx * np.sin(start[2]) + dy * np.cos(start[2])
    reach = float(np.sqrt(max((ring_m + bend_m) ** 2 - aside**2, 0.0)))
    return float(forward) - reach, float(np.arctan2(reach, aside))
