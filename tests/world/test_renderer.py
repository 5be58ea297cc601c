"""The renderer against the pinhole formula: hulls of boxes, ids, ground points, light."""

import multiprocessing
import subprocess
import sys

import numpy as np
import pytest
import shapely

from dima_pipeline.geometry import box_corners, invert_rigid, project, rigid
from dima_pipeline.world.render_types import BOX_CATEGORIES
from dima_pipeline.world.renderer import Backdrop, GroundArea, GroundLine, RenderBox, Renderer

WIDTH, HEIGHT = 160, 96
INTRINSICS = np.array([[130.0, 0, 84.3], [0, 118.0, 40.6], [0, 0, 1]])
"""fx != fy and the principal point away from the middle."""
SIZES = {
    "car": (4.6, 1.9, 1.6),
    "truck": (8.0, 2.5, 3.2),
    "bus": (11.0, 2.9, 3.4),
    "trailer": (10.0, 2.6, 3.6),
    "construction_vehicle": (6.0, 2.7, 3.0),
    "pedestrian": (0.7, 0.7, 1.75),
    "motorcycle": (2.1, 0.8, 1.5),
    "bicycle": (1.8, 0.65, 1.6),
    "traffic_cone": (0.4, 0.4, 1.0),
    "barrier": (0.5, 2.3, 1.0),
    "building": (14.0, 11.0, 9.0),
}
FAR_AWAY = np.array([1847.3, -2411.9, 0.0])


def far(x, y, z):
    """A point near a place kilometres from the origin."""
    return FAR_AWAY + np.array([x, y, z])


@pytest.fixture(scope="module")
def renderer():
    renderer = Renderer(WIDTH, HEIGHT)
    yield renderer
    renderer.close()


def looking(position, yaw_rad, pitch_rad=0.0, roll_rad=0.0):
    """``camera_from_world`` of a camera that looks along a heading; pitch is down, roll turns the picture."""
    cos, sin = np.cos(pitch_rad), np.sin(pitch_rad)
    forward = np.array([np.cos(yaw_rad) * cos, np.sin(yaw_rad) * cos, -sin])
    right = np.array([np.sin(yaw_rad), -np.cos(yaw_rad), 0.0])
    down = np.cross(forward, right)
    turned = np.cos(roll_rad) * right + np.sin(roll_rad) * down
    axes = np.stack([turned, np.cross(forward, turned), forward], 1)
    return invert_rigid(rigid(axes, np.asarray(position, float)))


def hull_of(box, camera_from_world, intrinsics=INTRINSICS):
    """The projected box cut to the image."""
    x, y, z = box.center
    corners = box_corners(np.array([x, y, box.yaw, *box.size[:2]]))
    height = np.repeat([[-box.size[2] / 2], [box.size[2] / 2]], 4, axis=0) + z
    pixels, depth = project(intrinsics @ camera_from_world[:3], np.hstack([np.tile(corners, (2, 1)), height]))
    assert (depth > 0.5).all()
    return shapely.convex_hull(shapely.multipoints(pixels))


def pixels_of(ids, instance_id):
    rows, columns = np.nonzero(ids == instance_id)
    return columns + 0.5, rows + 0.5


def random_view(rng, category):
    """A box of a category and a camera that sees it, somewhere in a large world."""
    size = tuple(np.array(SIZES[category]) * rng.uniform(0.9, 1.1, 3))
    center = FAR_AWAY + rng.uniform(-300, 300, 3) * (1, 1, 0) + (0, 0, size[2] / 2)
    box = RenderBox(center, rng.uniform(-np.pi, np.pi), size, category, int(rng.integers(1, 2**24)))
    away = max(size) * rng.uniform(1.2, 4.0) + 1.0
    bearing = rng.uniform(-np.pi, np.pi)
    position = center - away * np.array([np.cos(bearing), np.sin(bearing), 0])
    position[2] = rng.uniform(0.8, 3.0)
    camera = looking(position, bearing + rng.uniform(-0.3, 0.3), rng.uniform(-0.15, 0.3), rng.uniform(-0.2, 0.2))
    return box, camera


