"""What a rule may ask, and which of it is asked: usual answers seldom, rare ones often, lest guessing pays.

A model that always gives the most frequent answer learns nothing and scores well wherever most answers are "No.".
"""

from collections import Counter
from typing import NamedTuple

import numpy as np


class Asked(NamedTuple):
    """A question in several phrasings, its answer, and the instances it speaks of (its subject first)."""

    template: str
    phrasings: tuple[str, ...]
    answer: str
    objects: tuple[str, ...] = ()
    share: float = 1.0
    """Of the times that it could be asked: answers that are usual in traffic have a small one."""


class Chooser:
    """Chooses among the questions of one scene, and remembers what it has chosen: a balance in time."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng
        self._templates: Counter[str] = Counter()
        self._answers: Counter[tuple[str, str]] = Counter()

    def choose(self, candidates: list[Asked], number: int) -> list[Asked]:
        """At most ``number`` of the candidates, in their order; the less often asked and answered so, the likelier.

        Weighted sampling without replacement by exponential keys (Efraimidis and Spirakis 2006).
        """
        shares = np.array([one.share for one in candidates])
        drawn = self._rng.random((2, len(candidates)))
        open_ = np.flatnonzero(drawn[0] < shares)
        keys = [-np.log(drawn[1, at]) / self._weight(candidates[at]) for at in open_]
        picked = [candidates[open_[at]] for at in sorted(np.argsort(keys, kind="stable")[:number])]
        for one in picked:
            self._templates[one.template] += 1
            self._answers[one.template, one.answer] += 1
        return picked

    def phrase(self, asked: Asked) -> str:
        """One of the phrasings."""
        return asked.phrasings[int(self._rng.integers(len(asked.phrasings)))]

    def _weight(self, asked: Asked) -> float:
        return 1.0 / ((1 + self._templates[asked.template]) * (1 + self._answers[asked.template, asked.answer]))


def phrased(thing: str, *templates: str) -> tuple[str, ...]:
    """The templates with ``thing`` for ``{x}``; a name that ends in a comma loses it before a full stop."""
    return tuple(template.replace("{x}", thing).replace(",?", "?") for template in templates)
