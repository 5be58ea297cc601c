"""The occupancy grids of published collision numbers, cell by cell, without ever drawing a grid.

A filled box is one run of cells in each row, so two footprints share a cell where their runs do. Sizes, offsets and
roundings are the published ones, in float32 as there; what is drawn is the box on an endless grid, cut at the border:
OpenCV's own cut of a line may differ by a cell there, at 50 m.
"""

import numpy as np
from jaxtyping import Bool, Float, Int

from dima_pipeline.contracts.frames import EGO_LENGTH_M, EGO_WIDTH_M
from dima_pipeline.geometry import boxes_overlap, ego_boxes

HALF_GRID_M = 50.0
EMPTY = np.iinfo(np.int64).max


def row_runs(
    corners: Int[np.ndarray, "K 4 2"], rows: Int[np.ndarray, "K R"]
) -> tuple[Int[np.ndarray, "K R"], Int[np.ndarray, "K R"]]:
    """First and last cell that a filled quadrangle with integer ``corners`` (column, row) covers in each of ``rows``.

    As ``cv2.fillPoly``: the outline is Bresenham's line with 8 neighbours, always walked from left to right, and what
    lies between its outermost cells is filled. First > last where a row is empty.
    """
    first, last = np.full(rows.shape, EMPTY), np.full(rows.shape, -EMPTY)
    for corner in range(4):
        low, high, is_on = _line_runs(corners[:, corner], corners[:, (corner + 1) % 4], rows)
        first = np.where(is_on, np.minimum(first, low), first)
        last = np.where(is_on, np.maximum(last, high), last)
    return first, last


