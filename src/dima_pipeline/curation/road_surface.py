"""Where the road is, as far as the tables tell: on which side of its edges a place lies, and whether a box meets one.

``map_elements`` hold the edges of the road (kind ``boundary``) within 60 x 30 m around the ego, 20 points a line, and
no areas. Each edge parts road from no road, so a place is on the road if a straight line from a place that is on it
crosses edges an even number of times. Off the road is a box that meets an edge, stands beyond one, or leaves the
60 x 30 m, where nothing is known. Road is where the centre of a lane is, else where the ego is.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from dima_pipeline.contracts.frames import PERCEPTION_RANGE_M
from dima_pipeline.geometry import box_corners
from dima_pipeline.storage.keyframes import Keyframe

Array = np.ndarray
CLOSED_M = 0.5
"""A crossing is whole if its outline ends where it begins; one at the border of what is known is cut."""
KERB_M = 0.5
"""Between the end of a crossing and the edge of the road."""
NUM_VOTES = 5
"""Centres of lanes that say on which side of the edges the road is, most of them: one may lie beyond a coarse edge."""


@dataclass(frozen=True, kw_only=True)
class Surface:
    """The road of one keyframe in its ego frame."""

    start: Float[Array, "E 2"]
    """Of the E pieces of its edges."""
    end: Float[Array, "E 2"]
    road: Float[Array, "2"]
    """A place on the road."""
    crossings: list[Float[Array, "19 2"]]
    """Outlines of whole crossings, with the kerbs at their ends."""

    def is_road(self, points: Float[Array, "N 2"]) -> Bool[Array, "N"]:
        """Which places lie on the road's side of its edges."""
        return _crossed(self.road, points, self.start, self.end) % 2 == 0

    def meets_edge(self, boxes: Float[Array, "N 5"]) -> Bool[Array, "N"]:
        """Which boxes x, y, yaw, length, width touch an edge (separating axes, exact)."""
        met = np.zeros(len(boxes), bool)
        if not len(self.start):
            return met
        middle, half = (self.start + self.end) / 2, np.linalg.norm(self.end - self.start, axis=1) / 2
        reach = np.hypot(boxes[:, 3], boxes[:, 4])[:, None] / 2 + half
        box, edge = np.nonzero(((boxes[:, None, :2] - middle) ** 2).sum(-1) <= reach**2)
        met[box[_touch(boxes[box], self.start[edge], self.end[edge])]] = True
        return met

    def on_crossing(self, points: Float[Array, "N 2"]) -> Bool[Array, "N"]:
        """Which places lie on a whole crossing."""
        inside = np.zeros(len(points), bool)
        for outline in self.crossings:
            following = np.roll(outline, -1, axis=0)
            inside |= _crossed(np.array([500.0, 377.0]), points, outline, following) % 2 == 1
        return inside


def surface(frame: Keyframe) -> Surface:
    """The road around the ego of a keyframe."""
    edges = frame.polylines["boundary"]
    centres = frame.polylines["centerline"][:, 5:15:4].reshape(-1, 2)
    near = np.argsort((centres**2).sum(1), kind="stable")[:NUM_VOTES]
    outlines = frame.polylines["ped_crossing"]
    start, end = edges[:, :-1].reshape(-1, 2), edges[:, 1:].reshape(-1, 2)
    # Never along an edge: a hair's breadth off.
    places = (centres[near] if len(near) else np.zeros((1, 2))) + np.array([1.3e-4, 7.1e-5])
    agreeing = [(_crossed(place, places, start, end) % 2 == 0).sum() for place in places]
    crossings = [_to_kerbs(line[:-1]) for line in outlines if np.linalg.norm(line[0] - line[-1]) <= CLOSED_M]
    return Surface(start=start, end=end, road=places[int(np.argmax(agreeing))], crossings=crossings)


def walking_axis(outline: Float[Array, "N 2"]) -> tuple[Float[Array, "2"], Float[Array, "2"], float]:
    """Middle, direction and half length of a crossing: the longer way, which leads over the road."""
    middle = outline.mean(0)
    axis = np.linalg.eigh(np.cov((outline - middle).T))[1][:, -1]
    return middle, axis, float(np.abs((outline - middle) @ axis).max())


def is_known(boxes: Float[Array, "... 5"]) -> Bool[Array, "..."]:
    """Which boxes lie within the perception range altogether."""
    corners = box_corners(boxes)
    low, high = np.array(PERCEPTION_RANGE_M[:2]), np.array(PERCEPTION_RANGE_M[2:])
    return ((corners >= low) & (corners <= high)).all((-1, -2))


def _to_kerbs(outline: Float[Array, "N 2"]) -> Float[Array, "N 2"]:
    middle, axis, half = walking_axis(outline)
    return outline + ((outline - middle) @ axis / max(half, 1e-3) * KERB_M)[:, None] * axis


def _crossed(
    place: Float[Array, "2"], points: Float[Array, "N 2"], start: Float[Array, "E 2"], end: Float[Array, "E 2"]
) -> Float[Array, "N"]:
    """How many edges lie between a place and each of some points."""
    way = points - place
    side_start = _cross(way[:, None], start - place)
    side_end = _cross(way[:, None], end - place)
    edge = end - start
    side_place = _cross(edge, place - start)
    side_point = _cross(edge, points[:, None] - start)
    return (((side_start > 0) != (side_end > 0)) & ((side_place > 0) != (side_point > 0))).sum(1)


def _touch(boxes: Float[Array, "N 5"], start: Float[Array, "N 2"], end: Float[Array, "N 2"]) -> Bool[Array, "N"]:
    cos, sin = np.cos(boxes[:, 2, None]), np.sin(boxes[:, 2, None])
    ends = np.stack([start, end], 1) - boxes[:, None, :2]
    along, across = cos * ends[..., 0] + sin * ends[..., 1], cos * ends[..., 1] - sin * ends[..., 0]
    length, width = boxes[:, 3] / 2, boxes[:, 4] / 2
    is_beside = (along.min(1) > length) | (along.max(1) < -length) | (across.min(1) > width) | (across.max(1) < -width)
    dx, dy = along[:, 1] - along[:, 0], across[:, 1] - across[:, 0]
    off_line = np.abs(along[:, 0] * dy - across[:, 0] * dx)
    return ~is_beside & (off_line <= length * np.abs(dy) + width * np.abs(dx))


def _cross(first: Array, second: Array) -> Array:
    return first[..., 0] * second[..., 1] - first[..., 1] * second[..., 0]
