"""Plane geometry that the checks need, written apart from what the annotators use."""

import math
from collections.abc import Sequence
from itertools import pairwise

Point = tuple[float, float]
Box = tuple[float, float, float, float, float]
"""x, y, yaw, length, width."""


def wrapped_deg(angle_deg: float) -> float:
    """Into -180 ... 180."""
    return math.remainder(angle_deg, 360.0)


def distance_to_line(point: Point, line: Sequence[Point]) -> float:
    """From a point to a polyline of at least two points."""
    return min(_to_segment(point, start, end) for start, end in pairwise(line))


def _to_segment(point: Point, start: Point, end: Point) -> float:
    dx, dy = end[0] - start[0], end[1] - start[1]
    length = dx * dx + dy * dy
    share = 0.0
    if length > 0:
        share = min(1.0, max(0.0, ((point[0] - start[0]) * dx + (point[1] - start[1]) * dy) / length))
    return math.hypot(point[0] - start[0] - share * dx, point[1] - start[1] - share * dy)


def overlap(one: Box, other: Box, margin: float = 0.0) -> bool:
    """Whether two boxes touch, each half of ``margin`` larger all round: no axis of either separates them."""
    if math.hypot(one[0] - other[0], one[1] - other[1]) > _reach(one) + _reach(other) + margin:
        return False
    corners = _corners(one, margin), _corners(other, margin)
    for yaw in (one[2], one[2] + math.pi / 2, other[2], other[2] + math.pi / 2):
        axis = math.cos(yaw), math.sin(yaw)
        spans = [[x * axis[0] + y * axis[1] for x, y in box] for box in corners]
        if max(spans[0]) < min(spans[1]) or max(spans[1]) < min(spans[0]):
            return False
    return True


def _reach(box: Box) -> float:
    return math.hypot(box[3], box[4]) / 2


def _corners(box: Box, margin: float) -> list[Point]:
    x, y, yaw, length, width = box
    ahead, aside = (length + margin) / 2, (width + margin) / 2
    cos, sin = math.cos(yaw), math.sin(yaw)
    return [
        (x + cos * along - sin * across, y + sin * along + cos * across)
        for along in (ahead, -ahead)
        for across in (aside, -aside)
    ]
