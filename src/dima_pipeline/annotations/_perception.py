"""Perception of what is around the ego: kinds, counts and statuses by direction, and what is nearest."""

from collections import Counter
from collections.abc import Iterator

import numpy as np

from dima_pipeline.annotations._asking import Asked
from dima_pipeline.annotations._view import View, reach
from dima_pipeline.contracts.frames import AGENT_CATEGORIES
from dima_pipeline.contracts.scene_words import (
    AHEAD_M,
    DIRECTIONS,
    FAR_M,
    IN_WAY_MARGIN_M,
    NEAR_M,
    SIDE_M,
    VEHICLES,
    counted,
    kinds,
    listed,
    metres,
    plural,
    singular,
    yes_no,
)

NOUNS = {"vehicle": VEHICLES, **{category: (category,) for category in AGENT_CATEGORIES}}
ASKED_STATUSES = ("moving", "parked", "stopped", "standing")
NEAREST_MARGIN_M = 0.5


def important_objects(view: View) -> Iterator[Asked]:
    """The root of DriveLM's question graph: the objects that the other questions speak of."""
    first = view.mentions[:3]
    is_there = (view.frame.is_visible | view.frame.is_doubtful) & (view.distance <= AHEAD_M)
    if not first and is_there.any():
        return
    # Who cannot be named, since another of its kind is nearer, must not matter more than those that are; nor must the
    # last of these matter more than the first.
    named = [mention.row for mention in first]
    gap, others = view.concern(), np.setdiff1d(np.flatnonzero(is_there), named)
    is_omitted = (view.concern(IN_WAY_MARGIN_M)[others] < min(gap[named].max(initial=-2.0), FAR_M)).any()
    if is_omitted or (np.diff(np.digitize(gap[named], (0.0, NEAR_M, FAR_M))) < 0).any():
        return
    phrasings = (
        "What are the important objects in the current scene?",
        "Which objects should the ego vehicle watch?",
        "What are the most important objects around the ego vehicle?",
        "Which objects are important for the ego vehicle?",
    )
    answer = listed([mention.words for mention in first], nothing="none")
    yield Asked("important_objects", phrasings, answer, tuple(mention.instance for mention in first))


def surroundings(view: View, rng: np.random.Generator) -> Iterator[Asked]:
    """All questions about what is around, but for the root."""
    for direction in _some_directions(view, rng):
        yield from _kinds(view, direction)
        yield from _objects(view, direction)
    for noun, side in _some_groups(view, rng):
        yield from _count(view, noun, side)
    for noun, side in _some_groups(view, rng):
        yield from _nearest_distance(view, noun, side)
    yield from _statuses(view, rng)
    yield from _presence(view, rng)
    yield from _nearest_direction(view, rng)


def _some_directions(view: View, rng: np.random.Generator) -> list[str]:
    """A direction where something is seen, if there is any, and one of all six."""
    filled = sorted({DIRECTIONS[view.direction[row]] for row in view.seen})
    first = [str(rng.choice(filled))] if filled else []
    return [*first, str(rng.choice([name for name in DIRECTIONS if name not in first]))]


def _some_groups(view: View, rng: np.random.Generator) -> list[tuple[str, str | None]]:
    """Two groups of things that are there, and one drawn blindly: a kind and a direction, or all around."""
    groups: list[tuple[str, str | None]] = []
    for _ in range(2 if len(view.seen) else 0):
        row = int(rng.choice(view.seen))
        category = view.frame.categories[row]
        noun = "vehicle" if category in VEHICLES and rng.random() < 0.5 else category
        groups.append((noun, DIRECTIONS[view.direction[row]] if rng.random() < 0.7 else None))
    groups.append((str(rng.choice(("vehicle", "car", "pedestrian"))), str(rng.choice(DIRECTIONS))))
    return list(dict.fromkeys(groups))


def _place(direction: str | None) -> str:
    """``to the back left of the ego vehicle within 15 m``."""
    side = "around" if direction is None else f"to the {direction} of"
    return f"{side} the ego vehicle within {metres(reach(direction))}"


def _kinds(view: View, direction: str) -> Iterator[Asked]:
    rows = view.rows(AGENT_CATEGORIES, direction, reach(direction))
    found = {view.frame.categories[row] for row in rows}
    if not all(view.is_sure((kind,), direction, reach(direction)) for kind in AGENT_CATEGORIES if kind not in found):
        return
    place = _place(direction)
    phrasings = (
        f"What kinds of objects are {place}?",
        f"Which kinds of objects can be seen {place}?",
        f"What can be seen {place}?",
        f"What types of objects are there {place}?",
    )
    yield Asked("kinds", phrasings, kinds(found), view.tokens(rows), 1.0 if rows else 0.15)


def _objects(view: View, direction: str) -> Iterator[Asked]:
    rows = view.rows(AGENT_CATEGORIES, direction, reach(direction))
    if not view.is_sure(AGENT_CATEGORIES, direction, reach(direction)):
        return
    place = _place(direction)
    number = Counter(view.frame.categories[row] for row in rows)
    words = [counted(number[kind], kind) for kind in AGENT_CATEGORIES if number[kind]]
    phrasings = (
        f"What are the objects {place}?",
        f"Which objects are {place}, and how many of each kind?",
        f"List and count the objects {place}.",
        f"What objects are there {place}, counted by kind?",
    )
    yield Asked("objects", phrasings, listed(words, nothing="nothing"), view.tokens(rows), 1.0 if rows else 0.1)


