"""Plane geometry of the checker: boxes, the strip that the ego drives, and what simple manoeuvres would lead to.

All in the ego frame of the keyframe, in metres, radians and seconds.
"""

from collections.abc import Iterator
from functools import lru_cache

import numpy as np
from shapely import LineString, Point, Polygon

from independent import words
from independent.world import STEP_S, Box, Keyframe

EGO_SIZE_M, EGO_AHEAD_M = (4.084, 1.85), 1.443713
TIMES_S = np.arange(0.0, 3.01, 0.25)


def rectangle(pose: np.ndarray, size: tuple[float, float], ahead: float = 0.0) -> Polygon:
    """The outline of a box of length and width at a pose (x, y, yaw), its centre ``ahead`` of the pose."""
    axis = np.array([np.cos(pose[2]), np.sin(pose[2])])
    side = np.array([-axis[1], axis[0]])
    center = np.asarray(pose[:2]) + ahead * axis
    half, wide = axis * size[0] / 2, side * size[1] / 2
    return Polygon([center + half + wide, center + half - wide, center - half - wide, center - half + wide])


def outline(box: Box, pose: np.ndarray | None = None) -> Polygon:
    """The outline of an agent, now or at another pose."""
    return rectangle(np.array([*box.center[:2], box.yaw]) if pose is None else pose, box.size)


def ego_outline(pose: np.ndarray) -> Polygon:
    """The outline of the ego at a pose of its origin."""
    return rectangle(pose, EGO_SIZE_M, EGO_AHEAD_M)


def _line(points: np.ndarray) -> LineString | None:
    """A line through points, without those that stand still: GEOS measures to them with NaN on the way."""
    kept = [points[0]]
    for point in points[1:]:
        if np.hypot(*(point - kept[-1])) > 1e-3:
            kept.append(point)
    return LineString(kept) if len(kept) > 1 else None


def driven_line(keyframe: Keyframe, from_step: int = 0) -> LineString | None:
    """The line that the ego origin drives in the rest of the 3 s; None where it hardly moves."""
    poses, valid = keyframe.ego_track()
    points = poses[from_step:][valid[from_step:], :2]
    line = _line(points) if len(points) > 1 else None
    return line if line is not None and line.length > words.STANDS_M else None


def path_lines(keyframe: Keyframe, length_m: float = words.PATH_M) -> tuple[LineString, LineString]:
    """The driven line and straight on from its end to ``length_m``: along the last heading, and the last movement."""
    poses, valid = keyframe.ego_track()
    poses = poses[valid]
    steps = np.diff(poses[:, :2], axis=0)
    rest = max(length_m - float(np.hypot(*steps.T).sum()), 0.01)
    heading = poses[-1, 2]
    moved = heading
    if len(steps) and np.hypot(*steps[-1]) > 0.2 and np.cos(np.arctan2(steps[-1, 1], steps[-1, 0]) - heading) > 0:
        moved = np.arctan2(steps[-1, 1], steps[-1, 0])
    ends = (poses[-1, :2] + rest * np.array([np.cos(angle), np.sin(angle)]) for angle in (heading, moved))
    first, second = (_line(np.vstack([poses[:, :2], end])) for end in ends)
    assert first is not None and second is not None, "the end lies 0.01 m or more ahead"
    return first, second


def distances(keyframe: Keyframe, box: Box) -> np.ndarray:
    """Distance of a box's centre from the ego origin now and at the 6 steps; NaN where either is unknown."""
    theirs, their_valid = box.track()
    ours, our_valid = keyframe.ego_track()
    return np.where(their_valid & our_valid, np.hypot(*(theirs - ours)[:, :2].T), np.nan)


def in_way_now(keyframe: Keyframe, box: Box) -> bool | None:
    """Whether a box stands on the path of the ego (driven in 3 s, then straight on to 30 m)."""
    found = {on_strip(outline(box).distance(line)) for line in path_lines(keyframe)}
    return found.pop() if len(found) == 1 else None


def on_strip(distance_m: float) -> bool | None:
    """Whether something that far from the ego's line is in its way; None inside the band."""
    low, high = words.STRIP_M
    return True if distance_m <= low else (None if distance_m < high else False)


