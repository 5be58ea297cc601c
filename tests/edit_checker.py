"""A second opinion on scene edits, from the tables alone: nothing here is taken from the code that makes them.

Areas are shapely's, the road is put together from its edges as polygons, and the bicycle is integrated by Runge and
Kutta in steps of 10 ms. ``check_edits`` gives for every edit the names of what is wrong with it, most often none.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
import shapely

EGO_LENGTH, EGO_WIDTH, EGO_CENTRE_AHEAD = 4.084, 1.85, 1.443713
WHEELBASE = 2.588
TIMES = np.linspace(0.0, 3.0, 61)
WINDOW = shapely.box(-30.0, -15.0, 30.0, 15.0)
LIMITS = {"brake": -6.0, "accelerate": 3.0, "jerk": 15.0, "steer": 0.6, "steer_rate": 1.0, "lateral": 5.0}
MARGIN, TRACKED = 0.25, 0.31
"""Of the 0.3 m that are promised: between two tenths of a second a little less may remain, and places are rounded."""
TABLES = ("agents", "agent_futures", "ego_paths", "map_elements")
SLIVER = 1e-3
"""Square metres that are no overlap."""


@dataclass
class Surroundings:
    """The recorded boxes (N, 61, 5) and where they are known, the driven poses (61, 3), and the map of a keyframe."""

    tokens: list[str]
    boxes: np.ndarray
    known: np.ndarray
    driven: np.ndarray
    speed: float
    edges: Any
    road: Any
    crossings: Any


def check_edits(edits: pd.DataFrame, tables: Any) -> pd.Series:
    """The names of what is wrong with each edit, separated by blanks; empty where nothing is."""
    groups = {name: dict(list(getattr(tables, name).groupby("sample_token"))) for name in TABLES}
    speeds = tables.samples.set_index("sample_token").speed_mps
    found = pd.Series("", index=range(len(edits)), dtype=object)
    for token, rows in edits.reset_index(drop=True).groupby("sample_token"):
        parts = {name: groups[name].get(token, getattr(tables, name).iloc[:0]) for name in TABLES}
        around = _surroundings(float(speeds[token]), **parts)
        for row in rows.itertuples():
            found[row.Index] = " ".join(_faults(row, around))
    return found


def road_polygon(edges: Any, inside: np.ndarray) -> Any:
    """The faces between the edges that are road: an even number of edges lies between them and most of ``inside``."""
    lines = shapely.union_all([*edges, WINDOW.buffer(-1e-3).exterior])
    faces = shapely.get_parts(shapely.polygonize(shapely.get_parts(lines)))
    if not len(edges):
        return WINDOW
    kept, segments = [], np.array(_segments(edges), object)
    for face in faces:
        spot = shapely.get_coordinates(shapely.point_on_surface(face))[0]
        ways = shapely.linestrings(np.stack([np.broadcast_to(spot, inside.shape), inside], 1))
        crossed = shapely.intersects(ways[:, None], segments).sum(1)
        if (crossed % 2 == 0).mean() > 0.5:
            kept.append(face)
    return shapely.union_all(kept).buffer(2e-3) if kept else shapely.Polygon()


def polygons(boxes: np.ndarray) -> np.ndarray:
    """Rectangles of boxes x, y, yaw, length, width."""
    along = np.stack([np.cos(boxes[..., 2]), np.sin(boxes[..., 2])], -1) * boxes[..., 3:4] / 2
    across = np.stack([-np.sin(boxes[..., 2]), np.cos(boxes[..., 2])], -1) * boxes[..., 4:5] / 2
    middle = boxes[..., :2]
    ring = [middle + along + across, middle - along + across, middle - along - across, middle + along - across]
    return shapely.polygons(np.stack(ring, -2))


def integrate(speed: float, acceleration: np.ndarray, steering: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Poses and speeds every 0.05 s of a bicycle whose rear axle starts at the origin along x."""

    def slope(state: np.ndarray, push: float, angle: float) -> np.ndarray:
        x_dot, y_dot = state[3] * np.cos(state[2]), state[3] * np.sin(state[2])
        return np.array([x_dot, y_dot, state[3] * np.tan(angle) / WHEELBASE, push])

    state, step = np.array([0.0, 0.0, 0.0, speed]), 0.01
    states = [state]
    for push, angle in zip(acceleration, steering, strict=True):
        for part in range(10):
            k1 = slope(state, push, angle)
            k2 = slope(state + step / 2 * k1, push, angle)
            k3 = slope(state + step / 2 * k2, push, angle)
            k4 = slope(state + step * k3, push, angle)
            state = state + step / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
            if part in (4, 9):
                states.append(state)
    found = np.array(states)
    return found[:, :3], found[:, 3]


