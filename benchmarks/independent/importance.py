"""Importance: 'high' on the path, 'medium' within 5 m in 3 s, 'low' neither; lists of important objects against it.

Which of equally important objects is named is left open; naming one while a clearly more important one is not, is not.
"""

import re

import numpy as np

from independent import words
from independent.asked import Asked, Checker
from independent.geometry import distances, in_way_now, touches_rest
from independent.grammar import extract, resolve, seen
from independent.verdict import AGREED, Verdict, denied, first_failure, judge
from independent.world import Box, Keyframe

LEVELS = ("low", "medium", "high")
NEAR_BAND_M = 0.3
CLEARLY = 2


def levels(keyframe: Keyframe, box: Box) -> set[int]:
    """The importances (0 low, 1 medium, 2 high) that the tables allow for a box; several at a border."""
    touches = touches_rest(keyframe, box)
    now = in_way_now(keyframe, box)
    nearest = float(np.nanmin(distances(keyframe, box)))
    by_distance = {1} if nearest < words.NEAR_M - NEAR_BAND_M else {0}
    if abs(nearest - words.NEAR_M) <= NEAR_BAND_M:
        by_distance = {0, 1}
    if True in touches:
        return {2}
    if None in touches[1:] or now is not False:
        return by_distance | {2}
    return by_distance


def check_importance(asked: Asked) -> Verdict:
    """``How important is the car to the front for the ego vehicle?``."""
    stated = asked.answer.rstrip(".").lower()

    def compare(box: Box) -> Verdict:
        found = levels(asked.keyframe, box)
        truth = stated in LEVELS and LEVELS.index(stated) in found
        names = [LEVELS[level] for level in sorted(found)]
        return judge(truth, f"tables: {names}, nearest {np.nanmin(distances(asked.keyframe, box)):.2f} m")

    return asked.about(compare)


def check_named(asked: Asked) -> Verdict:
    """The objects that an answer names as important, or in the order of their priority."""
    boxes: list[Box] = []
    if asked.answer == "None.":
        return _complete(asked.keyframe, boxes)
    rest, references = extract(asked.answer)
    shape = r"OBJ(?:, OBJ)*(?: and OBJ)?\.|First OBJ, then OBJ, then OBJ\."
    if re.fullmatch(shape, rest) is None:
        return denied(f"names no objects: {asked.answer}")
    for reference in references:
        box, verdict = resolve(asked.keyframe, reference)
        if box is None or verdict != AGREED:
            return verdict
        boxes.append(box)
    if len({box.token for box in boxes}) < len(boxes):
        return denied("names an object twice")
    if [box.token for box in boxes] != asked.objects and {box.token for box in boxes} != set(asked.objects):
        return denied("names others than the pair lists")
    return first_failure([_ordered(asked.keyframe, boxes, rest), _complete(asked.keyframe, boxes)])


def _ordered(keyframe: Keyframe, boxes: list[Box], rest: str) -> Verdict:
    if not rest.startswith("First"):
        return AGREED
    found = [levels(keyframe, box) for box in boxes]
    for earlier, later in ((0, 1), (1, 2), (0, 2)):
        if min(found[later]) - max(found[earlier]) >= CLEARLY:
            return denied(f"number {later + 1} is {LEVELS[min(found[later])]}, number {earlier + 1} is low")
    return AGREED


def _complete(keyframe: Keyframe, boxes: list[Box]) -> Verdict:
    """Whether none that is left out is clearly more important than one that is named."""
    tokens = {box.token for box in boxes}
    weakest = min((max(levels(keyframe, box)) for box in boxes), default=-1)
    for box in seen(keyframe):
        inside = abs(box.center[0]) <= words.PATH_M and abs(box.center[1]) <= words.PATH_M / 2
        if box.token not in tokens and inside and min(levels(keyframe, box)) - weakest >= CLEARLY:
            return denied(f"leaves out a {box.category} at ({box.center[0]:.1f}, {box.center[1]:.1f}), on the path")
    return AGREED


SHAPES: dict[str, tuple[tuple[str, ...], Checker]] = {
    "importance": (
        (
            r"How important is OBJ for the ego vehicle\?",
            r"How much does OBJ matter to the ego vehicle in the next 3 s: high, medium or low\?",
            r"Of what importance for the ego vehicle is OBJ\?",
            r"What is the importance of OBJ for the ego vehicle: high, medium or low\?",
        ),
        check_importance,
    ),
    "important objects": (
        (
            r"What are the important objects in the current scene\?",
            r"What are the most important objects around the ego vehicle\?",
            r"Which objects are important for the ego vehicle\?",
            r"Which objects should the ego vehicle watch\?",
        ),
        check_named,
    ),
    "priority order": (
        (
            r"In which order should the ego vehicle consider the objects around it\?",
            r"List the three most important objects in the order of their priority\.",
            r"What is the priority order of the objects for the ego vehicle\?",
            r"Which objects should the ego vehicle consider first, second and third\?",
        ),
        check_named,
    ),
    "most important object": (
        (
            r"What is the most important object for the ego vehicle\?",
            r"Which object (?:has the highest priority|is most important) for the ego vehicle(?: to watch)?\?",
            r"Which object should the ego vehicle consider first\?",
        ),
        check_named,
    ),
}
