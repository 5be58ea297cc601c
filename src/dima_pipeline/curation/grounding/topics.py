"""What a question is about, and what the words of an answer mean in the light of the question."""

from dataclasses import replace

from dima_pipeline.curation.grounding.lexicon import MAP_NOUNS
from dima_pipeline.curation.grounding.relations import SIDES
from dima_pipeline.curation.grounding.simulated import AIMS_AS_MOVES, MOVES_AS_AIMS
from dima_pipeline.curation.grounding.statements import Phrase, Said, Text

_PLACES = ("direction", "measure", "near", "path")


def is_map(phrase: Phrase) -> bool:
    """Whether a phrase means a thing of the map instead of an annotated object."""
    return bool(phrase.kinds.sure) and phrase.kinds.sure <= MAP_NOUNS


def topic_of(question: Text) -> Phrase | None:
    """The objects that a question is about; None for the ego or nothing."""
    asks = question.asks
    if question.phrases:
        first = question.phrases[0]
        kept = _PLACES + (("status",) if asks & {"count", "kinds"} and "or" not in asks else ())
        said = [one for one in retold(first.said, question, question) if one.kind in kept]
        return replace(first, limits=[*retold(first.limits, question, question), *said], said=[], count=None)
    loose = [said for said in question.loose if said.kind in _PLACES]
    if "kinds" in asks or ("which" in asks and loose):
        return Phrase(limits=retold(loose, question, question))
    return None


def proposed(phrase: Phrase, question: Text) -> Phrase:
    """A phrase of a question that is answered by yes or no: which one is meant, and what is asked of it."""
    whole = replace(phrase, said=retold(phrase.said, question, question))
    if whole.nearest and not whole.said and len(whole.limits) == 1:
        whole = replace(whole, limits=[], said=whole.limits)
    return whole


def places(topic: Phrase, phrase: Phrase) -> list[Said]:
    """Where the question looks, for an answer that names no place of its own."""
    if any(said.kind in _PLACES for said in (*phrase.limits, *phrase.said)):
        return []
    return [said for said in topic.limits if said.kind in _PLACES]


def retold(said: list[Said], question: Text, text: Text) -> list[Said]:
    """Values by what they mean after ``question``: a distance later or along an axis, an intention, a turn signal."""
    asks = question.asks
    found = [one for one in said if one.kind != "will"]
    if "turn_signal" in asks and text is not question:
        return _turn_signals(found)
    if text is not question and _is_offset(found, asks):
        return _offsets(found)
    if "when" in asks and text is not question:
        at_s = 0.0 if text.has("now") else text.at_s
        return found if at_s is None else [Said("nearest_time", at_s, False, f"in {at_s:g} s")]
    return [_retold(one, question, text) for one in found]


def _retold(one: Said, question: Text, text: Text) -> Said:
    is_aim = "aim" in question.asks or "aim" in text.asks
    at_s = question.at_s if question.at_s is not None else text.at_s
    if one.kind == "measure" and at_s is not None:
        one = one._replace(kind="later" if one.value.unit == "m" else "speed_later", value=(one.value, at_s))
    elif one.kind == "measure" and one.value.unit == "m" and text.has("will"):
        one = one._replace(kind="near")
    elif one.kind == "move" and is_aim and one.value in MOVES_AS_AIMS:
        one = one._replace(kind="aim", value=MOVES_AS_AIMS[one.value])
    elif one.kind == "aim" and not is_aim:
        is_move = one.value in AIMS_AS_MOVES
        kind = "move" if is_move else "crossing" if one.value == "crossing" else "event"
        one = one._replace(kind=kind, value=AIMS_AS_MOVES.get(one.value, one.value))
    elif one.kind == "level" and "importance" not in question.asks:
        one = one._replace(kind="grade")
    return one


def _turn_signals(found: list[Said]) -> list[Said]:
    """``the left one``, ``both``, ``none``."""
    for one in found:
        if one.kind == "direction" and one.value in ("left", "right"):
            return [Said("lamp", f"turn_{one.value}", one.is_not, one.text)]
        if one.kind == "none" or (one.kind == "count" and one.value == (2.0, 2.0)):
            return [Said("lamp", "none" if one.kind == "none" else "hazard", False, one.text)]
    return found


def _is_offset(found: list[Said], asks: set[str]) -> bool:
    """``12 m ahead and 3 m to the left``; of one axis alone only where the question asks for it."""
    pairs = [(one.kind, other.kind) for one, other in zip(found[::2], found[1::2], strict=False)]
    is_told = bool(pairs) and len(found) % 2 == 0 and set(pairs) == {("measure", "direction")}
    return is_told and ("offset" in asks or len(pairs) > 1)


def _offsets(found: list[Said]) -> list[Said]:
    return [
        Said("offset", (one.value, other.value), False, f"{one.text} {other.text}")
        for one, other in zip(found[::2], found[1::2], strict=True)
        if other.value in SIDES and one.value.unit == "m"
    ]
