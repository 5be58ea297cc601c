"""Distances to polylines and footprints of the ego."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from shapely import LineString, Point

from dima_pipeline.contracts.frames import EGO_CENTER_AHEAD_M, EGO_LENGTH_M, EGO_WIDTH_M
from dima_pipeline.geometry import box_corners, distance_to_polyline, ego_boxes

coordinates = st.integers(-5000, 5000).map(lambda centimetres: centimetres / 100)
points = st.tuples(coordinates, coordinates)


@given(points, st.lists(points, min_size=2, max_size=6))
def test_distance_to_a_polyline_agrees_with_shapely(point, line):
    found = distance_to_polyline(np.array(point), np.array(line))
    np.testing.assert_allclose(found, Point(point).distance(LineString(line)), atol=1e-5)


def test_every_point_may_have_a_line_of_its_own():
    lines = np.array([[[0, 0], [10, 0]], [[0, 5], [0, 9]]], float)
    np.testing.assert_allclose(distance_to_polyline(np.array([[5.0, 2.0], [3.0, 7.0]]), lines), [2.0, 3.0])


def test_the_footprint_of_the_ego_reaches_further_ahead_than_behind():
    corners = box_corners(ego_boxes(np.array([10.0, 0.0, np.pi / 2])))
    np.testing.assert_allclose(corners[:, 0].max() - 10.0, EGO_WIDTH_M / 2)
    np.testing.assert_allclose(corners[:, 1].max(), EGO_CENTER_AHEAD_M + EGO_LENGTH_M / 2)
    np.testing.assert_allclose(corners[:, 1].min(), EGO_CENTER_AHEAD_M - EGO_LENGTH_M / 2)
