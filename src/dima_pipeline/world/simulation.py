"""Steps the world at 20 Hz: the ego by what a policy asks of its car, the others along their courses by rules.

``step(state, action)`` is a pure function, so a planner can drive in a closed loop, and one state can be stepped on in
several ways. Walkers keep their pace; whoever waits for the ego stands until it is near, and its plans count from then.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from dima_pipeline.contracts.frames import EGO_CENTER_AHEAD_M
from dima_pipeline.geometry import boxes_overlap
from dima_pipeline.world.actors import (
    SIGNAL_COLORS,
    Action,
    Actor,
    Gate,
    Policy,
    State,
    Tracks,
    ahead,
    make_ego,
)
from dima_pipeline.world.bicycle import WHEELBASE_M, Car, drive
from dima_pipeline.world.driver_models import DECISION_S, Decision, Memory, decide, idm, is_released
from dima_pipeline.world.expert import Expert
from dima_pipeline.world.lane_changes import change_lane
from dima_pipeline.world.paths import DrivePath
from dima_pipeline.world.signal_plans import SignalPlan

__all__ = [
    "TIME_STEP_S",
    "Action",
    "Actor",
    "Gate",
    "Tracks",
    "idm",
    "make_ego",
    "overlaps",
    "simulate",
    "start",
    "step",
]

Array = np.ndarray
TIME_STEP_S = 0.05
DECISION_TICKS = round(DECISION_S / TIME_STEP_S)
BRAKE_LIGHT_MPS2 = 0.6
STANDING_MPS = 0.1
CUSP_REACH_M = 0.4
"""A car that halts so near to a cusp of its path is at it."""


def start(actors: Sequence[Actor], signals: Mapping[str, SignalPlan] | None = None) -> State:
    """The world when a scene begins; the ego is the first of ``actors`` and has a path.

    ``signals``: plans of the town's traffic lights by name; a light without a plan is green.
    """
    ego = actors[0]
    assert ego.path is not None
    place = ego.path.pose(ego.start_m)
    bend = np.arctan(WHEELBASE_M * ego.path.bend_at(ego.start_m))
    car = Car((float(place[0]), float(place[1]), float(place[2])), ego.speed_mps, steering_rad=float(bend))
    num = len(actors)
    waits = np.array([actor.waits_for_ego_m is not None for actor in actors])
    moves = np.array([actor.path is not None for actor in actors]) & ~waits
    state = State(
        tick=0, time_s=0.0, actors=tuple(actors), car=car, poses=np.array([actor.pose for actor in actors], float),
        speeds=np.where(moves, [actor.speed_mps for actor in actors], _timed_speeds(actors, 0)),
        sizes=np.array([actor.size for actor in actors]), along_m=np.array([actor.start_m for actor in actors]),
        halted_s=np.zeros(num), lights=np.zeros((num, 4), bool), signals={}, plans=signals or {},
        courses=tuple(actor.course for actor in actors), accelerations_mps2=np.zeros(num),
        released_s=np.where(waits, np.nan, 0.0), memory=frozenset(), changes=(),
    )  # fmt: skip
    return _seen(replace(state, poses=_placed(state, car, state.along_m, 0)))


def step(state: State, action: Action) -> State:
    """The world ``TIME_STEP_S`` later, if the ego does ``action``; raises ``ValueError`` where that is not finite."""
    if state.tick % DECISION_TICKS == 0:
        state = _decided(state)
    drives = np.array([course is not None for course in state.courses])
    speeds = np.abs(state.speeds)
    new = np.where(drives, np.maximum(speeds + state.accelerations_mps2 * TIME_STEP_S, 0.0), 0.0)
    lengths = np.array([course.path.length if course else 0.0 for course in state.courses])
    along = np.minimum(state.along_m + (speeds + new) / 2 * TIME_STEP_S, np.maximum(lengths, state.along_m))
    is_driver = drives & ~np.array([actor.is_walker for actor in state.actors])
    new = np.where(is_driver & (along >= lengths), 0.0, new)
    car = drive(state.car, action, TIME_STEP_S)
    path = state.paths[0]
    assert path is not None
    along[0], new[0] = _followed(path, float(state.along_m[0]), state.car, car), car.speed_mps
    poses = _placed(state, car, along, state.tick + 1)
    new += _timed_speeds(state.actors, state.tick + 1)
    places = zip(state.courses, along, strict=True)
    signs = [1.0 if course is None else course.path.direction_at(place) for course, place in places]
    signs[0] = car.direction
    later = replace(
        state, tick=state.tick + 1, time_s=(state.tick + 1) * TIME_STEP_S, car=car, poses=poses, along_m=along,
        speeds=new * np.array(signs), halted_s=np.where(new < 0.05, state.halted_s + TIME_STEP_S, 0.0),
    )  # fmt: skip
    return _seen(later)


def simulate(
    actors: Sequence[Actor],
    duration_s: float,
    signals: Mapping[str, SignalPlan] | None = None,
    policy: Policy | None = None,
) -> Tracks:
    """What happens in ``duration_s`` if ``policy`` (the expert where None) drives the ego; deterministic."""
    driver = Expert() if policy is None else policy
    states, noted = [start(actors, signals)], list[Decision]()
    while True:
        action = driver.act(states[-1])
        noted.append(driver.decision if isinstance(driver, Expert) else Decision(action.acceleration_mps2))
        if len(states) > round(duration_s / TIME_STEP_S):
            return _tracks(states, noted)
        states.append(step(states[-1], action))


def _tracks(states: list[State], noted: list[Decision]) -> Tracks:
    """Put the states of a scene together."""
    names = sorted(states[0].plans)
    colors = {name: np.array([SIGNAL_COLORS.index(state.signals[name]) for state in states]) for name in names}
    return Tracks(
        np.array([state.time_s for state in states]),
        np.stack([state.poses for state in states]),
        np.stack([state.speeds for state in states]),
        np.stack([state.along_m for state in states]),
        np.array([decision.yields for decision in noted]),
        np.array([decision.leader for decision in noted], float),
        np.stack([state.lights for state in states]),
        colors,
        np.array([state.car.steering_rad for state in states]),
        np.array([state.car.acceleration_mps2 * state.car.direction for state in states]),
        states[-1].changes,
    )


def _seen(state: State) -> State:
    """The state with what follows from where everybody is: who is released, lamps and signals."""
    released = state.released_s.copy()
    for index in np.flatnonzero(np.isnan(released)):
        if is_released(state.actors[index], state.poses, int(index)):
            released[index] = state.time_s
    colors = {name: plan.color(state.time_s) for name, plan in state.plans.items()}
    state = replace(state, released_s=released, signals=colors)
    return replace(state, lights=_lights(state))


def _decided(state: State) -> State:
    """The state with what every driver but the ego now wants to do."""
    memory: Memory = set(state.memory)
    courses, changes = list(state.courses), list(state.changes)
    wishes, speeds = state.accelerations_mps2.copy(), state.speeds.copy()
    for index, actor in enumerate(state.actors):
        course, since = state.courses[index], state.released_s[index]
        if index == 0 or course is None or np.isnan(since):
            continue
        if actor.is_walker:
            is_done = state.along_m[index] >= course.path.length - 1e-6
            speeds[index] = 0.0 if is_done else actor.speed_mps
            continue
        change = change_lane(state, index) if actor.beside else None
        if change is not None:
            courses[index] = change[0]
            changes.append(change[1])
        wishes[index] = decide(state, index, memory, state.time_s - since).acceleration_mps2
    return replace(
        state, memory=frozenset(memory), accelerations_mps2=wishes, speeds=speeds, courses=tuple(courses),
        changes=tuple(changes),
    )  # fmt: skip


def _followed(path: DrivePath, along_m: float, before: Car, car: Car) -> float:
    """Where the car is along its path: as far on as it drove, put right across the path, not beyond a cusp before it
    has halted there."""
    cusp = min(path.next_cusp(along_m), path.length)
    place = along_m + (before.speed_mps + car.speed_mps) / 2 * TIME_STEP_S
    for _ in range(2):
        x, y, yaw = path.pose(place)
        error = (car.pose[0] - x) * np.cos(yaw) + (car.pose[1] - y) * np.sin(yaw)
        place = float(np.clip(place + path.direction_at(along_m) * error, along_m, cusp - 1e-6))
    has_halted = car.speed_mps == 0.0 and cusp < path.length and cusp - place < CUSP_REACH_M
    return cusp + 1e-6 if has_halted else place


def _placed(state: State, car: Car, along_m: Array, tick: int) -> Array:
    """Box centres of everybody."""
    poses = state.poses.copy()
    for index, actor in enumerate(state.actors):
        course = state.courses[index]
        if actor.timed_poses is not None:
            poses[index] = actor.timed_poses[min(tick, len(actor.timed_poses) - 1)]
        elif course is not None:
            poses[index] = ahead(course.path.pose(along_m[index]), actor.center_ahead_m)
    poses[0] = ahead(np.array(car.pose), EGO_CENTER_AHEAD_M)
    return poses


def _timed_speeds(actors: Sequence[Actor], tick: int) -> Array:
    """Speeds (m/s) of those who keep to a timetable; 0 of all others."""
    speeds = np.zeros(len(actors))
    for index, actor in enumerate(actors):
        if actor.timed_poses is not None:
            now, then = actor.timed_poses[np.minimum((tick, tick + 1), len(actor.timed_poses) - 1), :2]
            speeds[index] = np.hypot(*(then - now)) / TIME_STEP_S
    return speeds


def _lights(state: State) -> Array:
    """What each vehicle has switched on."""
    lights = np.zeros((len(state.actors), 4), bool)
    for index, actor in enumerate(state.actors):
        since, course = state.released_s[index], state.courses[index]
        if course is not None and not actor.is_walker and not np.isnan(since):
            speed = abs(float(state.speeds[index]))
            pull = state.accelerations_mps2[index] if index else state.car.acceleration_mps2
            # Who is about to pull out of a parking place has his foot off the pedal.
            is_parked = speed < STANDING_MPS and actor.waits_for_ego_m is not None
            lights[index, 0] = not is_parked and (speed < STANDING_MPS or pull < -BRAKE_LIGHT_MPS2)
            for begin, end, side in actor.signal_plan:
                if begin <= state.time_s - since <= end:
                    lights[index, 1 if side == "left" else 2] = True
            along = float(state.along_m[index])
            front = along + actor.center_ahead_m + actor.size[0] / 2
            for begin, end, side in () if actor.signal_plan else course.blinks:
                if begin - max(3.0 * speed, 8.0) <= front and along <= end:
                    lights[index, 1 if side == "left" else 2] = True
        lights[index, 1:3] |= actor.hazard
        lights[index, 3] = actor.emergency
    return lights


def overlaps(actors: Sequence[Actor], tracks: Tracks) -> list[tuple[int, int]]:
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
