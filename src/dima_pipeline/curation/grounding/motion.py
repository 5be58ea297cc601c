"""Claims about what an object will do in the next 3 s, read from its recorded future."""

import math
from typing import NamedTuple

from dima_pipeline.contracts.frames import STEP_S
from dima_pipeline.curation.grounding.evidence import Evidence, Thing
from dima_pipeline.curation.grounding.shapes import wrapped_deg
from dima_pipeline.curation.grounding.statements import Said
from dima_pipeline.curation.grounding.states import is_moving
from dima_pipeline.curation.grounding.tolerances import (
    MIN_FUTURE_STEPS,
    MOVING_MPS,
    STARTS_M,
    STAYS_M,
    TURN_DEG,
    Tolerance,
)
from dima_pipeline.curation.grounding.truth import Held, Truth


class Track(NamedTuple):
    """A future in numbers."""

    moved_m: float
    end_mps: float
    turn_deg: float
    """Left is positive."""
    is_moving: Truth


def move(said: Said, thing: Thing, evidence: Evidence, tolerance: Tolerance) -> Held:
    """Whether an object will do what is said of it."""
    if len(thing.future) < MIN_FUTURE_STEPS:
        return Held(None, "")
    track = track_of(thing, tolerance)
    name = expected(thing, track)
    if said.value == name:
        return Held(True, name)
    if not tolerance.has_hidden:
        return Held(False, f"it will {name}")
    fair = _FAIR.get(said.value)
    return Held(fair(track) if fair else None, f"it will {name}")


def track_of(thing: Thing, tolerance: Tolerance) -> Track:
    """The future of an object that has one."""
    places = [(thing.x, thing.y), *((pose.x, pose.y) for pose in thing.future)]
    turn = wrapped_deg(math.degrees(thing.future[-1].yaw - thing.yaw))
    return Track(math.dist(places[0], places[-1]), math.dist(*places[-2:]) / STEP_S, turn, is_moving(thing, tolerance))


def expected(thing: Thing, track: Track) -> str:
    """The one word for a future: where several fit, the first."""
    if track.moved_m < STAYS_M:
        return "stay"
    if not track.is_moving and track.moved_m >= STARTS_M:
        return "start"
    if track.end_mps < MOVING_MPS:
        return "stop"
    if thing.category == "pedestrian":
        return "keep walking"
    if abs(track.turn_deg) >= TURN_DEG:
        return "turn left" if track.turn_deg > 0 else "turn right"
    return "straight"


_FAIR = {
    "stay": lambda track: track.moved_m < 1.5,
    "start": lambda track: track.moved_m >= 0.5 and track.is_moving is not True,
    "stop": lambda track: track.end_mps < 1.0,
    "keep walking": lambda track: track.moved_m >= 0.5,
    "keep going": lambda track: track.moved_m >= 1.0,
    "straight": lambda track: track.moved_m >= 0.5 and abs(track.turn_deg) < 35.0,
    "turn left": lambda track: track.turn_deg >= 10.0,
    "turn right": lambda track: track.turn_deg <= -10.0,
}
"""What a free writer may call it."""