@pytest.mark.parametrize("category", BOX_CATEGORIES)
def test_a_lone_box_fills_its_projected_hull_and_stays_inside_it(renderer, category):
    rng = np.random.default_rng(BOX_CATEGORIES.index(category))
    image_frame = shapely.box(0, 0, WIDTH, HEIGHT)
    num_judged = 0
    while num_judged < 12:
        box, camera = random_view(rng, category)
        hull = hull_of(box, camera)
        visible_area = hull.intersection(image_frame).area
        if visible_area < 100:
            continue
        num_judged += 1
        renderer.set_boxes([box])
        u, v = pixels_of(renderer.render_instances(INTRINSICS, camera), box.instance_id)
        assert shapely.contains_xy(hull.buffer(0.5), u, v).mean() >= 0.99
        assert len(u) >= (0.35 if category == "bicycle" else 0.5) * visible_area


def test_pixels_match_the_pinhole_within_half_a_pixel(renderer):
    """Edges of a solid box: the extent of its pixels is the extent of its corners."""
    rng = np.random.default_rng(5)
    for _ in range(40):
        size = tuple(rng.uniform(0.5, 3.0, 3))
        box = RenderBox(far(rng.uniform(5, 15), *rng.uniform(-1.5, 1.5, 2)), 0.0, size, "barrier", 7)
        camera = looking(FAR_AWAY, 0.0)
        hull = hull_of(box, camera)
        renderer.set_boxes([box])
        u, v = pixels_of(renderer.render_instances(INTRINSICS, camera), 7)
        low_u, low_v, high_u, high_v = np.clip(hull.bounds, 0, [WIDTH, HEIGHT, WIDTH, HEIGHT])
        seen = np.array([u.min() - 0.5, v.min() - 0.5, u.max() + 0.5, v.max() + 0.5])
        # a pixel belongs to a box when its centre does: half a pixel, and a third of one for the wide outlines
        assert np.abs(seen - [low_u, low_v, high_u, high_v]).max() <= 0.5 + 0.34


def test_borders_are_not_shifted_on_average(renderer):
    rng = np.random.default_rng(6)
    errors = []
    for _ in range(150):
        center = far(8.0, rng.uniform(-1, 1), rng.uniform(-1, 1))
        box = RenderBox(center, 0.0, (1.0, 1.3, 1.1), "barrier", 7)
        camera = looking(FAR_AWAY, 0.0)
        renderer.set_boxes([box])
        u, v = pixels_of(renderer.render_instances(INTRINSICS, camera), 7)
        seen = np.array([u.min() - 0.5, v.min() - 0.5, u.max() + 0.5, v.max() + 0.5])
        errors.append(seen - hull_of(box, camera).bounds)
    low_u, low_v, high_u, high_v = np.mean(errors, axis=0)
    assert abs(low_u + high_u) / 2 < 0.05 and abs(low_v + high_v) / 2 < 0.05
    # outlines are wider by a sixth of a pixel, see the renderer
    assert high_u - low_u < 0.45 and high_v - low_v < 0.45


def test_large_pictures_show_a_box_where_small_ones_do():
    """They have four samples a pixel, none of them in its middle: borders must not move for that."""
    renderer, rng, errors = Renderer(400, 240), np.random.default_rng(7), []
    intrinsics = np.diag([2.5, 2.5, 1]) @ INTRINSICS
    for _ in range(60):
        box = RenderBox(far(8.0, *rng.uniform(-1, 1, 2)), 0.0, (1.0, 1.3, 1.1), "barrier", 7)
        camera = looking(FAR_AWAY, 0.0)
        renderer.set_boxes([box])
        u, v = pixels_of(renderer.render_instances(intrinsics, camera), 7)
        seen = np.array([u.min() - 0.5, v.min() - 0.5, u.max() + 0.5, v.max() + 0.5])
        errors.append(seen - hull_of(box, camera, intrinsics).bounds)
    renderer.close()
    low_u, low_v, high_u, high_v = np.mean(errors, axis=0)
    assert abs(low_u + high_u) / 2 < 0.07 and abs(low_v + high_v) / 2 < 0.07
    assert high_u - low_u < 0.6 and high_v - low_v < 0.6
    assert np.abs(errors).max() <= 1.0


