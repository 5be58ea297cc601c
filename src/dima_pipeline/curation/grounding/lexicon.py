"""The nouns of objects, and all phrases of ``words`` in the forms in which they are read."""

from collections.abc import Iterator
from typing import Any, NamedTuple

from dima_pipeline.contracts.frames import AGENT_CATEGORIES
from dima_pipeline.curation.grounding import words


class Kinds(NamedTuple):
    """Categories that a noun surely and possibly means, and the noun."""

    sure: frozenset[str]
    possible: frozenset[str]
    noun: str


def _kinds(noun: str, *sure: str, also: tuple[str, ...] = ()) -> Kinds:
    return Kinds(frozenset(sure), frozenset((*sure, *also)), noun)


VEHICLES = ("car", "truck", "bus", "trailer", "construction_vehicle")
ANYTHING = _kinds("object", *AGENT_CATEGORIES)
_BUILDING = ("construction_vehicle", "traffic_cone", "barrier")
NOUNS: tuple[tuple[Kinds, str], ...] = (
    (_kinds("car", "car"), "car|sedan|suv|hatchback|passenger car|passenger vehicle"),
    (_kinds("van", also=("car", "truck")), "van|pickup|pickup truck|pick up truck"),
    (_kinds("truck", "truck"), "truck|lorry"),
    (_kinds("bus", "bus"), "bus|coach|school bus"),
    (_kinds("trailer", "trailer"), "trailer"),
    (_kinds("construction vehicle", "construction_vehicle"), "construction vehicle|excavator|bulldozer|digger"),
    (
        _kinds("pedestrian", "pedestrian"),
        "pedestrian|person|people|man|woman|child|walker|jaywalker|worker|construction worker",
    ),
    (_kinds("motorcycle", "motorcycle"), "motorcycle|motorbike|motorcyclist"),
    (_kinds("bicycle", "bicycle"), "bicycle|bike|cyclist|bicyclist"),
    (_kinds("traffic cone", "traffic_cone"), "traffic cone|cone"),
    (_kinds("barrier", "barrier"), "barrier"),
    (_kinds("vehicle", *VEHICLES, also=("motorcycle", "bicycle")), "vehicle"),
    (_kinds("two-wheeler", "motorcycle", "bicycle"), "two wheeler|cycle"),
    (_kinds("construction object", *_BUILDING), "construction object|construction item"),
    (_kinds("pedestrian crossing", "ped_crossing"), "pedestrian crossing|crosswalk|zebra crossing|ped crossing"),
    (_kinds("lane divider", "divider"), "lane divider|divider"),
    (_kinds("traffic light", "signal"), "traffic light|traffic signal|signal"),
    (ANYTHING, "object|thing|obstacle|agent|road user|traffic participant"),
)
MAP_NOUNS = frozenset({"ped_crossing", "divider", "signal"})
_PLURALS = {
    **{"bus": "buses", "coach": "coaches", "lorry": "lorries", "person": "persons", "people": "people"},
    **{"man": "men", "woman": "women", "child": "children", "passenger car": "passenger cars"},
}
_TABLES: tuple[tuple[str, dict[Any, str]], ...] = (
    ("event", words.EVENTS),
    ("lamp", words.LAMPS),
    ("relation", words.RELATIONS),
    ("course", words.COURSES),
    ("approach", words.APPROACHES),
    ("direction", words.DIRECTIONS),
    ("pace", words.PACES),
    ("compare", words.COMPARISONS),
    ("level", words.LEVELS),
    ("ask", words.INTENTS),
    ("unit", words.UNITS),
    ("aim", words.AIMS),
    ("move", words.MOVES),
    ("steer", words.STEERING),
)


def entries() -> Iterator[tuple[str, str, Any]]:
    """Phrase, kind and value; of one phrase the first entry counts."""
    yield from ((phrase, "other", phrase) for phrase in words.OTHER.split("|"))
    for (kind, value), phrases in [*words.SCENERY.items(), *words.PLAIN.items()]:
        yield from ((phrase, kind, value) for phrase in phrases.split("|"))
    for kind, table in _TABLES:
        for value, phrases in table.items():
            yield from ((form, kind, value) for phrase in phrases.split("|") if phrase for form in _forms(phrase))
    yield from ((phrase, "count", limits) for phrase, limits in words.COUNTS.items())
    yield from _nouns()
    for name, phrases in words.STATUSES.items():
        yield from ((phrase, "status", name) for phrase in phrases.split("|"))


def _nouns() -> Iterator[tuple[str, str, Any]]:
    for kinds, text in NOUNS:
        for noun in text.split("|"):
            yield noun, "noun", (kinds, False)
            yield _plural(noun), "noun", (kinds, True)


def _plural(noun: str) -> str:
    return _PLURALS.get(noun) or (noun[:-3] + "buses" if noun.endswith(" bus") else noun + "s")


def _forms(phrase: str) -> Iterator[str]:
    """``turn* left`` -> turn left, turns left, turning left."""
    verb, mark, rest = phrase.partition("*")
    if not mark:
        yield phrase
        return
    before, _, word = verb.rpartition(" ")
    stem = word[:-1] if word.endswith("e") and not word.endswith("ee") else word
    doubled = stem + stem[-1] if word in ("stop", "set", "begin") else stem
    for form in (word, word + ("es" if word == "go" else "s"), doubled + "ing"):
        yield f"{before} {form}{rest}".strip()
