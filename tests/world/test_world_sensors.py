"""Rays, cameras and the agreement of pictures with boxes."""

import numpy as np
import pytest
import shapely
from shapely.geometry import MultiPoint, Point

from dima_pipeline.contracts.frames import CAMERAS
from dima_pipeline.geometry import image_from_ego, project
from dima_pipeline.world.drama import Drama
from dima_pipeline.world.ground import actor_boxes, building_boxes, ground_areas, ground_lines
from dima_pipeline.world.lights import Lights
from dima_pipeline.world.recording import camera_from_world, in_ego_frame
from dima_pipeline.world.renderer import Backdrop, RenderBox, Renderer
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
from dima_pipeline.world.solids import solid_parts

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
    assert visible_share(np.array([[0.0, 500.0, -90.0, 0.0, 4.0, 2.0, 1.6]]), 1, RIG)[0] == 0.0


def test_the_half_of_a_box_that_a_wall_hides_counts_half() -> None:
    """A wall close to the eye of the front camera (1.7, 0, 1.51) covers everything to the left of its axis."""
    screen = np.array([4.0, 2.0, 1.5, 0.0, 0.2, 4.0, 3.0])
    target = np.array([20.0, 0.0, 1.5, 0.0, 0.5, 6.0, 2.0])
    assert visible_share(np.stack([target, screen]), 1, RIG)[0] == pytest.approx(0.5, abs=0.02)


def test_what_looks_over_a_car_is_hidden_by_its_box_but_not_by_its_bonnet() -> None:
    """The camera is 1.51 m high: past the bonnet of a car that drives across, a child is seen down to the hips."""
    car = np.array([8.0, 0.0, 0.8, np.pi / 2, 4.6, 1.9, 1.6])
    child = np.array([11.0, 1.9, 0.6, 0.0, 0.4, 0.4, 1.2])
    boxes = np.stack([child, car])
    whole = visible_share(boxes, 1, RIG)[0]
    solid = visible_share(boxes, 1, RIG, ["pedestrian", "car"])[0]
    assert whole < 0.05 and 0.1 < solid < 0.7


def test_solid_parts_stay_in_their_boxes_and_turn_with_them() -> None:
    boxes = np.array(
        [[3.0, 4.0, 0.8, np.pi / 2, 4.6, 1.9, 1.6], [0, 0, 1.7, 0, 11.0, 2.9, 3.4], [9, 9, 2, 0, 8, 8, 4.0]]
    )
    parts, owner = solid_parts(boxes, ["car", "bus", "building"])
    assert owner.tolist() == [0, 0, 0, 1, 2]
    # the cabin of a car lies behind its middle: south of it when it looks north
    assert parts[1, 1] < 4.0 and parts[1, 0] == pytest.approx(3.0) and parts[1, 2] > parts[0, 2]
    assert parts[4] == pytest.approx(boxes[2])
    corners = box_points(parts, np.broadcast_to(_corners(), (len(parts), 8, 3)))
    for part, of in zip(corners, owner, strict=True):
        away = part - boxes[of, :3]
        turn = np.array([[np.cos(boxes[of, 3]), np.sin(boxes[of, 3])], [-np.sin(boxes[of, 3]), np.cos(boxes[of, 3])]])
        assert (np.abs(away[:, :2] @ turn.T) <= boxes[of, 4:6] / 2 + 1e-9).all()
        assert (np.abs(away[:, 2]) <= boxes[of, 6] / 2 + 1e-9).all()


def test_parts_need_a_category_for_each_box() -> None:
    with pytest.raises(ValueError, match="2 boxes need as many categories, got 1"):
        solid_parts(np.stack([CAR, WALL]), ["car"])


SIZES = {
    "car": (4.6, 1.9, 1.6), "truck": (8.0, 2.5, 3.2), "bus": (11.0, 2.9, 3.4), "trailer": (10.0, 2.6, 3.6),
    "construction_vehicle": (6.0, 2.7, 3.0), "pedestrian": (0.7, 0.7, 1.75), "motorcycle": (2.1, 0.8, 1.5),
    "bicycle": (1.8, 0.65, 1.6),
}  # fmt: skip
SHARES = (0.42, 0.13, 0.06, 0.03, 0.03, 0.18, 0.06, 0.09)
HERE = np.zeros(3)


def _crowd(rng: np.random.Generator, count: int) -> list[RenderBox]:
    """Boxes scattered all around the ego, apart from each other."""
    boxes: list[RenderBox] = []
    while len(boxes) < count:
        category = list(SIZES)[rng.choice(len(SIZES), p=SHARES)]
        size, away, bearing = SIZES[category], rng.uniform(7, 50), rng.uniform(-np.pi, np.pi)
        center = np.array([away * np.cos(bearing), away * np.sin(bearing), size[2] / 2])
        reach = [np.hypot(*(center - box.center)[:2]) - (box.size[0] + size[0]) / 2 for box in boxes]
        if min(reach, default=1.0) > 0 and away > size[0] / 2 + 4:
            lights = Lights(*(bool(lit) for lit in rng.random(4) < (0.5, 0.5, 0.5, 0.05)))
            boxes.append(RenderBox(center, rng.uniform(-3, 3), size, category, len(boxes) + 1, lights=lights))
    return boxes