def test_the_colour_pass_shows_the_box_where_the_instance_pass_does(renderer):
    renderer.set_ground([], [], Backdrop())
    box = RenderBox(far(9.0, 0.4, 0.0), 0.0, (2.0, 2.0, 1.5), "building", 3, color=(255, 0, 255))
    camera = looking(FAR_AWAY, 0.0, roll_rad=0.1)
    renderer.set_boxes([])
    empty = renderer.render(INTRINSICS, camera)
    renderer.set_boxes([box])
    changed = (renderer.render(INTRINSICS, camera) != empty).any(-1)
    inside = renderer.render_instances(INTRINSICS, camera) == 3
    # the shadow lies on the ground below the box, which floats at the height of the camera
    above_ground = np.arange(HEIGHT)[:, None] <= np.nonzero(inside)[0].max() + 1
    border = changed & above_ground & ~inside
    assert (changed | ~inside).all()
    assert border.sum() <= 0.15 * inside.sum()


@pytest.mark.parametrize("category", ["building", "barrier", "truck"])
def test_solid_faces_have_no_holes(renderer, category):
    box = RenderBox(far(12.0, 0.3, 1.5), 0.2, (4.0, 5.0, 9.0), category, 1)
    camera = looking(FAR_AWAY, 0.0)
    renderer.set_boxes([box])
    seen = renderer.render_instances(INTRINSICS, camera) == 1
    rear = seen[30:50, 65:100]
    assert rear.all()


def test_a_nearer_box_hides_a_farther_one(renderer):
    near = RenderBox(np.array([6.0, 0, 0.8]), 0.0, (2.0, 2.0, 1.6), "barrier", 11)
    far = RenderBox(np.array([20.0, 0, 1.5]), 0.0, (2.0, 12.0, 3.0), "barrier", 12)
    camera = looking([0, 0, 1.0], 0.0)
    for boxes in ([near, far], [far, near]):
        renderer.set_boxes(boxes)
        ids = renderer.render_instances(INTRINSICS, camera)
        u, v = pixels_of(ids, 12)
        hull = hull_of(near, camera)
        assert len(u) > 20
        assert not shapely.contains_xy(hull.buffer(-0.6), u, v).any()
        assert (ids == 11).sum() == pytest.approx(hull.area, rel=0.05)


