"""How long the protocols take on as many samples as nuScenes val has, against straight loops over all boxes.

``python benchmarks/score.py [--samples 6019] [--agents 34] [--loop 100]``. The loops do what published code does: they
draw a grid for every step and look cells up, or intersect polygons pair by pair. They run on the first ``--loop``
samples in the same process and find the same collisions; the memory is what scoring takes beyond its input.
"""

import argparse
import importlib.util
import time
import tracemalloc

import numpy as np
import shapely

from dima_pipeline.contracts.frames import EGO_LENGTH_M, EGO_WIDTH_M, NUM_FUTURE_STEPS, STEP_S
from dima_pipeline.geometry import box_corners
from dima_pipeline.scoring.footprints import CENTER_AHEAD_OF_LIDAR_M, MIN_STEP_M
from dima_pipeline.scoring.protocols import PROTOCOLS, Protocol
from dima_pipeline.scoring.samples import KINDS, OpenLoopSamples

HAS_OPENCV = importlib.util.find_spec("cv2") is not None
MEMORY_SAMPLES = 1500


def drives(num_samples: int, num_agents: int, seed: int = 0) -> OpenLoopSamples:
    """Egos at 0 to 15 m/s, some turning, among agents spread over +-50 m, half of them parked, in the LIDAR frame."""
    rng = np.random.default_rng(seed)
    times = STEP_S * np.arange(1, NUM_FUTURE_STEPS + 1)
    speed = rng.uniform(0, 15, (num_samples, 1))
    turn = rng.normal(0, 0.25, (num_samples, 1)) * (rng.random((num_samples, 1)) < 0.3)
    steps = STEP_S * speed[..., None] * np.stack([-np.sin(turn * times), np.cos(turn * times)], -1)
    gt = np.cumsum(steps, 1)
    yaw = rng.uniform(-np.pi, np.pi, (num_samples, 1, num_agents))
    agent_speed = rng.uniform(0, 12, yaw.shape) * (rng.random(yaw.shape) < 0.5)
    moved = agent_speed[..., None] * np.stack([np.cos(yaw), np.sin(yaw)], -1) * times[:, None, None]
    kind = rng.choice(3, (num_samples, num_agents), p=(0.6, 0.2, 0.2))
    size = np.array([(4.6, 1.95), (0.7, 0.7), (0.4, 0.4)])[kind] * rng.uniform(0.8, 1.2, (*kind.shape, 2))
    shape = (num_samples, NUM_FUTURE_STEPS, num_agents)
    parts = (rng.uniform(-50, 50, (num_samples, 1, num_agents, 2)) + moved, yaw[..., None], size[:, None])
    return OpenLoopSamples(
        pred=gt + rng.normal(0, 0.1, gt.shape) * np.arange(1, NUM_FUTURE_STEPS + 1)[:, None],
        gt=gt,
        fut_mask=np.ones(shape[:2], bool),
        boxes=np.concatenate([np.broadcast_to(part, (*shape, part.shape[-1])) for part in parts], -1),
        box_mask=np.ones(shape, bool),
        kind=kind,
        frame="lidar",
    )


def fill(grid: np.ndarray, corners: np.ndarray) -> None:
    """Fill a quadrangle of cells: OpenCV if it is there, else the cells whose centres lie inside."""
    if HAS_OPENCV:
        import cv2

        cv2.fillPoly(grid, [corners.astype(np.int32)], 1)
        return
    corners = corners.astype(int)
    low, high = (np.clip(ends, 0, len(grid)) for ends in (corners.min(0), corners.max(0) + 1))
    x, y = np.arange(low[0], high[0])[None], np.arange(low[1], high[1])[:, None]
    sides = np.roll(corners, -1, 0) - corners
    turns = [dx * (y - cy) - dy * (x - cx) for (cx, cy), (dx, dy) in zip(corners, sides, strict=True)]
    inside = np.all([turn >= 0 for turn in turns], 0) | np.all([turn <= 0 for turn in turns], 0)
    grid[low[1] : high[1], low[0] : high[0]] |= inside.astype(np.uint8)


