"""Claims about which objects there are: how many, of which kind, where, and whether any at all."""

from collections.abc import Iterator
from dataclasses import replace

from dima_pipeline.curation.grounding.judges import name_of
from dima_pipeline.curation.grounding.lexicon import ANYTHING
from dima_pipeline.curation.grounding.objects import Finder, Meant
from dima_pipeline.curation.grounding.statements import Phrase, Said
from dima_pipeline.curation.grounding.truth import Claim, Truth, both, either

_COUNTED = ("direction", "status", "path", "near")


def exists(finder: Finder, phrase: Phrase, named: tuple[str, ...]) -> Truth:
    """Whether there is an object that the whole phrase holds of, or as many as it counts."""
    if phrase.count is not None and (phrase.count[0] >= 2 or phrase.count[1] == 0):
        return count_claim(finder, phrase).truth
    return either(
        both((one.truth, *(finder.holds(said, one.thing).truth for said in phrase.said if said.kind in finder.judges)))
        for one in finder.meant(phrase, named)
    )


def topic_claims(finder: Finder, topic: Phrase, named: tuple[str, ...] = ()) -> Iterator[Claim]:
    """What is said of a question's topic; that there is such a thing is the question's claim, of note only if false."""
    if topic.count is None:
        lacking = [claim for claim in _narrowed(finder, topic, named) if claim.truth is False]
        yield from lacking[:1]
        yield from () if lacking else _said_claims(finder, topic, named)
    else:
        yield count_claim(finder, topic)


def phrase_claims(finder: Finder, phrase: Phrase, named: tuple[str, ...] = ()) -> Iterator[Claim]:
    """Everything that a phrase and what is said of it claim; the first contradiction ends it."""
    if phrase.count is not None:
        claim = count_claim(finder, phrase)
        yield claim
        if claim.truth is False or phrase.count[1] == 0:
            return
    for claim in _narrowed(finder, phrase, named):
        yield claim
        if claim.truth is False:
            return
    yield from _said_claims(finder, phrase, named)


def _said_claims(finder: Finder, phrase: Phrase, named: tuple[str, ...]) -> Iterator[Claim]:
    meant = finder.meant(phrase, named)
    chosen = [one for one in meant if one.thing.instance in named] if len(named) == 1 else []
    for said in phrase.said:
        if said.kind in finder.judges:
            yield said_claim(finder, phrase, said, chosen or meant)


def count_claim(finder: Finder, phrase: Phrase) -> Claim:
    """Whether there are as many as said; what is said behind the verb is counted by as well."""
    assert phrase.count is not None
    counted = [said for said in phrase.said if said.kind in _COUNTED or _is_range(said)]
    whole = replace(phrase, limits=[*phrase.limits, *counted], nearest=0, tag=None)
    meant = finder.meant(whole)
    sure = sum(one.truth is True for one in meant)
    low, high = phrase.count
    held = f"{sure}" if sure == len(meant) else f"{sure} to {len(meant)}"
    return Claim(
        "count",
        low <= len(meant) and sure <= high,
        f"count: said {_count_words(low, high)} {whole.words}, tables hold {held}",
    )


def _is_range(said: Said) -> bool:
    return said.kind == "measure" and said.value.unit == "m" and said.value.compare in ("within", "less", "more")


def _count_words(low: float, high: float) -> str:
    if low == high:
        return f"{low:g}"
    return f"at least {low:g}" if high >= 10**6 else f"{low:g} to {high:g}"


def _narrowed(finder: Finder, phrase: Phrase, named: tuple[str, ...]) -> Iterator[Claim]:
    """That there is an object, of this kind, in this place: one limit after the other until none is left."""
    base = replace(phrase, limits=[], said=[], nearest=0, kinds=ANYTHING if phrase.tag else phrase.kinds)
    found = finder.meant(base, named)
    if not found:
        is_unknown = phrase.tag is not None
        yield Claim("presence", None if is_unknown else False, f"presence: said {base.words}, tables hold none")
        return
    if phrase.tag and phrase.is_named:
        base = replace(base, kinds=phrase.kinds)
        kept = finder.meant(base, named)
        held = found[0].thing.category.replace("_", " ")
        yield Claim("kind", _any(kept), f"kind: said {phrase.kinds.noun}, tables hold {held}")
        found = kept
    elif phrase.is_named:
        yield Claim("presence", _any(found), f"presence: said {base.words}")
    for said in phrase.limits:
        if said.kind not in finder.judges:
            continue
        base = replace(base, limits=[*base.limits, said])
        kept = finder.meant(base, named)
        yield Claim(_kind_of(said), _any(kept), _reason(finder, base, said, found))
        found = kept or found


def said_claim(finder: Finder, phrase: Phrase, said: Said, meant: list[Meant]) -> Claim:
    """Whether one value holds of an object that is meant."""
    values = [finder.holds(said, one.thing).truth for one in meant]
    # Which one is meant matters only where it does not hold of all alike.
    is_alike = len(set(values)) == 1
    truths = values if is_alike else [both((one.truth, value)) for one, value in zip(meant, values, strict=True)]
    return Claim(_kind_of(said), either(truths) if meant else None, _reason(finder, phrase, said, meant))


def _any(meant: list[Meant]) -> Truth:
    return either(one.truth for one in meant)


def _kind_of(said: Said) -> str:
    return name_of(said.kind, said.value)


def _reason(finder: Finder, phrase: Phrase, said: Said, meant: list[Meant]) -> str:
    text = f"{'not ' * said.is_not}{said.text}"
    held = [finder.holds(said, one.thing).words for one in meant[:3]]
    noun = replace(phrase, limits=[one for one in phrase.limits if one is not said]).words
    return f"{_kind_of(said)}: said {noun} {text}, tables hold {', '.join(held) or 'none'}"


def kinds_claim(finder: Finder, topic: Phrase, said: list[Phrase], is_complete: bool) -> Claim:
    """Whether the kinds listed are those that there are; all of them where the list is complete."""
    whole = replace(topic, limits=[*topic.limits, *topic.said], said=[])
    meant = finder.meant(whole)
    sure = {one.thing.category for one in meant if one.truth}
    possible = {one.thing.category for one in meant}
    named = [phrase.kinds for phrase in said]
    is_there = all(kinds.possible & possible for kinds in named)
    covered = {category for kinds in named for category in kinds.possible}
    is_whole = not sure - covered if is_complete or not named else True
    words = ", ".join(kinds.noun for kinds in named) or "none"
    held = ", ".join(sorted(category.replace("_", " ") for category in sure)) or "none"
    return Claim("kinds", is_there and is_whole, f"kinds: said {words}, tables hold {held}")