def test_instance_ids_are_exact_at_every_byte(renderer):
    rng = np.random.default_rng(0)
    wanted = [1, 2, 127, 128, 254, 255, 256, 65535, 65536, 2**24 - 1, *rng.integers(1, 2**24, 90)]
    boxes = [
        RenderBox(np.array([20.0, 9.5 - index % 20, 3.0 - index // 20 * 1.2]), 0.0, (0.5, 0.9, 1.1), "barrier", int(i))
        for index, i in enumerate(wanted)
    ]
    renderer.set_boxes(boxes)
    ids = renderer.render_instances(INTRINSICS, looking([0, 0, 1.0], 0.0))
    assert ids.dtype == np.int32
    assert set(np.unique(ids)) == {0, *map(int, wanted)}


def test_an_empty_frame_has_no_instances(renderer):
    renderer.set_boxes([])
    assert not renderer.render_instances(INTRINSICS, looking([0, 0, 1.0], 0.0)).any()


def test_a_box_behind_the_camera_is_not_seen(renderer):
    renderer.set_boxes([RenderBox(np.array([-6.0, 0, 1.0]), 0.0, (2.0, 2.0, 2.0), "car", 4)])
    assert not renderer.render_instances(INTRINSICS, looking([0, 0, 1.0], 0.0)).any()


def test_the_same_scene_gives_the_same_picture_in_a_new_renderer():
    box = RenderBox(far(9, 0, 0.8), 0.3, SIZES["car"], "car", 5)
    area = GroundArea("crossing", FAR_AWAY[:2] + np.array([[4, -5], [8, -5], [8, 5], [4, 5]]))
    camera = looking(far(0, 0, 1.5), 0.0)
    pictures = []
    for _ in range(3):
        renderer = Renderer(WIDTH, HEIGHT)
        renderer.set_ground([area], [], Backdrop("dusk", "rain"))
        renderer.set_boxes([box])
        pictures.append(renderer.render(INTRINSICS, camera))
        renderer.close()
    assert pictures[0].shape == (HEIGHT, WIDTH, 3) and pictures[0].dtype == np.uint8
    assert all((picture == pictures[0]).all() for picture in pictures)


def test_two_renderers_of_different_size_work_in_turn(renderer):
    small = Renderer(80, 48)
    boxes = [RenderBox(np.array([8.0, 0, 1.0]), 0.4, SIZES["car"], "car", 9)]
    half = np.diag([0.5, 0.5, 1]) @ INTRINSICS
    camera = looking([0, 0, 1.5], 0.0)
    shares = []
    for target, intrinsics in ((renderer, INTRINSICS), (small, half), (renderer, INTRINSICS)):
        target.set_boxes(boxes)
        shares.append((target.render_instances(intrinsics, camera) == 9).mean())
    small.close()
    assert shares[0] == shares[2] > 0
    assert shares[1] == pytest.approx(shares[0], rel=0.1)


def test_a_camera_turned_by_half_a_millionth_of_a_radian_does_not_see_the_view_drawn_before(renderer):
    """Through a lens this long the edge of the wall moves by two pixels; the wall fills the picture to its left."""
    lens = np.array([[4e6, 0, 80], [0, 4e6, 48], [0, 0, 1]])
    renderer.set_boxes([RenderBox(np.array([1000.0, 5.0, 0.0]), 0.0, (1.0, 10.0, 4.0), "barrier", 7)])
    for yaw_rad, edge in ((0.0, 80), (-5e-7, 78), (5e-7, 82)):
        is_wall = renderer.render_instances(lens, looking([0, 0, 0], yaw_rad)) == 7
        assert (is_wall == (np.arange(WIDTH) < edge)).all()


def colour_at(picture, intrinsics, camera, point):
    (pixel,), _ = project(intrinsics @ camera[:3], np.array([point], float))
    return picture[int(pixel[1]), int(pixel[0])].astype(int)


def test_ground_kinds_show_at_the_pixels_where_they_project(renderer):
    origin = FAR_AWAY[:2]
    square = np.array([[0, -8], [30, -8], [30, 8], [0, 8]])
    hole = np.array([[10, -3], [16, -3], [16, 3], [10, 3]])
    renderer.set_boxes([])
    camera = looking(far(-4, 0, 6), 0.0, pitch_rad=0.4)
    renderer.set_ground([], [], Backdrop())
    bare = renderer.render(INTRINSICS, camera)
    renderer.set_ground(
        [GroundArea("road", origin + square, (origin + hole,))],
        [GroundLine("stop_line", origin + np.array([[6, -2], [6, 2]]))],
        Backdrop(),
    )
    picture = renderer.render(INTRINSICS, camera)
    on_road, in_hole, on_line, beside = ((20, 5), (13, 0), (6, 0), (20, 11))

    def at(view, xy):
        return colour_at(view, INTRINSICS, camera, (*(origin + xy), 0.0))

    assert np.abs(at(picture, on_road) - (92, 92, 96)).max() <= 1
    # grass is mottled beside paving
    assert np.abs(at(picture, in_hole) - at(bare, in_hole)).max() <= 13
    assert np.abs(at(picture, beside) - at(bare, beside)).max() <= 13
    assert at(picture, on_line).min() > 150
    # the edge of the road is where it projects: one pixel to either side of it differs
    (edge,), _ = project(INTRINSICS @ camera[:3], far(20, 8, 0)[None])
    row, column = int(edge[1]), int(edge[0])
    assert np.abs(picture[row, column - 2].astype(int) - bare[row, column - 2]).max() <= 13
    assert np.abs(picture[row, column + 2].astype(int) - (92, 92, 96)).max() <= 6


def test_a_later_kind_of_area_covers_an_earlier_one_at_any_distance(renderer):
    road = GroundArea("road", np.array([[-50.0, -50], [400, -50], [400, 50], [-50, 50]]))
    cover = GroundArea("walkway", np.array([[200.0, -40], [390, -40], [390, 40], [200, 40]]))
    renderer.set_boxes([])
    renderer.set_ground([cover, road], [], Backdrop())
    camera = looking([0, 0, 4.0], 0.0)
    picture = renderer.render(np.array([[1040.0, 0, 80], [0, 944, 48], [0, 0, 1]]), camera)
    column = picture[:, WIDTH // 2].astype(int)
    is_walkway = np.abs(column - (164, 156, 144)).max(-1) <= 1
    rows = np.nonzero(is_walkway)[0]
    assert len(rows) > 3
    assert is_walkway[rows.min() : rows.max() + 1].all()


def test_night_is_darker_than_dusk_and_dusk_than_day(renderer):
    road = GroundArea("road", np.array([[-50.0, -6], [100, -6], [100, 6], [-50, 6]]))
    box = RenderBox(np.array([12.0, 0, 0.8]), 0.0, SIZES["car"], "car", 2)
    means = {}
    for light in ("day", "dusk", "night"):
        renderer.set_ground([road], [], Backdrop(light=light))
        renderer.set_boxes([box])
        means[light] = renderer.render(INTRINSICS, looking([0, 0, 1.6], 0.0)).mean()
    assert means["night"] < 0.5 * means["dusk"] < 0.5 * means["day"]


def test_rain_takes_contrast(renderer):
    road = GroundArea("road", np.array([[-50.0, -6], [100, -6], [100, 6], [-50, 6]]))
    box = RenderBox(np.array([8.0, 0, 0.8]), 0.0, SIZES["car"], "car", 2, color=(250, 20, 20))
    spreads = []
    for weather in ("clear", "rain"):
        renderer.set_ground([road], [], Backdrop(weather=weather))
        renderer.set_boxes([box])
        spreads.append(renderer.render(INTRINSICS, looking([0, 0, 1.6], 0.0)).std())
    assert spreads[1] < 0.8 * spreads[0]


def test_the_rear_of_a_car_is_red_and_its_front_is_white(renderer):
    renderer.set_ground([], [], Backdrop("night"))
    camera = looking([0, 0, 1.0], 0.0)
    lamps = []
    for yaw in (0.0, np.pi):
        renderer.set_boxes([RenderBox(np.array([7.0, 0, 0.8]), yaw, SIZES["car"], "car", 2, color=(90, 90, 90))])
        picture = renderer.render(INTRINSICS, camera).astype(int)
        is_red = (picture[..., 0] > 150) & (picture[..., 1] < 80)
        lamps.append((is_red.sum(), (picture.min(-1) > 200).sum()))
    (red_behind, white_behind), (red_ahead, white_ahead) = lamps
    assert red_behind > 10 and white_ahead > 10
    assert white_behind == red_ahead == 0


def test_faces_of_a_box_are_shaded_by_their_direction(renderer):
    renderer.set_ground([], [], Backdrop())
    renderer.set_boxes([RenderBox(np.array([10.0, 0, 1.0]), np.pi / 4, (3, 3, 2), "building", 1, (200, 200, 200))])
    picture = renderer.render(INTRINSICS, looking([20, 0, 1.0], np.pi)).astype(int)
    left, right = (picture[47:51, columns].sum(-1).mean() for columns in (slice(70, 80), slice(90, 100)))
    assert abs(left - right) > 30


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: RenderBox(np.zeros(3), 0.0, (1, 1, 1), "cart", 1), "did you mean 'car'"),
        (lambda: RenderBox(np.zeros(3), 0.0, (1, 1, 1), "car", 0), "instance_id"),
        (lambda: RenderBox(np.zeros(3), 0.0, (1, 1, 1), "car", 2**24), "instance_id"),
        (lambda: RenderBox(np.zeros(3), 0.0, (1, 0, 1), "car", 1), "positive"),
        (lambda: GroundArea("roads", np.zeros((3, 2))), "did you mean 'road'"),
        (lambda: GroundLine("dividers", np.zeros((2, 2))), "did you mean 'divider'"),
        (lambda: Backdrop(light="nite"), "did you mean 'night'"),
        (lambda: Backdrop(weather="rainy"), "did you mean 'rain'"),
        (lambda: Renderer(0, 10), "at least one pixel"),
    ],
)
def test_what_cannot_be_drawn_is_refused_with_a_hint(make, says):
    with pytest.raises(ValueError, match=says):
        make()


def picture_in_a_worker(_):
    renderer = Renderer(WIDTH, HEIGHT)
    renderer.set_boxes([RenderBox(np.array([9.0, 0, 0.8]), 0.3, SIZES["car"], "car", 5)])
    return renderer.render(INTRINSICS, looking([0, 0, 1.5], 0.0))


def test_a_spawned_worker_draws_the_same_picture():
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        (far,) = pool.map(picture_in_a_worker, [None])
    assert (far == picture_in_a_worker(None)).all()


def test_drawing_prints_nothing():
    program = (
        "from dima_pipeline.world.renderer import Renderer; import numpy as np; r = Renderer(32, 32);"
        "r.render(np.array([[30., 0, 16], [0, 30, 16], [0, 0, 1]]), np.eye(4)); r.close()"
    )
    finished = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert finished.stdout == finished.stderr == ""
