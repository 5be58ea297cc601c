"""A pair as the checkers see it: the normalised question, whom it mentions, the answer and the keyframe."""

import re
from collections.abc import Callable
from dataclasses import dataclass

from independent.grammar import DIRECTION, Reference, resolve
from independent.verdict import Verdict, denied, first_failure
from independent.world import Box, Keyframe


@dataclass(frozen=True)
class Asked:
    """One pair; ``match`` is what the shape's pattern found in the normalised question."""

    keyframe: Keyframe
    question: str
    references: list[Reference]
    answer: str
    objects: list[str]
    match: re.Match[str]

    def slot(self, name: str) -> str | None:
        """A named part of the question; None where the shape has none."""
        return self.match.groupdict().get(name)

    def about(self, judge_boxes: Callable[..., Verdict]) -> Verdict:
        """Judge with the mentioned objects as arguments, after the mentions themselves."""
        boxes: list[Box] = []
        mentions: list[Verdict] = []
        for reference in self.references:
            box, verdict = resolve(self.keyframe, reference)
            if box is None:
                return verdict
            if box.token not in self.objects:
                verdict = denied(f"{reference} is {box.token}, which the pair does not list")
            boxes.append(box)
            mentions.append(verdict)
        return first_failure([*mentions, judge_boxes(*boxes)])


Checker = Callable[[Asked], Verdict]
WHERE = rf"(?:to the (?P<direction>{DIRECTION}) of|around) the ego vehicle"
KINDS = (
    r"(?P<kind>traffic cones?|construction vehicles?|cars?|trucks?|bus(?:es)?|trailers?|pedestrians?|motorcycles?|"
    r"bicycles?|barriers?|vehicles?|objects?)"
)
WITHIN = r"within (?P<within>\d+) m"
