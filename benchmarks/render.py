"""Keyframes a second on one core, and milliseconds of the renderer by picture size and number of boxes.

    python benchmarks/render.py

Ratios are the thing to compare between machines; times are medians of the processor time of single calls.
"""

import time
from collections.abc import Callable
from functools import partial
from statistics import median

import numpy as np

from dima_pipeline.geometry import invert_rigid, rigid
from dima_pipeline.world.greenery import near, street_trees
from dima_pipeline.world.ground import SIGHT_M, building_boxes, ground_areas, ground_lines
from dima_pipeline.world.recording import camera_from_world, in_ego_frame
from dima_pipeline.world.renderer import (
    Backdrop,
    GroundArea,
    GroundLine,
    RenderBox,
    Renderer,
    RenderSignal,
)
from dima_pipeline.world.roads import SIGNAL_HEIGHT_M
from dima_pipeline.world.sensors import camera_rig, scan, visible_share
from dima_pipeline.world.towns import SITES, build_town

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


def make_agents(ego: np.ndarray, count: int) -> list[RenderBox]:
    """Agents all around a pose, as in a keyframe."""
    rng = np.random.default_rng(1)
    boxes = []
    for index in range(count):
        category = ("car", "pedestrian", "car", "truck")[index % 4]
        size = CATEGORIES[category]
        away, bearing = rng.uniform(6, 60), rng.uniform(-np.pi, np.pi)
        center = np.array([ego[0] + away * np.cos(bearing), ego[1] + away * np.sin(bearing), size[2] / 2])
        boxes.append(RenderBox(center, rng.uniform(-3, 3), size, category, index + 1))
    return boxes


def time_keyframe(width: int, height: int, backdrop: Backdrop) -> None:
    """Print what a keyframe of six cameras costs in a town with all that belongs to it, and a lidar sweep beside it."""
    town = build_town(SITES[0], 7)
    lane = max(town.lanes.values(), key=lambda lane: lane.curve.length)
    pose = lane.curve.poses(np.array([lane.curve.length - 15.0]))[0]
    ego = town.placement.poses(pose)
    boxes = [*make_agents(ego, 40), *building_boxes(town, pose[None, :2])]
    renderer, rig = Renderer(width, height), camera_rig(width, height)
    areas, lines = ground_areas(town), ground_lines(town)
    ground_ms = median_ms(lambda: renderer.set_ground(areas, lines, backdrop))
    renderer.set_trees(near(street_trees(town), ego[None, :2], SIGHT_M))
    poses = [town.placement.poses(np.array(signal.pose)) for signal in town.signals]
    signals = [RenderSignal(np.array([x, y, SIGNAL_HEIGHT_M]), float(yaw), "red") for x, y, yaw in poses]
    views = [(camera.intrinsics, camera_from_world(camera, ego)) for camera in rig]
    plain, categories = in_ego_frame(boxes, ego), [box.category for box in boxes]
    rng = np.random.default_rng(0)

    def photograph() -> None:
        renderer.set_boxes(boxes)
        renderer.set_signals(signals)
        for view in views:
            renderer.render(*view)

    cameras_ms = median_ms(photograph)
    lidar_ms = median_ms(lambda: scan(plain, 40, rng, categories))
    levels_ms = median_ms(lambda: visible_share(plain, 40, rig, categories))
    ids_ms = median_ms(lambda: [renderer.render_instances(*view) for view in views])
    print(
        f"{width:4}x{height:<4} {backdrop.light:5} {backdrop.weather:5} {len(boxes):5} {ground_ms:9.1f}"
        f" {cameras_ms:10.1f} {1000 / cameras_ms:9.1f} {lidar_ms:8.1f} {levels_ms:9.1f}"
        f" {1000 / (cameras_ms + lidar_ms + levels_ms):11.1f} {ids_ms:16.1f}"
    )
    renderer.close()


def main() -> None:
    """Print a table of keyframes and one of images; an image of a rig pays a sixth of placing the boxes."""
    print("size      light weath boxes ground_ms cameras_ms per_s/core lidar_ms levels_ms with_both/s ids_all_round_ms")
    for width, height in SIZES:
        time_keyframe(width, height, Backdrop())
    time_keyframe(*SIZES[-1], Backdrop("day", "fog"))
    print("size       boxes ground_ms  boxes_ms colour_ms  ids_ms ids/colour ms_per_image")
    for width, height in SIZES:
        time_size(width, height)


if __name__ == "__main__":
    main()
