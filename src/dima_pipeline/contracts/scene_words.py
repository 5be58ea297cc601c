"""What the words of questions and answers mean in numbers: annotators and their checker both keep to this page.

Directions are the six sectors of 60 degrees that the cameras look into, by the bearing of a box centre seen from the
origin of the ego frame; distances are those of box centres to it. Around each limit lies a margin in which a rule says
nothing: it only asks what stays true if the tables are a little off.
"""

from collections.abc import Iterable, Sequence

import numpy as np
from jaxtyping import Float, Int

from dima_pipeline.contracts.frames import AGENT_CATEGORIES

Array = np.ndarray
DIRECTIONS = ("front", "front left", "back left", "back", "back right", "front right")
"""Counter-clockwise; the index of a sector is its bearing over 60 degrees."""
VEHICLES = ("car", "truck", "bus", "trailer", "construction_vehicle")
CYCLES = ("motorcycle", "bicycle")
CONSTRUCTION = ("construction_vehicle", "traffic_cone", "barrier")
AHEAD_M = 30.0
SIDE_M = 15.0
REACH_M = {name: AHEAD_M if name in ("front", "back") else SIDE_M for name in DIRECTIONS}
"""How far a sector is known whole: the perception range is 60 x 30 m. All around it is ``SIDE_M``."""

MOVING_MPS = 0.5
"""Moving: by the attribute, else faster than this. Not asked where both are known and contradict each other (moving
below ``CREEPS_MPS``, else above ``RUNS_MPS``), nor where the attribute is unknown and the speed lies between them."""
CREEPS_MPS, RUNS_MPS = 0.3, 0.8
BESIDE_M = 2.0
"""Further ahead, behind, left or right than something else: by so much along the axes of the ego frame."""
LEVEL_M = 1.0
"""Less is not mentioned; in between nothing is asked."""
HEADING_RAD = np.radians(30.0)
"""Moving the same way, the opposite way, or across: the velocity within this of the axes of the ego frame."""
HEADING_MPS = 1.0

IN_WAY_M = 20.0
"""In the way now: ahead (x > 0) on the expected path (driven path, then 30 m straight on), centre nearer to it than
half of both widths. Getting in the way: the centre comes that near to what the ego has then still to drive of its path
of the next 3 s, so that nobody who follows is in the way. No rule asks about what lies within ``IN_WAY_MARGIN_M`` of
that limit. Reasons speak of what is within ``IN_WAY_M``."""
IN_WAY_MARGIN_M = 0.3
NEAR_M = 5.0
"""Near in the next 3 s: centre and ego origin at the same step, known steps 1 ... 6."""
FAR_M = 10.0
"""Importance for the ego: high for what gets in the way in the next 3 s; medium for what else comes near
(``NEAR_M``); low for what stays further than ``FAR_M`` at all six steps and is not in the way now; else not asked."""
CLOSER_M = 2.0
"""Comes closer, moves away: the distance to the ego after 3 s is less or more than now by this; the same: within
``LEVEL_M``."""
PRIORITY_MARGIN_M = 2.0
"""Priority: by distance, plus 10 m for what is not in the way, plus 10 m for what is behind; by so much it must be
ahead of the next."""

STAYS_M, STARTS_M = 0.5, 1.0
TURN_RAD = np.radians(20.0)
SLIGHT_TURN_RAD = np.radians(5.0)
MIN_STEPS = 4
"""A future known for less than 2 s is not judged."""
STANDING_MPS = 0.5
SPEED_CHANGE_MPS = 1.5
KEEPS_MPS = 1.0
"""The driven action: the speed after 3 s (mean of the last step) differs from that of now by ``SPEED_CHANGE_MPS`` or
more: slow down, speed up; by ``KEEPS_MPS`` or less: keep going; in between it is not asked."""
PROBABILITIES = ("Low.", "Medium.", "High.")
"""Probability of a collision of an action: high where all its variants touch the object's recorded future, low where
none does (and the future is known for 3 s, or it is too far away to matter), medium in between
(``annotations/_rollout.py``)."""

