"""Numbers into the few words that answers are made of: six directions, counts, distance bands, kinds of objects.

Directions are the six sectors of 60 degrees that the cameras look into, by the bearing of a box centre.
"""

from collections.abc import Iterable

import numpy as np
from jaxtyping import Float, Int

from dima_pipeline.contracts.frames import AGENT_CATEGORIES

Array = np.ndarray
DIRECTIONS = ("front", "front left", "back left", "back", "back right", "front right")
"""Counter-clockwise; the index of a sector is its bearing over 60 degrees."""
VEHICLES = ("car", "truck", "bus", "trailer", "construction_vehicle")
CONSTRUCTION = ("construction_vehicle", "traffic_cone", "barrier")
AHEAD_M = 30.0
BANDS = ((10.0, "Less than 10 m."), (20.0, "10 to 20 m."), (AHEAD_M, "20 to 30 m."))
NO_BAND = "There is none within 30 m."


def directions(xy: Float[Array, "N 2"]) -> Int[Array, "N"]:
    """Index into ``DIRECTIONS`` of points in the ego frame."""
    bearing = np.degrees(np.arctan2(xy[:, 1], xy[:, 0]))
    return np.floor((bearing + 30.0) / 60.0).astype(int) % 6


def count_word(number: int) -> str:
    """``None.``, ``One.``, ``Two.`` or ``Several.``"""
    return ("None.", "One.", "Two.", "Several.")[min(number, 3)]


def distance_band(distance_m: float) -> str:
    """The band of a distance; infinite where there is nothing."""
    return next((words for limit, words in BANDS if distance_m < limit), NO_BAND)


def singular(category: str) -> str:
    """``construction_vehicle`` -> ``construction vehicle``."""
    return category.replace("_", " ")


def plural(category: str) -> str:
    """``bus`` -> ``buses``."""
    return "buses" if category == "bus" else f"{singular(category)}s"


def kinds(categories: Iterable[str], nothing: str = "Nothing.") -> str:
    """The kinds that occur, in the order of ``AGENT_CATEGORIES``: ``Cars, trucks and pedestrians.``"""
    present = set(categories)
    words = [plural(category) for category in AGENT_CATEGORIES if category in present]
    if not words:
        return nothing
    text = " and ".join(part for part in (", ".join(words[:-1]), words[-1]) if part)
    return f"{text[0].upper()}{text[1:]}."


def yes_no(is_true: bool) -> str:
    """``Yes.`` or ``No.``"""
    return "Yes." if is_true else "No."
