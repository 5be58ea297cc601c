"""Exact collisions: against shapely, where boxes touch, and what must not matter."""

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from dima_pipeline.geometry import box_corners, boxes_overlap, from_frame
from dima_pipeline.scoring.footprints import TOUCH_M, exact_hits, tangent_boxes
from scoring_cases import EGO_LENGTH_M, EGO_WIDTH_M, edges, random_samples

metres = st.integers(-800, 800).map(lambda centimetres: centimetres / 100)
sizes = st.integers(30, 900).map(lambda centimetres: centimetres / 100)
yaws = st.integers(-40, 40).map(lambda steps: steps * np.pi / 24)
box = st.tuples(metres, metres, yaws, sizes, sizes).map(np.array)
ego_box = st.tuples(metres, metres, yaws, st.just(EGO_LENGTH_M), st.just(EGO_WIDTH_M)).map(np.array)
pose = st.tuples(st.integers(-500, 500), st.integers(-500, 500), yaws).map(np.array)
AHEAD = np.pi / 2
STANDING = np.array([0, 0.5, AHEAD, EGO_LENGTH_M, EGO_WIDTH_M])


def hits(ego: np.ndarray, other: np.ndarray) -> bool:
    """One ego box and one other."""
    return bool(exact_hits(ego[None, None], np.asarray(other, float)[None, None, None], np.ones((1, 1, 1), bool)))


def moved(boxes: np.ndarray, pose: np.ndarray) -> np.ndarray:
    """Boxes after a rigid motion of the whole scene."""
    return np.concatenate([from_frame(boxes[..., :2], pose), boxes[..., 2:3] + pose[2], boxes[..., 3:]], -1)


def test_overlap_agrees_with_shapely_on_a_hundred_thousand_pairs():
    rng = np.random.default_rng(0)
    count = 100_000
    pairs = rng.uniform((-4, -4, -10, 0.3, 0.3), (4, 4, 10, 8, 3), (2, count, 5))
    first, second = (shapely.polygons(box_corners(boxes)) for boxes in pairs)
    expected, apart_m = shapely.intersects(first, second), shapely.distance(first, second)
    clear = expected | (apart_m > 1e-6)
    assert clear.mean() > 0.9999 and 0.3 < expected.mean() < 0.7
    np.testing.assert_array_equal(boxes_overlap(*pairs, TOUCH_M)[clear], expected[clear])


def test_hits_of_whole_scenes_agree_with_shapely():
    samples = random_samples(1, num_samples=200)
    ego = tangent_boxes(samples.pred, AHEAD, 0.5)
    polygons = (shapely.polygons(box_corners(boxes)) for boxes in (ego[:, :, None], samples.boxes))
    expected = (shapely.intersects(*polygons) & samples.box_mask).any(-1)
    assert 0.2 < expected.mean() < 0.8
    np.testing.assert_array_equal(exact_hits(ego, samples.boxes, samples.box_mask), expected)


@pytest.mark.parametrize(("gap_m", "meets"), [(-1e-6, True), (0.0, True), (1e-6, False)])
@pytest.mark.parametrize("turn", [0.0, 0.3, np.pi / 2, 2.0])
def test_touching_counts_and_a_micrometre_apart_does_not(gap_m, meets, turn):
    # The ego reaches from -0.925 to 0.925 m across and from -1.542 to 2.542 m ahead.
    beside = np.array(edges(left=0.925 + gap_m, right=3, back=-1, front=1))
    before = np.array(edges(left=-1, right=1, back=2.542 + gap_m, front=5))
    at_a_corner = np.array(edges(left=0.925 + gap_m, right=3, back=2.542 + gap_m, front=5))
    pose = np.array([30.0, -20.0, turn])
    for other in (beside, before, at_a_corner):
        assert hits(moved(STANDING, pose), moved(other, pose)) == meets


@settings(max_examples=300, deadline=None)
@given(ego_box, box, pose)
def test_a_motion_of_the_whole_scene_changes_nothing(ego, other, pose):
    assert hits(moved(ego, pose), moved(other, pose)) == hits(ego, other)


@given(ego_box, ego_box)
def test_two_egos_hit_each_other_or_neither_does(first, second):
    assert hits(first, second) == hits(second, first)


@given(ego_box, box, sizes, sizes)
def test_a_larger_box_hits_wherever_the_smaller_one_does(ego, other, more_length, more_width):
    larger = other + np.array([0, 0, 0, more_length, more_width])
    assert hits(ego, larger) >= hits(ego, other)


def test_the_box_is_tangent_to_the_path_and_half_a_metre_ahead_of_it():
    # Ahead 2 m, then right 2 m: the box looks along y, then along x.
    boxes = tangent_boxes(np.array([[[0, 2], [2, 2.0]]]), AHEAD, 0.5)[0]
    np.testing.assert_allclose(boxes[0], [0, 2.5, np.pi / 2, 4.084, 1.85], atol=1e-12)
    np.testing.assert_allclose(boxes[1], [2.5, 2, 0, 4.084, 1.85], atol=1e-12)


def test_a_step_under_half_a_metre_keeps_the_heading_of_the_step_before():
    path = np.array([[[0.49, 0], [0.99, 0], [0.99, 0.49], [0.99, -0.01], [0.99, -0.01]]])
    # 0.49 m to the right: still ahead. 0.5 m: right. 0.49 m ahead: still right. 0.5 m back: back, and so it stays.
    turned = [AHEAD, 0, 0, -AHEAD, -AHEAD]
    np.testing.assert_allclose(tangent_boxes(path, AHEAD, 0.5)[0, :, 2], turned)


def test_a_path_that_goes_back_turns_the_box_around():
    boxes = tangent_boxes(np.array([[[0, 2], [0, 0.0]]]), AHEAD, 0.5)[0]
    np.testing.assert_allclose(boxes[:, 1:3], [[2.5, AHEAD], [-0.5, -AHEAD]])


@given(pose, st.lists(st.tuples(metres, metres), min_size=6, max_size=6).map(np.array))
def test_a_path_that_is_turned_turns_its_boxes(pose, path):
    lengths = np.linalg.norm(np.diff(path, axis=0, prepend=0), axis=1)
    if (np.abs(lengths - 0.5) < 1e-6).any():
        return  # at the limit, rounding decides
    turn = np.array([0, 0, pose[2]])
    turned = tangent_boxes(from_frame(path, turn)[None], AHEAD + pose[2], 0.5)
    expected = moved(tangent_boxes(path[None], AHEAD, 0.5), turn)
    np.testing.assert_allclose(box_corners(turned), box_corners(expected), atol=1e-9)


def test_boxes_that_do_not_count_are_not_hit():
    ego = np.broadcast_to(STANDING, (2, 3, 5))
    boxes = np.broadcast_to(STANDING, (2, 3, 4, 5))
    counts = np.zeros((2, 3, 4), bool)
    counts[1, 2, 3] = True
    assert np.argwhere(exact_hits(ego, boxes, counts)).tolist() == [[1, 2]]