EVENT_WORDS = {
    "emergency_vehicle": "An emergency vehicle comes from behind.",
    "hidden_jaywalker": "A pedestrian steps out from behind a parked vehicle.",
    "jaywalker": "A pedestrian crosses the road where there is no pedestrian crossing.",
    "crossing_pedestrian": "A pedestrian walks across a pedestrian crossing.",
    "wrong_way_cyclist": "A cyclist comes towards the ego vehicle on the same lane.",
    "hard_braking_lead": "The vehicle ahead has braked hard.",
    "cut_in": "A car changes into the lane of the ego vehicle.",
    "pull_out": "A parked car pulls out in front of the ego vehicle.",
    "bus_stop": "A bus ahead halts at a bus stop.",
    "red_light_queue": "Vehicles ahead wait at a red light.",
    "construction": "A construction site narrows the lane.",
    "double_parked_truck": "The ego vehicle passes a double-parked vehicle.",
    "overtaking": "The ego vehicle overtakes a parked vehicle.",
    "three_point_turn": "The ego vehicle makes a three-point turn.",
    "u_turn": "The ego vehicle makes a U-turn.",
    "resume_from_stop": "The ego vehicle drives on after a stop.",
    "turn_left": "The ego vehicle turns left at a junction.",
    "turn_right": "The ego vehicle turns right at a junction.",
    "curve": "The road bends.",
    "lead_vehicle": "The ego vehicle follows another vehicle.",
}
"""Events of ``world_truth``, the most urgent first; an event without words is not spoken of."""
INTENTION_WORDS = {
    "keep_lane": "keep its lane",
    "keep_walkway": "stay on the walkway",
    "parked": "stay parked",
    "standing": "keep standing",
    "double_parked": "keep standing in the lane",
    "turn_left": "turn left",
    "turn_right": "turn right",
    "change_lane_left": "change lanes to the left",
    "change_lane_right": "change lanes to the right",
    "u_turn": "make a U-turn",
    "queue": "wait at the red light",
    "crossing_pedestrian": "cross the road",
    "jaywalker": "cross the road",
    "hidden_jaywalker": "cross the road",
    "cut_in": "change into the lane of the ego vehicle",
    "pull_out": "pull out in front of the ego vehicle",
    "wrong_way": "ride on against the traffic",
}
"""Intentions of ``world_truth`` that are spoken of."""
LAMP_WORDS = {"turn_left": "The left one.", "turn_right": "The right one.", "hazard": "Both."}
"""Which turn signal of a vehicle is on; ``Both.`` are the hazard lights, and without any it is ``None.``"""


def directions(xy: Float[Array, "N 2"]) -> Int[Array, "N"]:
    """Index into ``DIRECTIONS`` of points in the ego frame."""
    bearing = np.degrees(np.arctan2(xy[:, 1], xy[:, 0]))
    return np.floor((bearing + 30.0) / 60.0).astype(int) % 6


def metres(length_m: float) -> str:
    """``12 m``."""
    return f"{length_m:.0f} m"


def metres_per_second(speed_mps: float) -> str:
    """``5.5 m/s``."""
    return f"{speed_mps:.1f} m/s"


def kilometres_per_hour(speed_mps: float) -> str:
    """``20 km/h``."""
    return f"{3.6 * speed_mps:.0f} km/h"


def singular(category: str) -> str:
    """``construction_vehicle`` -> ``construction vehicle``."""
    return category.replace("_", " ")


def plural(category: str) -> str:
    """``bus`` -> ``buses``."""
    return "buses" if category == "bus" else f"{singular(category)}s"


def counted(number: int, category: str, status: str = "") -> str:
    """``2 parked cars``; ``1 bus``."""
    noun = singular(category) if number == 1 else plural(category)
    return " ".join(part for part in (str(number), status, noun) if part)


def listed(words: Sequence[str], nothing: str) -> str:
    """``A, b and c.``: a sentence that begins with a capital."""
    text = " and ".join(part for part in (", ".join(words[:-1]), words[-1]) if part) if words else nothing
    return f"{text[0].upper()}{text[1:]}."


def kinds(categories: Iterable[str], nothing: str = "Nothing") -> str:
    """The kinds that occur, in the order of ``AGENT_CATEGORIES``: ``Cars, trucks and pedestrians.``"""
    present = set(categories)
    return listed([plural(category) for category in AGENT_CATEGORIES if category in present], nothing)


def yes_no(is_true: bool) -> str:
    """``Yes.`` or ``No.``"""
    return "Yes." if is_true else "No."
