"""Claims that only the world's truth can tell: lamps, traffic lights, intentions, events. Unknown for recordings."""

from dima_pipeline.curation.grounding.evidence import Evidence, Thing
from dima_pipeline.curation.grounding.lexicon import Kinds
from dima_pipeline.curation.grounding.statements import Said
from dima_pipeline.curation.grounding.tolerances import Tolerance
from dima_pipeline.curation.grounding.truth import Held

_CROSSINGS = frozenset({"crossing_pedestrian", "jaywalker", "hidden_jaywalker"})
MOVES_AS_AIMS = {
    **{"turn left": "turn_left", "turn right": "turn_right"},
    **{"change left": "change_lane_left", "change right": "change_lane_right"},
}
AIMS_AS_MOVES = {"parked": "stay", "standing": "stay"}
"""Aims that a text which speaks of no intention means as motions."""


def lamp(said: Said, thing: Thing, evidence: Evidence, tolerance: Tolerance) -> Held:
    """Whether lamps of a vehicle are on; ``none`` for no turn signal."""
    if not evidence.has_truth:
        return Held(None, "")
    lit = {value for kind, value, actor in evidence.truth if kind == "light" and actor == thing.instance}
    words = ", ".join(sorted(lit)).replace("_", " ") or "no lamp on"
    if said.value == "none":
        return Held(not lit & {"turn_left", "turn_right", "hazard"}, words)
    return Held(said.value in lit, words)


def aim(said: Said, thing: Thing, evidence: Evidence, tolerance: Tolerance) -> Held:
    """Whether somebody intends what is said."""
    known = {value for kind, value, actor in evidence.truth if kind == "intention" and actor == thing.instance}
    if not known:
        return Held(None, "")
    meant = _CROSSINGS if said.value == "crossing" else {said.value}
    return Held(bool(meant & known), ", ".join(sorted(known)).replace("_", " "))


def events_of(value: str) -> frozenset[str]:
    """The events that a phrase may mean."""
    return _CROSSINGS if value == "crossing" else frozenset({value})


def event(said: Said, kinds: Kinds | None, evidence: Evidence) -> Held:
    """Whether something is happening now, to an object of a kind where it happens to an object."""
    if not evidence.has_truth:
        return Held(None, "")
    category = {thing.instance: thing.category for thing in evidence.things}
    going_on = [(value, actor) for kind, value, actor in evidence.truth if kind == "event"]
    held = any(
        value in events_of(said.value) and (kinds is None or actor not in category or category[actor] in kinds.possible)
        for value, actor in going_on
    )
    words = ", ".join(sorted({value for value, _ in going_on})).replace("_", " ") or "nothing special"
    return Held(held or (said.value == "nothing" and not going_on), words)
