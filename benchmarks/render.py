"""Milliseconds of the renderer by picture size and number of boxes, and what a pass costs beside another.

    python benchmarks/render.py

Ratios are the thing to compare between machines; times are medians of single calls on one core.
"""

import time
from collections.abc import Callable
from statistics import median

import numpy as np

from dima_pipeline.geometry import invert_rigid, rigid
from dima_pipeline.world.renderer import Backdrop, GroundArea, GroundLine, RenderBox, Renderer

SIZES = ((160, 96), (320, 180), (640, 360))
NUM_BOXES = (0, 30, 150)
NUM_CALLS = 15
CATEGORIES = {
    "car": (4.6, 1.9, 1.6),
    "truck": (8.0, 2.5, 3.2),
    "pedestrian": (0.7, 0.7, 1.75),
    "building": (15, 12, 12),
}


def median_ms(call: Callable[[], object]) -> float:
    """Median time of a call after one that is not counted."""
    call()
    times = []
    for _ in range(NUM_CALLS):
        begin = time.perf_counter()
        call()
        times.append(1000 * (time.perf_counter() - begin))
    return median(times)


def make_ground() -> tuple[list[GroundArea], list[GroundLine]]:
    """A town of 600 x 600 m: streets every 60 m with walkways, crossings and lines."""
    areas, lines = [], []
    for offset in range(-300, 301, 60):
        for axes in ([0, 1], [1, 0]):
            street = np.array([[-300, -6], [300, -6], [300, 6], [-300, 6]]) + np.array([0, offset])
            areas.append(GroundArea("road", street[:, axes]))
            for begin in range(-290, 290, 60):
                walkway = np.array([[0, 6], [40, 6], [40, 9], [0, 9]]) + np.array([begin, offset])
                crossing = np.array([[41, -6], [44, -6], [44, 6], [41, 6]]) + np.array([begin, offset])
                areas += [GroundArea("walkway", walkway[:, axes]), GroundArea("crossing", crossing[:, axes])]
            for y in (-3, 0, 3):
                line = np.array([[-300.0, offset + y], [300, offset + y]])
                lines.append(GroundLine("divider" if y else "road_divider", line[:, axes]))
    return areas, lines


def make_boxes(count: int) -> list[RenderBox]:
    """Boxes of several categories scattered in front of the camera."""
    rng = np.random.default_rng(0)
    boxes = []
    for index in range(count):
        category = list(CATEGORIES)[index % len(CATEGORIES)]
        size = CATEGORIES[category]
        center = np.array([rng.uniform(5, 80), rng.uniform(-30, 30), size[2] / 2])
        boxes.append(RenderBox(center, rng.uniform(-3, 3), size, category, index + 1))
    return boxes


def main() -> None:
    """Print one line a configuration."""
    areas, lines = make_ground()
    camera_from_world = invert_rigid(rigid(np.array([[0, 0, 1], [-1, 0, 0], [0, -1, 0]]), np.array([0, 0, 1.6])))
    print("size      boxes  ground  boxes_ms  colour_ms  ids_ms  ids/colour  (boxes/6+colour)_ms")
    for width, height in SIZES:
        renderer = Renderer(width, height)
        intrinsics = np.array([[0.8 * width, 0, width / 2], [0, 0.8 * width, height / 2], [0, 0, 1]])
        ground = median_ms(lambda: renderer.set_ground(areas, lines, Backdrop())) if width == SIZES[0][0] else 0.0
        renderer.set_ground(areas, lines, Backdrop())
        for count in NUM_BOXES:
            boxes = make_boxes(count)
            place = median_ms(lambda: renderer.set_boxes(boxes))
            colour = median_ms(lambda: renderer.render(intrinsics, camera_from_world))
            ids = median_ms(lambda: renderer.render_instances(intrinsics, camera_from_world))
            print(
                f"{width}x{height:<5} {count:6} {ground:7.1f} {place:9.2f} {colour:10.2f} {ids:7.2f}"
                f" {ids / colour:11.2f} {place / 6 + colour:20.2f}"
            )
        renderer.close()


if __name__ == "__main__":
    main()
