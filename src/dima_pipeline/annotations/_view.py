"""A keyframe as questions see it: what is seen, in which direction, what moves, and which objects are worth naming.

An object is named as DriveLM does, ``<c1,CAM_FRONT,801.2,470.5>`` (pixel centre in a 1600 x 900 image), and in plain
words that are unique in the scene, so that a reader of tokens, not of pixels, can tell which one is meant.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from dima_pipeline.contracts.frames import CAMERAS, EGO_WIDTH_M
from dima_pipeline.contracts.scene_words import AHEAD_M, DIRECTIONS, directions, singular
from dima_pipeline.geometry import distance_to_polyline, image_from_ego, project
from dima_pipeline.storage.keyframes import Keyframe

Array = np.ndarray
TAG_IMAGE_PX = (1600.0, 900.0)
MOVING_MPS = 0.5
UNIMPORTANT_M = 10.0
"""What an object off the ego's path, or behind, is set back by when objects are ranked by distance."""


class Asked(NamedTuple):
    """A question in several phrasings, its answer, and the instances it speaks of."""

    phrasings: tuple[str, ...]
    answer: str
    objects: tuple[str, ...] = ()


def is_asked(is_positive: bool, rng: np.random.Generator) -> bool:
    """Whether to ask a question whose answer is mostly "No.": always if it is not, else one time in three."""
    return bool(rng.random() < 1 / 3) or is_positive


class Mention(NamedTuple):
    """An object worth naming: row of the keyframe, DriveLM's tag (empty where no camera sees it), plain words."""

    row: int
    instance: str
    tag: str
    words: str

    @property
    def name(self) -> str:
        """For questions: tag and plain words."""
        return f"{self.tag}, {self.words}," if self.tag else self.words


@dataclass(frozen=True, kw_only=True, eq=False)
class View:
    """What questions about one keyframe need. V: objects that are seen."""

    frame: Keyframe
    seen: Int[Array, "V"]
    """Rows of the keyframe."""
    direction: Int[Array, "N"]
    distance: Float[Array, "N"]
    """Of the box centre to the origin of the ego frame, m."""
    is_moving: Bool[Array, "N"]
    path: Float[Array, "P 2"]
    """From the ego along the driven path and straight on for 30 m; straight ahead where the path is not known."""
    mentions: tuple[Mention, ...]

    def rows(self, categories: tuple[str, ...], direction: str | None = None) -> list[int]:
        """Rows of the seen objects of ``categories``, nearest first, in one direction or in all."""
        found = [
            int(row)
            for row in self.seen
            if self.frame.categories[row] in categories
            and (direction is None or DIRECTIONS[self.direction[row]] == direction)
        ]
        return sorted(found, key=lambda row: self.distance[row])

    def tokens(self, rows: list[int]) -> tuple[str, ...]:
        """Instance tokens of rows."""
        return tuple(self.frame.instances[row] for row in rows)


def make_view(frame: Keyframe, num_objects: int, is_tagged: bool) -> View:
    """The view of a keyframe with up to ``num_objects`` mentions, the most important first."""
    path = frame.expected_path(AHEAD_M)
    distance = np.linalg.norm(frame.box[:, :2], axis=1)
    direction = directions(frame.box[:, :2])
    seen = np.flatnonzero(frame.is_visible)
    ranked = _ranked(frame, seen, path, distance)
    mentions = _mentions(frame, ranked, direction, distance, num_objects)
    tags = _tags(frame, [mention.row for mention in mentions]) if is_tagged else [""] * len(mentions)
    return View(
        frame=frame,
        seen=seen,
        direction=direction,
        distance=distance,
        is_moving=moving(frame),
        path=path,
        mentions=tuple(mention._replace(tag=tag) for mention, tag in zip(mentions, tags, strict=True)),
    )


def on_path(frame: Keyframe, path: Float[Array, "P 2"]) -> Bool[Array, "N"]:
    """Which agents stand ahead and in the way of the ego, if it follows ``path``."""
    reach = (EGO_WIDTH_M + frame.box[:, 4]) / 2
    return (frame.box[:, 0] > 0) & (distance_to_polyline(frame.box[:, :2], path) < reach)


def moving(frame: Keyframe) -> Bool[Array, "N"]:
    """By the annotated attribute where there is one, else by speed."""
    speed = np.nan_to_num(np.linalg.norm(frame.velocity, axis=1))
    said = {"moving": True, "parked": False, "stopped": False, "standing": False, "sitting_lying_down": False}
    attributes = [None if name is None else said.get(name.rpartition(".")[2]) for name in frame.attributes]
    pairs = zip(attributes, speed, strict=True)
    return np.array([value > MOVING_MPS if known is None else known for known, value in pairs], bool)


def _ranked(frame: Keyframe, seen: Array, path: Array, distance: Array) -> list[int]:
    is_ahead = frame.box[:, 0] > 0
    penalty = UNIMPORTANT_M * (~on_path(frame, path)).astype(float) + UNIMPORTANT_M * ~is_ahead
    rank = distance + penalty
    return sorted((int(row) for row in seen), key=lambda row: (rank[row], frame.instances[row]))


def _mentions(frame: Keyframe, ranked: list[int], direction: Array, distance: Array, num_objects: int) -> list[Mention]:
    # Only the nearest of a kind in a direction is named: words that could mean two objects teach nothing.
    groups: dict[tuple[str, int], list[int]] = {}
    for row in ranked:
        groups.setdefault((frame.categories[row], int(direction[row])), []).append(row)
    nearest = {key: min(rows, key=lambda row: distance[row]) for key, rows in groups.items()}
    found = []
    for (category, sector), row in sorted(nearest.items(), key=lambda item: ranked.index(item[1]))[:num_objects]:
        rank = "nearest " if len(groups[category, sector]) > 1 else ""
        words = f"the {rank}{singular(category)} to the {DIRECTIONS[sector]}"
        found.append(Mention(row=row, instance=frame.instances[row], tag="", words=words))
    return found


def _tags(frame: Keyframe, rows: list[int]) -> list[str]:
    if not rows:
        return []
    centres = frame.position[rows]
    best = [("", np.inf)] * len(rows)
    middle = np.array(TAG_IMAGE_PX) / 2
    for camera in CAMERAS:
        intrinsics, camera_from_ego, (width, height) = frame.camera(camera)
        scale = (TAG_IMAGE_PX[0] / width, TAG_IMAGE_PX[1] / height)
        pixels, depth = project(image_from_ego(intrinsics, camera_from_ego, scale), centres)
        inside = (depth > 0.5) & (pixels >= 0).all(1) & (pixels < np.array(TAG_IMAGE_PX)).all(1)
        off_centre = np.abs(pixels - middle).max(1)
        for at in np.flatnonzero(inside):
            if off_centre[at] < best[at][1]:
                text = f"<c{at + 1},{camera},{pixels[at, 0]:.1f},{pixels[at, 1]:.1f}>"
                best[at] = (text, float(off_centre[at]))
    return [text for text, _ in best]
