"""How drivers choose their speed: the intelligent driver model behind whatever stands in their corridor or at a gate.

A driver looks along its own path: pedestrians on the way to the corridor and closed gates are walls to stop at.
IDM: Treiber, Hennecke, Helbing, Phys. Rev. E 62, 2000.
"""

from dataclasses import dataclass

import numpy as np

from dima_pipeline.geometry import box_corners, wrap_angle
from dima_pipeline.world.actors import Actor, Gate, Passed, State
from dima_pipeline.world.paths import DrivePath

Array = np.ndarray
DECISION_S = 0.1
"""Drivers look at 10 Hz."""
COMFORT_BRAKING_MPS2 = 2.4
EMERGENCY_BRAKING_MPS2 = 6.0
HEADWAY_S = 1.3
STANDSTILL_M = 2.0
FULL_STOP_S = 1.2
YELLOW_BRAKING_MPS2 = 3.0
"""Who would have to brake harder than this drives on at yellow."""
PULLS = {"vehicle.truck": 1.2, "vehicle.bus.rigid": 1.2, "vehicle.trailer": 1.0, "vehicle.bicycle": 0.9}
DEFAULT_PULL_MPS2 = 1.8
Memory = set[Passed]


@dataclass(frozen=True)
class Decision:
    """Acceleration (m/s2) of a driver, the actor it follows (-1: none), and whether it yields to a pedestrian."""

    acceleration_mps2: float
    leader: int = -1
    yields: bool = False


@dataclass(frozen=True)
class Obstacle:
    """The nearest thing ahead: gap (m) and speed along the path (m/s), who it is (-1: a gate or nothing)."""

    gap_m: float = np.inf
    speed_mps: float = 0.0
    index: int = -1
    is_walker: bool = False


def idm(
    speed_mps: float,
    wanted_mps: float,
    gap_m: float,
    lead_speed_mps: float,
    *,
    pull_mps2: float = DEFAULT_PULL_MPS2,
    braking_mps2: float = 3.5,
) -> float:
    """Acceleration (m/s2) of the intelligent driver model; brakes firmly where the limit is exceeded."""
    if speed_mps > wanted_mps:
        free = -min(braking_mps2, (speed_mps - wanted_mps) / 0.25)
    else:
        free = pull_mps2 * (1 - (speed_mps / max(wanted_mps, 0.1)) ** 4)
    closing = speed_mps * (speed_mps - lead_speed_mps) / (2 * (pull_mps2 * COMFORT_BRAKING_MPS2) ** 0.5)
    wish = STANDSTILL_M + max(0.0, speed_mps * HEADWAY_S + closing)
    follow = pull_mps2 * (1 - (wish / max(gap_m, 0.1)) ** 2) if gap_m < np.inf else np.inf
    return float(max(min(free, follow, pull_mps2), -max(EMERGENCY_BRAKING_MPS2, braking_mps2)))


def decide(state: State, index: int, memory: Memory, since_release_s: float, foresight_s: float = 0.05) -> Decision:
    """What a driver does: its limit as it will be in ``foresight_s``, its plan, the road ahead, its gates and stops."""
    actor, course = state.actors[index], state.courses[index]
    assert course is not None
    path = course.path
    along, speed = float(state.along_m[index]), abs(float(state.speeds[index]))
    wanted = path.limit(along + speed * foresight_s)
    if actor.speed_plan:
        times, caps = zip(*actor.speed_plan, strict=True)
        wanted = min(wanted, float(np.interp(since_release_s, times, caps)))
    if wanted < 0.1 and speed < 0.2:
        return Decision(-speed / DECISION_S)
    front = along + actor.center_ahead_m + actor.size[0] / 2
    near = look_ahead(state, index, path, along)
    wall = min(_closed_gate(state, index, memory, front), _next_stop(state, index, memory, front))
    if wall < near.gap_m:
        near = Obstacle(wall + STANDSTILL_M - 0.5, 0.0, -1, near.is_walker)
    if speed < 0.4 and near.gap_m < STANDSTILL_M + 0.4 and near.speed_mps < 0.3:
        return Decision(-speed / DECISION_S, near.index, near.is_walker)
    return Decision(response(state, index, wanted, near), near.index, near.is_walker)


