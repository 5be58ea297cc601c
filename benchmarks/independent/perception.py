"""Perception of objects: what there is, where, how many, how far, how fast, in which state."""

import re
from collections import Counter

import numpy as np

from independent import words
from independent.asked import Asked
from independent.grammar import DIRECTION, direction_of, is_kind, lies_to, seen, singular
from independent.verdict import (
    AGREED,
    Verdict,
    between,
    counted,
    denied,
    first_failure,
    judge,
    number,
    undecided,
    yes_no,
)
from independent.world import Box

NONE_WITHIN = re.compile(r"There is none within (\d+) m\.")


def member(box: Box, kind: str, direction: str | None, within_m: float | None) -> bool | None:
    """Whether a box is of a kind, in a direction and within a range; None at a border."""
    if not is_kind(box, kind):
        return False
    parts = [lies_to(box, direction)]
    if within_m is not None:
        parts.append(between(within_m - box.distance, -words.BORDER_M, words.BORDER_M))
    return False if False in parts else (None if None in parts else True)


def members(asked: Asked, kind: str) -> list[tuple[Box, bool | None]]:
    """The seen boxes of a kind in the question's direction and range, with whether they count."""
    within = asked.slot("within")
    return [
        (box, judged)
        for box in seen(asked.keyframe)
        if (judged := member(box, kind, asked.slot("direction"), float(within) if within else None)) is not False
    ]


def status(box: Box) -> str | None:
    """The state in which a box is; None where attribute and speed contradict each other or are missing."""
    if box.category in {"bicycle", "motorcycle"}:
        moves = between(box.speed, *words.CYCLE_MOVES_MPS)
        return None if moves is None else ("moving" if moves else "not moving")
    return words.STATUSES.get(box.attribute or "")


def status_denied(box: Box) -> bool:
    """Whether the speed clearly contradicts the annotated state."""
    if box.attribute is None or not np.isfinite(box.speed) or box.category in {"bicycle", "motorcycle"}:
        return False
    moving = box.attribute.endswith("moving")
    return box.speed < words.STILL_MPS if moving else box.speed > words.WALKING_MPS


def check_count(asked: Asked) -> Verdict:
    """``How many cars are to the front of the ego vehicle within 15 m?``."""
    stated = re.fullmatch(r"(\d+)\.", asked.answer)
    if stated is None:
        return denied(f"no count: {asked.answer}")
    kind = singular(asked.slot("kind") or "")
    return counted(int(stated[1]), [judged for _, judged in members(asked, kind)], kind)


def check_kinds(asked: Asked) -> Verdict:
    """``What kinds of objects are to the front …?``: the kinds, each with at least one object."""
    return _kinds(asked, set(re.split(r", | and ", asked.answer.rstrip(".").lower())), None)


def check_construction_kinds(asked: Asked) -> Verdict:
    """``Which construction objects are around …?``."""
    return _kinds(asked, set(re.split(r", | and ", asked.answer.rstrip(".").lower())), words.CONSTRUCTION)


def _kinds(asked: Asked, named: set[str], only: frozenset[str] | None) -> Verdict:
    stated = set() if named in ({"nothing"}, {"none"}) else {singular(name) for name in named}
    if not stated <= set(words.CATEGORIES):
        return denied(f"unknown kinds {sorted(stated - set(words.CATEGORIES))}")
    verdicts = []
    for name, category in words.CATEGORIES.items():
        if only is None or category in only:
            found = [judged for _, judged in members(asked, name)]
            truth = True if True in found else (None if found else False)
            verdicts.append(judge(None if truth is None else truth == (name in stated), f"{name}: tables {truth}"))
    return first_failure(verdicts)


def check_kind_counts(asked: Asked) -> Verdict:
    """``Which objects are to the front …, and how many of each kind?``."""
    stated = Counter({singular(kind): count for count, kind in _listed(asked.answer)})
    if not set(stated) <= set(words.CATEGORIES):
        return denied(f"unknown kinds in {asked.answer}")
    return first_failure(
        counted(stated[name], [judged for _, judged in members(asked, name)], name) for name in words.CATEGORIES
    )


def _listed(answer: str) -> list[tuple[int, str]]:
    if answer in {"Nothing.", "None."}:
        return []
    parts = [part.split(" ", 1) for part in re.split(r", | and ", answer.rstrip("."))]
    return [(int(part[0]), part[1]) if part[0].isdigit() and len(part) > 1 else (1, "?") for part in parts]


