"""What the ego should do in an edited scene, by rule: keep the driven path, brake, nudge aside, or resume.

Every path but the kept one respects comfort limits and stays clear of all boxes with a margin; all are tested with
exact oriented boxes every quarter of a second, so that fast vehicles cannot pass through each other between steps.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float
from shapely import LineString, MultiLineString

from dima_pipeline.contracts.frames import EGO_LENGTH_M, EGO_WIDTH_M, NUM_FUTURE_STEPS, STEP_S
from dima_pipeline.geometry import boxes_overlap, distance_to_polyline, ego_boxes, path_headings, wrap_angle
from dima_pipeline.storage.keyframes import Keyframe

Array = np.ndarray
NUM_TIMES = 2 * NUM_FUTURE_STEPS
STEP_TIMES_S = STEP_S * np.arange(1, NUM_FUTURE_STEPS + 1)
MAX_ACCELERATION_MPS2 = 3.0
MAX_BRAKING_MPS2 = 6.0
MARGIN_M = 0.3
"""Kept free on every side of a box."""
BRAKING_MPS2 = (1.0, 2.0, 3.0, 4.5, MAX_BRAKING_MPS2)
NUDGES_M = (0.8, 1.4, 2.0)
"""Enough for who reaches into the lane; one that fills it is not passed."""
NUDGE_S = 2.5
"""A sideways shift d over this time needs at most 6 d / t^2 = 1.9 m/s2."""
STANDING_MPS = 0.5
STANDING_M = 0.5
FREE_MPS = 8.0
"""The speed that an ego freed of its leader picks up."""
RESUME_MPS2 = (1.5, 1.0)
MATTERS_M = 0.5


class Boxes(NamedTuple):
    """Boxes x, y, yaw, length, width (N, 12, 5) every 0.25 s, and where they are known (N, 12)."""

    box: Float[Array, "N 12 5"]
    valid: Bool[Array, "N 12"]

    def inflated(self, margin_m: float) -> "Boxes":
        """The same boxes with a margin on every side."""
        return Boxes(self.box + np.array([0.0, 0.0, 0.0, 2 * margin_m, 2 * margin_m]), self.valid)

    def without(self, row: int) -> "Boxes":
        """All boxes but one."""
        return Boxes(np.delete(self.box, row, axis=0), np.delete(self.valid, row, axis=0))


class Answer(NamedTuple):
    """What to do, as a sentence, and the path that does it."""

    text: str
    path: Float[Array, "6 2"]


def boxes_over_time(box: Float[Array, "N 5"], future: Float[Array, "N 6 3"], valid: Bool[Array, "N 6"]) -> Boxes:
    """Boxes every 0.25 s from those now and at the six steps; unknown beside an unknown step."""
    poses = np.concatenate([box[:, None, :3], future], axis=1)
    known = np.concatenate([np.ones((len(box), 1), bool), valid], axis=1)
    size = np.broadcast_to(box[:, None, 3:], (len(box), NUM_TIMES, 2))
    return Boxes(np.concatenate([_quarters(poses), size], -1), np.repeat(known[:, 1:] & known[:, :-1], 2, axis=1))


def agent_boxes(frame: Keyframe) -> Boxes:
    """The boxes of all agents of a keyframe, seen or not."""
    return boxes_over_time(frame.box, frame.future, frame.future_valid)


def ego_boxes_over_time(path: Float[Array, "6 2"]) -> Float[Array, "12 5"]:
    """Footprints of the ego every 0.25 s along a path, with the headings of ``geometry.path_headings``."""
    poses = np.concatenate([path, path_headings(path)[:, None]], -1)
    return ego_boxes(_quarters(np.concatenate([np.zeros((1, 3)), poses])[None])[0])


def is_clear(path: Float[Array, "6 2"], boxes: Boxes) -> bool:
    """Whether the ego touches no box while it follows a path."""
    return not overlaps(ego_boxes_over_time(path)[None], np.ones((1, NUM_TIMES), bool), boxes).any()


def overlaps(first: Float[Array, "K 12 5"], first_valid: Bool[Array, "K 12"], boxes: Boxes) -> Bool[Array, "K"]:
    """Which of K moving boxes touches one of ``boxes`` at the same time."""
    gap = np.linalg.norm(first[:, None, :, :2] - boxes.box[None, :, :, :2], axis=-1)
    reach = np.hypot(first[..., 3], first[..., 4])[:, None] + np.hypot(boxes.box[..., 3], boxes.box[..., 4])[None]
    near = (gap < reach / 2) & first_valid[:, None] & boxes.valid[None]
    one, other, time = np.nonzero(near)
    hits = np.zeros(len(first), bool)
    hits[one[boxes_overlap(first[one, time], boxes.box[other, time])]] = True
    return hits


def is_comfortable(path: Float[Array, "6 2"], speed_mps: float) -> bool:
    """Whether the speed along a path changes by at most 3 m/s2 up and 6 m/s2 down, starting at ``speed_mps``."""
    steps = np.diff(np.concatenate([np.zeros((1, 2)), path]), axis=0)
    speeds = np.linalg.norm(steps, axis=1) / STEP_S
    # A step's speed is that of its middle, a quarter of a second after the keyframe for the first one.
    change = np.concatenate([[(speeds[0] - speed_mps) / (STEP_S / 2)], np.diff(speeds) / STEP_S])
    return bool((change <= MAX_ACCELERATION_MPS2 + 1e-6).all() and (change >= -MAX_BRAKING_MPS2 - 1e-6).all())


def matters(path: Float[Array, "6 2"], driven: Float[Array, "6 2"]) -> bool:
    """Whether a path differs from the driven one by more than 0.5 m within 3 s."""
    return bool((np.linalg.norm(path - driven, axis=1) > MATTERS_M).any())


def is_standing(frame: Keyframe) -> bool:
    """Whether the ego stands now and for the next 3 s."""
    return bool(np.linalg.norm(frame.ego_future[-1, :2]) < STANDING_M) and _speed_now(frame) < STANDING_MPS


def answer_to_added(frame: Keyframe, boxes: Boxes, is_passable: bool) -> Answer | None:
    """The mildest answer to an added vehicle that keeps clear of ``boxes``, which include it; None without one.

    ``is_passable``: whether it stands, so that the ego may go around it.
    """
    driven = frame.ego_future[:, :2]
    if is_clear(driven, boxes):
        return Answer(_keep_text(frame), driven)
    wide = boxes.inflated(MARGIN_M)
    speed = _speed_now(frame)
    for answer in _options(frame, speed, is_passable):
        if is_comfortable(answer.path, speed) and is_clear(answer.path, wide):
            return answer
    return None


def answer_to_deleted(frame: Keyframe, boxes: Boxes, was_leader: bool) -> Answer:
    """Resume to a sensible speed if the deleted vehicle held the ego and the way is clear of ``boxes``; else keep."""
    driven = frame.ego_future[:, :2]
    keep = Answer(_keep_text(frame), driven)
    speed = _speed_now(frame)
    if not was_leader or speed >= FREE_MPS or _crossing_ahead(frame):
        return keep
    track = lane_ahead(frame)
    for rate in RESUME_MPS2:
        reached_s = (FREE_MPS - speed) / rate
        time = np.minimum(STEP_TIMES_S, reached_s)
        along = speed * time + 0.5 * rate * time**2 + FREE_MPS * (STEP_TIMES_S - time)
        path = _points_along(track, along)
        is_faster = along[-1] > np.linalg.norm(np.diff(track_of(driven), axis=0), axis=1).sum() + MATTERS_M
        if is_faster and is_comfortable(path, speed) and is_clear(path, boxes.inflated(MARGIN_M)):
            return Answer("Start to drive." if speed < STANDING_MPS else "Speed up.", path)
    return keep


def track_of(path: Float[Array, "6 2"]) -> Float[Array, "7 2"]:
    """A path with the place of the ego in front."""
    return np.concatenate([np.zeros((1, 2)), path])


def lane_ahead(frame: Keyframe) -> Float[Array, "P 2"]:
    """The line an ego follows: the centerline it stands on, else the driven path prolonged straight."""
    for line in frame.polylines["centerline"]:
        ahead = line[line[:, 0] > 2.0]
        if len(ahead) < 2 or distance_to_polyline(np.zeros(2), line) > 0.5:
            continue
        start = ahead[1] - ahead[0]
        if ahead[0, 0] < 6.0 and abs(np.arctan2(start[1], start[0])) < np.radians(20.0):
            end = ahead[-1] - ahead[-2]
            beyond = ahead[-1] + 30.0 * end / max(float(np.linalg.norm(end)), 1e-6)
            return np.concatenate([np.zeros((1, 2)), ahead, beyond[None]])
    return frame.expected_path(30.0)


def _options(frame: Keyframe, speed: float, is_passable: bool) -> Iterator[Answer]:
    """Answers from mild to harsh; only a standing vehicle can be passed."""
    if is_passable and speed > 2.0:
        for shift in NUDGES_M:
            for side, sign in (("left", 1.0), ("right", -1.0)):
                path = _nudge(frame, sign * shift)
                if _stays_on_road(path, frame):
                    yield Answer(f"Nudge to the {side}.", path)
    yield from (_brake(frame, speed, rate) for rate in BRAKING_MPS2)


def _brake(frame: Keyframe, speed: float, rate: float) -> Answer:
    """The driven path at a speed that falls, never ahead of where the driver was."""
    time = np.minimum(STEP_TIMES_S, speed / rate)
    along = speed * time - 0.5 * rate * time**2
    track = track_of(frame.ego_future[:, :2])
    driven_along = np.cumsum(np.linalg.norm(np.diff(track, axis=0), axis=1))
    end_mps = speed - rate * STEP_TIMES_S[-1]
    text = "Stop." if end_mps < STANDING_MPS else "Slow down."
    return Answer(text, _points_along(track, np.minimum(along, driven_along)))


def _nudge(frame: Keyframe, shift_m: float) -> Float[Array, "6 2"]:
    """The driven path, shifted sideways smoothly within ``NUDGE_S``."""
    share = np.clip(STEP_TIMES_S / NUDGE_S, 0.0, 1.0)
    shift = shift_m * share**2 * (3 - 2 * share)
    yaw = frame.ego_future[:, 2]
    return frame.ego_future[:, :2] + shift[:, None] * np.stack([-np.sin(yaw), np.cos(yaw)], -1)


def _stays_on_road(path: Float[Array, "6 2"], frame: Keyframe) -> bool:
    edges = frame.polylines["boundary"]
    if not len(edges):
        return True
    return bool(MultiLineString(list(edges)).distance(LineString(track_of(path))) >= EGO_WIDTH_M / 2)


def _crossing_ahead(frame: Keyframe) -> bool:
    # Who stands in front of a crossing may wait for more than the vehicle ahead: nothing is concluded there.
    points = frame.polylines["ped_crossing"].reshape(-1, 2)
    return bool(((points[:, 0] > 0) & (points[:, 0] < EGO_LENGTH_M + 12.0) & (np.abs(points[:, 1]) < 4.0)).any())


def _keep_text(frame: Keyframe) -> str:
    return "Stay stopped as before." if is_standing(frame) else "Keep going as before."


def _speed_now(frame: Keyframe) -> float:
    first_mps = float(np.linalg.norm(frame.ego_future[0, :2])) / STEP_S
    return max(frame.speed_mps, 0.0) if np.isfinite(frame.speed_mps) else first_mps


def _points_along(track: Float[Array, "P 2"], along: Float[Array, "T"]) -> Float[Array, "T 2"]:
    reached = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(track, axis=0), axis=1))])
    return np.stack([np.interp(along, reached, track[:, axis]) for axis in (0, 1)], -1)


def _quarters(poses: Float[Array, "N 7 3"]) -> Float[Array, "N 12 3"]:
    """Poses at 0.25, 0.5 ... 3 s from those at 0, 0.5 ... 3 s."""
    turn = wrap_angle(poses[:, 1:, 2] - poses[:, :-1, 2])
    middle = np.concatenate([(poses[:, 1:, :2] + poses[:, :-1, :2]) / 2, (poses[:, :-1, 2] + turn / 2)[..., None]], -1)
    return np.stack([middle, poses[:, 1:]], axis=2).reshape(len(poses), NUM_TIMES, 3)
