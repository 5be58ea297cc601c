"""Claims about what an object is doing now: moving or parked, how fast, on the ego's way."""

import math

from dima_pipeline.contracts.frames import EGO_WIDTH_M
from dima_pipeline.curation.grounding.evidence import Evidence, Pose, Thing
from dima_pipeline.curation.grounding.objects import distance, measured
from dima_pipeline.curation.grounding.shapes import Point, distance_to_line
from dima_pipeline.curation.grounding.statements import Said
from dima_pipeline.curation.grounding.tolerances import MOVING_MPS, PATH_BEYOND_M, Tolerance
from dima_pipeline.curation.grounding.truth import Held, Truth, denied, within

_STILL = ("parked", "stopped", "standing", "sitting_lying_down")
_RIDERS = {"with rider": "with_rider", "without rider": "without_rider"}


def status(said: Said, thing: Thing, evidence: Evidence, tolerance: Tolerance) -> Held:
    """Whether an object has a status: by its attribute, else by its speed."""
    tail = thing.attribute.rpartition(".")[2]
    name: str = said.value
    if name in _RIDERS:
        return Held(tail == _RIDERS[name] if tail.endswith("_rider") else None, tail.replace("_", " "))
    moves = is_moving(thing, tolerance)
    words = tail.replace("_", " ") if tail in ("moving", *_STILL) else "moving" if moves else "not moving"
    if name in ("moving", "not moving"):
        return Held(denied(moves, name == "not moving"), words)
    expected = {"sitting": "sitting_lying_down"}.get(name, name)
    if tail == expected:
        return Held(True, words)
    if moves or (tail in _STILL and not tolerance.has_hidden):
        return Held(False, words)
    # Who looks from afar cannot tell parked from stopped, and without an attribute neither can we.
    return Held(None if moves is None or not _is_other(thing, name) else False, words)


def _is_other(thing: Thing, name: str) -> bool:
    return (name in ("standing", "sitting")) != (thing.category == "pedestrian")


def is_moving(thing: Thing, tolerance: Tolerance) -> Truth:
    """By the annotated attribute where there is one, else by speed."""
    tail = thing.attribute.rpartition(".")[2]
    if tail == "moving":
        return True
    if tail in _STILL:
        return False
    return within(thing.speed_mps, MOVING_MPS + 1e-12, math.inf, tolerance.moving_mps)


def measure(said: Said, thing: Thing, evidence: Evidence, tolerance: Tolerance) -> Held:
    """Whether an object is as far away or as fast as said."""
    if said.value.unit != "mps":
        return distance(said, thing, evidence, tolerance)
    truth = measured(thing.speed_mps, said.value, tolerance.speed_mps, tolerance.speed_share, tolerance)
    return Held(truth, f"{thing.speed_mps:.1f} m/s")


def path(said: Said, thing: Thing, evidence: Evidence, tolerance: Tolerance) -> Held:
    """Whether an object is on the ego's way, or gets there within 3 s."""
    reach = (EGO_WIDTH_M + thing.width) / 2
    margin = tolerance.margin_m
    if said.value == "now":
        if thing.x <= 0:
            return Held(False, "behind the ego")
        gap = distance_to_line((thing.x, thing.y), expected_path(evidence, PATH_BEYOND_M))
        return Held(within(gap, -1.0, reach, margin), f"{gap:.1f} m off the driven path")
    if not evidence.path:
        return Held(None, "")
    gaps = [distance_to_line((pose.x, pose.y), left) for pose in thing.future if (left := _left_at(pose, evidence))]
    gap = min(gaps, default=math.inf)
    return Held(within(gap, -1.0, reach, margin), f"comes as near as {gap:.1f} m to what the ego has still to drive")


def _left_at(pose: Pose, evidence: Evidence) -> list[Point]:
    """Where the ego is at the step of another's pose, and from there on; twice the last point at the last step."""
    points = [(mine.x, mine.y) for mine in evidence.path if mine.step >= pose.step]
    return [*points, *points[-1:]]


def expected_path(evidence: Evidence, beyond_m: float) -> list[Point]:
    """The driven path from the ego on, prolonged straight ahead."""
    points: list[Point] = [(0.0, 0.0), *((pose.x, pose.y) for pose in evidence.path)]
    yaw = evidence.path[-1].yaw if evidence.path else 0.0
    x, y = points[-1]
    return [*points, (x + beyond_m * math.cos(yaw), y + beyond_m * math.sin(yaw))]


def near(said: Said, thing: Thing, evidence: Evidence, tolerance: Tolerance) -> Held:
    """Whether an object comes within a distance of the ego within 3 s: centre to origin, at the same step."""
    ego = {pose.step: pose for pose in evidence.path}
    gaps = [
        math.hypot(pose.x - ego[pose.step].x, pose.y - ego[pose.step].y) for pose in thing.future if pose.step in ego
    ]
    gap = min(gaps, default=math.inf)
    margin = tolerance.distance_m + tolerance.distance_share * said.value.high
    return Held(within(gap, -1.0, said.value.high, margin), f"comes as near as {gap:.1f} m")
