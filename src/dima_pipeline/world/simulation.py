"""Moves the ego and the others by simple rules at 20 Hz: the intelligent driver model, stop lines, yielding.

A driver looks along its own path: whatever stands in the corridor ahead is the vehicle in front. Pedestrians on the way
to the corridor and gates (stop lines, turns across traffic) are walls to stop at.
IDM: Treiber, Hennecke, Helbing, Phys. Rev. E 62, 2000.
"""

from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Bool, Float

from dima_pipeline.contracts.frames import EGO_CENTER_AHEAD_M, EGO_LENGTH_M, EGO_WIDTH_M
from dima_pipeline.geometry import box_corners, boxes_overlap, wrap_angle
from dima_pipeline.world.paths import DrivePath

Array = np.ndarray
TIME_STEP_S = 0.05
TICKS_A_DECISION = 2
"""Drivers look at 10 Hz."""
SIGHT_M = 45.0
ACCELERATION_MPS2 = 1.8
COMFORT_BRAKING_MPS2 = 2.4
HEADWAY_S = 1.3
STANDSTILL_M = 2.0
FULL_STOP_S = 1.2


@dataclass(frozen=True)
class Gate:
    """Where a driver gives way: ``along_m`` of its path, seen from the middle of the junction it guards."""

    along_m: float
    center: tuple[float, float]
    is_stop: bool
    """A stop line: halt even if nobody comes."""


@dataclass
class Actor:
    """Anything with a box. Drivers have a path; walkers have a path and a trigger; the rest stands still."""

    name: str
    category: str
    """nuScenes category."""
    size: tuple[float, float, float]
    """Length, width, height, m."""
    pose: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """Of the box centre, for those without a path."""
    path: DrivePath | None = None
    start_m: float = 0.0
    speed_mps: float = 0.0
    center_ahead_m: float = 0.0
    """Box centre ahead of the path point (the rear axle)."""
    gates: tuple[Gate, ...] = ()
    speed_plan: tuple[tuple[float, float], ...] = ()
    """(second, m/s) caps of a scripted driver, linear in between."""
    is_walker: bool = False
    waits_for_ego_m: float | None = None
    """A walker starts when the ego is this near to where it will cross."""
    crossing_xy: tuple[float, float] | None = None
    role: str = "background"
    """Background may be left out where it gets in the way; ``event`` may not."""
    intention: str = ""
    color: tuple[int, int, int] | None = None

    @property
    def moves(self) -> bool:
        """Whether it has a path."""
        return self.path is not None


@dataclass(frozen=True)
class Tracks:
    """What happened: time axis T, actors A in their order with the ego first."""

    times_s: Float[Array, "T"]
    poses: Float[Array, "T A 3"]
    """Box centres x, y and unwrapped yaw."""
    speeds: Float[Array, "T A"]
    along_m: Float[Array, "T A"]
    waiting: Bool[Array, "T"]
    """The ego gives way to a pedestrian."""
    in_front: Float[Array, "T"]
    """Index of the actor the ego follows, -1 for none."""


def make_ego(path: DrivePath, start_m: float, gates: tuple[Gate, ...]) -> Actor:
    """The ego vehicle at its legal speed."""
    size = (EGO_LENGTH_M, EGO_WIDTH_M, 1.56)
    return Actor(
        "ego", "ego", size, path=path, start_m=start_m, speed_mps=path.limit(start_m), gates=gates,
        center_ahead_m=EGO_CENTER_AHEAD_M, role="event",
    )  # fmt: skip


@dataclass
class _State:
    actors: list[Actor]
    along: Array
    speed: Array
    halted_s: Array
    poses: Array
    sizes: Array
    opened: set[tuple[int, float]] = field(default_factory=set)
    """(actor, place) of the gates that an actor has found open: who has begun to go, goes."""

    def boxes(self) -> Array:
        return np.concatenate([self.poses, self.sizes[:, :2]], 1)

    def signed_speed(self) -> Array:
        signs = [a.path.direction_at(s) if a.path else 0.0 for a, s in zip(self.actors, self.along, strict=True)]
        return self.speed * np.array(signs, float)


def simulate(actors: list[Actor], duration_s: float) -> Tracks:
    """Move all actors, the ego first in the list, for ``duration_s``; deterministic."""
    assert actors[0].path is not None
    state = _State(
        actors,
        np.array([actor.start_m for actor in actors]),
        np.array([actor.speed_mps if actor.path else 0.0 for actor in actors]),
        np.zeros(len(actors)),
        np.array([actor.pose for actor in actors], float),
        np.array([actor.size for actor in actors]),
    )
    _place(state)
    count = round(duration_s / TIME_STEP_S) + 1
    history: dict[str, list[Array]] = {"poses": [], "speeds": [], "along": []}
    waiting, in_front = np.zeros(count, bool), np.full(count, -1.0)
    for tick in range(count):
        history["poses"].append(state.poses.copy())
        history["speeds"].append(state.signed_speed())
        history["along"].append(state.along.copy())
        if tick % TICKS_A_DECISION == 0:
            acceleration, leader, yields = _decide(state, tick * TIME_STEP_S)
        waiting[tick], in_front[tick] = yields, leader
        _advance(state, acceleration)
    stacked = {name: np.stack(values) for name, values in history.items()}
    times = np.arange(count) * TIME_STEP_S
    return Tracks(times, stacked["poses"], stacked["speeds"], stacked["along"], waiting, in_front)