def check_statuses(asked: Asked) -> Verdict:
    """``What are the cars to the front … doing?``: how many in each state."""
    kind = singular(asked.slot("kind") or "")
    found = members(asked, kind)
    if any(status(box) is None for box, _ in found):
        return undecided("a state is not in the tables")
    stated: Counter[str] = Counter()
    for count, text in _listed(asked.answer):
        state, _, noun = text.rpartition(f" {kind.split()[0]}")
        if not state or not f"{kind.split()[0]}{noun}".startswith(kind):
            return denied(f"answer speaks of others: {text}")
        stated["not moving" if state == "stationary" else state] += count
    states = set(stated) | {status(box) or "" for box, _ in found}
    clear = denied("the speed contradicts a state") if any(status_denied(box) for box, _ in found) else AGREED
    counts = [counted(stated[s], [j for box, j in found if status(box) == s], f"{s} {kind}") for s in states]
    return first_failure([*counts, clear])


def check_any_status(asked: Asked) -> Verdict:
    """``Are there parked cars to the front of the ego vehicle within 15 m?``."""
    found = members(asked, singular(asked.slot("kind") or ""))
    judged = [j if status(box) == asked.slot("status") else False for box, j in found if status(box)]
    truth = True if True in judged else (None if None in judged or len(judged) < len(found) else False)
    return yes_no(asked.answer, truth, f"{len(found)} of the kind")


def check_nearest_distance(asked: Asked) -> Verdict:
    """``How far is the nearest car to the front of the ego vehicle?``, to its centre."""
    found = members(asked, singular(asked.slot("kind") or ""))
    nearest = min((box.distance for box, _ in found), default=np.inf)
    none_within = NONE_WITHIN.fullmatch(asked.answer)
    if none_within:
        return judge(between(nearest - float(none_within[1]), -words.BORDER_M, words.BORDER_M), f"one at {nearest:.2f}")
    stated = re.fullmatch(r"([\d.]+) m\.", asked.answer)
    if stated is None or not np.isfinite(nearest):
        return denied(f"answer {asked.answer}, nearest {nearest}")
    if any(judged is None for _, judged in found):
        sure = min((box.distance for box, judged in found if judged), default=np.inf)
        options = [number(stated[1], value) for value in (nearest, sure) if np.isfinite(value)]
        return AGREED if all(o == AGREED for o in options) else undecided("an object at the border")
    return number(stated[1], nearest, unit="m")


def check_nearest_direction(asked: Asked) -> Verdict:
    """``Where is the nearest car?``."""
    kind = singular(asked.slot("kind") or "")
    found = sorted((box for box in seen(asked.keyframe) if is_kind(box, kind)), key=lambda box: box.distance)
    if asked.answer == f"There is no {kind}.":
        in_reach = [box for box in found if box.distance <= 30.0]
        return judge(not in_reach, f"{len(in_reach)} within 30 m")
    stated = re.fullmatch(rf"To the ({DIRECTION})\.", asked.answer)
    if stated is None or not found:
        return denied(f"answer {asked.answer}, {len(found)} there")
    tied = [box for box in found if box.distance <= found[0].distance + words.BORDER_M]
    judged = {lies_to(box, stated[1]) for box in tied}
    truth = judged.pop() if len(judged) == 1 else None
    return judge(truth, f"nearest {kind} lies to the {direction_of(found[0].azimuth)}")


def check_distance(asked: Asked) -> Verdict:
    """``How far is <c1,…>, the car to the front, from the ego vehicle?``."""
    stated = re.fullmatch(r"([\d.]+) m\.", asked.answer)
    if stated is None:
        return denied(f"no distance: {asked.answer}")
    return asked.about(lambda box: number(stated[1], box.distance, unit="m"))


def check_position(asked: Asked) -> Verdict:
    """``Where exactly is …?``: metres ahead or behind and to a side; less than 1 m is left out."""
    pattern = r"(?:(\d+) m (ahead|behind))?(?: and )?(?:(\d+) m to the (left|right))?\."
    stated = re.fullmatch(pattern, asked.answer)
    if stated is None or not (stated[1] or stated[3]):
        return denied(f"no position: {asked.answer}")
    along = int(stated[1] or 0) * (-1 if stated[2] == "behind" else 1)
    across = int(stated[3] or 0) * (-1 if stated[4] == "right" else 1)
    return asked.about(
        lambda box: first_failure([_offset(along, box.center[0], "ahead"), _offset(across, box.center[1], "left")])
    )


