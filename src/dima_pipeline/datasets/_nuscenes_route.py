"""The driving command that does not look ahead in time: along the planned route, or along the only way there is.

Where the map offers several ways that differ, the command is ``unknown``; the driven future is never consulted.
"""

from collections.abc import Mapping

import numpy as np
import shapely
from jaxtyping import Float

from dima_pipeline.geometry import to_frame, wrap_angle

LOOK_AHEAD_S = 3.0
MIN_LOOK_AHEAD_M = 20.0
"""How far along the way a command looks: 3 s at the present speed, at least 20 m, so that a waiting car knows too."""
MIN_TURN_RAD = np.deg2rad(20)
MIN_OFFSET_M = 2.0
MAX_OFF_ROUTE_M = 5.0
"""The devkit's bound for a route that belongs to the driven path."""
MAX_OFF_LANE_M = 3.0
MAX_OFF_LANE_RAD = np.deg2rad(45)
SAME_LANE_M = 0.5
"""Lanes this much further than the nearest one, e.g. connectors that fan out, count as possible lanes as well."""
MAX_WAYS = 64
MAX_STEPS = 512
"""Bounds the walk through crowded or circular lane graphs."""


def look_ahead_m(speed_mps: float) -> float:
    """How far ahead along the way the command looks; unknown speed (NaN) counts as standing."""
    return max(MIN_LOOK_AHEAD_M, LOOK_AHEAD_S * abs(np.nan_to_num(speed_mps)))


def command_along(way: Float[np.ndarray, "N 2"]) -> str:
    """``left``, ``right`` or ``straight`` of a way that starts at the ego: left or right where its heading changes by
    20 degrees or more and it ends 2 m or more to that side of its first direction; ``unknown`` for a single point."""
    steps = np.diff(way, axis=0)
    steps = steps[np.linalg.norm(steps, axis=1) > 1e-6]
    if len(steps) == 0:
        return "unknown"
    headings = np.unwrap(np.arctan2(steps[:, 1], steps[:, 0]))
    offset = to_frame(way[-1], np.array([*way[0], headings[0]]))[1]
    if abs(headings[-1] - headings[0]) < MIN_TURN_RAD or abs(offset) < MIN_OFFSET_M:
        return "straight"
    return "left" if offset > 0 else "right"


def cut(line: Float[np.ndarray, "N 2"], begin_m: float, end_m: float) -> Float[np.ndarray, "M 2"]:
    """The part of a polyline between two lengths along it, ends interpolated."""
    along = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(line, axis=0), axis=1))])
    begin_m, end_m = np.clip([begin_m, end_m], 0.0, along[-1])
    inside = (along > begin_m + 1e-6) & (along < end_m - 1e-6)
    ends = [[np.interp(at, along, line[:, axis]) for axis in (0, 1)] for at in (begin_m, end_m)]
    return np.concatenate([ends[:1], line[inside], ends[1:]])


def project(line: Float[np.ndarray, "N 2"], pose: Float[np.ndarray, "3"]) -> tuple[float, float]:
    """Distance (m) of ``pose`` to the nearest place of a polyline that runs within 90 degrees of its heading, and the
    length along the line there; infinite where none does."""
    start, step = line[:-1], np.diff(line, axis=0)
    length = np.linalg.norm(step, axis=1)
    fraction = np.clip(((pose[:2] - start) * step).sum(1) / np.maximum(length, 1e-9) ** 2, 0.0, 1.0)
    distance = np.linalg.norm(start + fraction[:, None] * step - pose[:2], axis=1)
    is_aligned = step @ np.array([np.cos(pose[2]), np.sin(pose[2])]) > 0
    distance = np.where(is_aligned, distance, np.inf)
    best = int(distance.argmin())
    return float(distance[best]), float(length[:best].sum() + fraction[best] * length[best])


def command_on_route(route: Float[np.ndarray, "N 2"], pose: Float[np.ndarray, "3"], distance_m: float) -> str:
    """Command of the planned route (global) from an ego pose; ``unknown`` off the route or near its end."""
    off, along = project(route, pose)
    if off > MAX_OFF_ROUTE_M:
        return "unknown"
    way = cut(route, along, along + distance_m)
    return command_along(way) if _length(way) >= distance_m / 2 else "unknown"


def _length(way: np.ndarray) -> float:
    return float(np.linalg.norm(np.diff(way, axis=0), axis=1).sum())


class LaneGraph:
    """Lanes with their successors: ``lanes`` token -> centre (K, 3) x, y, yaw, ``outgoing`` token -> tokens."""

    def __init__(self, lanes: Mapping[str, np.ndarray], outgoing: Mapping[str, list[str]]) -> None:
        self._tokens = [token for token, poses in lanes.items() if len(poses) > 1]
        self._lanes = lanes
        self._outgoing = outgoing
        self._tree = shapely.STRtree([shapely.LineString(lanes[token][:, :2]) for token in self._tokens])

    def lanes_at(self, pose: Float[np.ndarray, "3"]) -> list[tuple[str, float]]:
        """Lanes the ego may be on and its length along each: the nearest in driving direction and its equals."""
        reach = shapely.Point(pose[:2]).buffer(MAX_OFF_LANE_M)
        found = []
        for row in np.sort(self._tree.query(reach)):
            poses = self._lanes[self._tokens[row]]
            off, along = project(poses[:, :2], pose)
            nearest = int(np.linalg.norm(poses[:, :2] - pose[:2], axis=1).argmin())
            is_aligned = abs(wrap_angle(poses[nearest, 2] - pose[2])) <= MAX_OFF_LANE_RAD
            if off <= MAX_OFF_LANE_M and is_aligned:
                found.append((off, self._tokens[row], along))
        best = min((off for off, _, _ in found), default=0.0)
        return [(token, along) for off, token, along in found if off <= best + SAME_LANE_M]

    def command(self, pose: Float[np.ndarray, "3"], distance_m: float) -> str:
        """The command that all ways from here share, else ``unknown``."""
        commands = set()
        for token, along in self.lanes_at(pose):
            lane = self._lanes[token][:, :2]
            ways = self._ways(cut(lane, along, np.inf), token, distance_m)
            commands |= {command_along(way) if _length(way) >= distance_m / 2 else "unknown" for way in ways}
        return commands.pop() if len(commands) == 1 else "unknown"

    def _ways(self, begun: np.ndarray, token: str, distance_m: float) -> list[np.ndarray]:
        """All ways of ``distance_m`` that continue ``begun``, which ends with lane ``token``; shorter at dead ends."""
        finished: list[np.ndarray] = []
        open_ways = [(begun, token)]
        for _ in range(MAX_STEPS):
            if not open_ways or len(finished) + len(open_ways) >= MAX_WAYS:
                break
            way, last = open_ways.pop()
            following = [following for following in self._outgoing.get(last, []) if following in self._lanes]
            if _length(way) >= distance_m or not following:
                finished.append(cut(way, 0.0, distance_m))
            else:
                open_ways += [(np.concatenate([way, self._lanes[lane][:, :2]]), lane) for lane in following]
        return finished + [way for way, _ in open_ways]