def _decide(state: _State, time_s: float) -> tuple[Array, int, bool]:
    """Accelerations of all drivers; whom the ego follows, and whether it yields to a walker."""
    acceleration = np.zeros(len(state.actors))
    leader, yields = -1, False
    for index, actor in enumerate(state.actors):
        if actor.is_walker:
            _walk(state, index)
        elif actor.path is not None:
            acceleration[index], in_front, is_walker = _drive(state, index, time_s)
            if index == 0:
                leader, yields = in_front, is_walker
    return acceleration, leader, yields


def _place(state: _State) -> None:
    for index, actor in enumerate(state.actors):
        if actor.path is not None:
            state.poses[index] = box_pose(actor, state.along[index])


def box_pose(actor: Actor, along_m: Array | float) -> Array:
    """Box-centre pose of an actor at distances along its path."""
    assert actor.path is not None
    pose = actor.path.pose(np.asarray(along_m, float))
    ahead = actor.center_ahead_m * np.stack([np.cos(pose[..., 2]), np.sin(pose[..., 2])], -1)
    return np.concatenate([pose[..., :2] + ahead, pose[..., 2:]], -1)


def _advance(state: _State, acceleration: Array) -> None:
    drivers = np.array([a.path is not None and not a.is_walker for a in state.actors])
    new = np.where(drivers, np.maximum(state.speed + acceleration * TIME_STEP_S, 0.0), state.speed)
    lengths = np.array([actor.path.length if actor.path else 0.0 for actor in state.actors])
    state.along = np.minimum(state.along + (state.speed + new) / 2 * TIME_STEP_S, lengths)
    state.speed = np.where(drivers & (state.along >= lengths), 0.0, new)
    state.halted_s = np.where(state.speed < 0.05, state.halted_s + TIME_STEP_S, 0.0)
    _place(state)


def _walk(state: _State, index: int) -> None:
    """Walkers keep their pace, wait for their trigger, and stop at the end of their way."""
    actor = state.actors[index]
    assert actor.path is not None
    go = True
    if actor.waits_for_ego_m is not None and state.along[index] <= actor.start_m:
        assert actor.crossing_xy is not None
        go = bool(np.hypot(*(state.poses[0, :2] - actor.crossing_xy)) < actor.waits_for_ego_m)
    done = state.along[index] >= actor.path.length - 1e-6
    state.speed[index] = actor.speed_mps if go and not done else 0.0


def _drive(state: _State, index: int, time_s: float) -> tuple[float, int, bool]:
    """Acceleration (m/s2) of a driver, the actor it follows (or -1), and whether it yields to a pedestrian."""
    actor = state.actors[index]
    assert actor.path is not None
    along, speed = state.along[index], state.speed[index]
    wanted = actor.path.limit(along + speed * TIME_STEP_S)
    if actor.speed_plan:
        times, caps = zip(*actor.speed_plan, strict=True)
        wanted = min(wanted, float(np.interp(time_s, times, caps)))
    front = along + actor.center_ahead_m + actor.size[0] / 2
    gap, lead_speed, leader, yields = _look_ahead(state, index, front)
    for gate in actor.gates:
        room = gate.along_m - front
        if -1.0 < room < SIGHT_M and room < gap and not _may_pass(state, index, gate, room):
            gap, lead_speed, leader = room + STANDSTILL_M - 0.5, 0.0, -1
    if speed < 0.4 and gap < STANDSTILL_M + 0.4 and lead_speed < 0.3:
        return -speed / (TIME_STEP_S * TICKS_A_DECISION), leader, yields
    return idm(speed, wanted, gap, lead_speed), leader, yields


def idm(speed_mps: float, wanted_mps: float, gap_m: float, lead_speed_mps: float) -> float:
    """Acceleration (m/s2) of the intelligent driver model; brakes firmly where the limit is exceeded."""
    if speed_mps > wanted_mps:
        free = -min(3.5, (speed_mps - wanted_mps) / 0.25)
    else:
        free = ACCELERATION_MPS2 * (1 - (speed_mps / max(wanted_mps, 0.1)) ** 4)
    closing = speed_mps * (speed_mps - lead_speed_mps) / (2 * np.sqrt(ACCELERATION_MPS2 * COMFORT_BRAKING_MPS2))
    wish = STANDSTILL_M + max(0.0, speed_mps * HEADWAY_S + closing)
    follow = ACCELERATION_MPS2 * (1 - (wish / max(gap_m, 0.1)) ** 2) if np.isfinite(gap_m) else np.inf
    return float(np.clip(min(free, follow), -6.0, ACCELERATION_MPS2))


