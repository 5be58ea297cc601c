"""A keyframe as questions see it: what is seen, in which direction, what moves, and which objects are worth naming.

An object is named as DriveLM does, ``<c1,CAM_FRONT,801.2,470.5>`` (pixel centre in a 1600 x 900 image), and in plain
words that are unique in the scene, so that a reader of tokens, not of pixels, can tell which one is meant.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from dima_pipeline.annotations._truth import Truth
from dima_pipeline.contracts.frames import CAMERAS, EGO_WIDTH_M
from dima_pipeline.contracts.scene_words import (
    AHEAD_M,
    CREEPS_MPS,
    DIRECTIONS,
    IN_WAY_M,
    IN_WAY_MARGIN_M,
    MOVING_MPS,
    REACH_M,
    RUNS_MPS,
    SIDE_M,
    directions,
    singular,
)
from dima_pipeline.geometry import distance_to_polyline, image_from_ego, project
from dima_pipeline.storage.keyframes import Keyframe

Array = np.ndarray
TAG_IMAGE_PX = (1600.0, 900.0)
UNIMPORTANT_M = 10.0
"""What an object off the ego's path, or behind, is set back by when objects are ranked by distance."""
NEAREST_MARGIN_M = 0.5
"""By so much the nearest must be nearer than the next to be called so."""
STATUSES = {
    **{"moving": "moving", "parked": "parked", "stopped": "stopped", "standing": "standing"},
    "sitting_lying_down": "sitting or lying",
}
"""By the last word of an attribute."""


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
    truth: Truth
    has_map: dict[str, bool]
    """Whether the map of the scene shows any line of a kind: a map without crossings says nothing about crossings."""
    seen: Int[Array, "V"]
    """Rows of the keyframe."""
    direction: Int[Array, "N"]
    distance: Float[Array, "N"]
    """Of the box centre to the origin of the ego frame, m."""
    is_moving: Bool[Array, "N"]
    is_motion_known: Bool[Array, "N"]
    path: Float[Array, "P 2"]
    """From the ego along the driven path and straight on for 30 m; straight ahead where the path is not known."""
    in_way: Bool[Array, "N"]
    is_way_clear_cut: Bool[Array, "N"]
    """Not within the margin of being in the way."""
    near_gap: Float[Array, "N"]
    """Least distance of the centre to the ego's origin at a known step of the next 3 s, m; infinite without one."""
    way_gap: Float[Array, "N"]
    """Least distance of the centre to the strip that the ego has still to drive along then, negative on it."""
    mentions: tuple[Mention, ...]

    def rows(self, categories: tuple[str, ...], direction: str | None = None, reach_m: float = np.inf) -> list[int]:
        """Rows of the seen objects of ``categories``, nearest first, in one direction or in all."""
        return self._select(self.frame.is_visible, categories, direction, reach_m)

    def is_sure(self, categories: tuple[str, ...], direction: str | None = None, reach_m: float = np.inf) -> bool:
        """Whether nothing of the kind is there that is not counted as seen, but might be."""
        return not self._select(self.frame.is_doubtful, categories, direction, reach_m)

    def concern(self, margin_m: float = 0.0) -> Float[Array, "N"]:
        """How near an object comes in the next 3 s, m: -2 for what gets in the way, -1 for what is in the way now."""
        is_now = (self.in_way | (~self.is_way_clear_cut & (margin_m > 0))) & (self.distance <= IN_WAY_M)
        gap = np.where(is_now, -1.0, np.where(np.isfinite(self.near_gap), self.near_gap, self.distance))
        return np.asarray(np.where(self.way_gap < margin_m, -2.0, gap))

    def tokens(self, rows: list[int]) -> tuple[str, ...]:
        """Instance tokens of rows."""
        return tuple(self.frame.instances[row] for row in rows)

    def status(self, row: int) -> str | None:
        """``moving``, ``parked``, ``stopped``, ``standing``, ``sitting or lying``, else ``not moving``; None where the
        tables do not tell."""
        if not self.is_motion_known[row]:
            return None
        named = STATUSES.get((self.frame.attributes[row] or "").rpartition(".")[2])
        return named or ("moving" if self.is_moving[row] else "not moving")

    def _select(self, mask: Array, categories: tuple[str, ...], direction: str | None, reach_m: float) -> list[int]:
        found = [
            int(row)
            for row in np.flatnonzero(mask & (self.distance <= reach_m))
            if self.frame.categories[row] in categories
            and (direction is None or DIRECTIONS[self.direction[row]] == direction)
        ]
        return sorted(found, key=lambda row: self.distance[row])


def reach(direction: str | None) -> float:
    """How far what there is in a direction is known whole, m."""
    return SIDE_M if direction is None else REACH_M[direction]


