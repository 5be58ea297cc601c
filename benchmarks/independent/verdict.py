"""A verdict on a pair, and the three-valued judgements that lead to one: true, false, or None inside a band."""

from collections.abc import Iterable
from dataclasses import dataclass

TRUE, FALSE, UNDECIDABLE = "true", "false", "undecidable"


@dataclass(frozen=True)
class Verdict:
    """What the tables say about a pair, and why where it is not simply true."""

    kind: str
    reason: str = ""


AGREED = Verdict(TRUE)


def denied(reason: str) -> Verdict:
    """The tables say otherwise."""
    return Verdict(FALSE, reason)


def undecided(reason: str) -> Verdict:
    """The tables do not say, or say it too near a border."""
    return Verdict(UNDECIDABLE, reason)


def judge(truth: bool | None, reason: str) -> Verdict:
    """The verdict of a three-valued judgement; ``reason`` is kept where it is not true."""
    return undecided(reason) if truth is None else (AGREED if truth else denied(reason))


def yes_no(answer: str, truth: bool | None, reason: str) -> Verdict:
    """The verdict on ``Yes.`` or ``No.`` where ``truth`` is what the tables say of the question."""
    if answer not in {"Yes.", "No."}:
        return denied(f"not an answer to a yes-or-no question: {answer}")
    return judge(None if truth is None else truth == (answer == "Yes."), f"tables: {truth}; {reason}")


def number(stated: str, value: float, margin: float = 0.0, unit: str = "") -> Verdict:
    """Whether a stated number is ``value`` rounded to the digits that it states, or off by at most ``margin`` more."""
    digits = len(stated.partition(".")[2])
    allowed = 0.5 * 10**-digits + 1e-3 + margin
    return judge(bool(abs(float(stated) - value) <= allowed), f"stated {stated} {unit}, tables {value:.3f}")


def between(value: float, low: float, high: float) -> bool | None:
    """False below ``low``, true from ``high``, None between."""
    return False if value < low else (True if value >= high else None)


def first_failure(verdicts: Iterable[Verdict]) -> Verdict:
    """The verdict of all together: the first denial, else the first doubt, else agreement."""
    found = list(verdicts)
    for kind in (FALSE, UNDECIDABLE):
        for verdict in found:
            if verdict.kind == kind:
                return verdict
    return AGREED


def counted(stated: int, judgements: Iterable[bool | None], reason: str) -> Verdict:
    """Whether ``stated`` is the number of true judgements; within the doubtful ones nothing is decided."""
    found = list(judgements)
    low, doubtful = sum(j is True for j in found), sum(j is None for j in found)
    inside = low <= stated <= low + doubtful
    return judge(
        None if inside and doubtful else inside, f"{reason}: stated {stated}, tables {low} to {low + doubtful}"
    )
