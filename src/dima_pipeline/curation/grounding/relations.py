"""Claims about how an object lies and moves relative to the ego or to another object."""

import math

from dima_pipeline.contracts.frames import NUM_FUTURE_STEPS, STEP_S
from dima_pipeline.curation.grounding.evidence import Evidence, Thing
from dima_pipeline.curation.grounding.objects import measured
from dima_pipeline.curation.grounding.statements import Measure, Said
from dima_pipeline.curation.grounding.tolerances import BESIDE_M, CLOSER_M, HEADING_DEG, LEVEL_M, Tolerance
from dima_pipeline.curation.grounding.truth import Held, Truth, within

SIDES = {
    "ahead": (0, 1.0),
    "front": (0, 1.0),
    "behind": (0, -1.0),
    "back": (0, -1.0),
    "left": (1, 1.0),
    "right": (1, -1.0),
}
"""Axis of the ego frame and sign."""


def offset(said: Said, thing: Thing, evidence: Evidence, tolerance: Tolerance) -> Held:
    """``12 m ahead``, ``3 m to the left``: along one axis of the ego frame."""
    measure, side = said.value
    axis, sign = SIDES[side]
    value = sign * (thing.x, thing.y)[axis]
    truth = measured(value, measure, tolerance.distance_m, tolerance.distance_share, tolerance)
    return Held(truth, f"{value:.1f} m {side}")


def relation(said: Said, thing: Thing, other: Thing, tolerance: Tolerance) -> Held:
    """``further ahead`` and the like of one object than of another."""
    axis, sign = SIDES[said.value]
    value = sign * ((thing.x, thing.y)[axis] - (other.x, other.y)[axis])
    least = 0.0 if tolerance.has_hidden else BESIDE_M
    return Held(value >= least, f"{value:.1f} m further {said.value}")


def course(said: Said, thing: Thing, evidence: Evidence, tolerance: Tolerance) -> Held:
    """Whether an object moves the same way as the ego, the opposite way, or across."""
    if math.isnan(thing.speed_mps) or thing.speed_mps < 0.3:
        return Held(None if math.isnan(thing.speed_mps) else False, "not moving")
    middle = {"same": 0.0, "leftward": 90.0, "opposite": 180.0, "rightward": -90.0}[said.value]
    angle = math.degrees(math.atan2(thing.vy, thing.vx))
    off = abs(math.remainder(angle - middle, 360.0))
    truth = within(off, -1.0, HEADING_DEG + 1e-9 + (15.0 if tolerance.has_hidden else 0.0))
    return Held(truth, f"moves {angle:.0f} degrees off the ego's heading")


def approach(said: Said, thing: Thing, evidence: Evidence, tolerance: Tolerance) -> Held:
    """Whether an object is nearer after 3 s than now."""
    later = evidence.gap_m(thing, NUM_FUTURE_STEPS)
    if math.isnan(later):
        return Held(None, "")
    change = later - thing.range_m
    free = tolerance.margin_m
    fair = {
        "closer": change <= free - CLOSER_M,
        "farther": change >= CLOSER_M - free,
        "same": abs(change) <= LEVEL_M + free,
    }
    return Held(fair[said.value], f"{change:+.1f} m in 3 s")


def later(said: Said, thing: Thing, evidence: Evidence, tolerance: Tolerance) -> Held:
    """Whether an object is as far from the ego at a time of the next 3 s as said."""
    measure, time_s = said.value
    gap = evidence.gap_m(thing, step_of(time_s))
    truth = measured(gap, measure, tolerance.distance_m, tolerance.distance_share, tolerance)
    return Held(truth, f"{gap:.1f} m")


def step_of(time_s: float) -> int:
    """The step at a time, -1 where there is none."""
    step = round(time_s / STEP_S)
    return step if abs(step * STEP_S - time_s) < 1e-6 and 0 <= step <= NUM_FUTURE_STEPS else -1


def nearest_time(said: Said, thing: Thing, evidence: Evidence, tolerance: Tolerance) -> Held:
    """Whether an object is nearest to the ego at a time of the next 3 s."""
    gaps = [evidence.gap_m(thing, step) for step in range(NUM_FUTURE_STEPS + 1)]
    step = step_of(said.value)
    is_between = step < 0 and said.value <= NUM_FUTURE_STEPS * STEP_S
    if any(math.isnan(gap) for gap in gaps) or (is_between and tolerance.has_hidden):
        return Held(None, "")
    truth: Truth = step >= 0 and gaps[step] <= min(gaps) + tolerance.margin_m
    return Held(truth, f"nearest in {gaps.index(min(gaps)) * STEP_S:g} s")


__all__ = ["Measure", "approach", "course", "later", "nearest_time", "offset", "relation"]
