"""Trees, grain of the ground, fog and what a sensor adds."""

import zlib

import numpy as np
import pytest
import shapely

from dima_pipeline.geometry import box_corners, invert_rigid, rigid
from dima_pipeline.world.greenery import near, street_trees
from dima_pipeline.world.render_grain import marks, mottles
from dima_pipeline.world.render_noise import expose
from dima_pipeline.world.render_sky import FOG_M, fogged, ground_distances
from dima_pipeline.world.renderer import Backdrop, GroundArea, GroundLine, RenderBox, Renderer, RenderSignal, RenderTree
from dima_pipeline.world.towns import SITES, build_town

INTRINSICS = np.array([[120.0, 0, 80], [0, 120, 48], [0, 0, 1]])
AHEAD = invert_rigid(rigid(np.array([[0, 0, 1], [-1, 0, 0], [0, -1, 0]]), np.array([0, 0, 1.5])))
ROAD = GroundArea("road", np.array([[-50.0, -9], [200, -9], [200, 9], [-50, 9]]))


@pytest.fixture(scope="module")
def renderer():
    renderer = Renderer(160, 96)
    yield renderer
    renderer.close()


def wall(away, instance_id=1):
    return RenderBox(np.array([away, 0, 2.0]), 0.0, (0.4, 8.0, 4.0), "barrier", instance_id)


def test_contrast_falls_with_distance_in_fog_and_only_there(renderer):
    spreads = {}
    for weather in ("clear", "fog"):
        renderer.set_ground([ROAD], [], Backdrop("day", weather))
        for away in (10.0, 30.0, 90.0):
            renderer.set_boxes([wall(away)])
            picture, mine = renderer.render(INTRINSICS, AHEAD), renderer.render_instances(INTRINSICS, AHEAD) == 1
            spreads[weather, away] = float(picture[mine].std())
    assert spreads["fog", 10.0] > 1.4 * spreads["fog", 30.0] > 4 * spreads["fog", 90.0]
    assert spreads["clear", 90.0] > 0.6 * spreads["clear", 10.0]


def test_fog_leaves_one_e_th_of_the_contrast_at_its_distance():
    picture = np.zeros((1, 3, 3), np.uint8)
    day = Backdrop("day", "fog")
    near_by, at_fog, never = fogged(picture, np.array([[0.0, FOG_M, np.inf]]), day)[0].astype(int)
    assert (near_by == 0).all() and never.min() > 180
    assert at_fog == pytest.approx(never * (1 - np.exp(-1)), abs=1)


def test_the_ground_is_as_far_as_the_pinhole_says():
    distances = ground_distances(INTRINSICS, np.linalg.inv(AHEAD), (160, 96))
    assert np.isinf(distances[:48]).all()
    down = (60.5 - 48) / 120
    assert distances[60, 80] == pytest.approx(1.5 / down * np.sqrt(1 + down**2 + (0.5 / 120) ** 2))


@pytest.mark.parametrize("weather", ["clear", "rain", "fog"])
def test_pictures_are_the_same_whatever_was_drawn_before(weather):
    trees = [RenderTree(np.array([14.0 + 5 * i, 8.0 * (-1) ** i]), 6.0) for i in range(6)]
    signals = [RenderSignal(np.array([25.0, -5, 4.2]), np.pi, "green")]
    boxes = [
        RenderBox(np.array([10.0 + 6 * i, i - 2.0, 0.8]), 0.2 * i, (4.6, 1.9, 1.6), "car", i + 1) for i in range(5)
    ]
    houses = [
        RenderBox(np.array([20.0 + 16 * i, 18, 5.0]), 0.1, (14.0, 9.0, 10.0), "building", 90 + i) for i in range(4)
    ]

    def draw(renderer):
        renderer.set_ground([ROAD], [GroundLine("wear", np.array([[0.0, 2], [90, 2]]))], Backdrop("dusk", weather))
        renderer.set_trees(trees)
        renderer.set_signals(signals)
        renderer.set_boxes([*boxes, *houses])
        return renderer.render(INTRINSICS, AHEAD), renderer.render_instances(INTRINSICS, AHEAD)

    fresh, used = Renderer(160, 96), Renderer(160, 96)
    used.set_ground([ROAD], [], Backdrop("night", "fog"))
    used.set_boxes([*houses[::-1], wall(12.0, 7)])
    used.set_trees(trees[:2])
    used.set_signals([RenderSignal(np.array([9.0, 0, 4.0]), 1.0, "red")])
    used.render(INTRINSICS, AHEAD)
    for ours, theirs in zip(draw(fresh), draw(used), strict=True):
        assert (ours == theirs).all()
    fresh.close()
    used.close()


