"""Milliseconds of the renderer by picture size and number of boxes, and what a pass costs beside another.

    python benchmarks/render.py

Ratios are the thing to compare between machines; times are medians of the processor time of single calls.
"""

import time
from collections.abc import Callable
from functools import partial
from statistics import median

import numpy as np

from dima_pipeline.geometry import invert_rigid, rigid
from dima_pipeline.world.renderer import Backdrop, GroundArea, GroundLine, RenderBox, Renderer

SIZES = ((160, 96), (320, 180), (640, 360))
NUM_BOXES = (0, 30, 150)
NUM_CALLS = 9
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
        begin = time.process_time()
        call()
        times.append(1000 * (time.process_time() - begin))
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


def time_size(width: int, height: int) -> None:
    """Print one line for each number of boxes."""
    renderer = Renderer(width, height)
    view = (
        np.array([[0.8 * width, 0, width / 2], [0, 0.8 * width, height / 2], [0, 0, 1]]),
        invert_rigid(rigid(np.array([[0, 0, 1], [-1, 0, 0], [0, -1, 0]]), np.array([0, 0, 1.6]))),
    )
    areas, lines = make_ground()
    ground_ms = median_ms(partial(renderer.set_ground, areas, lines, Backdrop()))
    for count in NUM_BOXES:
        place_ms = median_ms(partial(renderer.set_boxes, make_boxes(count)))
        colour_ms = median_ms(partial(renderer.render, *view))
        ids_ms = median_ms(partial(renderer.render_instances, *view))
        print(
            f"{width:4}x{height:<4} {count:6} {ground_ms:9.1f} {place_ms:9.2f} {colour_ms:9.2f} {ids_ms:7.2f}"
            f" {ids_ms / colour_ms:10.2f} {place_ms / 6 + colour_ms:12.2f}"
        )
    renderer.close()


def main() -> None:
    """Print a table; an image of a rig of six cameras pays a sixth of placing the boxes."""
    print("size       boxes ground_ms  boxes_ms colour_ms  ids_ms ids/colour ms_per_image")
    for width, height in SIZES:
        time_size(width, height)


if __name__ == "__main__":
    main()
