"""Moves the ego and the others along their paths at 20 Hz, by the driver model; lamps and traffic lights go with it.

Walkers keep their pace; whoever waits for the ego stands until it is near, and its plans count from then.
"""

from collections.abc import Mapping

import numpy as np

from dima_pipeline.geometry import boxes_overlap
from dima_pipeline.world.actors import (
    SIGNAL_COLORS,
    Actor,
    Gate,
    State,
    Tracks,
    ahead,
    make_ego,
    path_direction,
)
from dima_pipeline.world.driver_models import (
    DECISION_S,
    Decision,
    Memory,
    decide,
    idm,
    is_released,
)
from dima_pipeline.world.signal_plans import SignalPlan

__all__ = [
    "TIME_STEP_S",
    "Actor",
    "Gate",
    "Tracks",
    "box_pose",
    "idm",
    "make_ego",
    "overlaps",
    "simulate",
]

Array = np.ndarray
TIME_STEP_S = 0.05
BRAKE_LIGHT_MPS2 = 0.6
STANDING_MPS = 0.1


def simulate(
    actors: list[Actor],
    duration_s: float,
    signals: Mapping[str, SignalPlan] | None = None,
) -> Tracks:
    """Move all actors, the ego first in the list, for ``duration_s``; deterministic.

    ``signals``: plans of the town's traffic lights by name; a light without a plan is green.
    """
    assert actors[0].path is not None
    world = _World(actors, signals or {})
    count = round(duration_s / TIME_STEP_S) + 1
    frames = []
    for tick in range(count):
        state = world.state(tick * TIME_STEP_S)
        frames.append(state)
        if tick % round(DECISION_S / TIME_STEP_S) == 0:
            world.decide(state)
        world.note()
        world.advance(tick + 1)
    times = np.arange(count) * TIME_STEP_S
    colors = {
        name: np.array([SIGNAL_COLORS.index(state.signals[name]) for state in frames]) for name in sorted(world.signals)
    }
    return Tracks(
        times,
        np.stack([state.poses for state in frames]),
        np.stack([state.speeds for state in frames]),
        np.stack([state.along_m for state in frames]),
        np.array([decision.yields for decision in world.noted]),
        np.array([decision.leader for decision in world.noted], float),
        np.stack([state.lights for state in frames]),
        colors,
    )


class _World:
    """Where everybody is and what they have decided."""

    def __init__(self, actors: list[Actor], signals: Mapping[str, SignalPlan]) -> None:
        self.actors, self.signals = tuple(actors), signals
        self.along = np.array([actor.start_m for actor in actors])
        self.poses = np.array([actor.pose for actor in actors], float)
        self.sizes = np.array([actor.size for actor in actors])
        self.halted_s, self.acceleration = np.zeros(len(actors)), np.zeros(len(actors))
        self.drives = np.array([actor.path is not None and not actor.is_walker for actor in actors])
        self.lengths = np.array([actor.path.length if actor.path else 0.0 for actor in actors])
        self.released_s: list[float | None] = [0.0 if actor.waits_for_ego_m is None else None for actor in actors]
        starts = [actor.speed_mps if actor.path and actor.waits_for_ego_m is None else 0.0 for actor in actors]
        self.speed = np.array(starts)
        self.memory: Memory = set()
        self.ego, self.noted = Decision(0.0), list[Decision]()
        self.timed = [(i, actor.timed_poses) for i, actor in enumerate(actors) if actor.timed_poses is not None]
        self._place(0)

    def state(self, time_s: float) -> State:
        """The world at a moment."""
        for index, actor in enumerate(self.actors):
            if self.released_s[index] is None and is_released(actor, self.poses, index):
                self.released_s[index] = time_s
        signs = [path_direction(a.path, s) if a.path else 1.0 for a, s in zip(self.actors, self.along, strict=True)]
        colors = {name: plan.color(time_s) for name, plan in self.signals.items()}
        return State(
            time_s, self.actors, self.poses.copy(), self.speed * np.array(signs), self.sizes, self.along.copy(),
            self.halted_s.copy(), self._lights(time_s), colors,
            tuple(actor.path for actor in self.actors), tuple(actor.gates for actor in self.actors),
            float(self.acceleration[0]), 0.0,
        )  # fmt: skip

    def decide(self, state: State) -> None:
        """Ask everybody what to do next."""
        for index, actor in enumerate(self.actors):
            since = self.released_s[index]
            if actor.path is None or since is None:
                continue
            if actor.is_walker:
                is_done = self.along[index] >= actor.path.length - 1e-6
                self.speed[index] = 0.0 if is_done else actor.speed_mps
                continue
            decision = decide(state, index, self.memory, state.time_s - since)
            self.acceleration[index] = decision.acceleration_mps2
            if index == 0:
                self.ego = decision

    def note(self) -> None:
        """Keep what the ego has decided."""
        self.noted.append(self.ego)

    def advance(self, tick: int) -> None:
        """One time step, to ``tick``."""
        new = np.where(
            self.drives,
            np.maximum(self.speed + self.acceleration * TIME_STEP_S, 0.0),
            self.speed,
        )
        self.along = np.minimum(self.along + (self.speed + new) / 2 * TIME_STEP_S, self.lengths)
        self.speed = np.where(self.drives & (self.along >= self.lengths), 0.0, new)
        self.halted_s = np.where(self.speed < 0.05, self.halted_s + TIME_STEP_S, 0.0)
        self._place(tick)

    def _place(self, tick: int) -> None:
        for index, timed in self.timed:
            last = len(timed) - 1
            self.poses[index] = timed[min(tick, last)]
            step = timed[min(tick + 1, last), :2] - self.poses[index, :2]
            self.speed[index] = np.hypot(*step) / TIME_STEP_S
        for index, actor in enumerate(self.actors):
            if actor.path is not None:
                self.poses[index] = box_pose(actor, self.along[index])

    def _lights(self, time_s: float) -> Array:
        lights = np.zeros((len(self.actors), 4), bool)
        for index, actor in enumerate(self.actors):
            since = self.released_s[index]
            if self.drives[index] and since is not None:
                stands = self.speed[index] < STANDING_MPS
                # Who is about to pull out of a parking place has his foot off the pedal.
                is_parked = stands and actor.waits_for_ego_m is not None
                lights[index, 0] = not is_parked and (stands or self.acceleration[index] < -BRAKE_LIGHT_MPS2)
                for begin, end, side in actor.signal_plan:
                    if begin <= time_s - since <= end:
                        lights[index, 1 if side == "left" else 2] = True
                front = self.along[index] + actor.center_ahead_m + actor.size[0] / 2
                for begin, end, side in () if actor.signal_plan else actor.blinks:
                    if begin - max(3.0 * self.speed[index], 8.0) <= front and self.along[index] <= end:
                        lights[index, 1 if side == "left" else 2] = True
            lights[index, 1:3] |= actor.hazard
            lights[index, 3] = actor.emergency
        return lights


def box_pose(actor: Actor, along_m: Array | float) -> Array:
    """Box-centre pose of an actor at distances along its path."""
    assert actor.path is not None
    return ahead(actor.path.pose(np.asarray(along_m, float)), actor.center_ahead_m)


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
