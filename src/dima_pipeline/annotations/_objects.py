"""Perception of the objects that are named one by one: status, place, distance, speed, lamps, how two of them lie."""

from collections.abc import Iterator

import numpy as np

from dima_pipeline.annotations._asking import Asked, phrased
from dima_pipeline.annotations._view import Mention, View
from dima_pipeline.contracts.scene_words import (
    BESIDE_M,
    CYCLES,
    DIRECTIONS,
    HEADING_MPS,
    HEADING_RAD,
    LAMP_WORDS,
    LEVEL_M,
    VEHICLES,
    kilometres_per_hour,
    metres,
    metres_per_second,
    singular,
    yes_no,
)

STILL = ("traffic_cone", "barrier")
STATUS_SHARES = {"parked": 0.4, "moving": 0.7}
SEEN_FROM_BEHIND_RAD = np.radians(60.0)


def object_questions(view: View, rng: np.random.Generator) -> Iterator[Asked]:
    """All questions about the mentions of a keyframe, and about how two of them lie."""
    for mention in view.mentions:
        category = view.frame.categories[mention.row]
        yield from _identity(view, mention)
        yield _distance(view, mention)
        yield from _place(view, mention)
        if category not in STILL:
            yield from _status(view, mention)
            yield from _speed(view, mention, is_in_km=bool(rng.random() < 0.5))
            yield from _heading(view, mention)
        if category in CYCLES:
            yield from _rider(view, mention)
        if category in VEHICLES and view.truth.is_known:
            yield from _lamps(view, mention)
    if len(view.mentions) > 1:
        first, second = (view.mentions[int(at)] for at in rng.permutation(len(view.mentions))[:2])
        yield from _relation(view, first, second)


def _identity(view: View, mention: Mention) -> Iterator[Asked]:
    if mention.tag:
        category = view.frame.categories[mention.row]
        article = "An" if category[0] in "aeiou" else "A"
        phrasings = phrased(
            mention.tag,
            "What object is {x}?",
            "What is the visual description of {x}?",
            "Which kind of object is {x}, and where is it?",
            "What can be seen at {x}?",
        )
        answer = f"{article} {singular(category)} to the {DIRECTIONS[view.direction[mention.row]]}."
        yield Asked("identity", phrasings, answer, (mention.instance,), 0.5)


def _distance(view: View, mention: Mention) -> Asked:
    phrasings = phrased(
        mention.name,
        "How far away is {x}?",
        "What is the distance to {x}?",
        "How far is {x} from the ego vehicle?",
        "At what distance from the ego vehicle is {x}?",
    )
    return Asked("distance", phrasings, f"{metres(view.distance[mention.row])}.", (mention.instance,), 0.5)


def _place(view: View, mention: Mention) -> Iterator[Asked]:
    x, y = view.frame.box[mention.row, :2]
    words = [
        f"{metres(abs(value))} {name}"
        for value, name in ((x, "ahead" if x > 0 else "behind"), (y, "to the left" if y > 0 else "to the right"))
        if abs(value) >= LEVEL_M
    ]
    if words:
        phrasings = phrased(
            mention.name,
            "Where exactly is {x}?",
            "What is the relative position of {x} to the ego vehicle?",
            "How many metres ahead or behind, and to which side, is {x}?",
            "Where, in metres, is {x} relative to the ego vehicle?",
        )
        yield Asked("place", phrasings, f"{' and '.join(words)}.", (mention.instance,), 0.5)


def _status(view: View, mention: Mention) -> Iterator[Asked]:
    status = view.status(mention.row)
    if status is not None:
        phrasings = phrased(
            mention.name,
            "What is the moving status of {x}?",
            "What is the status of {x}?",
            "Is {x} moving or not?",
            "In which moving status is {x}?",
        )
        answer = f"{status.capitalize()}."
        yield Asked("status", phrasings, answer, (mention.instance,), STATUS_SHARES.get(status, 1.0))


def _rider(view: View, mention: Mention) -> Iterator[Asked]:
    named = (view.frame.attributes[mention.row] or "").rpartition(".")[2]
    if named in ("with_rider", "without_rider"):
        phrasings = phrased(
            mention.name,
            "Is {x} with or without a rider?",
            "Does {x} have a rider?",
            "Is there a rider on {x}?",
            "Is {x} ridden by anyone?",
        )
        answer = f"It is {named.replace('_', ' a ')}."
        yield Asked("rider", phrasings, answer, (mention.instance,), 0.5 if named == "without_rider" else 1.0)


