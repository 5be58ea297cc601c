"""Planted faults: pairs made untrue in a known way, to show what share of them the checker denies."""

import random
import re
from collections.abc import Callable
from dataclasses import replace

from independent.check import Checked, Pair, check
from independent.verdict import FALSE
from independent.world import World

COUNT = re.compile(r"\b(\d+)(?= (?!m\b|m/s|km/h|s\b)[a-z]|\.$)")
MEASURE = re.compile(r"\b(\d+(?:\.\d+)?)(?= (?:m|m/s|km/h)\b)")
SIDES = {"left": "right", "right": "left"}
ENDS = {"front": "back", "back": "front", "ahead": "behind", "behind": "ahead"}
STATES = {
    "Moving": "Stopped",
    "Stopped": "Moving",
    "Parked": "Moving",
    "Standing": "Moving",
    "moving": "parked",
    "parked": "moving",
    "standing": "moving",
    "stopped": "moving",
    "Not moving": "Moving",
}
LEVELS = {"High": "Low", "Low": "High", "Medium": "High"}
ACTIONS = {"Speed up": "Slow down", "Slow down": "Speed up", "Keep going": "Stop", "Stop": "Keep going",
           "Stay stopped": "Speed up", "Start to drive": "Stay stopped"}  # fmt: skip


def _replaced(words: dict[str, str]) -> Callable[[str], str]:
    pattern = re.compile(r"\b(" + "|".join(sorted(words, key=len, reverse=True)) + r")\b")
    return lambda text: pattern.sub(lambda match: words[match[0]], text)


def _measured(text: str) -> str:
    """Every measure 20 % and at least two of its units larger."""

    def larger(match: re.Match[str]) -> str:
        digits = len(match[0].partition(".")[2])
        return f"{float(match[0]) * 1.2 + 2:.{digits}f}"

    return MEASURE.sub(larger, text)


FAULTS: dict[str, Callable[[str], str]] = {
    "count one more": lambda text: COUNT.sub(lambda match: str(int(match[0]) + 1), text, count=1),
    "left and right swapped": _replaced(SIDES),
    "front and back swapped": _replaced(ENDS),
    "measure 20 % + 2 more": _measured,
    "yes and no swapped": _replaced({"Yes": "No", "No": "Yes"}),
    "state changed": _replaced(STATES),
    "level changed": _replaced(LEVELS),
    "action changed": _replaced(ACTIONS),
}
OTHER = "answer of another keyframe"


def planted(true_pairs: list[Checked], seed: int) -> list[tuple[str, str, Pair]]:
    """The kind of fault, the shape of the question and the untrue pair, for every fault that changes an answer."""
    draw = random.Random(seed)
    answers: dict[str, set[str]] = {}
    for one in true_pairs:
        answers.setdefault(one.shape, set()).add(one.pair.answer)
    found = []
    for one in true_pairs:
        texts = {name: fault(one.pair.answer) for name, fault in FAULTS.items()}
        others = sorted(answers[one.shape] - {one.pair.answer})
        if others:
            texts[OTHER] = draw.choice(others)
        found += [
            (name, one.shape, replace(one.pair, answer=text))
            for name, text in texts.items()
            if _told(text) != _told(one.pair.answer)
        ]
    return found


def _told(answer: str) -> list[str]:
    """What an answer tells, whatever the order in which it tells it."""
    return [answer] if answer.startswith("First") else sorted(re.split(r", | and ", answer.rstrip(".").lower()))


def catch_rates(world: World, pairs: list[Checked], seed: int) -> dict[tuple[str, str], list[str]]:
    """The verdicts on planted faults by kind of fault and shape of question."""
    verdicts: dict[tuple[str, str], list[str]] = {}
    for name, shape, pair in planted(pairs, seed):
        verdicts.setdefault((name, shape), []).append(check(world, pair).verdict.kind)
    return verdicts


def share_denied(verdicts: list[str]) -> float:
    """The share of verdicts that are denials."""
    return sum(verdict == FALSE for verdict in verdicts) / len(verdicts)
