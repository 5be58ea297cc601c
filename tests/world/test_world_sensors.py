"""Rays, cameras and the agreement of pictures with boxes."""

import numpy as np
import pytest
from shapely.geometry import MultiPoint, Point

from dima_pipeline.contracts.frames import CAMERAS
from dima_pipeline.geometry import image_from_ego, project
from dima_pipeline.world.drama import Drama
from dima_pipeline.world.ground import actor_boxes, building_boxes, ground_areas, ground_lines
from dima_pipeline.world.recording import camera_from_world, in_ego_frame
from dima_pipeline.world.renderer import Backdrop, Renderer
from dima_pipeline.world.sensors import (
    GROUND,
    NO_HIT,
    box_points,
    camera_rig,
    cast_rays,
    scan,
    visibility_level,
    visible_share,
)

CAR = np.array([10.0, 0.0, 0.8, 0.0, 4.0, 2.0, 1.6])
WALL = np.array([5.0, 0.0, 2.0, np.pi / 2, 8.0, 0.5, 4.0])
RIG = camera_rig(320, 180)


def test_rays_meet_the_nearest_box_the_ground_or_nothing() -> None:
    directions = np.array([[1.0, 0, 0], [0, 1.0, 0], [0, 0.6, -0.8], [-1.0, 0, 0]])
    distance, hit = cast_rays(np.array([0.0, 0.0, 1.0]), directions, CAR[None])
    assert hit.tolist() == [0, NO_HIT, GROUND, NO_HIT]
    assert distance[0] == pytest.approx(8.0) and distance[2] == pytest.approx(1.25)
    distance, hit = cast_rays(np.array([0.0, 0.0, 1.0]), directions[:1], np.stack([CAR, WALL]))
    assert hit.tolist() == [1] and distance[0] == pytest.approx(4.75)


def test_a_turned_box_is_met_on_its_turned_face() -> None:
    turned = CAR.copy()
    turned[3] = np.pi / 2
    distance, _ = cast_rays(np.array([0.0, 0.0, 1.0]), np.array([[1.0, 0.0, 0.0]]), turned[None])
    assert distance[0] == pytest.approx(9.0)


def test_without_boxes_only_the_ground_is_met() -> None:
    distance, hit = cast_rays(np.array([0.0, 0.0, 2.0]), np.array([[0, 0, -1.0], [0, 0, 1.0]]), np.zeros((0, 7)))
    assert hit.tolist() == [GROUND, NO_HIT] and distance[0] == 2.0


def test_a_box_in_the_open_is_visible_and_one_behind_a_wall_is_not() -> None:
    assert visible_share(CAR[None], 1, RIG)[0] == 1.0
    assert visible_share(np.stack([CAR, WALL]), 1, RIG)[0] < 0.1
    half = WALL.copy()
    half[1] = 4.0
    assert 0.2 < visible_share(np.stack([CAR, half]), 1, RIG)[0] < 0.9


def test_visibility_levels_have_the_bounds_of_nuscenes() -> None:
    assert visibility_level(np.array([0.0, 0.39, 0.41, 0.65, 0.81, 1.0])).tolist() == [1, 1, 2, 3, 4, 4]


def test_the_scan_counts_its_returns_in_the_sensor_frame() -> None:
    points, counts = scan(np.stack([CAR, WALL]), 1, np.random.default_rng(0))
    assert counts.tolist() == [0]
    points, counts = scan(CAR[None], 1, np.random.default_rng(0))
    # x right, y ahead of the lidar, which sits 0.94 m ahead of the ego and 1.84 m high.
    inside = (np.abs(points[:, 0]) < 1.0) & (points[:, 1] > 7.0) & (points[:, 1] < 11.1) & (points[:, 2] > -1.835)
    assert counts[0] > 10 and inside.sum() == counts[0]
    assert points.dtype == np.float32 and points.shape[1] == 5 and len(np.unique(points[:, 4])) > 10


def test_box_points_follow_position_heading_and_size() -> None:
    boxes = np.array([[1.0, 2.0, 3.0, np.pi / 2, 4.0, 2.0, 1.0]])
    assert box_points(boxes, np.array([[[0.5, 0.5, 0.5]]]))[0, 0] == pytest.approx([0.0, 4.0, 3.5])


