"""All shapes of questions together: which one a pair has, and the verdict on it."""

import re
from dataclasses import dataclass

from independent import importance, perception_shapes, planning, prediction, scenery
from independent.asked import Asked, Checker
from independent.grammar import extract
from independent.verdict import Verdict, undecided
from independent.world import World

UNKNOWN = "unknown shape"


@dataclass(frozen=True)
class Pair:
    """A row of ``vqa_pairs``, as far as it is checked."""

    sample_token: str
    category: str
    question: str
    answer: str
    objects: tuple[str, ...]


@dataclass(frozen=True)
class Checked:
    """A pair with its shape and the verdict on it."""

    pair: Pair
    shape: str
    verdict: Verdict


def _shapes() -> list[tuple[str, str, re.Pattern[str], Checker]]:
    families = {
        "perception": (perception_shapes.SHAPES, scenery.SHAPES),
        "prediction": (prediction.SHAPES,),
        "planning": (importance.SHAPES, planning.SHAPES),
    }
    found = []
    for category, tables in families.items():
        for table in tables:
            for name, (patterns, checker) in table.items():
                found += [(category, name, re.compile(pattern), checker) for pattern in patterns]
    return found


SHAPES = _shapes()


def check(world: World, pair: Pair) -> Checked:
    """The verdict on one pair; a question of no known shape is undecidable."""
    text, references = extract(pair.question)
    for _, name, pattern, checker in SHAPES:
        if match := pattern.fullmatch(text):
            frame = world.keyframe(pair.sample_token)
            asked = Asked(frame, pair.question, references, pair.answer, list(pair.objects), match)
            return Checked(pair, name, checker(asked))
    return Checked(pair, UNKNOWN, undecided("the grammar does not know it"))


def pairs_of(world: World, num_pairs: int, seed: int) -> list[Pair]:
    """Pairs of the table drawn at random; all for 0."""
    rows = world.pairs
    if 0 < num_pairs < len(rows):
        rows = rows.sample(num_pairs, random_state=seed)
    return [
        Pair(
            sample_token=str(row["sample_token"]),
            category=str(row["category"]),
            question=str(row["question"]),
            answer=str(row["answer"]),
            objects=tuple(str(token) for token in row["objects"]),
        )
        for row in rows.to_dict("records")
    ]
