"""Tokens into statements: of whom something is said, which ones of a kind are meant, and what is said of them.

Values belong to the subject named last; what stands before a noun or right behind it narrows down which ones are
meant. What is only supposed ("if", "could") states nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, NamedTuple

from dima_pipeline.curation.grounding.lexicon import ANYTHING, Kinds
from dima_pipeline.curation.grounding.reading import Tag, Token, sentences

EGO = "ego"
VALUES = frozenset(
    (
        *("move", "steer", "pace", "path", "daylight", "weather", "lamp", "color", "clear", "turn_ahead", "approach"),
        *("course", "relation", "aim", "event", "level", "now"),
    )
)
"""Kinds of tokens that say something of the subject by themselves."""
_BEFORE_SUBJECT = frozenset(
    ("", "and", "comma", "because", "be", "do", "should", "will", "ask", "hedge", "it", "there")
)
"""What may stand before the ego as a subject: else it is only what others are placed by."""


class Said(NamedTuple):
    """A value of one kind that is said, or denied, of something."""

    kind: str
    value: Any
    is_not: bool
    text: str


class Measure(NamedTuple):
    """A length, speed, time or share in metres, m/s, seconds or one, as ``compare``: exactly, about, less, more, ..."""

    unit: str
    low: float
    high: float
    compare: str
    half_digit: float
    """Half of the last digit written."""


@dataclass
class Phrase:
    """Objects as a noun phrase means them."""

    kinds: Kinds = ANYTHING
    count: tuple[float, float] | None = None
    is_plural: bool = False
    is_named: bool = False
    """Whether a noun stands there, not only a tag."""
    nearest: int = 0
    """1 the nearest, -1 the farthest, 0 neither."""
    tag: Tag | None = None
    limits: list[Said] = field(default_factory=list)
    """What narrows down which ones are meant."""
    said: list[Said] = field(default_factory=list)

    @property
    def words(self) -> str:
        """The phrase in short, for reasons."""
        rank = {1: "nearest ", -1: "farthest ", 0: ""}[self.nearest]
        where = "".join(f" {said.text}" for said in self.limits if said.kind in ("direction", "measure"))
        states = "".join(f"{'not ' * said.is_not}{said.text} " for said in self.limits if said.kind == "status")
        return f"{rank}{states}{self.kinds.noun}{where}"


@dataclass
class Text:
    """What one text says: of objects, of the ego, and what it says without a subject of its own."""

    phrases: list[Phrase] = field(default_factory=list)
    ego: list[Said] = field(default_factory=list)
    loose: list[Said] = field(default_factory=list)
    asks: set[str] = field(default_factory=set)
    answer: bool | None = None
    """Of a text that begins with yes or no."""
    has_ego: bool = False
    reasons: list[Phrase] = field(default_factory=list)
    """Those of ``phrases`` that stand behind "because"."""
    references: list[Phrase] = field(default_factory=list)
    """Objects that others are placed by."""
    at_s: float | None = None
    """``in 2 s``."""
    is_question: bool = False
    tokens: tuple[Token, ...] = ()

    def has(self, kind: str) -> bool:
        """Whether there is a token of a kind."""
        return any(token.kind == kind for token in self.tokens)


@lru_cache(maxsize=5_000)
def read_text(text: str, is_question: bool = False) -> Text:
    """What a text says; to be read only, as it is kept for the next time."""
    found = Text(is_question=is_question)
    parts = sentences(text)
    found.tokens = tuple(token for tokens in parts for token in tokens)
    found.asks |= {token.value for token in found.tokens if token.kind == "ask"}
    found.asks |= {"safe" if token.value else "danger" for token in found.tokens if token.kind == "dangerous"}
    if is_question and found.tokens and found.tokens[0].text == "when":
        found.asks.add("when")
    for tokens in parts:
        _Reader(tokens, found).read()
    return found


class _Reader:
    """Reads one sentence from left to right."""

    def __init__(self, tokens: Sequence[Token], text: Text) -> None:
        self.tokens, self.text = tokens, text
        self.subject: Phrase | str | None = None
        self.pending = Phrase()
        self.has_verb = self.is_not = self.is_reason = False
        self.is_reference = False
        """Whether the next object is only what another one is placed by."""

    def read(self) -> None:
        at = 0
        while at < len(self.tokens):
            token = self.tokens[at]
            if token.kind == "hedge" and not self._is_asked(at):
                self._forget(at)
                break
            at += self._take(at, token)
        self._flush()

    def _is_asked(self, at: int) -> bool:
        """Whether what is only supposed is what a question is about."""
        is_open = bool(self.text.asks & {"danger", "probability", "action"}) or at == 0
        return self.text.is_question and is_open

    def _forget(self, at: int) -> None:
        """``Pedestrians could ...`` does not say that there are any."""
        is_told = any(token.kind in ("be", "there") for token in self.tokens[:at])
        if not is_told and self.text.phrases and self.text.phrases[-1] is self.subject:
            self.text.phrases.pop()

    def _take(self, at: int, token: Token) -> int:
        """Take the token at a place and what belongs to it; returns how many tokens that were."""
        if token.kind in ("number", "compare"):
            return self._measure(at)
        if token.kind == "direction":
            return self._direction(at, token)
        if token.kind in VALUES:
            self._say(Said(token.kind, token.value, self._denied(), token.text))
        else:
            handler = getattr(self, f"_on_{token.kind}", None)
            if handler is not None:
                handler(at, token)
        return 1

    def _next(self, at: int, skipped: tuple[str, ...] = ("word", "the", "a")) -> str:
        """Kind of the next token that is not skipped; empty at the end."""
        return next((token.kind for token in self.tokens[at + 1 : at + 6] if token.kind not in skipped), "")

    def _denied(self) -> bool:
        was, self.is_not = self.is_not, False
        return was

    def _say(self, said: Said, is_limit: bool = False) -> None:
        if isinstance(self.subject, Phrase):
            (self.subject.limits if is_limit and not self.has_verb else self.subject.said).append(said)
        elif self.subject == EGO:
            self.text.ego.append(said)
        else:
            # "To the front left there is a bus": the bus comes later, but the direction is said of it.
            self.pending.said.append(said)

    def _flush(self) -> None:
        """What still waits for an object at the end has none."""
        self.text.loose += self.pending.said + self.pending.limits
        if self.pending.count is not None:
            self.text.loose.append(Said("count", self.pending.count, self._denied(), "count"))
        self.pending = Phrase()

    # --- subjects ---

    def _on_noun(self, at: int, token: Token) -> None:
        kinds, is_plural = token.value
        last = self.subject
        if isinstance(last, Phrase) and last.tag and not (last.is_named or last.said or last.limits):
            phrase = last
        else:
            phrase = Phrase(tag=self.pending.tag)
            self._add(phrase)
        phrase.kinds, phrase.is_plural, phrase.is_named = kinds, is_plural, True
        phrase.nearest = phrase.nearest or self.pending.nearest
        phrase.count = (0.0, 0.0) if self._is_none(at) else self.pending.count
        for said in self.pending.said:
            (phrase.limits if said.kind in ("direction", "measure") else phrase.said).append(said)
        phrase.limits += self.pending.limits
        self.pending, self.is_not = Phrase(), False

    def _is_none(self, at: int) -> bool:
        """``no car``, ``not any car``, ``not a single car``; but not ``not the car``."""
        is_the = any(token.kind == "the" for token in self.tokens[max(at - 3, 0) : at])
        return self.is_not and not is_the and self.pending.count in (None, (1, 10**6), (1.0, 1.0))

    def _add(self, phrase: Phrase) -> None:
        self.subject, self.has_verb = phrase, False
        if self.is_reference:
            self.is_reference = False
            self.text.references.append(phrase)
            return
        self.text.phrases.append(phrase)
        if self.is_reason:
            self.text.reasons.append(phrase)

    def _on_tag(self, at: int, token: Token) -> None:
        phrase = Phrase(tag=token.value)
        phrase.nearest = self.pending.nearest
        self._add(phrase)

    def _on_ego(self, at: int, token: Token) -> None:
        self.text.has_ego = True
        before = [one.kind for one in self.tokens[max(at - 3, 0) : at] if one.kind != "the"]
        if (before[-1] if before else "") not in _BEFORE_SUBJECT:
            return
        self._flush()
        self.subject, self.has_verb = EGO, False

    def _on_other(self, at: int, token: Token) -> None:
        # A noun that no table knows: what follows is said of it, not of what was named before.
        if not self.has_verb:
            self.pending, self.is_not = Phrase(), False
            self.subject = Phrase()

    def _on_it(self, at: int, token: Token) -> None:
        self.has_verb = self.has_verb and isinstance(self.subject, Phrase)

    def _on_because(self, at: int, token: Token) -> None:
        self._flush()
        self.is_reason, self.subject, self.has_verb = True, None, False

    def _on_apart(self, at: int, token: Token) -> None:
        self.is_reference = self._next(at) in ("noun", "tag", "nearest", "count", "status")

    # --- what stands before a noun ---

    def _on_count(self, at: int, token: Token) -> None:
        self.pending.count = token.value
        if self._next(at, ("word", "the", "a", "status", "of", "nearest")) not in ("noun", "tag", "other"):
            self._bare_count(token.value, token.text)

    def _bare_count(self, count: tuple[float, float], text: str) -> None:
        self.pending.count = None
        self._say(Said("count", count, self._denied(), text))

    def _on_no(self, at: int, token: Token) -> None:
        text = self.text
        is_first = at == 0 and not (text.phrases or text.loose or text.has_ego)
        if is_first and self._next(at, ()) in ("", "comma"):
            text.answer = False
        else:
            self.is_not = True

    def _on_yes(self, at: int, token: Token) -> None:
        if at == 0:
            self.text.answer = True

    def _on_none(self, at: int, token: Token) -> None:
        self._say(Said("none", "none", False, token.text))

    def _on_nearest(self, at: int, token: Token) -> None:
        self.pending.nearest = token.value

    def _on_not(self, at: int, token: Token) -> None:
        self.is_not = True

    def _on_be(self, at: int, token: Token) -> None:
        self.has_verb = isinstance(self.subject, Phrase) or self.subject == EGO

    def _on_will(self, at: int, token: Token) -> None:
        self._on_be(at, token)
        self._say(Said("will", "will", False, token.text))

    def _on_comma(self, at: int, token: Token) -> None:
        self.is_not = False

    def _on_status(self, at: int, token: Token) -> None:
        if any(one.value == "or" for one in self.tokens[max(at - 1, 0) : at + 2]):
            return
        is_not = self.is_not and self.tokens[at - 1].kind == "not"
        self.is_not = self.is_not and not is_not
        said = Said("status", token.value, is_not, token.text)
        following = self._next(at, ("word", "the", "a", "and", "status", "comma"))
        direct = self._next(at, ("word", "status"))
        if direct == "noun" or (following == "noun" and self._next(at, ()) == "and" and self._is_list(at)):
            self.pending.limits.append(said)
        else:
            self._say(said)

    def _is_list(self, at: int) -> bool:
        """Whether "and another status" follows: "moving and parked cars" are no cars of one status."""
        return self._next(at, ("and",)) == "status"

    # --- places and numbers ---

    def _direction(self, at: int, token: Token) -> int:
        said = Said("direction", token.value, self._denied(), token.text)
        rest = [one.kind for one in self.tokens[at + 1 : at + 6]]
        num = 1
        while num <= len(rest) and rest[num - 1] in ("of", "to", "the", "a"):
            num += 1
        following = rest[num - 1] if num <= len(rest) else ""
        is_of = rest[:1] == ["of"]
        if (num > 1 or token.value in ("behind", "ahead")) and following == EGO:
            self.text.has_ego = True
            self._say(said, is_limit=True)
            return num + 1
        if is_of and following in ("noun", "tag", "nearest", "count", "status", "other", "it"):
            # Placed by another object, not by the ego.
            self.is_reference = following != "it"
            return num
        if token.value == "behind" and following in ("noun", "tag", "other"):
            self.is_reference = True
            return 1
        self._say(said, is_limit=True)
        return 1

    def _measure(self, at: int) -> int:
        """``about 10 to 20 m``, ``less than 8 m/s``; a number without unit is a count."""
        compare, num = "exactly", 0
        if self.tokens[at].kind == "compare":
            compare, num = self.tokens[at].value, 1
        numbers = []
        while at + num < len(self.tokens) and self.tokens[at + num].kind == "number":
            numbers.append(self.tokens[at + num])
            num += 1
            joined = self.tokens[at + num : at + num + 3]
            has_unit = bool(joined) and joined[0].kind == "unit"
            joint = joined[1:] if has_unit else joined
            if len(numbers) == 1 and len(joint) > 1 and joint[0].kind in ("to", "and") and joint[1].kind == "number":
                num += 1 + has_unit
        if not numbers:
            return max(num, 1)
        unit = self.tokens[at + num] if at + num < len(self.tokens) else None
        if unit is None or unit.kind != "unit":
            return self._plain_number(numbers, compare, at, num)
        name, factor = unit.value
        values = sorted(token.value * factor for token in numbers)
        half = min(0.5 * 10.0 ** -len(token.text.partition(".")[2]) for token in numbers) * factor
        compare = "between" if len(numbers) > 1 else compare
        measure = Measure(name, values[0], values[-1], compare, half)
        text = " ".join(token.text for token in self.tokens[at : at + num + 1])
        is_limit = compare in ("within", "less") and not numbers[1:]
        if name in ("m", "mps"):
            self._say(Said("measure", measure, self._denied(), text), is_limit)
        elif name == "s" and at and self.tokens[at - 1].text == "in":
            self.text.at_s = values[0]
        return num + 1

    def _plain_number(self, numbers: list[Token], compare: str, at: int, num: int) -> int:
        low, high = numbers[0].value, numbers[-1].value
        low, high = {"least": (low, 1e9), "more": (low + 1, 1e9), "within": (0.0, high), "less": (0.0, high - 1)}.get(
            compare, (min(low, high), max(low, high))
        )
        if compare == "about":
            low, high = low - max(1.0, 0.2 * low), high + max(1.0, 0.2 * high)
        following = self._next(at + num - 1, ("word", "status", "the", "of"))
        if following in ("noun", "tag", "other"):
            self.pending.count = (low, high)
        else:
            self._say(Said("count", (low, high), self._denied(), " ".join(token.text for token in numbers)))
        return num
