"""Who may be added to a keyframe, and where: cars, trucks and cyclists on lanes, pedestrians beside the road or across.

All keep to the map for 3 s (``curation.road_surface``): who drives follows the lane, and the box stays on the road;
who walks keeps off it, but for crossings. Nobody is placed where another is at the same time, or upon the ego.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from dima_pipeline.contracts.frames import NUM_POLYLINE_POINTS
from dima_pipeline.curation.annotation_config import EditConfig
from dima_pipeline.curation.counterfactual import Boxes, overlaps
from dima_pipeline.curation.road_surface import Surface, is_known, walking_axis
from dima_pipeline.geometry import box_corners, boxes_overlap, distance_to_polyline, ego_boxes, wrap_angle
from dima_pipeline.scoring.rollout import NUM_TICKS, TICK_S, TICKS_PER_STEP
from dima_pipeline.storage.keyframes import Keyframe

Array = np.ndarray
SIZES_M = {"car": (4.6, 1.9), "truck": (7.0, 2.5), "bicycle": (1.8, 0.6), "pedestrian": (0.7, 0.7)}
SPEEDS_MPS = {
    "car": (0.0, 0.0, 0.0, 3.0, 6.0),
    "truck": (0.0, 0.0, 0.0, 3.0, 6.0),
    "bicycle": (0.0, 2.5, 4.0, 5.5),
    "pedestrian": (0.0, 0.8, 1.2, 1.6),
}
TRUCK_SHARE = 0.25
"""Of cars and trucks."""
LANE_CENTER_M = 1.75
"""From a divider to the middle of the lane beside it."""
ASIDE_M = {"car": 1.2, "truck": 0.5, "bicycle": 1.2}
"""How far off the middle of the lane: who stands half beside it can be passed, a cyclist keeps to a side."""
KERB_M = (0.7, 1.8)
"""Where beside the road people walk."""
IN_WAY_M = 1.6
LINKED_M, LINKED_RAD = 0.7, 0.5
"""A lane goes on in one that begins where it ends."""
CLEARANCE_M = 0.1
"""To others and to the edge of the road."""
TIMES_S = TICK_S * np.arange(NUM_TICKS + 1)


class Agent(NamedTuple):
    """The added or deleted agent in the ego frame."""

    token: str
    category: str
    size: tuple[float, float]
    velocity: Float[Array, "2"]
    pose: Float[Array, "31 3"]
    """Every 0.1 s from now on."""

    @property
    def box(self) -> Float[Array, "5"]:
        """The box now."""
        return np.array([*self.pose[0], *self.size])

    @property
    def boxes(self) -> Float[Array, "31 5"]:
        """The boxes over time."""
        return np.concatenate([self.pose, np.broadcast_to(self.size, (len(self.pose), 2))], -1)

    @property
    def future(self) -> Float[Array, "6 3"]:
        """Poses at the six steps."""
        return self.pose[TICKS_PER_STEP::TICKS_PER_STEP]


def candidates(
    config: EditConfig, frame: Keyframe, ground: Surface, others: Boxes, rng: np.random.Generator
) -> list[Agent]:
    """Agents that the map allows and that touch nobody for 3 s, in random order; at most ``num_candidates``."""
    found = list(_drawn(config, frame, ground, rng))
    if not found:
        return []
    box = np.stack([agent.boxes for agent in found])
    wide = box + np.array([0.0, 0.0, 0.0, 2 * CLEARANCE_M, 2 * CLEARANCE_M])
    ego = ego_boxes(np.zeros(3)) + np.array([0.0, 0.0, 0.0, 2.0, 1.0])
    walks = np.array([agent.category == "pedestrian" for agent in found])
    good = np.flatnonzero(~boxes_overlap(box[:, 0], ego) & is_known(wide).all(1))
    good = good[~overlaps(wide[good], np.ones((len(good), box.shape[1]), bool), others)]
    return [found[at] for at in good[is_on_map(ground, wide[good], walks[good])]]


def is_on_map(ground: Surface, box: Float[Array, "K 31 5"], walks: Bool[Array, "K"]) -> Bool[Array, "K"]:
    """Whether boxes keep to their side for 3 s: on the road, or, ``walks``, off it and on crossings."""
    fits = np.empty(len(box), bool)
    drives, on_foot = box[~walks], box[walks]
    meets = ground.meets_edge(drives.reshape(-1, 5)).reshape(drives.shape[:2]).any(1)
    # Who meets no edge stays on the side where they are.
    fits[~walks] = ground.is_road(drives[:, 0, :2]) & ~meets
    corners = box_corners(on_foot)
    stands = ground.on_crossing(corners.reshape(-1, 2))
    stands[~stands] = ~ground.is_road(corners.reshape(-1, 2)[~stands])
    fits[walks] = stands.reshape(corners.shape[:-1]).all((1, 2))
    return fits


def lane_lines(frame: Keyframe) -> Float[Array, "M 20 2"]:
    """Centres of lanes in driving direction; beside dividers, along the ego, where there are none."""
    lines = frame.polylines["centerline"]
    if len(lines):
        return lines
    lines = frame.polylines["divider"]
    backwards = lines[:, -1, 0] < lines[:, 0, 0]
    lines = np.where(backwards[:, None, None], lines[:, ::-1], lines)
    along = np.gradient(lines, axis=1)
    length = np.maximum(np.linalg.norm(along, axis=-1, keepdims=True), 1e-6)
    normal = np.stack([-along[..., 1], along[..., 0]], -1) / length * LANE_CENTER_M
    return np.concatenate([lines + normal, lines - normal])


def _drawn(config: EditConfig, frame: Keyframe, ground: Surface, rng: np.random.Generator) -> Iterator[Agent]:
    lanes = lane_lines(frame)
    places = _places(config, frame, lanes, rng)
    walkers = _walks(config, frame, ground, rng)
    for at in range(config.num_candidates):
        if rng.random() < config.vulnerable_share:
            category = "pedestrian" if walkers and rng.random() < 0.5 else "bicycle"
        else:
            category = "truck" if rng.random() < TRUCK_SHARE else "car"
        speed = float(rng.choice(SPEEDS_MPS[category]))
        if category == "pedestrian":
            pose: Array | None = _walked(*walkers[int(rng.integers(len(walkers)))], speed)
        else:
            aside = ASIDE_M[category] * rng.uniform(-1, 1) if speed == 0 or category == "bicycle" else 0.0
            pose = _driven(lanes, places[at % len(places)], speed, aside) if len(places) else None
        if pose is not None:
            yield _agent(f"added-{frame.sample_token}-{at}", category, pose, speed)


def _agent(token: str, category: str, pose: Float[Array, "31 3"], speed: float) -> Agent:
    velocity = speed * np.array([np.cos(pose[0, 2]), np.sin(pose[0, 2])])
    return Agent(token, category, SIZES_M[category], velocity, pose)


def _places(
    config: EditConfig, frame: Keyframe, lanes: Float[Array, "M 20 2"], rng: np.random.Generator
) -> list[tuple[int, int]]:
    """Lane and point where an agent may start, ahead, in random order, every second one in the ego's way."""
    x, y = lanes[:, :-1, 0], lanes[:, :-1, 1]
    line, point = np.nonzero((x >= config.min_ahead_m) & (x <= config.max_ahead_m) & (np.abs(y) <= 13.0))
    order = rng.permutation(len(line))
    line, point = line[order], point[order]
    off_path = distance_to_polyline(lanes[line, point], frame.expected_path(5.0)) if len(line) else np.zeros(0)
    in_way, aside = np.flatnonzero(off_path < IN_WAY_M), np.flatnonzero(off_path >= IN_WAY_M)
    num = min(len(in_way), len(aside))
    rows = np.concatenate([np.stack([in_way[:num], aside[:num]], 1).ravel(), in_way[num:], aside[num:]])
    return [(int(line[row]), int(point[row])) for row in rows[: config.num_candidates]]