def _offset(stated: int, value: float, side: str) -> Verdict:
    if stated == 0:
        return judge(abs(value) <= words.LEVEL_M + words.BORDER_M, f"left out, {value:.2f} m {side}")
    return number(str(stated), value, unit=f"m {side}")


def check_relative(asked: Asked) -> Verdict:
    """``Where is A relative to B?``: further ahead or behind, further left or right, in the ego frame."""
    stated = set(re.findall(r"further (ahead|behind|left|right)", asked.answer.lower()))

    def compare(first: Box, second: Box) -> Verdict:
        away = first.center - second.center
        low, high = words.RELATIVE_M
        verdicts = []
        for axis, (plus, minus) in enumerate((("ahead", "behind"), ("left", "right"))):
            for word, value in ((plus, away[axis]), (minus, -away[axis])):
                truth = between(value, low, high)
                verdicts.append(judge(None if truth is None else truth == (word in stated), f"{word} by {value:.2f}"))
        return first_failure(verdicts)

    return asked.about(compare) if stated else denied(f"no relation: {asked.answer}")


def check_speed(asked: Asked) -> Verdict:
    """``How fast is the car to the front, in km/h?``."""
    stated = re.fullmatch(r"([\d.]+) (km/h|m/s)\.", asked.answer)
    if stated is None or stated[2] not in asked.question:
        return denied(f"no speed in the unit asked for: {asked.answer}")
    factor = 3.6 if stated[2] == "km/h" else 1.0
    if not asked.references:
        return number(stated[1], abs(asked.keyframe.speed) * factor, unit=stated[2])
    return asked.about(lambda box: number(stated[1], box.speed * factor, unit=stated[2]))


def check_status(asked: Asked) -> Verdict:
    """``What is the moving status of the car to the front?``."""
    stated = asked.answer.rstrip(".").lower()

    def compare(box: Box) -> Verdict:
        if status(box) is None:
            return undecided(f"attribute {box.attribute}, {box.speed:.2f} m/s")
        if status_denied(box):
            return denied(f"attribute {box.attribute}, but {box.speed:.2f} m/s")
        return judge(status(box) == stated, f"tables: {status(box)}")

    return asked.about(compare)


def check_heading(asked: Asked) -> Verdict:
    """``In which direction is the car to the front moving?``, relative to the ego's heading."""

    def compare(box: Box) -> Verdict:
        angle = float(np.degrees(np.arctan2(box.velocity[1], box.velocity[0])))
        same, low, high, opposite = words.HEADING_DEG
        truth = {
            "In the same direction as the ego vehicle.": between(-abs(angle), -low, -same),
            "In the opposite direction of the ego vehicle.": between(abs(angle), high, opposite),
            "From right to left.": low <= angle <= high or (None if same < angle < opposite else False),
            "From left to right.": low <= -angle <= high or (None if same < -angle < opposite else False),
        }.get(asked.answer, False)
        if not box.speed > words.STILL_MPS:
            return denied(f"it does not move: {box.speed:.2f} m/s")
        return judge(truth, f"moves towards {angle:.1f}°")

    return asked.about(compare)


def check_description(asked: Asked) -> Verdict:
    """``What can be seen at <c1,…>?``: kind and direction."""
    stated = re.fullmatch(rf"An? ({'|'.join(words.CATEGORIES)}) to the ({DIRECTION})\.", asked.answer)
    if stated is None:
        return denied(f"no kind and direction: {asked.answer}")
    return asked.about(
        lambda box: first_failure(
            [
                judge(is_kind(box, stated[1]), f"it is a {box.category}"),
                judge(lies_to(box, stated[2]), f"azimuth {box.azimuth:.2f}°"),
            ]
        )
    )


def check_rider(asked: Asked) -> Verdict:
    """``Does the bicycle to the front have a rider?``."""
    stated = {"It is with a rider.": "cycle.with_rider", "It is without a rider.": "cycle.without_rider"}
    return asked.about(lambda box: judge(box.attribute == stated.get(asked.answer), f"attribute {box.attribute}"))