def _line_runs(
    start: Int[np.ndarray, "K 2"], end: Int[np.ndarray, "K 2"], rows: Int[np.ndarray, "K R"]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """First and last cell of a line in each row, and whether it is in that row at all."""
    is_leftward = (end[:, 0] < start[:, 0])[:, None]
    start, end = np.where(is_leftward, end, start), np.where(is_leftward, start, end)
    across = (end[:, 0] - start[:, 0])[:, None]
    down = (end[:, 1] - start[:, 1])[:, None]
    height = np.abs(down)
    step = (rows - start[:, 1:]) * np.where(down < 0, -1, 1)
    # Steep: one cell a row. Flat: all cells whose row rounds (halves down) to this one; a level line has them all.
    steep = -((height - 2 * across * step) // np.maximum(2 * height, 1))
    flat_first = np.maximum((2 * step - 1) * across // np.maximum(2 * height, 1) + 1, 0)
    flat_last = np.minimum((2 * step + 1) * across // np.maximum(2 * height, 1), across)
    is_steep, is_level = height > across, height == 0
    low = np.where(is_steep, steep, np.where(is_level, 0, flat_first))
    high = np.where(is_steep, steep, np.where(is_level, across, flat_last))
    return start[:, :1] + low, start[:, :1] + high, (step >= 0) & (step <= height)


def corners_float32(boxes: Float[np.ndarray, "K 5"]) -> Float[np.ndarray, "K 4 2"]:
    """Corners of boxes x, y, yaw, length, width in single precision, as data sets of the time computed them."""
    x, y, yaw, length, width = np.asarray(boxes, np.float32).T[..., None]
    along = np.float32(0.5) * length * np.array([1, -1, -1, 1], np.float32)
    across = np.float32(0.5) * width * np.array([1, 1, -1, -1], np.float32)
    cos, sin = np.cos(yaw), np.sin(yaw)
    return np.stack([cos * along - sin * across + x, sin * along + cos * across + y], -1)


class HalfMetreGrid:
    """UniAD's and VAD's grid: 200 x 200 cells of 0.5 m around LIDAR_TOP; columns x, rows y (VAD counts them from +y).

    The ego covers 8 x 4 cells (4.0 x 2.0 m) and never turns; its cells are cut to the border. Boxes are rounded to the
    nearest corner of a cell and filled with their outline, so they reach 0.25 m further to +x and to +row.
    """

    RESOLUTION_M = 0.5
    NUM_CELLS = 200
    EGO_ROWS, EGO_COLUMNS = (97, 104), (98, 101)

    def __init__(self, is_flipped: bool) -> None:
        self._sign = -1 if is_flipped else 1

    def hits(self, path: Float[np.ndarray, "N T 2"], boxes: np.ndarray, counts: np.ndarray) -> Bool[np.ndarray, "N T"]:
        """Whether the ego's cells meet those of a box; all in the LIDAR frame."""
        cells = self.ego_cells(path)
        low, high = (self._metres(cells[..., side]) for side in (0, 1))
        sample, step, agent = near(boxes, counts, low, high, 3 * self.RESOLUTION_M)
        corners = self.box_cells(boxes[sample, step, agent])
        columns, first_row = cells[sample, step, 0], cells[sample, step, 1, 0]
        rows = first_row[:, None] + np.arange(self.EGO_ROWS[1] - self.EGO_ROWS[0] + 1)
        first, last = row_runs(corners, rows)
        meets = (first <= columns[:, 1:]) & (last >= columns[:, :1]) & (rows <= cells[sample, step, 1, 1:])
        return any_of(meets.any(1), (sample, step), path.shape[:2])

    def ego_cells(self, path: Float[np.ndarray, "N T 2"]) -> Int[np.ndarray, "N T 2 2"]:
        """Columns and rows, the first and the last of each."""
        moved = np.asarray(path, np.float32) / np.float32(self.RESOLUTION_M)
        columns = moved[..., :1].astype(float) + self.EGO_COLUMNS
        rows = moved[..., 1:].astype(float) + self.EGO_ROWS
        if self._sign < 0:
            rows = (self.NUM_CELLS - rows)[..., ::-1]
        return np.clip(np.trunc(np.stack([columns, rows], -2)), 0, self.NUM_CELLS - 1).astype(np.int64)

    def box_cells(self, boxes: Float[np.ndarray, "K 5"]) -> Int[np.ndarray, "K 4 2"]:
        """Corners of boxes as columns and rows."""
        corners = corners_float32(boxes) * np.array([1, self._sign], np.float32)
        offset, half = np.float32(HALF_GRID_M - self.RESOLUTION_M / 2), np.float32(self.RESOLUTION_M / 2)
        return np.round((corners + offset + half) / np.float32(self.RESOLUTION_M)).astype(np.int64)

    def _metres(self, cells: Int[np.ndarray, "N T 2"]) -> Float[np.ndarray, "N T 2"]:
        """Centres of cells (column, row) in the LIDAR frame."""
        return ((cells + 0.5) * self.RESOLUTION_M - HALF_GRID_M) * [1, self._sign]


class TenthMetreGrid:
    """BEV-Planner's grid: 1000 x 1000 cells of 0.1 m around the ego origin; columns x, rows y.

    The ego is 41 x 18 cells, 0.5 + 0.985793 m ahead of its origin, turned one by one to the direction of the last step
    (straight on where it is under 1 m) and rounded: holes between them stay. Boxes are cut down to the cell.
    """

    RESOLUTION_M = 0.1
    NUM_CELLS = 1000
    CENTER_AHEAD_M = 0.5 + 0.985793
    MIN_STEP_M = 1.0
    REACH_M = 4.0
    """No cell of the ego is further from its origin."""
    CELLS_OFF_M = 0.6
    """Cells of two boxes that are further apart than that do not meet: roundings move each by three cells at most."""
    NUM_ROWS = 48
    """At most that many rows hold cells of one ego box, however it is turned."""
    BLOCK = 128
    """Pairs of boxes whose cells are looked at together: memory does not grow with crowds."""

    def hits(self, path: Float[np.ndarray, "N T 2"], boxes: np.ndarray, counts: np.ndarray) -> Bool[np.ndarray, "N T"]:
        """Whether one of the ego's cells lies in a box; all in the ego frame."""
        border = HALF_GRID_M - self.RESOLUTION_M
        low, high = (np.clip(path + reach, -HALF_GRID_M, border) for reach in (-self.REACH_M, self.REACH_M))
        sample, step, agent = near(boxes, counts, low, high, 3 * self.RESOLUTION_M)
        places, headings = path[sample, step], self.headings(path)[sample, step]
        boxes = boxes[sample, step, agent]
        ego = ego_boxes(np.concatenate([places, headings[:, None]], -1), self.CENTER_AHEAD_M)
        is_cut = (np.abs(places) > HALF_GRID_M - self.REACH_M - self.RESOLUTION_M).any(-1)
        meets = is_cut | boxes_overlap(ego, boxes, self.CELLS_OFF_M)
        (possible,) = np.nonzero(meets)
        for first in range(0, len(possible), self.BLOCK):
            pairs = possible[first : first + self.BLOCK]
            meets[pairs] = self._meet(self.ego_cells(places[pairs], headings[pairs]), self.box_cells(boxes[pairs]))
        return any_of(meets, (sample, step), path.shape[:2])

    def headings(self, path: Float[np.ndarray, "N T 2"]) -> Float[np.ndarray, "N T"]:
        """Direction of each step of the ego (rad), 0 where it is too short."""
        path = np.asarray(path, np.float32)
        steps = np.diff(np.concatenate([np.zeros_like(path[:, :1]), path], 1), axis=1)
        is_slow = np.linalg.norm(steps, axis=-1) < self.MIN_STEP_M
        return np.where(is_slow, np.float32(0), np.arctan2(steps[..., 1], steps[..., 0]))

    def ego_cells(
        self, places: Float[np.ndarray, "K 2"], headings: Float[np.ndarray, "K"]
    ) -> tuple[Int[np.ndarray, "K E"], Int[np.ndarray, "K E"]]:
        """Columns and rows of all cells of the ego whose origin is at ``places``."""
        cos, sin = (turn(headings).astype(float)[:, None] for turn in (np.cos, np.sin))
        along, across = self._footprint().T
        turned = along * cos - across * sin, along * sin + across * cos
        moved = (np.asarray(places, np.float32) / np.float32(self.RESOLUTION_M)).astype(float)
        columns, rows = (self._cut(moved[:, axis, None], turned[axis]) for axis in (0, 1))
        return columns, rows

    def _cut(self, moved: Float[np.ndarray, "K 1"], turned: Float[np.ndarray, "K E"]) -> Int[np.ndarray, "K E"]:
        """Whole cells within the grid."""
        cells = moved + np.round(turned + (HALF_GRID_M / self.RESOLUTION_M - 0.5))
        return np.clip(cells, 0, self.NUM_CELLS - 1).astype(np.int64)

    def _meet(
        self, ego: tuple[Int[np.ndarray, "K E"], Int[np.ndarray, "K E"]], corners: Int[np.ndarray, "K 4 2"]
    ) -> Bool[np.ndarray, "K"]:
        """Whether one of the ego's cells lies in the box with these corners."""
        columns, rows = ego
        first_row = rows.min(1, keepdims=True)
        first, last = row_runs(corners, first_row + np.arange(self.NUM_ROWS))
        place = rows - first_row
        is_inside = (np.take_along_axis(first, place, 1) <= columns) & (columns <= np.take_along_axis(last, place, 1))
        return is_inside.any(1)

    def box_cells(self, boxes: Float[np.ndarray, "K 5"]) -> Int[np.ndarray, "K 4 2"]:
        """Corners of boxes as columns and rows."""
        offset = np.float32(HALF_GRID_M - self.RESOLUTION_M / 2)
        return np.trunc((corners_float32(boxes) + offset) / np.float32(self.RESOLUTION_M)).astype(np.int64)

    def _footprint(self) -> Float[np.ndarray, "E 2"]:
        """Cells of the unturned ego, ahead and left of its origin, in cells: those whose centres lie in the box."""
        ahead = self.CENTER_AHEAD_M + np.array([-EGO_LENGTH_M / 2, EGO_LENGTH_M / 2])
        aside = np.array([-EGO_WIDTH_M / 2, EGO_WIDTH_M / 2])
        middle = HALF_GRID_M / self.RESOLUTION_M - 0.5
        spans = [
            np.arange(np.ceil(low), np.floor(high) + 1) for low, high in (middle + ahead * 10, middle + aside * 10)
        ]
        return np.stack(np.meshgrid(*spans, indexing="ij"), -1).reshape(-1, 2) - middle


def near(
    boxes: Float[np.ndarray, "N T A 5"],
    counts: Bool[np.ndarray, "N T A"],
    low: Float[np.ndarray, "N T 2"],
    high: Float[np.ndarray, "N T 2"],
    margin_m: float,
) -> tuple[np.ndarray, ...]:
    """Sample, step and agent of the counted boxes that may reach into the rectangle from ``low`` to ``high``."""
    low, high = np.minimum(low, high), np.maximum(low, high)
    centre, half = (low + high) / 2, (high - low) / 2
    reach = np.hypot(boxes[..., 3], boxes[..., 4]) / 2 + margin_m
    apart = np.abs(boxes[..., :2] - centre[:, :, None]) - half[:, :, None]
    return np.nonzero(counts & (apart <= reach[..., None]).all(-1))


def any_of(
    hit: Bool[np.ndarray, "K"], places: tuple[np.ndarray, np.ndarray], shape: tuple[int, ...]
) -> Bool[np.ndarray, "N T"]:
    """Which samples and steps have a hit."""
    found = np.zeros(shape, bool)
    found[places[0][hit], places[1][hit]] = True
    return found