def _driven(
    lanes: Float[Array, "M 20 2"], place: tuple[int, int], speed: float, aside_m: float
) -> Float[Array, "31 3"] | None:
    """Poses of who follows the lane; None where it ends within 3 s."""
    line, point = place
    track = lanes[line, point:]
    length = float(np.linalg.norm(np.diff(track, axis=0), axis=1).sum())
    for _ in range(3):
        if length > speed * TIMES_S[-1]:
            break
        follower = _follower(lanes, line)
        if follower is None:
            return None
        line = follower
        length += float(np.linalg.norm(np.diff(lanes[line], axis=0), axis=1).sum())
        track = np.concatenate([track, lanes[line, 1:]])
    return _poses_along(track, speed, aside_m) if length > speed * TIMES_S[-1] else None


def _follower(lanes: Float[Array, "M 20 2"], line: int) -> int | None:
    end, along = lanes[line, -1], lanes[line, -1] - lanes[line, -2]
    begins = lanes[:, 1] - lanes[:, 0]
    turn = wrap_angle(np.arctan2(begins[:, 1], begins[:, 0]) - np.arctan2(along[1], along[0]))
    found = np.flatnonzero((np.linalg.norm(lanes[:, 0] - end, axis=1) < LINKED_M) & (np.abs(turn) < LINKED_RAD))
    return int(found[0]) if len(found) else None


