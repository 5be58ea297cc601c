"""When drivers change lanes (MOBIL), and the course that takes them over.

Whoever gains enough and forces nobody behind to brake hard goes over, once in a scene; the turn signal goes before.
Kesting, Treiber, Helbing, Transportation Research Record 1999, 2007.
"""

from dataclasses import replace

import numpy as np

from dima_pipeline.geometry import wrap_angle
from dima_pipeline.world.actors import Actor, Course, LaneChange, State
from dima_pipeline.world.driver_models import look_ahead, response
from dima_pipeline.world.paths import STEP_M, DrivePath, smoothstep, with_limits

POLITENESS = 0.3
THRESHOLD_MPS2 = 0.25
SAFE_BRAKING_MPS2 = 2.5
SIGNAL_S = 1.0
"""The signal is on for so long before the wheel turns."""
CHANGE_S, SHORTEST_M = 3.5, 18.0
FOLLOWER_SIGHT_M = 50.0
ASIDE_M = 1.4
MIN_SPEED_MPS = 2.0


def change_lane(state: State, index: int) -> tuple[Course, LaneChange] | None:
    """The course of a driver that changes lanes now, and what there is to note; none where it stays."""
    actor, course = state.actors[index], state.courses[index]
    speed, along = float(state.speeds[index]), float(state.along_m[index])
    if course is None or speed < MIN_SPEED_MPS or along + _room(speed) > actor.beside_until_m:
        return None
    if any(change.index == index for change in state.changes):
        return None
    for other in actor.beside:
        if _is_worth_it(state, index, course, other):
            new = _taken_over(course, other, along, speed)
            _, until, side = new.blinks[0]
            return new, LaneChange(index, state.time_s, until, side, new.intention)
    return None


def _room(speed_mps: float) -> float:
    return SIGNAL_S * speed_mps + max(SHORTEST_M, CHANGE_S * speed_mps)


def _is_worth_it(state: State, index: int, course: Course, other: Course) -> bool:
    """MOBIL's two criteria: nobody behind must brake hard, and all in all it pays."""
    place = nearest_m(other.path, state.poses[index], state.actors[index])
    now = _acceleration(state, index, course.path, float(state.along_m[index]))
    then = _acceleration(state, index, other.path, place)
    gain = then - now
    if gain < THRESHOLD_MPS2:
        return False
    follower = _follower(state, index, other.path, place)
    if follower is not None:
        behind, gap = follower
        free, pressed = _of_follower(state, behind, index, gap)
        if pressed < -SAFE_BRAKING_MPS2:
            return False
        gain += POLITENESS * (pressed - free)
    return gain > THRESHOLD_MPS2


def _acceleration(state: State, index: int, path: DrivePath, along_m: float) -> float:
    near = look_ahead(state, index, path, along_m)
    return response(state, index, path.limit(along_m), near)


def _follower(state: State, index: int, path: DrivePath, along_m: float) -> tuple[int, float] | None:
    """The next driver behind on a neighbouring lane, and the gap (m) to the one who would go in front of it."""
    x, y, yaw = path.pose(along_m)
    cos, sin = np.cos(yaw), np.sin(yaw)
    away = state.poses[:, :2] - (x, y)
    along, left = away @ (cos, sin), away @ (-sin, cos)
    center = float((state.poses[index, :2] - (x, y)) @ (cos, sin))
    behind = (along < center) & (along > center - FOLLOWER_SIGHT_M) & (np.abs(left) < ASIDE_M)
    behind &= np.abs(wrap_angle(state.poses[:, 2] - yaw)) < 0.5
    behind[index] = False
    rows = np.flatnonzero(behind)
    if not len(rows):
        return None
    nearest = int(rows[along[rows].argmax()])
    gap = center - along[nearest] - (state.sizes[index, 0] + state.sizes[nearest, 0]) / 2
    return nearest, float(gap)


def _of_follower(state: State, behind: int, index: int, gap_m: float) -> tuple[float, float]:
    """Acceleration (m/s2) of who is behind: as it is, and with this driver in front of it."""
    path = state.paths[behind]
    if path is None or gap_m < 1.0:
        return 0.0, -np.inf
    along = float(state.along_m[behind])
    near = look_ahead(state, behind, path, along)
    limit = path.limit(along)
    new = replace(near, gap_m=gap_m, speed_mps=float(state.speeds[index]), index=index)
    return response(state, behind, limit, near), response(state, behind, limit, new)


def nearest_m(path: DrivePath, center: np.ndarray, actor: Actor) -> float:
    """Where the reference point of a vehicle whose box is at ``center`` is along a path."""
    nearest = int(((path.poses[:, :2] - center[:2]) ** 2).sum(1).argmin())
    return float(path.along_m[nearest]) - actor.center_ahead_m


def _taken_over(course: Course, other: Course, along_m: float, speed_mps: float) -> Course:
    """A course that leaves one path after ``SIGNAL_S`` and is on the other after ``CHANGE_S`` more.

    Distances before the change stay those of the old path.
    """
    begin = along_m + SIGNAL_S * speed_mps
    end = begin + max(SHORTEST_M, CHANGE_S * speed_mps)
    own, beside = course.path, other.path
    lead = own.along_m <= begin
    grid = np.arange(own.along_m[lead][-1] + STEP_M, end, STEP_M)
    middle = own.pose(grid)
    places = np.array([((beside.poses[:, :2] - xy) ** 2).sum(1).argmin() for xy in middle[:, :2]])
    share = smoothstep((grid - begin) / (end - begin))[:, None]
    blended = (1 - share) * middle[:, :2] + share * beside.poses[places, :2]
    rest = slice(int(places[-1]) + 2, None)
    xy = np.concatenate([own.poses[lead, :2], blended, beside.poses[rest, :2]])
    step = np.gradient(xy, axis=0)
    yaw = np.unwrap(np.arctan2(step[:, 1], step[:, 0]))
    yaw += 2 * np.pi * np.round((own.poses[0, 2] - yaw[0]) / (2 * np.pi))
    limits = np.concatenate([own.limit_mps[lead], beside.limit_mps[places], beside.limit_mps[rest]])
    travelled = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(xy, axis=0), axis=1))])
    path = with_limits(travelled, np.column_stack([xy, yaw]), limits, np.ones(len(xy)))
    join = len(own.poses[lead]) + len(grid)
    shift = float(travelled[join] - beside.along_m[rest][0])
    x, y, heading = own.pose(begin)
    to = beside.poses[places[0], :2] - (x, y)
    side = "left" if -to[0] * np.sin(heading) + to[1] * np.cos(heading) > 0 else "right"
    gates = tuple(replace(gate, along_m=gate.along_m + shift, over_m=gate.over_m + shift) for gate in other.gates)
    blinks = tuple((first + shift, last + shift, which) for first, last, which in other.blinks)
    return Course(path, gates, ((begin, end - 4.0, side), *blinks), other.intention)