def test_visibility_levels_agree_with_the_pixels_in_95_of_100_boxes() -> None:
    """Share of the pixels a box has alone that it keeps among all others, over the six pictures."""
    renderer = Renderer(480, 270)
    rig = camera_rig(480, 270)
    views = [(camera.intrinsics, camera_from_world(camera, HERE)) for camera in rig]
    rng, by_pixels, by_rays = np.random.default_rng(4), [], []
    for _ in range(10):
        boxes = _crowd(rng, 32)
        rays = visible_share(in_ego_frame(boxes, HERE), len(boxes), rig, [box.category for box in boxes])
        renderer.set_boxes(boxes)
        together = [renderer.render_instances(*view) for view in views]
        for box, share in zip(boxes, rays, strict=True):
            renderer.set_boxes([box])
            alone = sum(int((renderer.render_instances(*view) > 0).sum()) for view in views)
            if alone >= 30:
                by_pixels.append(sum(int((ids == box.instance_id).sum()) for ids in together) / alone)
                by_rays.append(float(share))
    renderer.close()
    levels, ours = visibility_level(np.array(by_pixels)), visibility_level(np.array(by_rays))
    assert len(levels) > 250 and all((levels == level).sum() >= 10 for level in (1, 2, 3, 4))
    assert (levels == ours).mean() >= 0.95
    assert (np.abs(levels - ours) <= 1).mean() >= 0.99
    assert np.abs(np.array(by_pixels) - by_rays).mean() < 0.025


def test_of_1000_boxes_with_lamps_on_the_pixels_lie_in_their_projected_hulls() -> None:
    """Alone in the picture, so unoccluded: 99 % of what changes in colour and in ids lies inside the hull."""
    renderer, camera, rng = Renderer(320, 180), RIG[0], np.random.default_rng(8)
    renderer.set_ground([], [], Backdrop("night"))
    view = camera.intrinsics, camera_from_world(camera, HERE)
    renderer.set_boxes([])
    empty = renderer.render(*view)
    num_judged = num_pixels = num_outside = num_lit_outside = 0
    while num_judged < 1000:
        category = list(SIZES)[num_judged % len(SIZES)]
        size = tuple(np.array(SIZES[category]) * rng.uniform(0.8, 1.2, 3))
        away = rng.uniform(6, 40)
        center = np.array([1.7 + away, rng.uniform(-0.5, 0.5) * away, rng.uniform(0, 0.3) + size[2] / 2])
        lights = Lights(*(bool(lit) for lit in rng.integers(0, 2, 4)))
        box = RenderBox(center, rng.uniform(-np.pi, np.pi), size, category, num_judged + 1, (255, 0, 255), lights)
        corners = box_points(in_ego_frame([box], HERE), _corners()[None])[0]
        pixels, depth = project(image_from_ego(camera.intrinsics, camera.camera_from_ego), corners)
        hull = shapely.convex_hull(shapely.multipoints(pixels))
        if not ((depth > 1).all() and (pixels >= 0).all() and (pixels < [320, 180]).all() and hull.area >= 40):
            continue
        renderer.set_boxes([box])
        rows, columns = np.nonzero(renderer.render_instances(*view))
        is_in = shapely.contains_xy(hull.buffer(0.5), columns + 0.5, rows + 0.5)
        assert is_in.mean() >= 0.99
        # above the box nothing but itself may light up; below it lies its shadow
        picture = renderer.render(*view)
        changed = (picture != empty).any(-1)
        rows_lit, columns_lit = np.nonzero(changed[: rows.max() + 1])
        beside = ~shapely.contains_xy(hull.buffer(1.0), columns_lit + 0.5, rows_lit + 0.5)
        bright = picture[rows_lit[beside], columns_lit[beside]].max(-1) > 150
        num_judged, num_pixels = num_judged + 1, num_pixels + len(rows)
        num_outside, num_lit_outside = num_outside + (~is_in).sum(), num_lit_outside + bright.sum()
    renderer.close()
    assert num_outside <= 0.001 * num_pixels
    assert num_lit_outside == 0


def test_the_scan_meets_what_is_solid() -> None:
    """Aimed at the whole box of a car, some rays pass over the bonnet."""
    whole, (num_whole,) = scan(CAR[None], 1, np.random.default_rng(0))
    solid, (num_solid,) = scan(CAR[None], 1, np.random.default_rng(0), ["car"])
    assert 0.6 * num_whole < num_solid < num_whole
    for points, count in ((whole, num_whole), (solid, num_solid)):
        inside = (np.abs(points[:, 0]) < 1.0) & (points[:, 1] > 7.0) & (points[:, 1] < 11.1) & (points[:, 2] > -1.83)
        assert inside.sum() == count


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
    """200 unoccluded boxes: their pixels lie inside the projected hull and fill about half of it at least."""
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
    # A bicycle is mostly air.
    assert min(filled_share) >= 0.45


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
    assert {line.kind for line in ground_lines(drama.town)} >= {"divider", "road_divider", "boundary", "stop_line"}
    boxes = actor_boxes(drama, 0)
    assert [box.instance_id for box in boxes] == list(range(1, len(drama.actors)))