def test_a_tree_has_a_brown_trunk_below_a_green_crown_and_hides_what_is_behind(renderer):
    renderer.set_ground([], [], Backdrop())
    renderer.set_boxes([wall(40.0, 5)])
    bare = renderer.render(INTRINSICS, AHEAD).astype(int)
    seen = (renderer.render_instances(INTRINSICS, AHEAD) == 5).sum()
    renderer.set_trees([RenderTree(np.array([15.0, 0.0]), 7.0)])
    picture = renderer.render(INTRINSICS, AHEAD).astype(int)
    ids = renderer.render_instances(INTRINSICS, AHEAD)
    renderer.set_trees([])
    changed = (picture != bare).any(-1)
    green = changed & (picture[..., 1] > picture[..., 0] + 5) & (picture[..., 1] > picture[..., 2] + 15)
    brown = changed & (picture[..., 0] > picture[..., 1] + 5)
    assert green.sum() > 150 and brown.sum() > 10
    assert np.nonzero(green)[0].mean() < np.nonzero(brown)[0].mean() - 10
    assert set(np.unique(ids)) == {0, 5} and (ids == 5).sum() < seen


@pytest.mark.parametrize("height", [0.2, 90.0])
def test_a_tree_of_an_impossible_height_is_refused(height):
    with pytest.raises(ValueError, match=r"1 \.\.\. 40 m high"):
        RenderTree(np.zeros(2), height)


@pytest.mark.parametrize("site", SITES[:3], ids=lambda site: site.name)
def test_trees_of_a_town_stand_in_the_green_and_are_the_same_every_time(site):
    town = build_town(site, 7)
    trees = street_trees(town)
    assert len(trees) > 20
    centers = np.array([tree.center for tree in trees])
    assert (centers == [tree.center for tree in street_trees(town)]).all()
    place = town.placement
    houses = [(*place.poses(np.array([h.x_m, h.y_m, h.yaw_rad])), *h.size[:2]) for h in town.buildings]
    shapes = [shapely.Polygon(corners) for corners in box_corners(np.array(houses))]
    paved = [
        shapely.Polygon(
            place.points(np.array(part.exterior.coords)), [place.points(np.array(h.coords)) for h in part.interiors]
        )
        for area in (town.drivable, town.walkway)
        for part in getattr(area, "geoms", [area])
    ]
    built = shapely.union_all([*shapes, *paved])
    assert shapely.distance(built, shapely.points(centers)).min() > 0.6
    ours = near(trees, centers[:1], 50.0)
    assert 0 < len(ours) < len(trees)


def test_marks_lie_on_the_paving_and_follow_from_the_place_alone():
    paved = np.array([shapely.box(0, 0, 60, 12)])
    quads, tones = marks(paved)
    assert len(quads) > 20 and 0.6 < tones.min() < tones.max() < 1.1
    assert paved[0].buffer(1e-9).contains(shapely.union_all(shapely.polygons(quads)))
    wider, _ = marks(np.array([shapely.box(-30, 0, 60, 12)]))
    assert {quad.tobytes() for quad in quads} <= {quad.tobytes() for quad in wider}
    assert len(mottles(paved)[0]) > 50 and len(marks(paved[:0])[0]) == len(mottles(paved[:0])[0]) == 0


def test_the_ground_has_something_by_which_motion_is_seen(renderer):
    renderer.set_boxes([])
    renderer.set_ground([ROAD], [], Backdrop())
    below = renderer.render(INTRINSICS, AHEAD)[60:, 40:120]
    assert len(np.unique(below.reshape(-1, 3), axis=0)) > 5
    assert np.abs(below.astype(int) - below.mean((0, 1))).mean() < 8


def test_worn_tracks_run_to_both_sides_of_the_middle_of_a_lane(renderer):
    pictures = []
    for lines in ([], [GroundLine("wear", np.array([[-20.0, 0], [90, 0]]))]):
        renderer.set_ground([ROAD], lines, Backdrop())
        pictures.append(renderer.render(INTRINSICS, AHEAD)[90].astype(int))
    changed = np.nonzero((pictures[0] != pictures[1]).any(-1))[0]
    assert len(changed) and (pictures[1] <= pictures[0]).all()
    assert not (abs(changed - 79.5) < 5).any() and {c < 80 for c in changed} == {True, False}


def test_noise_follows_from_the_generator_and_stays_small():
    picture = np.full((90, 160, 3), 120, np.uint8)
    one, same, other = (expose(picture, Backdrop(), np.random.default_rng(seed)) for seed in (3, 3, 4))
    assert (one == same).all() and (one != other).any()
    assert one.dtype == np.uint8 and 1 < one.std() < 4 and abs(one.mean() - 120) < 30
    night = expose(picture, Backdrop("night"), np.random.default_rng(3))
    assert night.std() > 2 * one.std()
    assert (picture == 120).all()


def test_rain_leaves_streaks_and_the_same_ones_for_the_same_seed():
    picture = np.full((90, 160, 3), 60, np.uint8)
    dry, wet = (expose(picture, Backdrop("day", w), np.random.default_rng(1)) for w in ("clear", "rain"))
    lighter = wet.astype(int).max(-1) > dry.astype(int).max() + 10
    assert 0.001 < lighter.mean() < 0.1
    assert zlib.crc32(wet.tobytes()) == zlib.crc32(
        expose(picture, Backdrop("day", "rain"), np.random.default_rng(1)).tobytes()
    )