def make_view(frame: Keyframe, num_objects: int, is_tagged: bool, truth: Truth, has_map: dict[str, bool]) -> View:
    """The view of a keyframe with up to ``num_objects`` mentions, the most important first."""
    path = frame.expected_path(AHEAD_M)
    distance = np.linalg.norm(frame.box[:, :2], axis=1)
    direction = directions(frame.box[:, :2])
    seen = np.flatnonzero(frame.is_visible)
    in_way = on_path(frame, path)
    order = rank(frame, in_way)
    ranked = sorted((int(row) for row in seen), key=lambda row: (order[row], frame.instances[row]))
    mentions = _mentions(frame, ranked, direction, distance, num_objects)
    tags = _tags(frame, [mention.row for mention in mentions]) if is_tagged else [""] * len(mentions)
    is_moving, is_known = moving(frame)
    return View(
        frame=frame,
        truth=truth,
        has_map=has_map,
        seen=seen,
        direction=direction,
        distance=distance,
        is_moving=is_moving,
        is_motion_known=is_known,
        path=path,
        in_way=in_way,
        is_way_clear_cut=on_path(frame, path, IN_WAY_MARGIN_M) == on_path(frame, path, -IN_WAY_MARGIN_M),
        near_gap=_near_gap(frame),
        way_gap=_way_gap(frame),
        mentions=tuple(mention._replace(tag=tag) for mention, tag in zip(mentions, tags, strict=True)),
    )


def on_path(frame: Keyframe, path: Float[Array, "P 2"], margin_m: float = 0.0) -> Bool[Array, "N"]:
    """Which agents stand ahead and in the way of the ego, if it follows ``path``."""
    limit = (EGO_WIDTH_M + frame.box[:, 4]) / 2 + margin_m
    return (frame.box[:, 0] > 0) & (distance_to_polyline(frame.box[:, :2], path) < limit)


def _near_gap(frame: Keyframe) -> Float[Array, "N"]:
    gap = np.linalg.norm(frame.future[:, :, :2] - frame.ego_future[None, :, :2], axis=-1)
    return np.asarray(np.where(frame.future_valid, gap, np.inf).min(1))


def _way_gap(frame: Keyframe) -> Float[Array, "N"]:
    # Who follows reaches the ground that the ego has left: only what lies before it at each step counts.
    half = (EGO_WIDTH_M + frame.box[:, 4]) / 2
    steps = range(frame.ego_future.shape[0])
    left = [frame.ego_future[[*range(step, len(steps)), len(steps) - 1], :2] for step in steps]
    gap = np.stack([distance_to_polyline(frame.future[:, step, :2], left[step]) for step in steps], 1)
    return np.asarray(np.where(frame.future_valid, gap, np.inf).min(1) - half)


def rank(frame: Keyframe, in_way: Bool[Array, "N"]) -> Float[Array, "N"]:
    """By what objects are ranked, the lowest first: distance in m, more off the ego's path and behind."""
    distance = np.linalg.norm(frame.box[:, :2], axis=1)
    return distance + UNIMPORTANT_M * (~in_way).astype(float) + UNIMPORTANT_M * (frame.box[:, 0] <= 0)


def moving(frame: Keyframe) -> tuple[Bool[Array, "N"], Bool[Array, "N"]]:
    """Which agents move, by the annotated attribute where there is one, else by speed; and where that is certain."""
    speed = np.linalg.norm(frame.velocity, axis=1)
    said = {"moving": True, "parked": False, "stopped": False, "standing": False, "sitting_lying_down": False}
    attributes = [None if name is None else said.get(name.rpartition(".")[2]) for name in frame.attributes]
    is_moving, is_known = np.zeros(len(speed), bool), np.zeros(len(speed), bool)
    for row, known in enumerate(attributes):
        is_fast = bool(speed[row] > MOVING_MPS)  # NaN is not.
        is_moving[row] = is_fast if known is None else known
        is_between = CREEPS_MPS < speed[row] < RUNS_MPS
        is_known[row] = not (is_between or np.isnan(speed[row])) if known is None else is_between or known == is_fast
        is_known[row] |= known is not None and bool(np.isnan(speed[row]))
    return is_moving, is_known


def _mentions(frame: Keyframe, ranked: list[int], direction: Array, distance: Array, num_objects: int) -> list[Mention]:
    # Only the nearest of a kind in a direction is named: words that could mean two objects teach nothing.
    groups: dict[tuple[str, int], list[int]] = {}
    for row in np.flatnonzero(frame.is_visible | frame.is_doubtful):
        groups.setdefault((frame.categories[row], int(direction[row])), []).append(int(row))
    found: list[Mention] = []
    for row in ranked:
        key = (frame.categories[row], int(direction[row]))
        others = [distance[other] for other in groups[key] if other != row]
        if len(found) < num_objects and distance[row] < min(others, default=np.inf) - NEAREST_MARGIN_M:
            nearest = "nearest " if others else ""
            words = f"the {nearest}{singular(key[0])} to the {DIRECTIONS[key[1]]}"
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