def counted_boxes(samples: OpenLoopSamples, sample: int, step: int, classes: tuple[str, ...]) -> list[np.ndarray]:
    """The boxes of one step that a protocol looks at."""
    kinds = [KINDS.index(name) for name in classes]
    agents = range(samples.kind.shape[1])
    is_counted = [samples.box_mask[sample, step, agent] and samples.kind[sample, agent] in kinds for agent in agents]
    return [samples.boxes[sample, step, agent] for agent in agents if is_counted[agent]]


def corners_of(box: np.ndarray) -> np.ndarray:
    """Corners (4, 2) of one box in single precision."""
    x, y, yaw, length, width = box.astype(np.float32)
    rotation = np.array([[np.cos(yaw), -np.sin(yaw)], [np.sin(yaw), np.cos(yaw)]])
    halves = np.array([[length, -length, -length, length], [width, width, -width, -width]]) / np.float32(2)
    return (rotation @ halves).T + np.array([x, y])


def loop_half_metre(samples: OpenLoopSamples, protocol: Protocol) -> np.ndarray:
    """A grid of 200 x 200 cells a step, and 32 cells looked up for each of the two paths."""
    flip = np.array([1, -1 if protocol.name == "vad" else 1], np.float32)
    rows, columns = (part.ravel() for part in np.mgrid[97:105, 98:102])
    found = np.zeros((2, *samples.fut_mask.shape), bool)
    for n, t in np.ndindex(*samples.fut_mask.shape):
        cells = np.zeros((200, 200), np.uint8)
        for box in counted_boxes(samples, n, t, protocol.classes):
            fill(cells, np.round((corners_of(box) * flip + np.float32(50)) / np.float32(0.5)))
        for which, path in enumerate((samples.pred, samples.gt)):
            right, ahead = path[n, t].astype(np.float32) / np.float32(0.5)
            row = 200 - (ahead + rows) if flip[1] < 0 else ahead + rows
            places = [np.clip(place.astype(int), 0, 199) for place in (row, right + columns)]
            found[which, n, t] = cells[places[0], places[1]].any()
    return found


