"""The rasters against grids that are really drawn, cell by cell."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dima_pipeline.scoring.protocols import PROTOCOLS
from dima_pipeline.scoring.rasters import HalfMetreGrid, TenthMetreGrid, row_runs
from scoring_cases import (
    coarse_box_corners,
    coarse_ego_cells,
    draw,
    fine_box_corners,
    fine_ego_cells,
    outline,
    random_samples,
    slow_hits,
)

UNIAD, VAD, BEV_PLANNER = HalfMetreGrid(is_flipped=False), HalfMetreGrid(is_flipped=True), TenthMetreGrid()
KINDS = {"vad": (0, 1), "uniad": (0,), "bev_planner": (0,)}
cell = st.tuples(st.integers(-15, 25), st.integers(-15, 25))
FRAMES = {"vad": "lidar", "uniad": "lidar", "bev_planner": "ego"}


def filled(corners: np.ndarray, size: int) -> np.ndarray:
    """The grid (row, column) that the runs of one quadrangle stand for."""
    first, last = (run[0][:, None] for run in row_runs(np.asarray(corners)[None], np.arange(size)[None]))
    columns = np.arange(size)[None]
    return (first <= columns) & (columns <= last)


def drawn_alone(corners: np.ndarray, size: int) -> np.ndarray:
    grid = np.zeros((size, size), bool)
    draw(grid, corners)
    return grid


def as_opencv_fills(corners: np.ndarray, size: int) -> np.ndarray:
    cv2 = pytest.importorskip("cv2")
    return cv2.fillPoly(np.zeros((size, size), np.uint8), [np.asarray(corners, np.int32)], 1).astype(bool)


def boxes_of(samples) -> np.ndarray:
    return samples.boxes.reshape(-1, 5)


def half_metre_cells(cells: np.ndarray) -> set[tuple[int, int]]:
    """All cells between the first and the last column and row."""
    (left, right), (low, high) = cells.tolist()
    return {(column, row) for column in range(left, right + 1) for row in range(low, high + 1)}


def test_a_flat_line_steps_where_bresenham_steps():
    # Five across, two up: rows 0, 0.4, 0.8, 1.2, 1.6, 2.
    assert outline((0, 0), (5, 2)) == [(0, 0), (1, 0), (2, 1), (3, 1), (4, 2), (5, 2)]
    # A half stays where it is, seen from the left end, in whichever order the ends are given.
    assert outline((0, 0), (2, 1)) == outline((2, 1), (0, 0)) == [(0, 0), (1, 0), (2, 1)]


def test_a_level_box_is_filled_with_its_outline():
    # 4 x 2 m at the origin: corners on cells 96..104 and 98..102, so 9 x 5 cells (4.5 x 2.5 m) are drawn.
    corners = UNIAD.box_cells(np.array([[0, 0, 0, 4, 2.0]]))[0]
    grid = filled(corners, 200)
    assert grid.sum() == 9 * 5 and grid[98:103, 96:105].all()


@settings(max_examples=300, deadline=None)
@given(start=cell, first_side=cell, second_side=cell)
def test_any_parallelogram_of_cells_is_filled_as_drawn(start, first_side, second_side):
    # Its sides lie at all angles, and a part of it may lie outside the grid.
    corners = start + np.array([[0, 0], first_side, np.add(first_side, second_side), second_side])
    np.testing.assert_array_equal(filled(corners, 21), drawn_alone(corners, 21))


@pytest.mark.parametrize("step", [None, 0.1, 0.25, 0.5])
@pytest.mark.parametrize("is_flipped", [False, True])
def test_half_metre_boxes_cover_the_drawn_cells(is_flipped, step):
    for box in boxes_of(random_samples(3, num_samples=10, step=step, far=True)):
        corners = (VAD if is_flipped else UNIAD).box_cells(box[None])[0]
        assert corners.tolist() == [list(corner) for corner in coarse_box_corners(box, is_flipped)]
        np.testing.assert_array_equal(filled(corners, 200), drawn_alone(corners, 200))


@pytest.mark.parametrize("step", [None, 0.1, 0.25, 0.5])
def test_tenth_metre_boxes_cover_the_drawn_cells(step):
    for box in boxes_of(random_samples(4, frame="ego", num_samples=2, step=step, far=True)):
        corners = BEV_PLANNER.box_cells(box[None])[0]
        assert corners.tolist() == [list(corner) for corner in fine_box_corners(box)]
        np.testing.assert_array_equal(filled(corners, 1000), drawn_alone(corners, 1000))


@pytest.mark.parametrize("grid", [UNIAD, VAD, BEV_PLANNER])
@pytest.mark.parametrize("step", [None, 0.1, 0.5])
def test_boxes_are_filled_as_opencv_fills_them(grid, step):
    corners = grid.box_cells(boxes_of(random_samples(5, num_samples=20, step=step)))
    for corner in corners - corners.min(1, keepdims=True) + 1:  # moved to a small grid that holds all of the box
        size = int(corner.max()) + 2
        opencv = as_opencv_fills(corner, size)
        np.testing.assert_array_equal(filled(corner, size), opencv)
        np.testing.assert_array_equal(drawn_alone(corner, size), opencv)


def test_the_ego_of_the_half_metre_grid_is_32_cells():
    assert half_metre_cells(UNIAD.ego_cells(np.zeros((1, 1, 2)))[0, 0]) == {
        (column, row) for column in range(98, 102) for row in range(97, 105)
    }


@pytest.mark.parametrize("step", [None, 0.1, 0.25, 0.5])
@pytest.mark.parametrize("grid", [UNIAD, VAD])
def test_half_metre_ego_cells_are_the_drawn_ones(grid, step):
    path = random_samples(6, step=step, far=True).pred
    assert np.abs(path).max() > 50  # some are cut at the border
    cells = grid.ego_cells(path)
    for place in np.ndindex(path.shape[:2]):
        assert half_metre_cells(cells[place]) == coarse_ego_cells(path[place], grid is VAD)


@pytest.mark.parametrize("grid", [UNIAD, VAD])
def test_places_are_taken_in_single_precision(grid):
    # 0.1 nm short of the next cell is in it; left of the origin every double has a place of its own.
    for place in ([0.5 - 1e-10, 1.5 - 1e-10], [-1e-10, -1e-10]):
        cells = grid.ego_cells(np.array([[place]]))[0, 0]
        assert half_metre_cells(cells) == coarse_ego_cells(np.array(place), grid is VAD)


@pytest.mark.parametrize("step", [None, 0.1, 0.5])
def test_tenth_metre_ego_cells_are_the_drawn_ones(step):
    path = random_samples(7, frame="ego", num_samples=16, step=step, far=True).pred
    assert np.abs(path).max() > 50
    columns, rows = BEV_PLANNER.ego_cells(path.reshape(-1, 2), BEV_PLANNER.headings(path).ravel())
    assert columns.shape == rows.shape == (path.size // 2, 738)
    for found, (n, t) in zip(zip(columns, rows, strict=True), np.ndindex(path.shape[:2]), strict=True):
        slow = fine_ego_cells(path[n, t], path[n, t - 1] if t else np.zeros(2))
        assert sorted(zip(*map(np.ndarray.tolist, found), strict=True)) == sorted(slow)


@pytest.mark.parametrize("far", [False, True])
@pytest.mark.parametrize("step", [None, 0.1, 0.25, 0.5])
@pytest.mark.parametrize("name", KINDS)
def test_collisions_are_those_of_drawn_grids(name, step, far):
    num_samples = 16 if name == "bev_planner" else 40
    samples = random_samples(8, frame=FRAMES[name], num_samples=num_samples, num_agents=6, step=step, far=far)
    found = PROTOCOLS[name].collisions(samples)
    assert 0.1 < found.planned.mean() < 0.9
    np.testing.assert_array_equal(found.planned, slow_hits(name, samples.pred, samples, KINDS[name]))
    np.testing.assert_array_equal(found.driven, slow_hits(name, samples.gt, samples, KINDS[name]))


@pytest.mark.parametrize("step", [None, 0.1])
def test_no_box_is_left_out_that_a_look_at_all_cells_would_find(step, monkeypatch):
    samples = random_samples(9, frame="ego", num_samples=150, num_agents=30, step=step)
    # Every agent alone, so that no hit hides another one.
    path = np.repeat(samples.pred, 30, 0)
    boxes = np.moveaxis(samples.boxes, 2, 1).reshape(-1, 6, 1, 5)
    boxes[::2, ..., 4] *= 0.1  # some are very thin
    counts = np.ones(boxes.shape[:-1], bool)
    found = BEV_PLANNER.hits(path, boxes, counts)
    monkeypatch.setattr(TenthMetreGrid, "CELLS_OFF_M", 2.0)
    monkeypatch.setattr(TenthMetreGrid, "REACH_M", 6.0)
    np.testing.assert_array_equal(found, BEV_PLANNER.hits(path, boxes, counts))


@pytest.mark.parametrize("name", KINDS)
def test_a_waypoint_outside_the_grid_is_looked_up_at_the_border(name):
    # 60 m ahead; a box lies across the border at 50 m, 8 m behind the ego.
    frame = FRAMES[name]
    ahead = np.array([0.0, 60.0] if frame == "lidar" else [60.0, 0.0])
    samples = random_samples(0, frame=frame, num_samples=1, num_agents=1)
    samples.pred[:], samples.box_mask[:], samples.kind[:] = ahead, True, 0
    samples.boxes[:] = [*(ahead * 50 / 60), 0, 2, 2]
    assert PROTOCOLS[name].collisions(samples).planned.all()
    samples.boxes[:] = [*(ahead * 45 / 60), 0, 2, 2]
    assert not PROTOCOLS[name].collisions(samples).planned.any()