def _count(view: View, noun: str, direction: str | None) -> Iterator[Asked]:
    rows = view.rows(NOUNS[noun], direction, reach(direction))
    if not view.is_sure(NOUNS[noun], direction, reach(direction)):
        return
    place, name = _place(direction), plural(noun)
    phrasings = (
        f"How many {name} are {place}?",
        f"How many {name} are there {place}?",
        f"What is the number of {name} {place}?",
        f"Count the {name} {place}: how many are there?",
    )
    shares = (0.3, 0.4)
    share = shares[len(rows)] if len(rows) < len(shares) else 1.0
    yield Asked("count", phrasings, f"{len(rows)}.", view.tokens(rows), share)


def _nearest_distance(view: View, noun: str, direction: str | None) -> Iterator[Asked]:
    rows = view.rows(NOUNS[noun], direction, reach(direction))
    limit = view.distance[rows[0]] if rows else reach(direction)
    if not view.is_sure(NOUNS[noun], direction, limit):
        return
    side = "around" if direction is None else f"to the {direction} of"
    phrasings = (
        f"How far is the nearest {singular(noun)} {side} the ego vehicle?",
        f"What is the distance to the nearest {singular(noun)} {side} the ego vehicle?",
        f"How far away is the nearest {singular(noun)} {side} the ego vehicle?",
        f"At what distance is the nearest {singular(noun)} {side} the ego vehicle?",
    )
    if rows:
        yield Asked("nearest_distance", phrasings, f"{metres(limit)}.", view.tokens(rows[:1]))
    else:
        yield Asked("nearest_distance", phrasings, f"There is none within {metres(limit)}.", share=0.15)


def _nearest_direction(view: View, rng: np.random.Generator) -> Iterator[Asked]:
    nouns = {"pedestrian", "car"} | {view.frame.categories[row] for row in view.seen}
    noun = str(rng.choice(sorted(nouns)))
    rows = view.rows((noun,))
    name = singular(noun)
    phrasings = (
        f"In which direction is the nearest {name}?",
        f"Where is the nearest {name}?",
        f"In what direction of the ego vehicle is the nearest {name}?",
        f"On which side of the ego vehicle is the nearest {name}?",
    )
    if not rows and view.is_sure((noun,)):
        yield Asked("nearest_direction", phrasings, f"There is no {name}.", share=0.2)
    if rows:
        near = view.distance[rows[0]]
        is_unique = len(rows) < 2 or view.distance[rows[1]] - near > NEAREST_MARGIN_M
        # Further away, one outside of the perception range might be nearer.
        if is_unique and near <= SIDE_M and view.is_sure((noun,), reach_m=near + NEAREST_MARGIN_M):
            answer = f"To the {DIRECTIONS[view.direction[rows[0]]]}."
            yield Asked("nearest_direction", phrasings, answer, view.tokens(rows[:1]))


def _statuses(view: View, rng: np.random.Generator) -> Iterator[Asked]:
    """DriveLM's status of all objects of a kind in a direction."""
    movable = [int(row) for row in view.seen if view.frame.categories[row] not in ("traffic_cone", "barrier")]
    if not movable:
        return
    row = int(rng.choice(movable))
    category, direction = view.frame.categories[row], DIRECTIONS[view.direction[row]]
    rows = view.rows((category,), direction, reach(direction))
    found = [view.status(one) for one in rows]
    if not rows or None in found or not view.is_sure((category,), direction, reach(direction)):
        return
    number = Counter(found)
    # "5 not moving cars" is no English.
    said = {status: str(status).replace("not moving", "stationary") for status in number}
    words = [counted(number[status], category, said[status]) for status in sorted(number, key=str)]
    what = f"{plural(category)} {_place(direction)}"
    phrasings = (
        f"What is the status of the {what}?",
        f"What are the {what} doing?",
        f"In which status are the {what}, and how many of them?",
        f"How many {what} move, and how many do not?",
    )
    share = 0.4 if words == [counted(1, category, "parked")] else 1.0
    yield Asked("statuses", phrasings, listed(words, nothing=""), view.tokens(rows), share)


def _presence(view: View, rng: np.random.Generator) -> Iterator[Asked]:
    """Half of the questions are about something that is there, the others about a kind that is, drawn otherwise."""
    known = [int(row) for row in view.seen if view.status(int(row)) in ASKED_STATUSES]
    if not known:
        return
    row = int(rng.choice(known))
    category, status = view.frame.categories[row], str(view.status(row))
    direction = DIRECTIONS[view.direction[row]]
    if rng.random() < 0.5:
        direction = str(rng.choice([name for name in DIRECTIONS if name != direction]))
    rows = view.rows((category,), direction, reach(direction))
    found = [one for one in rows if view.status(one) == status]
    is_unsure = any(view.status(one) in (None, "not moving") for one in rows)
    if not found and (is_unsure or not view.is_sure((category,), direction, reach(direction))):
        return
    place = _place(direction)
    phrasings = (
        f"Are there {status} {plural(category)} {place}?",
        f"Is there any {status} {singular(category)} {place}?",
        f"Can {status} {plural(category)} be seen {place}?",
        f"Is at least one {status} {singular(category)} {place}?",
    )
    yield Asked("presence", phrasings, yes_no(bool(found)), view.tokens(found))
