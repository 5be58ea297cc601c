"""Claims about risk: simple actions of the ego rolled out for 3 s against the recorded futures, and importance.

An action is rolled out in nine variants of speed and strength, so that no answer hangs on one of them.
"""

import math
from collections.abc import Iterable
from functools import cached_property

from dima_pipeline.contracts.frames import EGO_CENTER_AHEAD_M, EGO_LENGTH_M, EGO_WIDTH_M, NUM_FUTURE_STEPS, STEP_S
from dima_pipeline.curation.grounding.evidence import Evidence, Thing
from dima_pipeline.curation.grounding.shapes import Box, overlap
from dima_pipeline.curation.grounding.tolerances import ROLL_OUT, Tolerance
from dima_pipeline.curation.grounding.truth import Truth

ACTIONS = ("straight", "speed up", "slow down", "turn left", "turn right")
FREE_GAP_M = 5.0
"""A free writer who names no time may mean a collision that the 3 s just do not reach."""
_TIMES_S = [STEP_S * (at + 1) / ROLL_OUT.substeps for at in range(NUM_FUTURE_STEPS * ROLL_OUT.substeps)]


class Danger:
    """What would touch what, from the ego's speed of now; rolled out when first asked for."""

    def __init__(self, evidence: Evidence, tolerance: Tolerance) -> None:
        self.evidence, self.tolerance = evidence, tolerance
        self._paths: dict[str, list[list[Box]]] = evidence.rolled_out.setdefault("paths", {})
        self._reach: dict[str, list[float]] = evidence.rolled_out.setdefault("reach", {})

    @cached_property
    def is_known(self) -> bool:
        """Whether the ego's speed is known and it does not reverse."""
        return self.evidence.speed_mps > -0.1

    def level(self, action: str, thing: Thing) -> str | None:
        """Probability of a collision: high, medium or low; None where the tables cannot tell."""
        if not self.is_known or action not in ACTIONS:
            return None
        track = _track(thing)
        is_far = not self._reaches(action, track, thing)
        touched = [not is_far and _touches(path, track, thing) for path in self._variants(action)]
        if all(touched):
            return "high"
        if len(thing.future) < NUM_FUTURE_STEPS and self._may_meet(action, thing):
            return None
        return "medium" if any(touched) else "low"

    def collides(self, action: str, things: Iterable[Thing]) -> Truth:
        """Whether an action leads to a collision with one of some objects; None in between."""
        levels = [self.level(action, thing) for thing in things]
        if "high" in levels:
            return True
        if not self.is_known or None in levels:
            return None
        if self.tolerance.has_hidden and "medium" in levels:
            return True
        return None if "medium" in levels or (self.tolerance.has_hidden and self._is_close(action, things)) else False

    def _reaches(self, action: str, track: list[tuple[float, float, float] | None], thing: Thing) -> bool:
        """Whether any variant may come near enough to touch, by circles around the ego's origin."""
        paths = self._variants(action)
        if action not in self._reach:
            self._reach[action] = [
                max(math.hypot(path[at][0], path[at][1]) for path in paths) for at in range(len(_TIMES_S))
            ]
        radius = _radii(thing)
        pairs = zip(track, self._reach[action], strict=True)
        return any(pose is not None and math.hypot(pose[0], pose[1]) <= reach + radius for pose, reach in pairs)

    def _may_meet(self, action: str, thing: Thing) -> bool:
        """Whether the ego might meet an object of unknown future that moves as it likes for 3 s."""
        roam = thing.speed_mps * NUM_FUTURE_STEPS * STEP_S + ROLL_OUT.roam_m
        if thing.category in ("traffic_cone", "barrier") or thing.attribute == "vehicle.parked":
            roam = 0.0
        elif thing.category == "pedestrian":
            roam = ROLL_OUT.walk_m
        boxes = (box for path in self._variants(action) for box in path)
        gap = min(math.hypot(box[0] - thing.x, box[1] - thing.y) for box in boxes)
        return not gap > roam + _radii(thing)

    def _is_close(self, action: str, things: Iterable[Thing]) -> bool:
        path = self._variants(action)[len(ROLL_OUT.speeds) * len(ROLL_OUT.strengths) // 2]
        return any(_touches(path, _track(thing), thing, 2 * FREE_GAP_M) for thing in things)

    def _variants(self, action: str) -> list[list[Box]]:
        if action not in self._paths:
            speed = max(self.evidence.speed_mps, 0.0)
            self._paths[action] = [
                [_ego_box(*_pose(action, speed * factor, strength, time_s)) for time_s in _TIMES_S]
                for factor in ROLL_OUT.speeds
                for strength in ROLL_OUT.strengths
            ]
        return self._paths[action]


def _pose(action: str, speed: float, strength: float, time_s: float) -> tuple[float, float, float]:
    """Ego pose (x, y, yaw) after a time of an action."""
    if action.startswith("turn"):
        arc = max(speed, ROLL_OUT.arc_mps)
        radius = max(ROLL_OUT.radius_m, arc * arc / (ROLL_OUT.lateral_mps2 * strength))
        angle = arc * time_s / radius
        side = 1.0 if action == "turn left" else -1.0
        return radius * math.sin(angle), side * radius * (1 - math.cos(angle)), side * angle
    if action == "slow down":
        brake = ROLL_OUT.brake_mps2 * strength
        time_s = min(time_s, speed / brake)
        return speed * time_s - brake * time_s * time_s / 2, 0.0, 0.0
    gain = ROLL_OUT.accelerate_mps2 * strength * time_s * time_s / 2 if action == "speed up" else 0.0
    return speed * time_s + gain, 0.0, 0.0


def _ego_box(x: float, y: float, yaw: float) -> Box:
    """The ego's footprint: its centre lies ahead of the origin of the ego frame."""
    ahead = EGO_CENTER_AHEAD_M
    return x + ahead * math.cos(yaw), y + ahead * math.sin(yaw), yaw, EGO_LENGTH_M, EGO_WIDTH_M


def _radii(thing: Thing) -> float:
    """Half the diagonals of an object and of the ego: further apart their boxes never touch."""
    return (math.hypot(EGO_LENGTH_M, EGO_WIDTH_M) + math.hypot(thing.length, thing.width)) / 2


def _track(thing: Thing) -> list[tuple[float, float, float] | None]:
    """Poses of an object at ``_TIMES_S``, straight on between known steps; None where one end is unknown."""
    known = {0: (thing.x, thing.y, thing.yaw)} | {pose.step: (pose.x, pose.y, pose.yaw) for pose in thing.future}
    found: list[tuple[float, float, float] | None] = []
    for at in range(len(_TIMES_S)):
        step, part = divmod(at, ROLL_OUT.substeps)
        begin, end = known.get(step), known.get(step + 1)
        if begin is None or end is None:
            found.append(None)
            continue
        share = (part + 1) / ROLL_OUT.substeps
        turn = math.remainder(end[2] - begin[2], math.tau)
        moved = (begin[axis] + share * (end[axis] - begin[axis]) for axis in (0, 1))
        found.append((*moved, begin[2] + share * turn))  # type: ignore[arg-type]  # two axes and the yaw
    return found


def _touches(
    path: list[Box], track: list[tuple[float, float, float] | None], thing: Thing, margin: float = 0.0
) -> bool:
    size = thing.length, thing.width
    return any(pose is not None and overlap(ego, (*pose, *size), margin) for ego, pose in zip(path, track, strict=True))
