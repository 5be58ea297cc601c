"""Triangles of the ground cover exactly the polygons they were made of."""

import numpy as np
import pytest
import shapely
import shapely.affinity
from hypothesis import given, settings
from hypothesis import strategies as st

from dima_pipeline.world.render_ground import area_shapes, dashes, ground_layers, trapezoids, zebra_stripes
from dima_pipeline.world.render_types import Backdrop, GroundArea, GroundLine

DAY = Backdrop()


def polygons_of(quads):
    """The trapezoids that have an area."""
    polygons = shapely.polygons(quads)
    return polygons[shapely.area(polygons) > 1e-9]


def star(rng, num_corners, radius, center):
    """A random polygon that is a star around its centre, so it cannot cross itself."""
    angles = np.sort(rng.uniform(0, 2 * np.pi, num_corners))
    reach = radius * rng.uniform(0.3, 1.0, num_corners)
    return center + reach[:, None] * np.stack([np.cos(angles), np.sin(angles)], -1)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(3, 60), st.integers(0, 4), st.integers(0, 3))
def test_trapezoids_cover_polygons_with_holes_once_and_nothing_else(seed, num_corners, num_holes, decimals):
    """Rounded corners make level edges, corners of equal height and touching rings."""
    rng = np.random.default_rng(seed)
    center = rng.uniform(-3000, 3000, 2)
    holes = [star(rng, 6, 8.0, center + rng.uniform(-15, 15, 2)).round(decimals) for _ in range(num_holes)]
    shape = shapely.make_valid(shapely.Polygon(star(rng, num_corners, 40.0, center).round(decimals)))
    shape = shape.difference(shapely.union_all([shapely.make_valid(shapely.Polygon(hole)) for hole in holes]))
    quads = polygons_of(trapezoids(shapely.get_parts(shape)))
    assert shapely.area(quads).sum() == pytest.approx(shape.area, rel=1e-6, abs=1e-3)
    assert shapely.union_all(quads).symmetric_difference(shape).area <= 1e-3
    assert len(quads) <= 2 * shapely.get_num_coordinates(shape)


def test_a_square_with_a_square_hole_is_four_trapezoids():
    square = np.array([[0, 0], [4, 0], [4, 4], [0, 4]], float)
    quads = trapezoids(area_shapes([GroundArea("road", square, (square[::-1] / 2 + 1,))]))
    assert sorted(shapely.area(polygons_of(quads))) == [2.0, 2.0, 4.0, 4.0]
    assert not shapely.union_all(polygons_of(quads)).contains(shapely.Point(2, 2))


def test_a_ring_that_crosses_itself_is_repaired():
    bow_tie = np.array([[0, 0], [4, 4], [4, 0], [0, 4]], float)
    quads = trapezoids(area_shapes([GroundArea("road", bow_tie)]))
    assert shapely.area(polygons_of(quads)).sum() == pytest.approx(8.0)


@pytest.mark.parametrize("ring", [np.zeros((2, 2)), np.zeros((4, 3)), np.full((4, 2), np.nan)])
def test_a_ring_that_encloses_nothing_is_refused(ring):
    with pytest.raises(ValueError, match="a ring of a 'road' needs 3 or more finite points"):
        GroundArea("road", ring)


def test_stripes_of_a_crossing_lie_across_it_and_cover_half():
    crossing = shapely.box(0, 0, 4, 14)
    parts = zebra_stripes(np.array([crossing]))
    stripes = shapely.union_all(parts)
    assert stripes.area == pytest.approx(0.5 * crossing.area, rel=0.1)
    assert crossing.buffer(1e-6).contains(stripes)
    widths = np.array([part.bounds for part in parts])
    # along x, the short side, each stripe reaches across; along y they follow each other
    assert np.allclose(widths[:, 2] - widths[:, 0], 4.0)
    assert len(parts) == round(14 / 1.1)


def test_stripes_of_a_turned_crossing_turn_with_it_and_stay_inside():
    crossing = shapely.affinity.rotate(shapely.Polygon([(0, 0), (14, 0), (13, 4), (1, 4)]), 33, origin=(0, 0))
    parts = zebra_stripes(np.array([crossing, shapely.affinity.translate(crossing, 100, 0)]))
    assert crossing.buffer(1e-6).contains(shapely.union_all(parts[: len(parts) // 2]))
    assert shapely.area(parts).sum() == pytest.approx(crossing.area, rel=0.1)
    upright = shapely.affinity.rotate(parts[5], -33, origin=(0, 0)).bounds
    assert upright[2] - upright[0] == pytest.approx(0.55)
    assert upright[3] - upright[1] == pytest.approx(4.0)


def test_polygons_of_one_call_do_not_disturb_each_other():
    """They overlap, share heights and edges; each is covered by itself."""
    shapes = np.array([shapely.box(0, 0, 4, 4), shapely.box(2, 1, 6, 5), shapely.box(4, 0, 5, 4)])
    quads = polygons_of(trapezoids(shapes))
    assert [quad.bounds for quad in quads] == [shape.bounds for shape in shapes]


def test_dashes_have_their_length_and_gap():
    pieces = dashes(np.array([[0.0, 0], [20, 0], [20, 10]]), 3.0, 4.5)
    assert pieces[:, 0].tolist() == [[2.25, 0], [9.75, 0], [17.25, 0], [20, 4.75]]
    assert pieces[0, 2].tolist() == [5.25, 0]
    assert pieces[2, 2] == pytest.approx([20, 0.25])


def test_lines_are_as_wide_as_their_kind_says():
    line = np.array([[0.0, 0], [100, 0]])
    widths = {}
    for kind in ("divider", "road_divider", "boundary", "stop_line"):
        (mesh,) = ground_layers([], [GroundLine(kind, line)], DAY)
        widths[kind] = np.ptp(mesh.points[:, 1])
        assert (mesh.points[:, 2] == 0).all()
    assert widths["stop_line"] == pytest.approx(0.4)
    assert widths["divider"] == pytest.approx(0.15)


def test_layers_come_in_painting_order_whatever_the_order_of_the_areas():
    square = np.array([[0, 0], [9, 0], [9, 9], [0, 9]], float)
    kinds = ["crossing", "walkway", "road"]
    forward, backward = (
        ground_layers([GroundArea(kind, square) for kind in order], [], DAY) for order in (kinds, kinds[::-1])
    )
    assert [mesh.rgb[0].tolist() for mesh in forward] == [mesh.rgb[0].tolist() for mesh in backward]
    # grass, asphalt, its marks, walkway
    assert forward[1].rgb[0].tolist() == [92, 92, 96]
    assert forward[3].rgb[0].tolist() == [164, 156, 144]
    assert forward[-1].rgb[0].tolist() == [228, 228, 224]


def test_repeated_points_and_slivers_do_no_harm():
    sliver = np.array([[0, 0], [50, 0], [50, 0.001], [50, 0.001], [0, 0]])
    assert ground_layers([GroundArea("road", sliver)], [GroundLine("boundary", np.zeros((3, 2)))], DAY) == []
