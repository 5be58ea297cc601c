"""How findings and numbers are written on the page."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

NO_BREAK = "\u00a0"
UNITS = {"m": "m", "s": "s", "ms": "ms", "mps": "m/s", "mps2": "m/s²", "rad": "rad", "radps": "rad/s"}
Mood = Literal["good", "open", "bad"]


@dataclass(frozen=True)
class Verdict:
    """One finding: whether it is good news, a headline, the numbers behind it, and what to do about it."""

    mood: Mood
    headline: str
    detail: str
    advice: str = ""

    @property
    def mark(self) -> str:
        """A sign that does not need colour."""
        return {"good": "✓", "open": "?", "bad": "✗"}[self.mood]


def number(value: float, digits: int = 2) -> str:
    """``value`` with a true minus sign; a dash where it is unknown."""
    if value is None or not math.isfinite(value):
        return "–"
    shown = f"{value:.{digits}f}"
    if float(shown) == 0:
        shown = shown.removeprefix("-")
    return shown.replace("-", "−")


def signed(value: float, digits: int = 2) -> str:
    """A difference: ``number`` with a plus sign above zero."""
    return ("+" if value > 0 and float(f"{value:.{digits}f}") else "") + number(value, digits)


def short(value: float) -> str:
    """Three significant digits; a dash where it is unknown."""
    return f"{value:.3g}".replace("-", "−") if math.isfinite(value) else "–"


def percent(value: float, digits: int = 1) -> str:
    """A share as per cent; a dash where it is unknown."""
    shown = number(100 * value, digits)
    return shown if shown == "–" else f"{shown}{NO_BREAK}%"


def interval(low: float, high: float, digits: int = 2) -> str:
    """A 95 % interval; a dash where there is none."""
    if not (math.isfinite(low) and math.isfinite(high)):
        return "–"
    return f"{number(low, digits)} … {number(high, digits)}"


def many(num: int, noun: str) -> str:
    """``1 scene``, ``1,200 keyframes``."""
    return f"{num:,} {noun}{'' if num == 1 else 's'}"


def listed(words: Sequence[str]) -> str:
    """``a``, ``a and b``, ``a, b and c``."""
    return " and ".join([", ".join(words[:-1]), words[-1]]) if len(words) > 1 else "".join(words)


def plain(name: str) -> str:
    """A name of the configuration as words."""
    return name.replace("_", " ")


def quantity(name: str) -> str:
    """A name whose last part is its unit: ``speed_mps`` is ``speed, m/s``."""
    stem, _, unit = name.rpartition("_")
    return f"{plain(stem)}, {UNITS[unit]}" if stem and unit in UNITS else plain(name)
