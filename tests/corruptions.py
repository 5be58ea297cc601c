"""Answers made false on purpose: one value of an answer is replaced by another of the same kind that excludes it.

The values are found in the text alone; what a question asks for decides which kinds of values its answer may hold.
"""

import re
from dataclasses import replace

import numpy as np

from dima_pipeline.contracts.batch import VqaPair

DIRECTIONS = ("front left", "front right", "back left", "back right", "front", "back")
SINGULARS = (
    *("car", "truck", "bus", "trailer", "construction vehicle", "pedestrian", "motorcycle", "bicycle"),
    *("traffic cone", "barrier"),
)
PLURALS = tuple("buses" if kind == "bus" else f"{kind}s" for kind in SINGULARS)


def _each(*words: str) -> tuple[tuple[str, ...], ...]:
    return tuple((word,) for word in words)


CLASSES: dict[str, tuple[tuple[str, ...], ...]] = {
    # Within an inner tuple words may hold together; across inner tuples they exclude each other.
    "yes or no": _each("yes", "no"),
    "direction": _each(*DIRECTIONS),
    "kind": tuple(zip(SINGULARS, PLURALS, strict=True)),
    "status": (("moving",), ("parked", "not moving", "stopped", "standing")),
    "rider": _each("with a rider", "without a rider"),
    "heading": _each(
        *("in the same direction as the ego vehicle", "in the opposite direction of the ego vehicle"),
        *("from right to left", "from left to right"),
    ),
    "relation": (("further ahead",), ("further behind",), ("further left",), ("further right",)),
    "motion": _each(
        *("stay where it is", "start to move", "stop", "keep walking", "turn left", "turn right", "go straight"),
    ),
    "approach": _each("come closer", "be further away", "stay as far away"),
    "intention": _each(
        *("keep its lane", "stay on the walkway", "stay parked", "keep standing", "turn left", "turn right"),
        *("wait at the red light", "cross the road", "make a u-turn", "change lanes to the left"),
    ),
    "action": _each("stay stopped", "start to drive", "stop", "slow down", "speed up", "keep going"),
    "steer": _each("go straight", "turn left", "turn right"),
    "level": _each("high", "medium", "low"),
    "pace": _each("not moving", *(f"driving {pace}" for pace in ("slowly", "with normal speed", "fast", "very fast"))),
    "steering": _each(
        *("going straight", "slightly steering to the left", "slightly steering to the right"),
        *("steering to the left", "steering to the right"),
    ),
    "manoeuvre": _each("going straight", "accelerating", "braking", "turning left", "turning right"),
    "daylight": _each("day", "dusk", "night"),
    "weather": _each("it is not raining", "it is raining", "the road is wet after rain"),
    "signal": _each("red", "yellow", "green"),
    "lamp": _each("the left one", "the right one", "both", "none"),
    "event": _each(
        *("The road bends", "The ego vehicle follows another vehicle", "The ego vehicle drives on after a stop"),
        *("A pedestrian walks across a pedestrian crossing", "A construction site narrows the lane"),
        *("The vehicle ahead has braked hard", "Vehicles ahead wait at a red light", "Nothing special"),
        *("The ego vehicle turns left at a junction", "The ego vehicle turns right at a junction"),
    ),
}
ASKED: tuple[tuple[str, tuple[str, ...]], ...] = (
    (r"behavior of the ego", ("pace", "steering")),
    (r"probability|how likely|importan(t|ce) .*(is|for the ego vehicle)|how important|matter to", ("level", "kind")),
    (r"collision|dangerous", ("manoeuvre",)),
    (r"happening|going on|which event|special situation", ("event",)),
    (r"turn signal|signal, and", ("lamp",)),
    (r"traffic light", ("signal",)),
    (
        r"how fast|speed|how far|how many (metres|m/s|km/h)|distance|how long|seconds|at what time|^when|nearest to",
        ("number", "approach"),
    ),
    (r"closer", ("approach",)),
    (r"where exactly|relative position .* to the ego|in metres|ahead or behind", ("number", "side")),
    (r"relative|compared", ("relation",)),
    (r"in which direction is .* moving|which way does|direction does|heading", ("heading",)),
    (r"intend|intention|about to|plan to", ("intention",)),
    (r"should .*(turn|steer)|which way should", ("steer",)),
    (r"rain|weather", ("weather",)),
    (r"time of day|day or|by day", ("daylight",)),
    (r"rid(er|den)", ("rider",)),
    (r"(action|should the ego vehicle do)", ("action",)),
    (r"status|doing\?|move, and how many|moving or not", ("count", "status", "kind")),
    (r"how many|count|number of|objects? (to|around)|objects are", ("count", "kind", "direction")),
    (r"do next|do in the next|future state|how will", ("motion",)),
)


