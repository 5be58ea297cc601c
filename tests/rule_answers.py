"""All that the rules could ask about a hand-typed scene, whatever is seldom asked: for tests of single templates."""

import numpy as np
import pandas as pd

from dima_pipeline.annotations import ANNOTATORS
from dima_pipeline.annotations._asking import Asked, Chooser
from hand_scenes import Actor, HandScene, make_tables, straight

SEEDS = 12
"""Directions and kinds are drawn: so many times."""


class Everything(Chooser):
    """Leaves nothing out."""

    def choose(self, candidates: list[Asked], number: int) -> list[Asked]:
        """All of them."""
        return candidates


def all_asked(scene: HandScene, index: int = 0, truth: list[tuple] = (), seeds: int = SEEDS, **config) -> list[Asked]:
    """Every question of a keyframe; ``truth``: (kind, value, instance, first and last second)."""
    tables = make_tables(scene)
    columns = ["kind", "value", "instance_token", "begin_timestamp_us", "end_timestamp_us"]
    rows = [(kind, value, name, int(1e6 * begin), int(1e6 * end)) for kind, value, name, begin, end in truth]
    tables.world_truth = pd.DataFrame(rows, columns=columns)
    rules = ANNOTATORS.build(ANNOTATORS.parse({"name": "rules", **config}))
    found = []
    for seed in range(seeds):
        rng = np.random.default_rng(seed)
        for token, _, asked in rules._asked(tables, rng, Everything(rng)):
            if token.endswith(f"-{index:03d}"):
                found.append(asked)
    return found


def answers_to(scene: HandScene, template: str, *phrases: str, index: int = 0, truth: list[tuple] = ()) -> set[str]:
    """The answers of a template to questions in which all phrases occur."""
    found = all_asked(scene, index, truth)
    return {
        asked.answer
        for asked in found
        if asked.template == template and all(phrase in asked.phrasings[0] for phrase in phrases)
    }


def answer_to(scene: HandScene, template: str, *phrases: str, index: int = 0, truth: list[tuple] = ()) -> str | None:
    """The one answer; None where it is not asked."""
    found = answers_to(scene, template, *phrases, index=index, truth=truth)
    assert len(found) <= 1, found
    return found.pop() if found else None


def scene_with(speed_mps: float = 5.0, **actors: Actor) -> HandScene:
    """Eight keyframes of an ego that drives along x."""
    return HandScene(ego=straight(8, speed_mps), actors=actors)