def _poses_along(track: Float[Array, "P 2"], speed: float, aside_m: float) -> Float[Array, "31 3"]:
    step = track[1:] - track[:-1]
    length = np.hypot(step[:, 0], step[:, 1])
    along = np.concatenate([[0.0], np.cumsum(length)])
    at = speed * TIMES_S
    yaw = np.arctan2(step[:, 1], step[:, 0])
    # Without jumps, from piece to piece.
    yaw[1:] = yaw[0] + np.cumsum(wrap_angle(yaw[1:] - yaw[:-1]))
    yaw = np.interp(at, (along[:-1] + along[1:]) / 2, yaw)
    x = np.interp(at, along, track[:, 0]) - aside_m * np.sin(yaw)
    y = np.interp(at, along, track[:, 1]) + aside_m * np.cos(yaw)
    return np.stack([x, y, wrap_angle(yaw)], -1)


def _walked(start: Float[Array, "2"], yaw: float, speed: float) -> Float[Array, "31 3"]:
    place = start + speed * TIMES_S[:, None] * np.array([np.cos(yaw), np.sin(yaw)])
    return np.concatenate([place, wrap_angle(np.full((len(place), 1), yaw))], -1)


def _walks(
    config: EditConfig, frame: Keyframe, ground: Surface, rng: np.random.Generator
) -> list[tuple[Float[Array, "2"], float]]:
    """Where walks may start and where to: four over every crossing, and as many along the edges of the road."""
    found = []
    for outline in ground.crossings:
        middle, axis, half = walking_axis(outline)
        for _ in range(4):
            yaw = float(np.arctan2(axis[1], axis[0])) + np.pi * int(rng.integers(2))
            found.append((middle + rng.uniform(-half, half) * axis, yaw))
    edges = frame.polylines["boundary"]
    for _ in range(4 * len(ground.crossings) or 4):
        if not len(edges):
            break
        line, at = edges[int(rng.integers(len(edges)))], int(rng.integers(NUM_POLYLINE_POINTS - 1))
        step = line[at + 1] - line[at]
        yaw = float(np.arctan2(step[1], step[0]))
        off = rng.uniform(*KERB_M) * (1 if rng.random() < 0.5 else -1)
        place = line[at] + rng.random() * step + off * np.array([-np.sin(yaw), np.cos(yaw)])
        found.append((place, yaw + np.pi * int(rng.integers(2))))
    return [(place, yaw) for place, yaw in found if 2.0 <= place[0] <= config.max_ahead_m]
