"""Scenes for tests of the protocols, and grids drawn slowly: every cell, from the definition, one box at a time.

The published collision numbers come from occupancy grids that were really drawn. Here they are drawn again, in plain
loops that share nothing with ``scoring.rasters``: Bresenham's outline, the cells with centres inside, and look-ups.
"""

import numpy as np

from dima_pipeline.contracts.frames import NUM_FUTURE_STEPS
from dima_pipeline.scoring.horizons import HORIZONS, HorizonRule, horizon_columns, horizon_means
from dima_pipeline.scoring.samples import OpenLoopSamples
from dima_pipeline.scoring.values import MetricValues

EGO_LENGTH_M, EGO_WIDTH_M = 4.084, 1.85
FINE_AHEAD_M = 0.5 + 0.985793
F32 = np.float32


def samples_of(pred, boxes=(), *, gt=None, frame="lidar", kind=None, known=NUM_FUTURE_STEPS, **more) -> OpenLoopSamples:
    """One sample: ``pred`` and ``gt`` (T, 2) or one place for all steps, boxes that stand where they are, of vehicles
    if not said otherwise, and ``known`` steps of the future."""
    pred = np.broadcast_to(np.asarray(pred, float), (NUM_FUTURE_STEPS, 2))
    gt = pred if gt is None else np.broadcast_to(np.asarray(gt, float), (NUM_FUTURE_STEPS, 2))
    boxes = np.asarray(boxes, float).reshape(-1, 5)
    everywhere = (1, NUM_FUTURE_STEPS, *boxes.shape)
    return OpenLoopSamples(
        pred=pred[None].copy(),
        gt=gt[None].copy(),
        fut_mask=(np.arange(NUM_FUTURE_STEPS) < known)[None],
        boxes=np.broadcast_to(boxes, everywhere).copy(),
        box_mask=np.ones(everywhere[:-1], bool),
        kind=np.array(kind if kind is not None else [0] * len(boxes), int)[None],
        frame=frame,
        **more,
    )


def edges(left: float, right: float, back: float, front: float) -> list[float]:
    """A box in the LIDAR frame by its edges: x of ``left`` and ``right``, y of ``back`` and ``front``."""
    return [(left + right) / 2, (back + front) / 2, np.pi / 2, front - back, right - left]


def numbers(values: MetricValues, rule: HorizonRule) -> dict[str, float]:
    """The number for each of ``HORIZONS`` over all samples."""
    sums, counts = horizon_columns(values.value, values.valid, rule)
    return dict(zip(HORIZONS, horizon_means(sums.sum(0), counts.sum(0)).tolist(), strict=True))


def random_samples(seed: int, *, frame="lidar", num_samples=40, num_agents=8, step=None, far=False) -> OpenLoopSamples:
    """Drives among boxes close by. With ``step`` all metres are its multiples and all yaws those of a right angle;
    ``far``: some waypoints and boxes lie at the border of the grid and beyond it."""
    rng = np.random.default_rng(seed)
    shape = (num_samples, NUM_FUTURE_STEPS)
    heading = np.cumsum(rng.normal(0, 0.2, shape), 1)
    speed = rng.uniform(0, 24 if far else 14, (num_samples, 1)) * (rng.random((num_samples, 1)) < 0.9)
    moved = 0.5 * speed[..., None] * np.stack([np.cos(heading), np.sin(heading)], -1)
    gt = np.cumsum(moved if frame == "ego" else moved[..., ::-1], 1)
    pred = gt + rng.normal(0, 0.7, gt.shape)
    centres = gt[:, :, None] + rng.normal(0, 5, (*shape, num_agents, 2))
    sizes = rng.uniform((0.3, 0.3), (8, 2.5), (*shape, num_agents, 2))
    yaw = rng.uniform(-4, 4, (*shape, num_agents, 1))
    if step is not None:
        pred, gt, centres, sizes = (np.round(values / step) * step for values in (pred, gt, centres, sizes))
        yaw = np.round(yaw / (np.pi / 2)) * (np.pi / 2)
    return OpenLoopSamples(
        pred=pred,
        gt=gt,
        fut_mask=np.ones(shape, bool),
        boxes=np.concatenate([centres, yaw, sizes], -1),
        box_mask=rng.random((*shape, num_agents)) < 0.8,
        kind=rng.integers(0, 3, (num_samples, num_agents)),
        frame=frame,
    )


def outline(start: tuple[int, int], end: tuple[int, int]) -> list[tuple[int, int]]:
    """Bresenham's line with 8 neighbours from the left end to the right one; a tie stays on the row (or column)."""
    (x, y), (x_end, y_end) = sorted([start, end], key=lambda cell: cell[0])
    if start[0] == end[0]:
        (x, y), (x_end, y_end) = start, end
    across, down = x_end - x, abs(y_end - y)
    up_or_down = 1 if y_end > y else -1
    long, short = max(across, down), min(across, down)
    cells, error = [], 0
    for _ in range(long + 1):
        cells.append((x, y))
        error += 2 * short
        is_aside = error > long
        error -= 2 * long * is_aside
        x += 1 if across >= down else is_aside
        y += up_or_down if down > across else up_or_down * is_aside
    return cells