def _speed(view: View, mention: Mention, is_in_km: bool) -> Iterator[Asked]:
    speed = float(np.linalg.norm(view.frame.velocity[mention.row]))
    if view.is_motion_known[mention.row] and view.is_moving[mention.row] and np.isfinite(speed):
        unit = "km/h" if is_in_km else "m/s"
        phrasings = phrased(
            mention.name,
            f"How fast is {{x}} moving, in {unit}?",
            f"What is the speed of {{x}} in {unit}?",
            f"How fast, in {unit}, is {{x}}?",
            f"At what speed, in {unit}, is {{x}} moving?",
        )
        words = kilometres_per_hour(speed) if is_in_km else metres_per_second(speed)
        yield Asked("speed", phrasings, f"{words}.", (mention.instance,))


def _heading(view: View, mention: Mention) -> Iterator[Asked]:
    vx, vy = view.frame.velocity[mention.row]
    if not (np.hypot(vx, vy) >= HEADING_MPS and view.is_motion_known[mention.row] and view.is_moving[mention.row]):
        return
    angle = abs(float(np.arctan2(vy, vx)))
    if angle <= HEADING_RAD:
        answer = "In the same direction as the ego vehicle."
    elif angle >= np.pi - HEADING_RAD:
        answer = "In the opposite direction of the ego vehicle."
    elif abs(angle - np.pi / 2) <= HEADING_RAD:
        answer = "From right to left." if vy > 0 else "From left to right."
    else:
        return
    phrasings = phrased(
        mention.name,
        "In which direction is {x} moving?",
        "Which way does {x} move, seen from the ego vehicle?",
        "In what direction does {x} move relative to the ego vehicle?",
        "Where is {x} heading, seen from the ego vehicle?",
    )
    yield Asked("heading", phrasings, answer, (mention.instance,))


def _lamps(view: View, mention: Mention) -> Iterator[Asked]:
    x, y, yaw = view.frame.box[mention.row, :3]
    lit = view.truth.lamps.get(mention.instance, set())
    behind = np.arctan2(-y, -x) - yaw - np.pi
    if abs(np.arctan2(np.sin(behind), np.cos(behind))) <= SEEN_FROM_BEHIND_RAD:
        phrasings = phrased(
            mention.name,
            "Are the brake lights of {x} on?",
            "Do the brake lights of {x} shine?",
            "Does {x} have its brake lights on?",
            "Are the brake lights lit on {x}?",
        )
        is_on = "brake" in lit
        share = 1.0 if is_on else 0.4 if view.is_moving[mention.row] else 0.1
        yield Asked("brake_lights", phrasings, yes_no(is_on), (mention.instance,), share)
    blinking = [words for value, words in LAMP_WORDS.items() if value in lit]
    phrasings = phrased(
        mention.name,
        "Which turn signal of {x} is on?",
        "Which turn signals of {x} are blinking?",
        "Does {x} signal, and on which side?",
        "Which of its turn signals has {x} switched on?",
    )
    answer = blinking[0] if blinking else "None."
    yield Asked("turn_signal", phrasings, answer, (mention.instance,), 1.0 if blinking else 0.05)


def _relation(view: View, first: Mention, second: Mention) -> Iterator[Asked]:
    x, y = view.frame.box[first.row, :2] - view.frame.box[second.row, :2]
    words = []
    for value, (more, less) in ((x, ("further ahead", "further behind")), (y, ("further left", "further right"))):
        if abs(value) >= BESIDE_M:
            words.append(more if value > 0 else less)
        elif abs(value) > LEVEL_M:
            return
    if not words:
        return
    one, other = first.name, second.name
    phrasings = phrased(
        one,
        f"Where is {{x}} relative to {other}?",
        f"What is the relative position of {{x}} to {other}?",
        f"Seen from the ego vehicle, where is {{x}} compared to {other}?",
        f"How does {{x}} lie relative to {other}?",
    )
    answer = " and ".join(words)
    yield Asked("relation", phrasings, f"{answer.capitalize()}.", (first.instance, second.instance))