def response(state: State, index: int, wanted_mps: float, near: Obstacle) -> float:
    """Acceleration (m/s2) with which a driver answers what is ahead of it."""
    actor = state.actors[index]
    pull = PULLS.get(actor.category, DEFAULT_PULL_MPS2)
    speed = abs(float(state.speeds[index]))
    return idm(speed, wanted_mps, near.gap_m, near.speed_mps, pull_mps2=pull, braking_mps2=actor.braking_mps2)


def sight_m(speed_mps: float) -> float:
    """How far a driver looks: as far as a smooth halt takes."""
    return min(16.0 + 2.0 * speed_mps + speed_mps**2 / 4, 60.0)


def look_ahead(state: State, index: int, path: DrivePath, along_m: float) -> Obstacle:
    """The nearest obstacle in the corridor of a path, for a driver that is at ``along_m`` of it."""
    actor = state.actors[index]
    if path.direction_at(along_m) < 0:
        return Obstacle()
    front, sight = along_m + actor.center_ahead_m + actor.size[0] / 2, sight_m(abs(float(state.speeds[index])))
    away = state.poses[:, :2] - state.poses[index, :2]
    near = np.flatnonzero((away**2).sum(1) < (sight + 8) ** 2)
    # Who keeps to a timetable stays on the walkway.
    near = near[[at != index and state.actors[at].timed_poses is None for at in near]]
    grid = np.arange(max(along_m, 0.0), min(front + sight, path.length), 1.0)
    if len(near) == 0 or len(grid) < 2:
        return Obstacle()
    boxes = np.concatenate([state.poses[near], state.sizes[near, :2]], 1)
    begin, end, low, high, yaw = in_corridor(path.pose(grid), grid, boxes)
    speeds, turned = np.abs(state.speeds[near]), state.poses[near, 2] - yaw
    walkers = np.array([state.actors[i].is_walker for i in near])
    half = actor.size[1] / 2 + 0.25
    # A walker counts from before it steps into the corridor until it has left it.
    middle, drift = (low + high) / 2, speeds * np.sin(turned)
    approaches = walkers & (np.abs(middle) < 7.0) & (drift * np.sign(middle) < -0.3)
    half_each = np.where(walkers, half + 0.5, half)
    blocks = ((low < half_each) & (high > -half_each)) | approaches
    blocks &= (end > front) & (begin < grid[-1] - 0.5)
    if not blocks.any():
        return Obstacle()
    gaps = np.where(blocks, begin - front - np.where(walkers, 2.0, 0.0), np.inf)
    best = int(gaps.argmin())
    speed = 0.0 if walkers[best] else max(float(speeds[best] * np.cos(turned[best])), 0.0)
    return Obstacle(max(float(gaps[best]), 0.1), speed, int(near[best]), bool(walkers[best]))


def in_corridor(line: Array, grid: Array, boxes: Array) -> tuple[Array, Array, Array, Array, Array]:
    """Begin and end along a line (N, 3), least and greatest offset from it, and its yaw there, for boxes (A, 5)."""
    corners = box_corners(boxes)
    apart = corners[:, :, None] - line[:, :2]
    nearest = (apart**2).sum(-1).argmin(-1)
    away = corners - line[nearest, :2]
    yaw = line[nearest, 2]
    cos, sin = np.cos(yaw), np.sin(yaw)
    along = grid[nearest] + np.clip(away[..., 0] * cos + away[..., 1] * sin, -50, 50)
    left = -away[..., 0] * sin + away[..., 1] * cos
    return along.min(1), along.max(1), left.min(1), left.max(1), yaw[:, 0]


def _closed_gate(state: State, index: int, memory: Memory, front: float) -> float:
    """Room (m) to the nearest gate that is closed."""
    speed = abs(float(state.speeds[index]))
    best = np.inf
    course = state.courses[index]
    for gate in course.gates if course else ():
        room = gate.along_m - front
        if -1.0 < room < min(sight_m(speed), best) and not _may_pass(state, index, memory, gate, room):
            best = room
    return best


