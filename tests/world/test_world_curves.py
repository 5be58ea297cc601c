"""Curves of lines and arcs: ends, offsets and joins known by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dima_pipeline.world.curves import Curve, join, join_around

QUARTER = Curve((0.0, 0.0, 0.0), ((10.0, 0.0), (5 * np.pi, 0.1)))
"""Ten metres ahead, then a quarter circle of radius 10 m to the left."""

pieces = st.lists(st.tuples(st.floats(1, 40), st.floats(-0.05, 0.05)), min_size=1, max_size=4)


def test_a_line_and_a_quarter_circle_end_where_they_should() -> None:
    assert QUARTER.end == pytest.approx((20.0, 10.0, np.pi / 2))
    assert QUARTER.length == pytest.approx(10 + 5 * np.pi)
    assert QUARTER.poses(np.array([5.0]))[0] == pytest.approx([5.0, 0.0, 0.0])


def test_beyond_its_ends_a_curve_runs_on_straight() -> None:
    assert QUARTER.poses(np.array([-3.0]))[0] == pytest.approx([-3.0, 0.0, 0.0])
    assert QUARTER.poses(np.array([QUARTER.length + 2]))[0] == pytest.approx([20.0, 12.0, np.pi / 2])


def test_the_inner_parallel_of_an_arc_is_shorter_and_tighter() -> None:
    inner = QUARTER.offset(4.0)
    assert inner.pieces[1] == pytest.approx((3 * np.pi, 1 / 6))
    assert inner.end == pytest.approx((16.0, 10.0, np.pi / 2))


def test_an_arc_too_tight_for_its_parallel_is_refused() -> None:
    with pytest.raises(ValueError, match=r"radius 10\.0 m"):
        QUARTER.offset(9.8)


@given(pieces, st.floats(-3, 3))
def test_a_parallel_keeps_its_distance_everywhere(parts: list[tuple[float, float]], left: float) -> None:
    curve = Curve((3.0, -2.0, 0.7), tuple(parts))
    other = curve.offset(left)
    for (length, _), begin, (twin, _), start in zip(
        curve.pieces, curve.knots[:, 0], other.pieces, other.knots[:, 0], strict=False
    ):
        x, y, yaw = curve.poses(np.array([begin + length * 0.4]))[0]
        pose = other.poses(np.array([start + twin * 0.4]))[0]
        assert pose == pytest.approx([x - left * np.sin(yaw), y + left * np.cos(yaw), yaw], abs=1e-6)


@given(pieces)
def test_driving_back_passes_the_same_points(parts: list[tuple[float, float]]) -> None:
    curve = Curve((0.0, 0.0, 0.3), tuple(parts))
    back = curve.reversed()
    along = np.linspace(0, curve.length, 7)
    assert np.allclose(back.poses(curve.length - along)[:, :2], curve.poses(along)[:, :2], atol=1e-6)
    assert np.cos(back.start[2] - curve.end[2]) == pytest.approx(-1.0)


def test_a_polyline_of_an_arc_stays_close_to_it() -> None:
    points = QUARTER.polyline(1.0)
    assert np.linalg.norm(np.diff(points, axis=0), axis=1)[1:].max() <= 1.0
    radius = np.linalg.norm(points[1:] - [10.0, 10.0], axis=1)
    assert radius == pytest.approx(np.full(len(radius), 10.0))


def test_joining_a_right_angle_takes_the_largest_arc_or_the_one_asked_for() -> None:
    free = join((0.0, 0.0, 0.0), (10.0, 15.0, np.pi / 2))
    assert free.end == pytest.approx((10.0, 15.0, np.pi / 2))
    assert free.pieces[0][1] == pytest.approx(0.1)
    bound = join((0.0, 0.0, 0.0), (10.0, 15.0, np.pi / 2), 4.0)
    assert bound.end == pytest.approx((10.0, 15.0, np.pi / 2)) and bound.pieces[1][1] == pytest.approx(0.25)
    right = join((0.0, 0.0, 0.0), (10.0, -15.0, -np.pi / 2))
    assert right.end == pytest.approx((10.0, -15.0, -np.pi / 2)) and right.pieces[0][1] == pytest.approx(-0.1)


def test_poses_that_no_turn_joins_are_refused() -> None:
    with pytest.raises(ValueError, match="no straight line"):
        join((0.0, 0.0, 0.0), (10.0, 1.0, 0.0))
    with pytest.raises(ValueError, match="no turn"):
        join((0.0, 0.0, 0.0), (-10.0, 5.0, np.pi / 2))


def test_a_part_of_a_curve_is_the_curve_between_two_places() -> None:
    part = QUARTER.part(4.0, 10.0 + 2.5 * np.pi)
    assert part.start == pytest.approx((4.0, 0.0, 0.0)) and part.pieces[0] == (6.0, 0.0)
    assert part.pieces[1] == pytest.approx((2.5 * np.pi, 0.1))
    assert part.end == pytest.approx(QUARTER.poses(np.array([10.0 + 2.5 * np.pi]))[0])
    assert QUARTER.part(0.0, QUARTER.length).pieces == QUARTER.pieces
    with pytest.raises(ValueError, match="no part"):
        QUARTER.part(12.0, 12.0)


def test_the_way_round_a_ring_turns_right_into_it_left_along_it_and_right_out_of_it() -> None:
    # Arms east and north, lanes two metres from their axes; westward in, northward out is a right turn.
    right = join_around((30.0, 2.0, np.pi), (2.0, 30.0, np.pi / 2), (0.0, 0.0), (14.0, 12.0))
    assert right.end == pytest.approx((2.0, 30.0, np.pi / 2))
    assert np.sign(right.curvatures).tolist() == [0, -1, 1, -1, 0]
    ring = right.poses(np.array([right.knots[2, 0], right.knots[2, 0] + 1.0, right.knots[3, 0]]))
    assert np.linalg.norm(ring[:, :2], axis=1) == pytest.approx([14.0, 14.0, 14.0])
    straight = join_around((30.0, 2.0, np.pi), (-30.0, 2.0, np.pi), (0.0, 0.0), (14.0, 12.0))
    left = join_around((30.0, 2.0, np.pi), (-2.0, -30.0, 1.5 * np.pi), (0.0, 0.0), (14.0, 12.0))
    back = join_around((30.0, 2.0, np.pi), (30.0, -2.0, 0.0), (0.0, 0.0), (14.0, 12.0))
    quarters = np.diff([way.pieces[2][0] for way in (right, straight, left, back)])
    assert quarters == pytest.approx([7 * np.pi] * 3)


def test_a_ring_that_begins_behind_the_start_is_refused() -> None:
    with pytest.raises(ValueError, match=r"no ring of radius 14\.0 m"):
        join_around((20.0, 2.0, np.pi), (2.0, 30.0, np.pi / 2), (0.0, 0.0), (14.0, 12.0))
