"""Three-valued truth: true, false, and None where the tables cannot tell or a fair reading may go either way."""

import math
from collections.abc import Iterable
from typing import NamedTuple

Truth = bool | None


class Claim(NamedTuple):
    """Something countable or measurable that a text says, and whether the tables hold it."""

    kind: str
    truth: Truth
    reason: str
    """What was said and what the tables hold."""


class Held(NamedTuple):
    """Whether a value holds, and what the tables hold instead, in words."""

    truth: Truth
    words: str


def both(parts: Iterable[Truth]) -> Truth:
    """Whether all hold: false as soon as one does not."""
    found = list(parts)
    if False in found:
        return False
    return None if None in found else True


def either(parts: Iterable[Truth]) -> Truth:
    """Whether one holds."""
    found = list(parts)
    if True in found:
        return True
    return None if None in found else False


def denied(truth: Truth, is_not: bool = True) -> Truth:
    """The opposite where ``is_not``."""
    return truth if truth is None or not is_not else not truth


def within(value: float, low: float, high: float, margin: float = 0.0) -> Truth:
    """Whether low <= value < high; None within ``margin`` of an edge (but for a low of zero), and for NaN."""
    if math.isnan(value):
        return None
    low = low or -math.inf
    inner = low + margin <= value < high - margin
    return inner if inner or not low - margin <= value < high + margin else None