def test_cameras_look_where_nuscenes_cameras_look() -> None:
    places = {
        "CAM_FRONT": (20, 0), "CAM_BACK": (-20, 0), "CAM_FRONT_LEFT": (11, 16), "CAM_FRONT_RIGHT": (11, -16),
        "CAM_BACK_LEFT": (-6, 18), "CAM_BACK_RIGHT": (-6, -18),
    }  # fmt: skip
    assert tuple(camera.channel for camera in RIG) == CAMERAS
    for camera in RIG:
        seen = [name for name, (x, y) in places.items() if camera.sees(np.array([[x, y, 1.5]], float))[0]]
        assert camera.channel in seen and len(seen) == 1
        pixel, depth = project(
            image_from_ego(camera.intrinsics, camera.camera_from_ego), np.array([[*places[camera.channel], 1.5]], float)
        )
        assert depth[0] > 15 and abs(pixel[0, 0] - 160) < 60 and abs(pixel[0, 1] - 97) < 4
    # Up is up: a higher point lies higher in the picture.
    low, high = (
        project(image_from_ego(RIG[0].intrinsics, RIG[0].camera_from_ego), np.array([[20.0, 0, z]]))[0][0, 1]
        for z in (0, 3)
    )
    assert high < low


def test_pictures_show_boxes_where_they_project(dramas: dict[str, Drama]) -> None:
    """200 unoccluded boxes: their pixels lie inside the projected hull and fill at least half of it."""
    renderer = Renderer(320, 180)
    inside_share, filled_share = [], []
    for drama in list(dramas.values()):
        renderer.set_ground([], [], Backdrop())
        for tick in (20, 70, 120, 170, 220, 245):
            if len(filled_share) >= 200:
                break
            _compare(renderer, drama, tick, inside_share, filled_share)
    renderer.close()
    assert len(filled_share) >= 200
    assert min(inside_share) >= 0.99
    assert min(filled_share) >= 0.5


def _compare(renderer: Renderer, drama: Drama, tick: int, inside: list[float], filled: list[float]) -> None:
    path = drama.actors[0].path
    assert path is not None
    ego = drama.town.placement.poses(path.pose(drama.tracks.along_m[tick, 0]))
    boxes = [*actor_boxes(drama, tick), *building_boxes(drama.town, drama.tracks.poses[tick, :1, :2])]
    local = in_ego_frame(boxes, ego)
    corners = box_points(local, np.broadcast_to(_corners(), (len(local), 8, 3)))
    for camera in RIG:
        view = (camera.intrinsics, camera_from_world(camera, ego))
        renderer.set_boxes(boxes)
        together = renderer.render_instances(*view)
        for index in range(len(drama.actors) - 1):
            pixels, depth = project(image_from_ego(camera.intrinsics, camera.camera_from_ego), corners[index])
            hull = MultiPoint(pixels).convex_hull
            whole = (depth > 1).all() and (pixels >= 0).all() and (pixels < [320, 180]).all()
            mine = together == boxes[index].instance_id
            if not whole or hull.area < 60 or not mine.any():
                continue
            renderer.set_boxes([boxes[index]])
            if (renderer.render_instances(*view) > 0).sum() > mine.sum():
                continue  # another box hides a part of it
            rows, columns = np.nonzero(mine)
            grown = hull.buffer(0.5)
            within = [grown.contains(Point(u + 0.5, v + 0.5)) for u, v in zip(columns, rows, strict=True)]
            inside.append(float(np.mean(within)))
            filled.append(len(rows) / hull.area)


def _corners() -> np.ndarray:
    return np.array([[x, y, z] for x in (-0.5, 0.5) for y in (-0.5, 0.5) for z in (-0.5, 0.5)])


def test_a_scene_gives_the_renderer_ground_lines_and_boxes(dramas: dict[str, Drama]) -> None:
    drama = next(iter(dramas.values()))
    assert {area.kind for area in ground_areas(drama.town)} >= {"road", "intersection", "walkway", "crossing"}
    assert {line.kind for line in ground_lines(drama.town)} == {"divider", "road_divider", "boundary", "stop_line"}
    boxes = actor_boxes(drama, 0)
    assert [box.instance_id for box in boxes] == list(range(1, len(drama.actors)))
