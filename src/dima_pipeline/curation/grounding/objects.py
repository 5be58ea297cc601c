"""Which objects a noun phrase means: kind, place, status and camera tag, each three-valued."""

import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

from dima_pipeline.contracts.frames import CAMERAS
from dima_pipeline.curation.grounding.evidence import Evidence, Thing
from dima_pipeline.curation.grounding.lexicon import Kinds
from dima_pipeline.curation.grounding.reading import Tag
from dima_pipeline.curation.grounding.shapes import wrapped_deg
from dima_pipeline.curation.grounding.statements import Measure, Phrase, Said
from dima_pipeline.curation.grounding.tolerances import SECTORS, Tolerance
from dima_pipeline.curation.grounding.truth import Held, Truth, both, denied, either

TAG_IMAGE_PX = (1600.0, 900.0)
TAG_REACH_PX = 16.0
"""DriveLM's own distance between a tag and what it names."""


class Meant(NamedTuple):
    """An object that a phrase means, surely (True) or possibly (None)."""

    thing: Thing
    truth: Truth


Judge = Callable[[Said, Thing, Evidence, Tolerance], Held]


class Finder:
    """Finds what phrases mean in one keyframe. ``judges`` tell whether a value holds of an object."""

    def __init__(self, evidence: Evidence, tolerance: Tolerance, judges: Mapping[str, Judge]) -> None:
        self.evidence, self.tolerance, self.judges = evidence, tolerance, judges
        self._known_gaps: dict[Tag, dict[str, float]] = {}

    def meant(self, phrase: Phrase, named: tuple[str, ...] = ()) -> list[Meant]:
        """Objects of a phrase, nearest first; ``named`` are instances that the writer says it speaks of."""
        found = []
        for thing in self._pool():
            truth = both((self._is_seen(thing), self._is_kind(phrase.kinds, thing), *self._limits(phrase, thing)))
            if truth is not False:
                found.append(Meant(thing, truth))
        if phrase.tag is not None:
            found = self._tagged(phrase.tag, found, named)
        found.sort(key=lambda one: one.thing.range_m)
        if phrase.nearest:
            found = self._extreme(found, phrase.nearest)
        return found

    def holds(self, said: Said, thing: Thing) -> Held:
        """Whether a value holds of an object; nobody knows where no judge is there."""
        judge = self.judges.get(said.kind)
        if judge is None:
            return Held(None, "")
        held = judge(said, thing, self.evidence, self.tolerance)
        return Held(denied(held.truth, said.is_not), held.words)

    def _pool(self) -> list[Thing]:
        return self.evidence.things if self.tolerance.has_hidden else self.evidence.seen

    def _is_seen(self, thing: Thing) -> Truth:
        return True if thing.is_seen else None

    def _is_kind(self, kinds: Kinds, thing: Thing) -> Truth:
        truth = is_kind(kinds, thing)
        return False if truth is None and kinds.sure and not self.tolerance.has_hidden else truth

    def _limits(self, phrase: Phrase, thing: Thing) -> list[Truth]:
        return [self.holds(said, thing).truth for said in phrase.limits if said.kind in self.judges]

    def _tagged(self, tag: Tag, found: list[Meant], named: tuple[str, ...]) -> list[Meant]:
        """What a tag points at: of all objects where it is exact, of those that the words allow where it is not."""
        known = {one.thing.instance: one for one in found}
        things = list(known) if self.tolerance.has_hidden else [thing.instance for thing in self._pool()]
        gaps = self._gaps(tag)
        near = min(things, key=lambda name: gaps[name], default=None)
        if near is not None and gaps[near] <= TAG_REACH_PX:
            return [known[near]] if near in known else []
        return [one for one in found if one.thing.instance in named]

    def _gaps(self, tag: Tag) -> dict[str, float]:
        """Pixels from a tag to every object."""
        if tag not in self._known_gaps:
            self._known_gaps[tag] = {one.instance: _tag_gap(tag, one, self.evidence) for one in self._pool()}
        return self._known_gaps[tag]

    def _extreme(self, found: list[Meant], rank: int) -> list[Meant]:
        """The nearest (or farthest) of what is surely meant, and what may be meant and is as near."""
        sure = [one.thing.range_m for one in found if one.truth]
        if not sure:
            return found if self.tolerance.has_hidden else []
        slack = self.tolerance.distance_m + self.tolerance.distance_share * min(sure)
        if rank > 0:
            return [one for one in found if one.thing.range_m <= min(sure) + slack]
        return [one for one in found if one.thing.range_m >= max(sure) - slack]