def draw(grid: np.ndarray, corners: np.ndarray) -> None:
    """Set the cells of a convex quadrangle with integer corners (column, row): its outline, and all with their centre
    inside. The grid is indexed row, column; what lies outside is cut off."""
    corners = [(int(x), int(y)) for x, y in corners]
    sides = list(zip(corners, corners[1:] + corners[:1], strict=True))
    for start, end in sides:
        for x, y in outline(start, end):
            if 0 <= x < grid.shape[1] and 0 <= y < grid.shape[0]:
                grid[y, x] = True
    (left, low), (right, high) = np.min(corners, 0), np.max(corners, 0)
    x = np.arange(max(left, 0), min(right, grid.shape[1] - 1) + 1)[None]
    y = np.arange(max(low, 0), min(high, grid.shape[0] - 1) + 1)[:, None]
    turns = [(bx - ax) * (y - ay) - (by - ay) * (x - ax) for (ax, ay), (bx, by) in sides]
    has_area = any((turn != 0).any() for turn in turns)
    inside = np.all([turn >= 0 for turn in turns], 0) | np.all([turn <= 0 for turn in turns], 0)
    if has_area and x.size and y.size:
        grid[y[0, 0] : y[-1, 0] + 1, x[0, 0] : x[0, -1] + 1] |= inside


def single_precision_corners(box: np.ndarray) -> list[tuple[np.float32, np.float32]]:
    """Corners of a box x, y, yaw, length, width, every operation rounded to float32."""
    x, y, yaw, length, width = (F32(value) for value in box)
    cos, sin = np.cos(yaw), np.sin(yaw)
    halves = [(a * length / F32(2), b * width / F32(2)) for a, b in ((1, 1), (-1, 1), (-1, -1), (1, -1))]
    halves = [(F32(along), F32(across)) for along, across in halves]
    return [
        (F32(F32(cos * along) - F32(sin * across)) + x, F32(F32(sin * along) + F32(cos * across)) + y)
        for along, across in halves
    ]


def coarse_box_corners(box: np.ndarray, is_flipped: bool) -> list[tuple[int, int]]:
    """Corners on the 0.5 m grid: rounded, halves to the even number; rows from +y if flipped."""
    first, size = F32(-49.75), F32(0.5)
    flipped = [(x, -y if is_flipped else y) for x, y in single_precision_corners(box)]
    return [tuple(int(np.round((v - first + size / F32(2)) / size)) for v in corner) for corner in flipped]


def fine_box_corners(box: np.ndarray) -> list[tuple[int, int]]:
    """Corners on the 0.1 m grid: cut towards zero."""
    first, size = F32(-49.95), F32(0.1)
    return [tuple(int((v - first) / size) for v in corner) for corner in single_precision_corners(box)]


def coarse_ego_cells(place: np.ndarray, is_flipped: bool) -> set[tuple[int, int]]:
    """The 32 cells (column, row) of an ego that never turns: 8 rows from 97, 4 columns from 98, moved and cut."""
    right, ahead = (float(F32(v) / F32(0.5)) for v in place)
    cells = set()
    for row in range(97, 105):
        for column in range(98, 102):
            moved_row = 200 - (ahead + row) if is_flipped else ahead + row
            cells.add(tuple(min(max(int(v), 0), 199) for v in (right + column, moved_row)))
    return cells


def fine_ego_cells(place: np.ndarray, before: np.ndarray) -> list[tuple[int, int]]:
    """The 738 cells (column, row) of an ego that looks along its last step, or ahead if that is under 1 m."""
    x, y = F32(place[0]), F32(place[1])
    step_x, step_y = x - F32(before[0]), y - F32(before[1])
    yaw = np.arctan2(step_y, step_x) if np.sqrt(step_x * step_x + step_y * step_y) >= 1 else F32(0)
    cos, sin = float(np.cos(yaw)), float(np.sin(yaw))
    cells = []
    for column in range(1000):
        along = (column - 499.5) / 10
        if not FINE_AHEAD_M - EGO_LENGTH_M / 2 <= along <= FINE_AHEAD_M + EGO_LENGTH_M / 2:
            continue
        for row in range(490, 510):
            across = (row - 499.5) / 10
            if abs(across) <= EGO_WIDTH_M / 2:
                a, b = column - 499.5, row - 499.5
                turned = np.round(a * cos - b * sin + 499.5), np.round(a * sin + b * cos + 499.5)
                moved = (float(v / F32(0.1)) + t for v, t in zip((x, y), turned, strict=True))
                cells.append(tuple(min(max(int(v), 0), 999) for v in moved))
    return cells


def drawn(size: int, corners_of_boxes: list) -> np.ndarray:
    """A grid of ``size`` x ``size`` cells (row, column) with these boxes."""
    grid = np.zeros((size, size), bool)
    for corners in corners_of_boxes:
        draw(grid, corners)
    return grid


def slow_hits(name: str, path: np.ndarray, samples: OpenLoopSamples, kinds: tuple[int, ...]) -> np.ndarray:
    """Collisions (N, T) of a path as grids of ``vad``, ``uniad`` or ``bev_planner`` show them."""
    found = np.zeros(path.shape[:2], bool)
    for n, t in np.ndindex(*found.shape):
        counted = samples.box_mask[n, t] & np.isin(samples.kind[n], kinds)
        boxes = samples.boxes[n, t][counted]
        if name == "bev_planner":
            grid = drawn(1000, [fine_box_corners(box) for box in boxes])
            cells = fine_ego_cells(path[n, t], path[n, t - 1] if t else np.zeros(2))
        else:
            grid = drawn(200, [coarse_box_corners(box, name == "vad") for box in boxes])
            cells = coarse_ego_cells(path[n, t], name == "vad")
        found[n, t] = any(grid[row, column] for column, row in cells)
    return found
