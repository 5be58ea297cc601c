"""Scene edits (DiMA, section 3): a car or truck is added to a keyframe or deleted from it, and the ego answers by rule.

An added vehicle stands or drives along a lane ahead and overlaps nobody for 3 s, or stands in the ego's way where it
is meant to matter. Half of the added ones should matter: the share so far decides which kind is tried next.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from dima_pipeline.contracts.frames import NUM_FUTURE_STEPS, PERCEPTION_RANGE_M
from dima_pipeline.contracts.scene_words import DIRECTIONS, directions, singular
from dima_pipeline.curation.annotation_config import EditConfig
from dima_pipeline.curation.counterfactual import (
    STEP_TIMES_S,
    Answer,
    Boxes,
    agent_boxes,
    answer_to_added,
    answer_to_deleted,
    boxes_over_time,
    is_clear,
    is_standing,
    matters,
    overlaps,
)
from dima_pipeline.geometry import boxes_overlap, distance_to_polyline, ego_boxes, wrap_angle
from dima_pipeline.storage.keyframes import Keyframe

Array = np.ndarray
SIZES_M = {"car": (4.6, 1.9), "truck": (7.0, 2.5)}
EDITABLE = ("car", "truck", "bus")
LANE_CENTER_M = 1.75
"""From a divider to the middle of the lane beside it."""
IN_WAY_M = 1.6
LEADER_GAP_M = 16.0
STANDING_ADD_SHARE = 0.15
LEADER_MPS = 4.0


class Vehicle(NamedTuple):
    """The added or deleted vehicle in the ego frame."""

    token: str
    category: str
    box: Float[Array, "5"]
    velocity: Float[Array, "2"]
    future: Float[Array, "6 2"]


@dataclass
class _Tally:
    """Added vehicles of a scene so far, and how many of them matter."""

    num_added: int = 0
    num_mattering: int = 0

    def wants_more(self, share: float) -> bool:
        return self.num_mattering <= share * self.num_added


def scene_edit_rows(config: EditConfig, frames: list[Keyframe], rng: np.random.Generator) -> Iterator[dict[str, Any]]:
    """Rows of ``contracts.tables.SceneEditRows`` for the keyframes of one scene, at most one a keyframe."""
    tally = _Tally()
    for frame in frames:
        is_edited, draw = rng.random() < config.keyframe_share, rng.random()
        if not is_edited or not frame.has_future:
            continue
        # Nothing added matters to an ego that stands: there, deleting a leader is the better question.
        is_added = draw < config.add_share * (STANDING_ADD_SHARE if is_standing(frame) else 1.0)
        boxes = agent_boxes(frame)
        if not is_clear(frame.ego_future[:, :2], boxes):
            continue  # The annotation has the driver touch somebody: nothing can be concluded from it.
        row = _add(config, frame, boxes, rng, tally) if is_added else None
        row = row or _delete(config, frame, boxes, rng)
        if row:
            yield row


def lane_poses(frame: Keyframe) -> Float[Array, "K 3"]:
    """Poses x, y, yaw on centerlines; beside dividers, heading as the ego does, where there are none."""
    lines = frame.polylines["centerline"]
    if len(lines):
        return _poses_along(lines)
    poses = _poses_along(frame.polylines["divider"])
    poses[:, 2] = np.where(np.abs(poses[:, 2]) > np.pi / 2, wrap_angle(poses[:, 2] + np.pi), poses[:, 2])
    normal = np.stack([-np.sin(poses[:, 2]), np.cos(poses[:, 2])], -1) * LANE_CENTER_M
    shifted = [np.concatenate([poses[:, :2] + side * normal, poses[:, 2:]], -1) for side in (1, -1)]
    return np.concatenate(shifted)


def _poses_along(lines: Float[Array, "M 20 2"]) -> Float[Array, "K 3"]:
    along = np.diff(lines, axis=1)
    yaw = np.arctan2(along[..., 1], along[..., 0])
    moved = np.linalg.norm(along, axis=-1) > 1e-3
    middle = (lines[:, 1:] + lines[:, :-1]) / 2
    return np.concatenate([middle, yaw[..., None]], -1)[moved]


def _add(
    config: EditConfig, frame: Keyframe, boxes: Boxes, rng: np.random.Generator, tally: _Tally
) -> dict[str, Any] | None:
    wants = tally.wants_more(config.matter_share)
    fallback: tuple[Vehicle, Answer] | None = None
    for vehicle in _candidates(config, frame, boxes, rng, wants)[:6]:
        own = boxes_over_time(vehicle.box[None], _with_yaw(vehicle)[None], np.ones((1, NUM_FUTURE_STEPS), bool))
        both = Boxes(np.concatenate([boxes.box, own.box]), np.concatenate([boxes.valid, own.valid]))
        answer = answer_to_added(frame, both, is_passable=not vehicle.velocity.any())
        if answer is None:
            continue
        if matters(answer.path, frame.ego_future[:, :2]) == wants:
            fallback = (vehicle, answer)
            break
        fallback = fallback or (vehicle, answer)
    if fallback is None:
        return None
    row = _row(frame, "add", *fallback)
    tally.num_added += 1
    tally.num_mattering += row["matters"]
    return row


def _candidates(
    config: EditConfig, frame: Keyframe, boxes: Boxes, rng: np.random.Generator, wants_to_matter: bool
) -> list[Vehicle]:
    """Vehicles on lanes ahead that overlap nobody, those first that suit the wish; the driven path is not looked at."""
    poses = lane_poses(frame)
    x_max, y_max = min(config.max_ahead_m, PERCEPTION_RANGE_M[2]), PERCEPTION_RANGE_M[3] - 2.0
    inside = (poses[:, 0] >= config.min_ahead_m) & (poses[:, 0] <= x_max) & (np.abs(poses[:, 1]) <= y_max)
    poses = poses[inside]
    off_path = distance_to_polyline(poses[:, :2], frame.expected_path(5.0))
    in_way = (off_path < IN_WAY_M) & (np.abs(poses[:, 2]) < np.pi / 2)
    order = rng.permutation(len(poses))
    poses = poses[order[np.argsort(in_way[order] != wants_to_matter, kind="stable")]][: config.num_candidates]
    speeds = (0.0, 0.0, 0.0, 3.0) if wants_to_matter else (0.0, 3.0, 6.0, 6.0)
    vehicles = [_vehicle(frame, pose, at, float(rng.choice(speeds)), rng) for at, pose in enumerate(poses)]
    if not vehicles:
        return []
    now = np.stack([vehicle.box for vehicle in vehicles])
    future = np.stack([_with_yaw(vehicle) for vehicle in vehicles])
    moving = boxes_over_time(now, future, np.ones(future.shape[:2], bool))
    bad = overlaps(moving.box, moving.valid, boxes)
    bad |= boxes_overlap(now[:, None], frame.box[None]).any(1) | boxes_overlap(now, _ego_with_room())
    return [vehicle for vehicle, is_bad in zip(vehicles, bad, strict=True) if not is_bad]


def _ego_with_room() -> Float[Array, "5"]:
    return ego_boxes(np.zeros(3)) + np.array([0.0, 0.0, 0.0, 2.0, 1.0])


def _vehicle(frame: Keyframe, pose: Float[Array, "3"], at: int, speed: float, rng: np.random.Generator) -> Vehicle:
    category = "truck" if rng.random() < 0.2 else "car"
    velocity = speed * np.array([np.cos(pose[2]), np.sin(pose[2])])
    return Vehicle(
        token=f"added-{frame.sample_token}-{at}",
        category=category,
        box=np.array([*pose[:2], wrap_angle(pose[2]), *SIZES_M[category]]),
        velocity=velocity,
        future=pose[:2] + STEP_TIMES_S[:, None] * velocity,
    )


def _with_yaw(vehicle: Vehicle) -> Float[Array, "6 3"]:
    return np.concatenate([vehicle.future, np.full((NUM_FUTURE_STEPS, 1), vehicle.box[2])], -1)


def _delete(config: EditConfig, frame: Keyframe, boxes: Boxes, rng: np.random.Generator) -> dict[str, Any] | None:
    distance = np.linalg.norm(frame.box[:, :2], axis=1)
    rows = [
        int(row)
        for row in np.argsort(distance)
        if frame.is_visible[row] and frame.categories[row] in EDITABLE and frame.future_valid[row].all()
    ][: config.num_nearest]
    if not rows:
        return None
    leader = leader_row(frame)
    # A held ego is rare and instructive: its leader is deleted every second time.
    is_leader_taken = leader in rows and rng.random() < 0.5
    row = leader if leader is not None and is_leader_taken else int(rng.choice(rows))
    velocity = np.nan_to_num(frame.velocity[row])
    vehicle = Vehicle(frame.instances[row], frame.categories[row], frame.box[row], velocity, frame.future[row][:, :2])
    answer = answer_to_deleted(frame, boxes.without(row), was_leader=row == leader)
    return _row(frame, "delete", vehicle, answer)


def leader_row(frame: Keyframe) -> int | None:
    """The vehicle that holds the ego: the first thing on its path, near, and both of them slow; None without one."""
    ego_mps = float(np.linalg.norm(frame.ego_future[-1, :2])) / STEP_TIMES_S[-1]
    if ego_mps > LEADER_MPS:
        return None
    path = frame.expected_path(30.0)
    reach = (frame.box[:, 4] + 1.0) / 2
    in_way = (frame.box[:, 0] > 0) & (distance_to_polyline(frame.box[:, :2], path) < reach)
    rows = sorted(np.flatnonzero(in_way), key=lambda row: frame.box[row, 0])
    if not rows or frame.categories[rows[0]] not in EDITABLE or frame.box[rows[0], 0] > LEADER_GAP_M:
        return None
    is_slow = np.linalg.norm(np.nan_to_num(frame.velocity[rows[0]])) <= LEADER_MPS
    return int(rows[0]) if is_slow else None


def _row(frame: Keyframe, kind: str, vehicle: Vehicle, answer: Answer) -> dict[str, Any]:
    x, y, yaw, length, width = (float(value) for value in vehicle.box)
    return {
        "sample_token": frame.sample_token,
        "kind": kind,
        "instance_token": vehicle.token,
        "category": vehicle.category,
        **{"x_m": x, "y_m": y, "yaw_rad": yaw, "length_m": length, "width_m": width},
        "vx_mps": float(vehicle.velocity[0]),
        "vy_mps": float(vehicle.velocity[1]),
        "future": vehicle.future.ravel().tolist(),
        "path": answer.path.ravel().tolist(),
        "path_valid": [True] * NUM_FUTURE_STEPS,
        "question": _question(kind, vehicle),
        "answer": answer.text,
        "matters": matters(answer.path, frame.ego_future[:, :2]),
    }


def _question(kind: str, vehicle: Vehicle) -> str:
    direction = DIRECTIONS[int(directions(vehicle.box[None, :2])[0])]
    distance = round(float(np.linalg.norm(vehicle.box[:2])))
    name = f"{singular(vehicle.category)} {distance} m to the {direction}"
    if kind == "delete":
        return f"If the {name} were not there, what should the ego vehicle do?"
    speed = float(np.linalg.norm(vehicle.velocity))
    motion = "standing still" if speed == 0 else f"driving at {speed:.0f} m/s"
    return f"If there were a {name}, {motion}, what should the ego vehicle do?"
