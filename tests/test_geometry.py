"""Geometry: answers known by eye, and properties that hold for every input."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dima_pipeline import geometry as g

angle = st.floats(-10, 10)
metres = st.floats(-100, 100)
size = st.floats(0.3, 12)
box = st.tuples(metres, metres, angle, size, size).map(np.array)
pose = st.tuples(metres, metres, angle).map(np.array)


def test_a_quarter_turn_moves_x_to_y():
    rotation = g.rotation_from_quaternion(g.quaternion_from_yaw(np.pi / 2))
    assert np.allclose(rotation @ [1, 0, 0], [0, 1, 0])
    assert g.yaw_from_rotation(rotation) == pytest.approx(np.pi / 2)


@given(angle, metres, metres)
def test_a_rigid_transform_and_its_inverse_cancel(yaw, x, y):
    matrix = g.rigid(g.rotation_from_quaternion(g.quaternion_from_yaw(yaw)), [x, y, 1.5])
    assert np.allclose(matrix @ g.invert_rigid(matrix), np.eye(4), atol=1e-9)


@given(pose, st.lists(st.tuples(metres, metres), min_size=1, max_size=5).map(np.array))
def test_into_a_frame_and_back_is_the_same_point(origin, points):
    assert np.allclose(g.from_frame(g.to_frame(points, origin), origin), points, atol=1e-6)


def test_a_point_ahead_of_an_ego_that_looks_along_y():
    assert np.allclose(g.to_frame(np.array([[2.0, 7.0]]), np.array([2.0, 2.0, np.pi / 2])), [[5, 0]])


@given(angle)
def test_wrapped_angles_stay_in_range_and_point_the_same_way(yaw):
    wrapped = g.wrap_angle(yaw)
    assert -np.pi <= wrapped < np.pi
    assert np.cos(wrapped) == pytest.approx(np.cos(yaw), abs=1e-9)


def test_a_point_straight_ahead_of_a_front_camera_lands_on_the_principal_point():
    camera_from_ego = np.array([[0, -1, 0, 0], [0, 0, -1, 1.5], [1, 0, 0, -1], [0, 0, 0, 1]], float)
    intrinsics = np.array([[100, 0, 80], [0, 100, 45], [0, 0, 1]], float)
    projection = g.image_from_ego(intrinsics, camera_from_ego)
    pixels, depth = g.project(projection, np.array([[11.0, 0, 1.5], [11.0, 1.0, 1.5], [11.0, 0, 0.5]]))
    assert np.allclose(pixels, [[80, 45], [70, 45], [80, 55]])
    assert np.allclose(depth, 10)
    half = g.image_from_ego(intrinsics, camera_from_ego, scale=(0.5, 0.25))
    assert np.allclose(g.project(half, np.array([[11.0, 1.0, 0.5]]))[0], [[35, 55 / 4]])


@pytest.mark.parametrize(
    ("second", "expected"),
    [
        ([3.9, 0, 0, 4, 2], True),
        ([4.1, 0, 0, 4, 2], False),
        ([0, 1.9, 0, 4, 2], True),
        ([0, 2.1, 0, 4, 2], False),
        ([3.2, 0, np.pi / 2, 4, 2], False),
        ([2.9, 0, np.pi / 2, 4, 2], True),
        ([3.3, 2.3, np.pi / 4, 2, 2], False),
        ([2.5, 1.5, np.pi / 4, 2, 2], True),
    ],
)
def test_a_car_at_the_origin_and_a_second_box(second, expected):
    assert g.boxes_overlap(np.array([0, 0, 0, 4.0, 2.0]), np.array(second, float)) == expected


@settings(max_examples=60)
@given(box, box, pose)
def test_overlap_is_symmetric_and_does_not_depend_on_the_frame(first, second, frame):
    moved = [np.concatenate([g.to_frame(b[:2], frame), [b[2] - frame[2]], b[3:]]) for b in (first, second)]
    grown = np.concatenate([second[:3], second[3:] * (1 + 1e-6)])
    shrunk = np.concatenate([second[:3], second[3:] * (1 - 1e-6)])
    if g.boxes_overlap(first, grown) != g.boxes_overlap(first, shrunk):
        return  # touching: either answer is right
    assert g.boxes_overlap(first, second) == g.boxes_overlap(second, first) == g.boxes_overlap(*moved)


@settings(max_examples=60)
@given(box, box)
def test_overlap_agrees_with_polygon_intersection(first, second):
    shapely = pytest.importorskip("shapely")
    first_polygon, second_polygon = (shapely.Polygon(g.box_corners(box)) for box in (first, second))
    area = first_polygon.intersection(second_polygon).area
    if area > 1e-6 or first_polygon.distance(second_polygon) > 1e-9:  # between the two, boxes touch: either is right
        assert g.boxes_overlap(first, second) == (area > 0)


def test_a_resampled_polyline_keeps_its_ends_and_its_spacing():
    points = g.resample_polyline(np.array([[0, 0], [3, 0], [3, 1]]), 5)
    assert np.allclose(points, [[0, 0], [1, 0], [2, 0], [3, 0], [3, 1]])


def test_the_heading_of_a_standing_ego_is_kept_from_the_step_before():
    path = np.array([[1, 0], [1, 1], [1, 1.01], [1, 1.01]])
    assert np.allclose(g.path_headings(path), [0, np.pi / 2, np.pi / 2, np.pi / 2])


@pytest.mark.parametrize(
    ("ahead_m", "touch_m", "expected"),
    [
        (4.0, None, False),
        (4.0, 1e-9, True),
        (4.0 + 1e-6, 1e-9, False),
        (3.9, None, True),
        (4.3, 0.5, True),
        (4.6, 0.5, False),
    ],
)
def test_touching_boxes_share_no_area_but_may_count(ahead_m, touch_m, expected):
    # Two boxes of 4 m, one behind the other.
    assert g.boxes_overlap(np.array([0, 0, 0, 4.0, 2.0]), np.array([ahead_m, 0, 0, 4.0, 2.0]), touch_m) == expected


@given(box, box, st.floats(0, 1), st.floats(0, 1))
def test_whatever_touches_within_less_touches_within_more(first, second, less, more):
    touches = [bool(g.boxes_overlap(first, second, touch_m)) for touch_m in (None, less, less + more)]
    assert touches == sorted(touches)


def test_a_path_may_start_in_any_heading():
    path = np.array([[0, 0], [0, 0.01], [0, 2], [2, 2.0]])
    assert np.allclose(g.path_headings(path, start_rad=np.pi / 2), [np.pi / 2, np.pi / 2, np.pi / 2, 0])
    assert np.allclose(g.path_headings(path, start_rad=2.0)[:2], 2.0)


def test_a_path_backwards_reverses_or_turns_around():
    path = np.array([[1, 0], [-1, 0.0]])
    assert np.allclose(g.wrap_angle(g.path_headings(path)), [0, 0])
    assert np.allclose(g.path_headings(path, may_reverse=False), [0, np.pi])


@given(pose, metres)
def test_the_centre_of_the_ego_lies_ahead_of_its_frame(place, ahead_m):
    x, y, yaw, length, width = g.ego_boxes(place, ahead_m)
    assert np.allclose(g.to_frame(np.array([x, y]), place), [ahead_m, 0], atol=1e-6)
    assert (yaw, length, width) == (place[2], 4.084, 1.85)