def touches_rest(keyframe: Keyframe, box: Box) -> list[bool | None]:
    """For now and each step: whether the box is on what the ego has yet to drive of its 3 s, before the ego."""
    poses, valid = box.track()
    found: list[bool | None] = []
    for step in range(len(poses)):
        line = driven_line(keyframe, step)
        found.append(None if not valid[step] else _before(keyframe, box, poses[step], step, line))
    return found


def _before(keyframe: Keyframe, box: Box, pose: np.ndarray, step: int, line: LineString | None) -> bool | None:
    if line is None:
        return False
    ego = keyframe.ego_track()[0][step]
    front = np.array([np.cos(ego[2]), np.sin(ego[2])])
    forwards = float(np.dot(np.asarray(line.coords[1]) - np.asarray(line.coords[0]), front)) >= 0
    ahead = float(np.dot(pose[:2] - ego[:2], front)) * (1 if forwards else -1)
    return on_strip(outline(box, pose).distance(line)) if ahead > 0 else False


@lru_cache(maxsize=4096)
def _variants(action: str, speed: float) -> tuple[np.ndarray, ...]:
    """Roll-outs of an action in several strengths: poses at ``TIMES_S`` each."""
    if action == "accelerate":
        return tuple(_rolled(speed, a, 0.0) for a in words.ACCELERATIONS_MPS2)
    if action == "brake":
        return tuple(_rolled(speed, -a, 0.0) for a in words.BRAKING_MPS2)
    if action == "straight":
        return tuple(_rolled(speed * share, 0.0, 0.0) for share in words.STRAIGHT_SHARES)
    sign = 1 if action == "left" else -1
    fast = max(speed, words.TURN_MIN_MPS)
    turns = ((radius, lateral) for radius in words.TURN_RADII_M for lateral in words.TURN_LATERAL_MPS2)
    return tuple(_rolled(fast, 0.0, sign * min(1 / radius, lateral / fast**2)) for radius, lateral in turns)


def _rolled(speed: float, acceleration: float, curvature: float) -> np.ndarray:
    times = np.minimum(TIMES_S, speed / -acceleration) if acceleration < 0 and speed > 0 else TIMES_S
    way = speed * times + 0.5 * acceleration * times**2 if not (acceleration < 0 and speed <= 0) else 0 * times
    angle = curvature * way
    if curvature == 0:
        return np.stack([way, 0 * way, 0 * way], axis=1)
    return np.stack([np.sin(angle) / curvature, (1 - np.cos(angle)) / curvature, angle], axis=1)


def poses_at(box: Box) -> np.ndarray:
    """The recorded poses of an agent at ``TIMES_S``, as far as its future is known."""
    poses, valid = box.track()
    steps = np.flatnonzero(valid)
    times = TIMES_S[steps[-1] * STEP_S + 1e-9 >= TIMES_S]
    x, y = (np.interp(times, steps * STEP_S, poses[steps, axis]) for axis in (0, 1))
    return np.stack([x, y, np.interp(times, steps * STEP_S, np.unwrap(poses[steps, 2]))], axis=1)


def gaps(keyframe: Keyframe, box: Box, action: str) -> np.ndarray:
    """Smallest gap (m) between ego and agent within 3 s for each strength of an action, 0 for a collision."""
    rolled = _variants(action, round(keyframe.speed, 2))
    poses = poses_at(box)
    reach = np.hypot(*poses[:, :2].T).min()
    if reach > 3 * abs(keyframe.speed) + 30 + max(box.size):
        return np.full(len(rolled), reach)
    theirs = [outline(box, pose) for pose in poses]
    return np.array([min(_gaps(theirs, ours)) for ours in rolled])


def _gaps(theirs: list[Polygon], ours: np.ndarray) -> Iterator[float]:
    for polygon, pose in zip(theirs, ours, strict=False):
        center = Point(polygon.centroid)
        away = float(np.hypot(center.x - pose[0], center.y - pose[1]))
        yield polygon.distance(ego_outline(pose)) if away < 20 else away - 10