def classes_of(pair: VqaPair) -> tuple[str, ...]:
    """Kinds of values that an answer may hold, by what the question asks."""
    answer = pair.answer.lower()
    if re.match(r"(yes|no)\b[.,]?( |$)", answer):
        return ("yes or no",)
    if answer.startswith("there is no"):
        return ()
    question = re.sub(r"<[^>]*>,", "", pair.question.lower())
    asked = next((names for pattern, names in ASKED if re.search(pattern, question)), ())
    return asked or ("direction", "kind")


def corrupt(pair: VqaPair, rng: np.random.Generator) -> tuple[VqaPair, str] | None:
    """The pair with one value replaced, and the kind of value; None where the answer holds none."""
    found = [(name, match) for name in classes_of(pair) for match in _pattern(name).finditer(pair.answer)]
    found = [one for one in found if not _is_inside_longer(one, found)]
    if not found:
        return _listed(pair, rng)
    name, match = found[int(rng.integers(len(found)))]
    text = _other(name, match, pair.answer.lower(), rng)
    if match[0][0].isupper():
        text = text[0].upper() + text[1:]
    return replace(pair, answer=pair.answer[: match.start()] + text + pair.answer[match.end() :]), name


def _pattern(name: str) -> re.Pattern[str]:
    if name == "number":
        return re.compile(r"\d+(?:\.\d+)?(?= (?:m|m/s|km/h|%|s)\b)", re.IGNORECASE)
    if name == "count":
        return re.compile(r"(?<![\w.])\d+(?![\w]|\.\d)(?! m\b)")
    if name == "side":
        return re.compile(r"\b(?:ahead|behind|to the left|to the right)\b")
    words = sorted({word for group in CLASSES[name] for word in group}, key=len, reverse=True)
    return re.compile(rf"\b(?:{'|'.join(map(re.escape, words))})\b", re.IGNORECASE)


def _is_inside_longer(one: tuple[str, re.Match[str]], found: list[tuple[str, re.Match[str]]]) -> bool:
    start, end = one[1].span()
    return any(
        other[1].start() <= start and end <= other[1].end() and (other[1].end() - other[1].start()) > end - start
        for other in found
    )


def _other(name: str, match: re.Match[str], answer: str, rng: np.random.Generator) -> str:
    said = match[0].lower()
    if name in ("number", "count"):
        return _number(match[0], rng, is_count=name == "count")
    if name == "side":
        return {"ahead": "behind", "behind": "ahead", "to the left": "to the right"}.get(said, "to the left")
    if name == "relation":
        opposite = {"ahead": "behind", "behind": "ahead", "left": "right", "right": "left"}
        return f"further {opposite[said.split()[1]]}"
    groups = [tuple(word.lower() for word in group) for group in CLASSES[name]]
    own = next(at for at, group in enumerate(groups) if said in group)
    # What the answer lists already would be no other answer.
    others = [at for at, group in enumerate(groups) if at != own and not any(word in answer for word in group)]
    others = others or [at for at in range(len(groups)) if at != own]
    chosen = CLASSES[name][others[int(rng.integers(len(others)))]]
    if name == "kind":
        return chosen[groups[own].index(said)]
    return chosen[int(rng.integers(len(chosen)))]


def _number(text: str, rng: np.random.Generator, is_count: bool) -> str:
    if is_count:
        return str(int(text) + int(rng.integers(1, 4)))
    decimals = len(text.partition(".")[2])
    return f"{float(text) * 1.3 + (5 if decimals == 0 else 1) + 3 * rng.random():.{decimals}f}"


def _listed(pair: VqaPair, rng: np.random.Generator) -> tuple[VqaPair, str] | None:
    """``None.`` and ``Nothing.`` become a list of one; ``There is no ...`` a place or a distance."""
    answer, classes = pair.answer.lower().rstrip("."), classes_of(pair)
    if answer.startswith("there is none within"):
        return replace(pair, answer=f"{int(rng.integers(3, 12))} m."), "number"
    if answer.startswith("there is no "):
        return replace(pair, answer=f"To the {DIRECTIONS[int(rng.integers(6))]}."), "direction"
    if answer not in ("none", "nothing", "none of them") or not {"kind", "manoeuvre"} & set(classes):
        return None
    name = "manoeuvre" if "manoeuvre" in classes else "kind"
    names = [group[0] for group in CLASSES["manoeuvre"]] if name == "manoeuvre" else list(PLURALS)
    text = names[int(rng.integers(len(names)))]
    return replace(pair, answer=f"{text[0].upper()}{text[1:]}."), name
