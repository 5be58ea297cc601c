"""Claims about how much an object matters to the ego: high, medium, low, and which comes first."""

import math

from dima_pipeline.contracts.frames import NUM_FUTURE_STEPS
from dima_pipeline.curation.grounding import states
from dima_pipeline.curation.grounding.evidence import Evidence, Thing
from dima_pipeline.curation.grounding.statements import Said
from dima_pipeline.curation.grounding.tolerances import (
    BEHIND_RANK_M,
    EXACT,
    FAR_M,
    NEAR_M,
    OFF_PATH_RANK_M,
    Tolerance,
)
from dima_pipeline.curation.grounding.truth import Held, Truth

_IN_WAY = {when: Said("path", when, False, "") for when in ("now", "will")}


def level(said: Said, thing: Thing, evidence: Evidence, tolerance: Tolerance) -> Held:
    """Whether an object is as important as said; between two levels the tables do not tell."""
    found = expected(thing, evidence)
    if found is None:
        return Held(None, "")
    # Opinions may differ by one level.
    is_near = tolerance.has_hidden and "medium" in (found, said.value)
    return Held(True if said.value == found else None if is_near else False, found)


def expected(thing: Thing, evidence: Evidence) -> str | None:
    """``high`` for what gets in the way within 3 s, ``medium`` for what else comes near, ``low`` for what stays far."""
    if _truth("will", thing, evidence):
        return "high"
    gaps = [evidence.gap_m(thing, step) for step in range(1, NUM_FUTURE_STEPS + 1)]
    known = [gap for gap in gaps if not math.isnan(gap)]
    if min(known, default=math.inf) < NEAR_M:
        return "medium"
    is_far = len(known) == NUM_FUTURE_STEPS and min(known) >= FAR_M
    return "low" if is_far and not _truth("now", thing, evidence) else None


def rank_m(thing: Thing, evidence: Evidence) -> float:
    """By what objects are ordered, the first being the lowest."""
    off_path = 0.0 if _truth("now", thing, evidence) else OFF_PATH_RANK_M
    return thing.range_m + off_path + (BEHIND_RANK_M if thing.x <= 0 else 0.0)


def _truth(when: str, thing: Thing, evidence: Evidence) -> Truth:
    return states.path(_IN_WAY[when], thing, evidence, EXACT).truth