def _faults(row: Any, around: Surroundings) -> Iterator[str]:
    path = np.reshape(np.array(row.path, float), (6, 2))
    acceleration, steering = np.array(row.acceleration_mps2, float), np.array(row.steering_rad, float)
    poses, speeds = integrate(row.speed_mps, acceleration, steering)
    yield from _driving_faults(row, around, path, poses, speeds)
    yield from _label_faults(row, around, path, speeds)
    rest = [at for at, token in enumerate(around.tokens) if not (row.kind == "delete" and token == row.instance_token)]
    others, known = around.boxes[rest], around.known[rest]
    ego = _ego(around.driven if row.label == "keep" else poses)
    if _gap(ego, others, known) <= 0:
        yield "ego_overlap"
    if row.label != "keep" and _gap(ego[::2], others[:, ::2], known[:, ::2]) < MARGIN:
        yield "ego_margin"
    if row.label in ("nudge", "resume") and any(shapely.intersects(polygons(ego), edge).any() for edge in around.edges):
        yield "ego_off_road"
    if row.kind == "add":
        added = _added(row)
        every = np.ones((1, len(TIMES)), bool)
        if _gap(added, others, known) <= 0 or _gap(added[:1], _ego(np.zeros((1, 1, 3))), every[:, :1]) <= 0:
            yield "added_overlap"
        if _gap(ego[::2], added[None, ::2], every[:, ::2]) < MARGIN:
            yield "added_margin"
        yield from _map_faults(row.category, polygons(added), around)


def _driving_faults(
    row: Any, around: Surroundings, path: np.ndarray, poses: np.ndarray, speeds: np.ndarray
) -> Iterator[str]:
    acceleration, steering = np.array(row.acceleration_mps2, float), np.array(row.steering_rad, float)
    slack = 1e-4
    jerk = np.abs(np.diff(acceleration)) / 0.1
    # A car that has come to rest needs no braking any more, at once.
    jerk[speeds[4::2] < 1e-3] = 0.0
    lateral = speeds[2::2] ** 2 * np.abs(np.tan(steering)) / WHEELBASE
    checks = {
        "backwards": speeds.min() >= -slack,
        "brake": acceleration.min() >= LIMITS["brake"] - slack,
        "accelerate": acceleration.max() <= LIMITS["accelerate"] + slack,
        "jerk": jerk.max() <= LIMITS["jerk"] + slack,
        "steer": np.abs(steering).max() <= LIMITS["steer"] + slack,
        "steer_rate": np.abs(np.diff(steering)).max() / 0.1 <= LIMITS["steer_rate"] + slack,
        "lateral": lateral.max() <= LIMITS["lateral"] + slack,
        "start": np.isnan(around.speed) or abs(row.speed_mps - max(around.speed, 0.0)) <= max(1.0, 0.2 * around.speed),
        "path": np.linalg.norm(poses[10::10, :2] - path, axis=1).max() <= (TRACKED if row.label == "keep" else 0.01),
    }
    yield from (f"undrivable_{name}" for name, is_good in checks.items() if not is_good)


def _label_faults(row: Any, around: Surroundings, path: np.ndarray, speeds: np.ndarray) -> Iterator[str]:
    driven = around.driven[10::10, :2]
    differs = np.linalg.norm(path - driven, axis=1).max()
    if bool(row.matters) != bool(differs > 0.5):
        yield "matters"
    allowed = ("keep", "nudge", "slow", "stop") if row.kind == "add" else ("keep", "resume")
    is_right = {
        "keep": differs < 1e-6,
        "stop": speeds[-1] < 0.5,
        "slow": speeds[-1] >= 0.5 and np.linalg.norm(path[-1]) < np.linalg.norm(driven[-1]),
        "nudge": differs > 0.5,
        "resume": np.linalg.norm(path[-1]) > np.linalg.norm(driven[-1]),
    }
    if row.label not in allowed or not is_right[row.label]:
        yield "label"


def _map_faults(category: str, shapes: np.ndarray, around: Surroundings) -> Iterator[str]:
    if not shapely.covers(WINDOW, shapes).all():
        yield "off_map"
    if category == "pedestrian":
        wrong = shapely.difference(shapely.intersection(shapes, around.road), around.crossings)
    else:
        wrong = shapely.difference(shapes, around.road)
    if shapely.area(wrong).max() > SLIVER:
        yield "off_road"