def turned_footprint(place: np.ndarray, before: np.ndarray, footprint: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns of BEV-Planner's ego at a place, turned by its last step."""
    place, before = place.astype(np.float32), before.astype(np.float32)
    step = place - before
    yaw = np.arctan2(step[1], step[0]) if np.linalg.norm(step) >= 1 else np.float32(0)
    rotation = np.array([[np.cos(yaw), -np.sin(yaw)], [np.sin(yaw), np.cos(yaw)]], float)
    turned = np.round(footprint @ rotation.T + 499.5)
    cells = np.clip((place / np.float32(0.1) + turned).astype(int), 0, 999)
    return cells[:, 1], cells[:, 0]


def loop_tenth_metre(samples: OpenLoopSamples, protocol: Protocol) -> np.ndarray:
    """A grid of 1000 x 1000 cells a step, and 738 cells looked up for each of the two paths."""
    samples = samples.in_frame("ego")
    footprint = np.argwhere(np.ones((41, 18))) + np.array([494, 491]) - 499.5
    found = np.zeros((2, *samples.fut_mask.shape), bool)
    for n, t in np.ndindex(*samples.fut_mask.shape):
        cells = np.zeros((1000, 1000), np.uint8)
        for box in counted_boxes(samples, n, t, protocol.classes):
            fill(cells, np.trunc((corners_of(box) + np.float32(49.95)) / np.float32(0.1)))
        for which, path in enumerate((samples.pred, samples.gt)):
            before = path[n, t - 1] if t else np.zeros(2)
            found[which, n, t] = cells[turned_footprint(path[n, t], before, footprint)].any()
    return found


def ego_box(path: np.ndarray, heading_rad: float) -> np.ndarray:
    """The exact box at the last of these positions."""
    centre = path[-1] + CENTER_AHEAD_OF_LIDAR_M * np.array([np.cos(heading_rad), np.sin(heading_rad)])
    return np.array([*centre, heading_rad, EGO_LENGTH_M, EGO_WIDTH_M])


def loop_exact(samples: OpenLoopSamples, protocol: Protocol) -> np.ndarray:
    """A polygon for every box, intersected with those of the two egos."""
    found = np.zeros((2, *samples.fut_mask.shape), bool)
    for n in range(len(samples)):
        headings = [np.pi / 2, np.pi / 2]
        for t in range(NUM_FUTURE_STEPS):
            boxes = counted_boxes(samples, n, t, protocol.classes)
            others = [shapely.Polygon(box_corners(box)) for box in boxes]
            for which, path in enumerate((samples.pred[n], samples.gt[n])):
                step = path[t] - (path[t - 1] if t else 0)
                if np.linalg.norm(step) >= MIN_STEP_M:
                    headings[which] = np.arctan2(step[1], step[0])
                ego = shapely.Polygon(box_corners(ego_box(path[: t + 1], headings[which])))
                found[which, n, t] = any(ego.intersects(other) for other in others)
    return found


LOOPS = {"vad": loop_half_metre, "uniad": loop_half_metre, "bev_planner": loop_tenth_metre, "standardised": loop_exact}


def score(samples: OpenLoopSamples, protocol: Protocol) -> np.ndarray:
    """All that a protocol gives for each sample and step; planned and driven collisions."""
    found = protocol.collisions(samples)
    protocol.l2(samples), protocol.box_collision(samples, found), protocol.gt_box_collision(samples, found)
    return np.stack([found.planned, found.driven])


def peak_mib(num_samples: int, num_agents: int, protocol: Protocol) -> float:
    """Most memory (MiB) that scoring takes beyond its input."""
    samples = drives(num_samples, num_agents)
    tracemalloc.start()
    score(samples, protocol)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak / 2**20


def compare(protocol: Protocol, samples: OpenLoopSamples, num_loop: int) -> None:
    """Print one row: time of all samples, time of the loop on some, and how much memory more samples take."""
    start = time.perf_counter()
    found = score(samples, protocol)
    own_s = time.perf_counter() - start
    few = samples.rows(slice(num_loop))
    start = time.perf_counter()
    expected = LOOPS[protocol.name](few, protocol)
    loop_ms = 1e3 * (time.perf_counter() - start) / len(few)
    own_ms = 1e3 * own_s / len(samples)
    differs = int((found[:, :num_loop] != expected).sum())
    memory = [peak_mib(times * MEMORY_SAMPLES, samples.kind.shape[1], protocol) for times in (1, 4)]
    print(
        f"{protocol.name:<13}{own_s:>8.2f}{own_ms:>11.3f}{loop_ms:>12.2f}{loop_ms / own_ms:>8.0f}"
        f"{found.mean():>8.2%}{differs:>5} of {expected.size:<7}{memory[0]:>6.1f}{memory[1]:>7.1f}"
    )


def main() -> None:
    """Parse the arguments and compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=6019)
    parser.add_argument("--agents", type=int, default=34)
    parser.add_argument("--loop", type=int, default=100)
    arguments = parser.parse_args()
    samples = drives(arguments.samples, arguments.agents)
    print(f"{len(samples)} samples x {arguments.agents} agents; loop: {arguments.loop} samples,", end=" ")
    print(f"grids filled by {'OpenCV' if HAS_OPENCV else 'numpy'}, polygons by shapely {shapely.__version__}")
    print(f"{'':<13}{'s':>8}{'ms/sample':>11}{'loop ms':>12}{'ratio':>8}{'hits':>8}{'loop differs':>16}", end="")
    print(f"   MiB at {MEMORY_SAMPLES} and {4 * MEMORY_SAMPLES} samples")
    for protocol in PROTOCOLS.values():
        compare(protocol, samples, arguments.loop)


if __name__ == "__main__":
    main()
