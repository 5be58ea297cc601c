"""What the ego should do in an edited scene, by rule: the mildest of keep, nudge, slow, stop that clears all boxes.

The motions a keyframe offers do not depend on the edit, so they are driven once (``curation.edit_motions``), those that
touch somebody or leave the road are put away, and an added agent only picks among the rest. All boxes are exact and
compared every tenth of a second, so that fast vehicles do not pass through each other between steps.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from dima_pipeline.contracts.frames import EGO_LENGTH_M, NUM_FUTURE_STEPS, STEP_S
from dima_pipeline.curation import edit_motions
from dima_pipeline.curation.edit_motions import Driven, Motion, poses_at_ticks
from dima_pipeline.curation.road_surface import Surface
from dima_pipeline.geometry import boxes_overlap, distance_to_polyline, ego_boxes
from dima_pipeline.scoring.rollout import NUM_TICKS, TICKS_PER_STEP
from dima_pipeline.storage.keyframes import Keyframe

Array = np.ndarray
STEP_TIMES_S = STEP_S * np.arange(1, NUM_FUTURE_STEPS + 1)
LABELS = ("keep", "nudge", "slow", "stop", "resume")
MARGIN_M = 0.3
"""Kept free on every side of a box by whoever changes the plan, and between the driven path and an added box."""
DRIVEN_MARGIN_M = 0.05
"""A driver who came closer to a recorded box than that touched it, as far as its annotation tells."""
BRAKING_MPS2 = np.array([1.0, 2.0, 3.0, 4.5, edit_motions.MAX_BRAKING_MPS2])
NUDGES_M = np.array([0.8, -0.8, 1.4, -1.4, 2.0, -2.0])
"""Enough for who reaches into the lane; one that fills it is not passed."""
NUDGE_S, MIN_NUDGE_M = 2.0, 6.0
NUDGE_FROM_MPS = 2.0
BEYOND_S = 1.0
"""Who passes somebody is still clear of them if the last second is driven once more."""
STANDING_MPS, STANDING_M = 0.5, 0.5
FREE_MPS = 8.0
"""The speed that an ego freed of its leader picks up."""
RESUME_MPS2 = np.array([1.5, 1.0])
MATTERS_M = 0.5


class Boxes(NamedTuple):
    """Boxes x, y, yaw, length, width (N, 31, 5) every 0.1 s from now on, and where they are known (N, 31)."""

    box: Float[Array, "N 31 5"]
    valid: Bool[Array, "N 31"]

    def inflated(self, margin_m: float) -> "Boxes":
        """The same boxes with a margin on every side."""
        return Boxes(self.box + np.array([0.0, 0.0, 0.0, 2 * margin_m, 2 * margin_m]), self.valid)

    def without(self, row: int) -> "Boxes":
        """All boxes but one."""
        return Boxes(np.delete(self.box, row, axis=0), np.delete(self.valid, row, axis=0))


class Answer(NamedTuple):
    """What to do, the path that does it, and the start speed and controls that drive it."""

    label: str
    side: str
    """``left`` or ``right`` of a nudge, else empty."""
    path: Float[Array, "6 2"]
    motion: Motion
    """One row; for ``keep`` it follows the recorded path within ``edit_motions.TRACKED_M``."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """What the ego can do instead of what was driven, mildest first; clear of recorded boxes and on the road."""

    answers: list[Answer]
    boxes: Float[Array, "K 31 5"]


def boxes_over_time(box: Float[Array, "N 5"], future: Float[Array, "N 6 3"], valid: Bool[Array, "N 6"]) -> Boxes:
    """Boxes every 0.1 s from those now and at the six steps; unknown beside an unknown step."""
    poses = np.concatenate([box[:, None, :3], future], axis=1)
    known = np.concatenate([np.ones((len(box), 1), bool), valid], axis=1)
    both = np.repeat(known[:, 1:] & known[:, :-1], TICKS_PER_STEP, axis=1)
    size = np.broadcast_to(box[:, None, 3:], (len(box), NUM_TICKS + 1, 2))
    return Boxes(np.concatenate([poses_at_ticks(poses), size], -1), np.concatenate([both[:, :1], both], 1))


def agent_boxes(frame: Keyframe) -> Boxes:
    """The boxes of all agents of a keyframe, seen or not."""
    boxes = boxes_over_time(frame.box, frame.future, frame.future_valid)
    # Now they are known even where their future is not.
    boxes.valid[:, 0] = True
    return boxes


def driven_boxes(frame: Keyframe) -> Float[Array, "31 5"]:
    """Footprints of the ego every 0.1 s along the recorded poses."""
    return ego_boxes(poses_at_ticks(np.concatenate([np.zeros((1, 3)), frame.ego_future])[None])[0])


def overlaps(first: Float[Array, "K 31 5"], first_valid: Bool[Array, "K 31"], boxes: Boxes) -> Bool[Array, "K"]:
    """Which of K moving boxes touches one of ``boxes`` at the same time."""
    return meeting(first, first_valid, boxes).any(1)


def meeting(first: Float[Array, "K 31 5"], first_valid: Bool[Array, "K 31"], boxes: Boxes) -> Bool[Array, "K N"]:
    """Which of K moving boxes touches which of N at the same time."""
    gap = ((first[:, None, :, :2] - boxes.box[None, :, :, :2]) ** 2).sum(-1)
    reach = np.hypot(first[..., 3], first[..., 4])[:, None] + np.hypot(boxes.box[..., 3], boxes.box[..., 4])[None]
    near = (gap < (reach / 2) ** 2) & first_valid[:, None] & boxes.valid[None]
    one, other, time = np.nonzero(near)
    hits = np.zeros(near.shape[:2], bool)
    touch = boxes_overlap(first[one, time], boxes.box[other, time])
    hits[one[touch], other[touch]] = True
    return hits


def touches(box: Float[Array, "31 5"], boxes: Boxes, margin_m: float) -> bool:
    """Whether one moving box comes closer than a margin to any other."""
    return bool(overlaps(box[None], np.ones((1, len(box)), bool), boxes.inflated(margin_m))[0])


def matters(path: Float[Array, "6 2"], driven: Float[Array, "6 2"]) -> bool:
    """Whether a path differs from the driven one by more than 0.5 m within 3 s."""
    return bool((np.linalg.norm(path - driven, axis=1) > MATTERS_M).any())


def is_standing(frame: Keyframe) -> bool:
    """Whether the ego stands now and for the next 3 s."""
    return bool(np.linalg.norm(frame.ego_future[-1, :2]) < STANDING_M) and speed_now(frame) < STANDING_MPS


def speed_now(frame: Keyframe) -> float:
    """Speed (m/s), from the first step where it was not measured."""
    first_mps = float(np.linalg.norm(frame.ego_future[0, :2])) / STEP_S
    return max(frame.speed_mps, 0.0) if np.isfinite(frame.speed_mps) else first_mps


def options(frame: Keyframe, driven: Driven, ground: Surface, others: Boxes) -> Options:
    """What the ego can do instead of what was driven, with ``others`` around."""
    nudges = NUDGES_M if driven.speed_mps > NUDGE_FROM_MPS else NUDGES_M[:0]
    within_m = max(driven.speed_mps * NUDGE_S, MIN_NUDGE_M)
    lines = [edit_motions.beside(driven.line, nudges, within_m), np.repeat(driven.line[None], len(BRAKING_MPS2), 0)]
    held = np.repeat(driven.acceleration_mps2[None], len(nudges), 0)
    motion = _follow(driven, np.concatenate(lines), np.concatenate([held, edit_motions.braking(driven, BRAKING_MPS2)]))
    is_nudge = np.arange(len(motion.pose)) < len(nudges)
    box = ego_boxes(motion.pose)
    clear = ~overlaps(box, np.ones(box.shape[:2], bool), others.inflated(MARGIN_M))
    off_road = ground.meets_edge(box[is_nudge].reshape(-1, 5)).reshape(-1, box.shape[1]).any(1)
    clear[is_nudge] &= ~off_road
    clear &= np.where(is_nudge, _differs(motion, frame), _ends_earlier(motion, frame))
    rows = np.flatnonzero(clear & edit_motions.is_drivable(motion))
    answers = [
        _answer(motion.take(rows[at : at + 1]), nudges[row] if is_nudge[row] else 0.0) for at, row in enumerate(rows)
    ]
    return Options(answers=answers, boxes=box[rows])


def keep(frame: Keyframe, driven: Driven) -> Answer:
    """To drive as was driven."""
    return Answer("keep", "", frame.ego_future[:, :2], driven.motion)


def answer_to_blocking(found: Options, box: Float[Array, "31 5"], is_passable: bool) -> Answer | None:
    """The mildest answer to an added agent in the way, with these boxes; None where nothing keeps clear of it.

    ``is_passable``: whether the ego may go around it.
    """
    if not len(found.answers):
        return None
    wide = Boxes(box[None], np.ones((1, len(box)), bool)).inflated(MARGIN_M)
    hits = overlaps(found.boxes, np.ones(found.boxes.shape[:2], bool), wide)
    for answer, is_hit, own in zip(found.answers, hits, found.boxes, strict=True):
        if is_hit or (answer.label == "nudge" and not (is_passable and _passes(own, answer.motion, wide))):
            continue
        return answer
    return None


def blocking(kept: Float[Array, "31 5"], box: Float[Array, "K 31 5"]) -> Bool[Array, "K"]:
    """Which added agents the driven boxes do not clear with the margin."""
    wide = Boxes(box, np.ones(box.shape[:2], bool)).inflated(MARGIN_M)
    return meeting(kept[None], np.ones((1, len(kept)), bool), wide)[0]


def answer_to_deleted(frame: Keyframe, driven: Driven, ground: Surface, others: Boxes, was_leader: bool) -> Answer:
    """Resume to a sensible speed if the deleted agent held the ego and the way is clear of ``others``; else keep."""
    same = keep(frame, driven)
    if not was_leader or speed_now(frame) >= FREE_MPS or crossing_ahead(frame):
        return same
    lines = np.repeat(lane_ahead(frame, driven)[None], len(RESUME_MPS2), 0)
    motion = _follow(driven, lines, edit_motions.setting_off(driven, RESUME_MPS2, FREE_MPS))
    box = ego_boxes(motion.pose)
    clear = ~overlaps(box, np.ones(box.shape[:2], bool), others.inflated(MARGIN_M)) & edit_motions.is_drivable(motion)
    clear &= ~ground.meets_edge(box.reshape(-1, 5)).reshape(box.shape[:2]).any(1)
    rows = np.flatnonzero(clear & ~_ends_earlier(motion, frame) & (motion.way_m > driven.motion.way_m + MATTERS_M))
    return Answer("resume", "", motion.path[rows[0]], motion.take(rows[:1])) if len(rows) else same


def lane_ahead(frame: Keyframe, driven: Driven) -> Float[Array, "P 2"]:
    """The line an ego follows: the centre of the lane it stands on, else the driven path prolonged straight."""
    for line in frame.polylines["centerline"]:
        ahead = line[line[:, 0] > 2.0]
        if len(ahead) < 2 or distance_to_polyline(np.zeros(2), line) > 0.5:
            continue
        start, end = ahead[1] - ahead[0], ahead[-1] - ahead[-2]
        if ahead[0, 0] < 6.0 and abs(np.arctan2(start[1], start[0])) < np.radians(20.0):
            points = np.concatenate([np.zeros((1, 2)), ahead])
            return edit_motions.even_line(points, float(np.arctan2(end[1], end[0])))
    return driven.line


def crossing_ahead(frame: Keyframe) -> bool:
    """Whether the ego is in front of a crossing: who stands there may wait for more than the vehicle ahead."""
    points = frame.polylines["ped_crossing"].reshape(-1, 2)
    return bool(((points[:, 0] > 0) & (points[:, 0] < EGO_LENGTH_M + 12.0) & (np.abs(points[:, 1]) < 4.0)).any())


def _follow(driven: Driven, lines: Array, acceleration: Array) -> Motion:
    return edit_motions.follow(lines, acceleration, driven.speed_mps, float(driven.motion.steering_rad[0, 0]))


def _differs(motion: Motion, frame: Keyframe) -> Bool[Array, "K"]:
    return (np.linalg.norm(motion.path - frame.ego_future[:, :2], axis=-1) > MATTERS_M).any(1)


def _ends_earlier(motion: Motion, frame: Keyframe) -> Bool[Array, "K"]:
    # The bicycle may be a little ahead of a recorded place: then it has not braked enough to say so.
    return np.linalg.norm(motion.path[:, -1], axis=-1) < np.linalg.norm(frame.ego_future[-1, :2])


def _answer(motion: Motion, nudge_m: float) -> Answer:
    if nudge_m:
        return Answer("nudge", "left" if nudge_m > 0 else "right", motion.path[0], motion)
    return Answer("stop" if motion.speed_mps[0, -1] < STANDING_MPS else "slow", "", motion.path[0], motion)


def _passes(box: Float[Array, "31 5"], motion: Motion, wide: Boxes) -> bool:
    """Whether the ego, going straight on for ``BEYOND_S``, keeps clear of where others are in the end."""
    ahead = float(motion.speed_mps[0, -1]) * BEYOND_S
    yaw = box[-1, 2]
    long = box[-1] + np.array([ahead / 2 * np.cos(yaw), ahead / 2 * np.sin(yaw), 0.0, ahead, 0.0])
    return not boxes_overlap(long, wide.box[:, -1]).any()