def _look_ahead(state: _State, index: int, front: float) -> tuple[float, float, int, bool]:
    """Gap (m) to the nearest obstacle in the corridor, its speed along it, its index, and whether it is a walker."""
    actor = state.actors[index]
    assert actor.path is not None
    if actor.path.direction_at(state.along[index]) < 0:
        return np.inf, 0.0, -1, False
    grid = np.arange(max(state.along[index], 0.0), min(front + SIGHT_M, actor.path.length), 1.0)
    near = np.flatnonzero(np.linalg.norm(state.poses[:, :2] - state.poses[index, :2], axis=1) < SIGHT_M + 8)
    near = near[near != index]
    if len(near) == 0 or len(grid) < 2:
        return np.inf, 0.0, -1, False
    line = actor.path.pose(grid)
    begin, end, low, high, yaw = _in_corridor(line, grid, state.boxes()[near])
    drift = np.abs(state.speed[near]) * np.sin(state.poses[near, 2] - yaw)
    walkers = np.array([state.actors[i].is_walker for i in near])
    half = actor.size[1] / 2 + 0.25
    # A walker counts from before it steps into the corridor until it has left it.
    middle = (low + high) / 2
    approaches = walkers & (np.abs(middle) < 7.0) & (drift * np.sign(middle) < -0.3)
    half_each = np.where(walkers, half + 0.5, half)
    blocks = ((low < half_each) & (high > -half_each)) | approaches
    blocks &= (end > front) & (begin < grid[-1] - 0.5)
    if not blocks.any():
        return np.inf, 0.0, -1, False
    gaps = np.where(blocks, begin - front - np.where(walkers, 2.0, 0.0), np.inf)
    best = int(gaps.argmin())
    along_speed = state.speed[near[best]] * np.cos(state.poses[near[best], 2] - yaw[best])
    speed = 0.0 if walkers[best] else max(float(along_speed), 0.0)
    return max(float(gaps[best]), 0.1), speed, int(near[best]), bool(walkers[best])


def _in_corridor(line: Array, grid: Array, boxes: Array) -> tuple[Array, Array, Array, Array, Array]:
    """Begin and end along the path, least and greatest offset from it, and path yaw there, for boxes (A, 5)."""
    corners = box_corners(boxes)
    nearest = np.linalg.norm(corners[:, :, None] - line[:, :2], axis=-1).argmin(-1)
    away = corners - line[nearest, :2]
    yaw = line[nearest, 2]
    ahead = away[..., 0] * np.cos(yaw) + away[..., 1] * np.sin(yaw)
    left = -away[..., 0] * np.sin(yaw) + away[..., 1] * np.cos(yaw)
    along = grid[nearest] + np.clip(ahead, -50, 50)
    return along.min(1), along.max(1), left.min(1), left.max(1), line[nearest[:, 0], 2]


def _may_pass(state: _State, index: int, gate: Gate, room: float) -> bool:
    """Whether a gate is open: after a full stop where it asks for one, and while nobody comes."""
    if (index, gate.along_m) in state.opened:
        return True
    if gate.is_stop and not (room < 1.5 and state.halted_s[index] >= FULL_STOP_S):
        return False
    to_center = np.array(gate.center) - state.poses[:, :2]
    distance = np.linalg.norm(to_center, axis=1)
    heading = np.stack([np.cos(state.poses[:, 2]), np.sin(state.poses[:, 2])], -1)
    approach = (to_center * heading).sum(1) / np.maximum(distance, 1e-6)
    turned = np.abs(wrap_angle(state.poses[:, 2] - state.poses[index, 2]))
    moving = (state.speed > 0.5) & np.array([not a.is_walker for a in state.actors])
    comes = moving & (approach > 0.6) & (distance < 6.5 * state.speed + 4) & (turned > (0.6 if gate.is_stop else 2.4))
    inside = moving & (distance < 9.0) & (turned > 0.6)
    comes[index] = inside[index] = False
    is_open = not bool((comes | inside).any())
    if is_open and room < 2.0:
        state.opened.add((index, gate.along_m))
    return is_open


def overlaps(actors: list[Actor], tracks: Tracks) -> list[tuple[int, int]]:
    """Pairs of actors (the ego is 0) whose boxes share area at any time; pairs that both stand are not asked."""
    sizes = np.array([actor.size[:2] for actor in actors])
    boxes = np.concatenate([tracks.poses, np.broadcast_to(sizes, (*tracks.poses.shape[:2], 2))], -1)[::2]
    found = []
    for first in range(len(actors)):
        for second in range(first + 1, len(actors)):
            if not (actors[first].moves or actors[second].moves):
                continue
            reach = (sizes[first].sum() + sizes[second].sum()) / 2
            near = np.linalg.norm(boxes[:, first, :2] - boxes[:, second, :2], axis=1) < reach
            if near.any() and boxes_overlap(boxes[near, first], boxes[near, second]).any():
                found.append((first, second))
    return found