def _gap(first: np.ndarray, others: np.ndarray, known: np.ndarray) -> float:
    """The least distance between a box over time (S, 5) and others (N, S, 5) at the same time; 0 where they overlap."""
    reach = (np.hypot(first[:, 3], first[:, 4]) + np.hypot(others[..., 3], others[..., 4])) / 2 + 1.0
    other, time = np.nonzero(known & (np.linalg.norm(others[..., :2] - first[:, :2], axis=-1) < reach))
    if not len(other):
        return np.inf
    one, two = polygons(first)[time], polygons(others[other, time])
    distance = shapely.distance(one, two)
    # Touching is no overlap.
    distance[(distance == 0) & (shapely.area(shapely.intersection(one, two)) < SLIVER)] = 1e-9
    return float(distance.min())


def _ego(poses: np.ndarray) -> np.ndarray:
    yaw = poses[..., 2:3]
    middle = poses[..., :2] + EGO_CENTRE_AHEAD * np.concatenate([np.cos(yaw), np.sin(yaw)], -1)
    size = np.broadcast_to([EGO_LENGTH, EGO_WIDTH], middle.shape)
    return np.concatenate([middle, yaw, size], -1)


def _added(row: Any) -> np.ndarray:
    """The boxes of an added agent, on cubics with its headings between the steps."""
    steps = np.concatenate([np.reshape(np.array(row.future, float), (6, 2)), np.reshape(row.future_yaw_rad, (6, 1))], 1)
    poses = np.concatenate([[[row.x_m, row.y_m, row.yaw_rad]], steps])
    found = [poses[:1]]
    for begin, end in pairwise(poses):
        chord = np.linalg.norm(end[:2] - begin[:2])
        t = np.linspace(0, 1, 11)[1:, None]
        leave, arrive = (chord * np.array([np.cos(pose[2]), np.sin(pose[2])]) for pose in (begin, end))
        place = (1 - 3 * t**2 + 2 * t**3) * begin[:2] + (3 * t**2 - 2 * t**3) * end[:2]
        place = place + (t - 2 * t**2 + t**3) * leave + (t**3 - t**2) * arrive
        turn = np.angle(np.exp(1j * (end[2] - begin[2])))
        found.append(np.concatenate([place, begin[2] + t * turn], 1))
    poses = np.concatenate(found)
    return np.concatenate([poses, np.broadcast_to([row.length_m, row.width_m], (len(poses), 2))], 1)


def _surroundings(
    speed: float, agents: pd.DataFrame, agent_futures: pd.DataFrame, ego_paths: pd.DataFrame, map_elements: pd.DataFrame
) -> Surroundings:
    boxes, known = np.zeros((len(agents), 61, 5)), np.zeros((len(agents), 61), bool)
    futures = dict(list(agent_futures.groupby("instance_token")))
    for at, agent in enumerate(agents.itertuples(index=False)):
        own = futures.get(agent.instance_token, agent_futures.iloc[:0])
        boxes[at, :, :3], known[at] = _between(np.array([agent.x_m, agent.y_m, agent.yaw_rad]), own)
        boxes[at, :, 3:] = agent.length_m, agent.width_m
    driven, _ = _between(np.zeros(3), ego_paths[ego_paths.step > 0])
    lines = {
        kind: [
            np.reshape(np.array(points, float), (20, 2)) for points in map_elements.points[map_elements.kind == kind]
        ]
        for kind in ("boundary", "centerline", "ped_crossing")
    }
    edges = [shapely.LineString(line) for line in lines["boundary"]]
    middles = np.array([line[10] for line in lines["centerline"]] or [[0.011, 0.017]])
    inside = middles[np.argsort(np.linalg.norm(middles, axis=1))[:11]]
    whole = [line for line in lines["ped_crossing"] if np.linalg.norm(line[0] - line[-1]) < 0.5]
    crossings = shapely.union_all([shapely.Polygon(line).buffer(0.6) for line in whole])
    road = road_polygon(edges, inside)
    return Surroundings(list(agents.instance_token), boxes, known, driven, speed, edges, road, crossings)


def _between(now: np.ndarray, rows: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Poses every 0.05 s, straight between the recorded ones, and where both of these are known."""
    poses, valid = np.zeros((7, 3)), np.zeros(7, bool)
    poses[0], valid[0] = now, True
    for row in rows.itertuples(index=False):
        if row.valid:
            poses[row.step], valid[row.step] = (row.x_m, row.y_m, row.yaw_rad), True
    poses[:, 2] = np.unwrap(poses[:, 2])
    found = np.stack([np.interp(TIMES, 0.5 * np.arange(7), poses[:, axis]) for axis in range(3)], 1)
    low = np.minimum((TIMES / 0.5 + 1e-9).astype(int), 5)
    known = valid[low] & valid[low + 1]
    known[0] = True
    return found, known


def _segments(edges: Any) -> list[Any]:
    ends = [shapely.get_coordinates(edge) for edge in edges]
    return [shapely.LineString(pair) for line in ends for pair in pairwise(line)]