def is_kind(kinds: Kinds, thing: Thing) -> Truth:
    """Whether a noun means an object's category."""
    if thing.category in kinds.sure:
        return True
    return None if thing.category in kinds.possible else False


def direction(said: Said, thing: Thing, evidence: Evidence, tolerance: Tolerance) -> Held:
    """Whether an object lies in a direction, seen from the ego."""
    middle, sure, possible = SECTORS[said.value]
    off = wrapped_deg(thing.bearing_deg - middle)
    # The sector's left edge is not its own: half open, so that six sectors share no bearing.
    inner = -sure + tolerance.bearing_deg <= off < sure - tolerance.bearing_deg
    outer = -possible - tolerance.bearing_deg <= off < possible + tolerance.bearing_deg
    return Held(True if inner else None if outer else False, f"to the {direction_name(thing.bearing_deg)}")


def direction_name(bearing_deg: float) -> str:
    """One of the six sectors of 60 degrees."""
    names = ("front", "front left", "back left", "back", "back right", "front right")
    return names[math.floor((bearing_deg + 30.0) / 60.0) % 6]


def measured(value: float, measure: Measure, absolute: float, share: float, tolerance: Tolerance) -> Truth:
    """Whether a value is what a measure says, give or take; None where the value is unknown."""
    if math.isnan(value):
        return None
    slack = absolute + share * measure.high
    low, high = measure.low, measure.high
    if measure.compare in ("within", "less", "more", "least"):
        excess = value - high if measure.compare in ("within", "less") else low - value
        return True if excess <= -absolute else None if excess < slack else False
    if measure.compare == "between":
        return low <= value < high or (None if low - slack <= value < high + slack else False)
    if measure.compare == "about":
        slack += max(tolerance.about_share - share, 0.0) * high
    slack += measure.half_digit + 1e-6
    return low - slack <= value <= high + slack


def distance(said: Said, thing: Thing, evidence: Evidence, tolerance: Tolerance) -> Held:
    """Whether an object is as far from the ego as said."""
    measure: Measure = said.value
    if measure.unit != "m":
        return Held(None, "")
    args = (measure, tolerance.distance_m, tolerance.distance_share, tolerance)
    truth = measured(thing.range_m, *args)
    if tolerance.has_bumpers:
        # From our bumper to theirs, or a line in between, is as fair; a limit decides only where both agree.
        gap = max(thing.range_m - thing.length / 2 - 3.5, 0.0)
        other = measured(gap, *args)
        if measure.compare in ("exactly", "about"):
            truth = either((truth, other, gap < measure.low < thing.range_m))
        else:
            truth = truth if truth == other else None
    return Held(truth, f"{thing.range_m:.1f} m away")


def _tag_gap(tag: Tag, thing: Thing, evidence: Evidence) -> float:
    """Pixels between a tag and an object's centre in the tag's camera; infinite where that does not see it."""
    if tag.camera not in CAMERAS:
        return math.inf
    name = tag.camera.lower()
    sample = evidence.sample
    pose = np.asarray(sample[f"{name}_camera_from_ego"], float).reshape(4, 4)
    x, y, depth, _ = pose @ (thing.x, thing.y, thing.z, 1.0)
    if depth <= 0.1:
        return math.inf
    u, v, w = np.asarray(sample[f"{name}_intrinsics"], float).reshape(3, 3) @ (x, y, depth)
    u *= TAG_IMAGE_PX[0] / sample[f"{name}_width"] / w
    v *= TAG_IMAGE_PX[1] / sample[f"{name}_height"] / w
    return max(abs(u - tag.u), abs(v - tag.v))
