"""Claims about the surroundings: light, weather, map, and what only the world's truth tells (lamps, signals)."""

import re

from dima_pipeline.curation.grounding.evidence import Evidence
from dima_pipeline.curation.grounding.statements import Phrase, Said
from dima_pipeline.curation.grounding.tolerances import (
    CROSSING_AHEAD_M,
    CROSSING_ASIDE_M,
    DIVIDER_M,
    Tolerance,
)
from dima_pipeline.curation.grounding.truth import Held, Truth

_RAIN = re.compile(r"\brain(?:y|ing|s|fall)?\b", re.IGNORECASE)


def daylight(said: Said, evidence: Evidence, tolerance: Tolerance) -> Held:
    """Whether it is day or night: by the scene's description, dusk by the world's truth."""
    known = [value for kind, value, actor in evidence.truth if kind == "light" and not actor]
    if known:
        # In between, who looks at pictures may call it either.
        is_between = tolerance.has_hidden and "dusk" in (known[0], said.value)
        return Held(True if said.value == known[0] else None if is_between else False, known[0])
    is_night = re.search(r"\bnight\b", evidence.description, re.IGNORECASE) is not None
    if said.value == "dusk":
        return Held(None, "")
    return Held((said.value == "night") == is_night, "night" if is_night else "day")


def weather(said: Said, evidence: Evidence, tolerance: Tolerance) -> Held:
    """Whether it rains, by the scene's description."""
    text = evidence.description
    after = re.search(r"\bafter rain\b", text, re.IGNORECASE) is not None
    state = "after rain" if after else "rain" if _RAIN.search(text) else "dry"
    return Held(said.value == state, state)


def colour(said: Said, evidence: Evidence, tolerance: Tolerance) -> Held:
    """Whether the traffic light ahead has a colour; only the world knows."""
    known = [value for kind, value, _ in evidence.truth if kind == "signal"]
    if not known:
        return Held(False if evidence.has_truth else None, "no traffic light ahead")
    return Held(said.value in known, known[0])


def map_element(phrase: Phrase, evidence: Evidence, tolerance: Tolerance) -> Truth:
    """Whether a pedestrian crossing is ahead, or a lane divider beside the ego, or a traffic light ahead."""
    (kind,) = phrase.kinds.sure
    sides = {said.value for said in (*phrase.limits, *phrase.said) if said.kind == "direction"}
    if kind == "signal":
        known = any(name == "signal" for name, _, _ in evidence.truth)
        return known if evidence.has_truth else None
    margin = tolerance.margin_m
    tight, wide = (_is_there(kind, sides, evidence, sign * margin) for sign in (-1, 1))
    return tight if tight == wide else None


def _is_there(kind: str, sides: set[str], evidence: Evidence, margin: float) -> Truth:
    points = [point for line in evidence.lines.get(kind, []) for point in line.tolist()]
    if kind == "ped_crossing":
        if sides - {"ahead", "front"}:
            return None
        return any(0 < x <= CROSSING_AHEAD_M + margin and abs(y) <= CROSSING_ASIDE_M + margin for x, y in points)
    if sides not in ({"left"}, {"right"}):
        return None
    sign = 1.0 if sides == {"left"} else -1.0
    return any(abs(x) <= DIVIDER_M + margin and 0 < sign * y <= DIVIDER_M + margin for x, y in points)