def _next_stop(state: State, index: int, memory: Memory, front: float) -> float:
    """Room (m) to where a bus halts next."""
    for place, dwell in state.actors[index].stops:
        room = place - front
        if (index, "halt", place) in memory or not -2.0 < room < 60.0:
            continue
        if room < 1.5 and state.halted_s[index] >= dwell:
            memory.add((index, "halt", place))
            continue
        return float(room)
    return np.inf


def _may_pass(state: State, index: int, memory: Memory, gate: Gate, room: float) -> bool:
    """Whether a gate is open: after a full stop where it asks for one, and while nobody comes."""
    key = (index, gate.rule, gate.along_m)
    if key in memory:
        return True
    if gate.rule == "stop" and not (room < 1.5 and state.halted_s[index] >= FULL_STOP_S):
        return False
    if gate.rule == "signal":
        is_open, is_final = _signal_is_open(state, index, gate, room)
    else:
        is_clear = _stretch_is_clear if gate.rule == "overtake" else _junction_is_clear
        is_open = is_clear(state, index, gate)
        is_final = is_open and room < 2.0
    if is_final:
        memory.add(key)
    return is_open


def _signal_is_open(state: State, index: int, gate: Gate, room: float) -> tuple[bool, bool]:
    """Whether a driver goes on at a traffic light, and whether that is its last word."""
    color = state.signals.get(gate.signal, "green")
    braking = float(state.speeds[index]) ** 2 / (2 * max(room, 0.1))
    cannot_stop = color == "yellow" and state.halted_s[index] == 0.0 and braking > YELLOW_BRAKING_MPS2
    return color == "green" or cannot_stop, cannot_stop


def _junction_is_clear(state: State, index: int, gate: Gate) -> bool:
    """Whether nobody who goes first is in a junction or comes to it."""
    to_center = np.array(gate.center) - state.poses[:, :2]
    distance = np.hypot(to_center[:, 0], to_center[:, 1])
    yaw, speed = state.poses[:, 2], np.abs(state.speeds)
    approach = (to_center[:, 0] * np.cos(yaw) + to_center[:, 1] * np.sin(yaw)) / np.maximum(distance, 1e-6)
    turned = wrap_angle(yaw - yaw[index])
    goes_first = {
        "oncoming": np.abs(turned) > 2.4,
        "right": (turned > 0.6) & (turned < 2.4),
    }.get(gate.rule, np.abs(turned) > 0.6)
    drivers = [course is not None and not a.is_walker for a, course in zip(state.actors, state.courses, strict=True)]
    moving = (speed > 0.5) & np.array(drivers)
    comes = moving & (approach > 0.6) & (distance < 6.5 * speed + 4) & goes_first
    inside = moving & (distance < 9.0) & (np.abs(turned) > 0.6)
    comes[index] = inside[index] = False
    return not bool((comes | inside).any())


def _stretch_is_clear(state: State, index: int, gate: Gate) -> bool:
    """Whether nobody comes along the stretch of the oncoming lane that an overtaking driver is about to use."""
    course = state.courses[index]
    assert course is not None
    path = course.path
    x, y, yaw = path.pose(gate.along_m)
    length = gate.over_m - gate.along_m
    lasts_s = length / max(path.limit(gate.along_m + length / 2), 2.0) + 3.0
    away = state.poses[:, :2] - (x, y)
    along, left = away @ (np.cos(yaw), np.sin(yaw)), away @ (-np.sin(yaw), np.cos(yaw))
    speed = np.abs(state.speeds)
    comes = (np.abs(wrap_angle(state.poses[:, 2] - yaw)) > 2.4) & (speed > 0.3) & (np.abs(left) < 9.0)
    comes &= (along > -3.0) & (along < length + speed * lasts_s + 6.0)
    comes[[index, *(i for i, actor in enumerate(state.actors) if actor.is_walker)]] = False
    return not bool(comes.any())


def is_released(actor: Actor, state_poses: Array, index: int) -> bool:
    """Whether the ego has come near enough for an actor that waits for it."""
    if actor.waits_for_ego_m is None:
        return True
    place = state_poses[index, :2] if actor.crossing_xy is None else np.array(actor.crossing_xy)
    return bool(np.hypot(*(state_poses[0, :2] - place)) < actor.waits_for_ego_m)
