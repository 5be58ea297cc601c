"""Perception: what is there now. Every answer can be seen in the pictures or read from the boxes and the map."""

import re
from collections.abc import Iterator

import numpy as np

from dima_pipeline.annotations._view import Asked, View
from dima_pipeline.contracts.frames import AGENT_CATEGORIES
from dima_pipeline.contracts.scene_words import (
    CONSTRUCTION,
    DIRECTIONS,
    VEHICLES,
    count_word,
    distance_band,
    kinds,
    plural,
    singular,
    yes_no,
)

CROSSING_AHEAD_M = 25.0
CROSSING_ASIDE_M = 6.0
DIVIDER_ASIDE_M = 5.0


def important_objects(view: View) -> Asked:
    """The root of DriveLM's question graph: the objects that the other questions speak of."""
    names = [mention.words for mention in view.mentions[:3]]
    text = " and ".join(part for part in (", ".join(names[:-1]), names[-1]) if part) if names else "none"
    return Asked(
        ("What are the important objects in the current scene?", "Which objects should the ego vehicle watch?"),
        f"{text[0].upper()}{text[1:]}.",
        tuple(mention.instance for mention in view.mentions[:3]),
    )


def perception(view: View, rng: np.random.Generator) -> Iterator[Asked]:
    """All perception questions of a keyframe but for the root."""
    yield _time_of_day(view)
    yield _weather(view)
    yield from _counts_ahead(view)
    yield _nearest_vehicle(view)
    yield _nearest_pedestrian(view)
    yield _crossing(view)
    yield _construction(view)
    yield from _kinds_by_direction(view, rng)
    yield _moving_objects(view, rng)
    yield _divider(view, "left" if rng.random() < 0.5 else "right")
    yield from _mentioned(view)


def is_night(description: str) -> bool:
    """Whether a scene description speaks of night."""
    return re.search(r"\bnight\b", description, re.IGNORECASE) is not None


def _time_of_day(view: View) -> Asked:
    words = "night" if is_night(view.frame.description) else "day"
    return Asked(("Is it day or night?", "What time of day is it?"), f"It is {words}.")


def _weather(view: View) -> Asked:
    text = view.frame.description.lower()
    answer = "It is not raining."
    if re.search(r"\bafter rain\b", text):
        answer = "The road is wet after rain."
    elif re.search(r"\brain(y|ing|s|fall)?\b", text):
        answer = "It is raining."
    return Asked(("Is it raining?", "What is the weather like?"), answer)


def _counts_ahead(view: View) -> Iterator[Asked]:
    for noun, categories in (("vehicles", VEHICLES), ("pedestrians", ("pedestrian",))):
        rows = view.rows(categories, "front")
        yield Asked(
            (
                f"How many {noun} are in front of the ego vehicle within 30 m?",
                f"How many {noun} are there to the front within 30 m?",
            ),
            count_word(len([row for row in rows if view.distance[row] <= 30.0])),
            view.tokens(rows),
        )


def _nearest_vehicle(view: View) -> Asked:
    rows = view.rows(VEHICLES, "front")[:1]
    return Asked(
        ("How far is the nearest vehicle to the front?", "What is the distance to the nearest vehicle ahead?"),
        distance_band(view.distance[rows[0]] if rows else np.inf),
        view.tokens(rows),
    )


def _nearest_pedestrian(view: View) -> Asked:
    rows = view.rows(("pedestrian",))[:1]
    answer = f"To the {DIRECTIONS[view.direction[rows[0]]]}." if rows else "There is no pedestrian."
    return Asked(
        ("In which direction is the nearest pedestrian?", "Where is the nearest pedestrian?"), answer, view.tokens(rows)
    )


def _crossing(view: View) -> Asked:
    points = view.frame.polylines["ped_crossing"].reshape(-1, 2)
    ahead = (points[:, 0] > 0) & (points[:, 0] <= CROSSING_AHEAD_M) & (np.abs(points[:, 1]) <= CROSSING_ASIDE_M)
    return Asked(
        ("Is there a pedestrian crossing ahead?", "Is the ego vehicle driving towards a pedestrian crossing?"),
        yes_no(bool(ahead.any())),
    )


def _construction(view: View) -> Asked:
    rows = view.rows(CONSTRUCTION)
    found = {view.frame.categories[row] for row in rows}
    return Asked(
        ("Which construction objects are near the ego vehicle?", "Which construction objects are in the scene?"),
        kinds(found, nothing="None."),
        view.tokens(rows),
    )


def _kinds_by_direction(view: View, rng: np.random.Generator) -> Iterator[Asked]:
    # One direction where there is something and one of all six, lest most answers say "Nothing."
    filled = sorted({DIRECTIONS[view.direction[row]] for row in view.seen})
    first = [str(rng.choice(filled))] if filled else []
    second = str(rng.choice([name for name in DIRECTIONS if name not in first]))
    for direction in (*first, second):
        rows = view.rows(AGENT_CATEGORIES, direction)
        yield Asked(
            (
                f"What kinds of objects are to the {direction} of the ego vehicle?",
                f"What can be seen to the {direction} of the ego vehicle?",
            ),
            kinds(view.frame.categories[row] for row in rows),
            view.tokens(rows),
        )


def _moving_objects(view: View, rng: np.random.Generator) -> Asked:
    # Every second question is about something that does move, if there is any: most answers would be "No." otherwise.
    known = [row for row in view.rows(("car", "pedestrian")) if view.is_moving[row]]
    category, direction = str(rng.choice(["car", "pedestrian"])), str(rng.choice(DIRECTIONS))
    if known and rng.random() < 0.5:
        row = int(rng.choice(known))
        category, direction = view.frame.categories[row], DIRECTIONS[view.direction[row]]
    rows = [row for row in view.rows((category,), direction) if view.is_moving[row]]
    return Asked(
        (
            f"Are there moving {plural(category)} to the {direction} of the ego vehicle?",
            f"Is there any moving {singular(category)} to the {direction}?",
        ),
        yes_no(bool(rows)),
        view.tokens(rows),
    )


def _divider(view: View, side: str) -> Asked:
    points = view.frame.polylines["divider"].reshape(-1, 2) * (1.0, 1.0 if side == "left" else -1.0)
    beside = (np.abs(points[:, 0]) <= DIVIDER_ASIDE_M) & (points[:, 1] > 0) & (points[:, 1] <= DIVIDER_ASIDE_M)
    return Asked(
        (
            f"Is there a lane divider to the {side} of the ego vehicle?",
            f"Does a lane divider run to the {side} of the ego vehicle?",
        ),
        yes_no(bool(beside.any())),
    )


def _mentioned(view: View) -> Iterator[Asked]:
    for mention in view.mentions[:2]:
        category = view.frame.categories[mention.row]
        if category not in ("traffic_cone", "barrier"):
            yield Asked(
                (f"What is the moving status of {mention.name.rstrip(',')}?", f"Is {mention.name} moving or not?"),
                _status(view, mention.row),
                (mention.instance,),
            )
        if mention.tag:
            direction = DIRECTIONS[view.direction[mention.row]]
            article = "an" if category[0] in "aeiou" else "a"
            yield Asked(
                (f"What object is {mention.tag}?", f"What is the visual description of {mention.tag}?"),
                f"{article.capitalize()} {singular(category)} to the {direction}.",
                (mention.instance,),
            )


def _status(view: View, row: int) -> str:
    if view.is_moving[row]:
        return "Moving."
    is_parked = (view.frame.attributes[row] or "").endswith("parked")
    return "Parked." if is_parked else "Not moving."
