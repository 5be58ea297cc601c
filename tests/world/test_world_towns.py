"""Towns: what a driver and a map reader may rely on."""

import numpy as np
import pytest
from shapely.geometry import LineString, Polygon

from dima_pipeline.geometry import box_corners
from dima_pipeline.world.map_layers import arcline_path, build_expansion
from dima_pipeline.world.roads import Placement, Town
from dima_pipeline.world.towns import CANVAS_EDGES, SITES, build_town, build_towns


@pytest.fixture(scope="module")
def towns() -> dict[str, Town]:
    return build_towns(3)


def test_there_are_towns_for_train_and_for_val_on_all_four_canvases(towns: dict[str, Town]) -> None:
    assert {town.location for town in towns.values()} == set(CANVAS_EDGES)
    assert {town.split for town in towns.values()} == {"train", "val"} and len(towns) >= 3


def test_towns_lie_on_their_canvas(towns: dict[str, Town]) -> None:
    for town in towns.values():
        x_min, y_min, x_max, y_max = town.bounds()
        width, height = CANVAS_EDGES[town.location]
        assert x_min > 0 and y_min > 0 and x_max < width and y_max < height


def test_every_lane_leads_on_and_is_reached(towns: dict[str, Town]) -> None:
    for town in towns.values():
        reached = {after for lane in town.lanes.values() for after in lane.successors}
        assert reached == set(town.lanes)
        for lane in town.lanes.values():
            assert lane.successors
            for name in lane.successors:
                after = town.lanes[name].curve.start
                assert np.hypot(after[0] - lane.curve.end[0], after[1] - lane.curve.end[1]) < 1e-6
                assert np.cos(after[2] - lane.curve.end[2]) > 1 - 1e-9


def test_lanes_lie_on_the_drivable_area(towns: dict[str, Town]) -> None:
    for town in towns.values():
        area = town.drivable.buffer(0.1)
        assert town.drivable.is_valid and town.drivable.geom_type == "Polygon"
        assert all(area.contains(LineString(lane.curve.polyline(1.0))) for lane in town.lanes.values())


def test_turns_at_junctions_have_the_direction_they_are_named_for(towns: dict[str, Town]) -> None:
    kinds = {"left": 1, "right": -1, "straight": 0}
    seen = set()
    for lane in towns["harbour"].lanes.values():
        if lane.is_connector:
            seen.add(lane.turn)
            assert np.sign(round(lane.curve.end[2] - lane.curve.start[2], 6)) == kinds[lane.turn]
    assert seen == set(kinds)


def test_roads_differ_in_width_and_speed_together(towns: dict[str, Town]) -> None:
    for town in towns.values():
        classes = {road.road_class for road in town.roads.values()}
        assert {"residential", "avenue", "street", "oneway"} == {kind.name for kind in classes}
    by_speed = sorted(classes, key=lambda kind: kind.speed_mps)
    assert by_speed[0].name == "residential" and by_speed[-1].name == "avenue"
    assert by_speed[-1].lanes_half_m > 2 * by_speed[0].lanes_half_m
    assert by_speed[-1].setback_m > by_speed[0].setback_m + 10


def test_no_house_stands_on_a_road_a_walkway_or_another_house(towns: dict[str, Town]) -> None:
    town = towns["holland"]
    shapes = [Polygon(box_corners(np.array([b.x_m, b.y_m, b.yaw_rad, *b.size[:2]]))) for b in town.buildings]
    assert len(shapes) > 100
    assert not any(shape.intersects(town.drivable) or shape.intersects(town.walkway) for shape in shapes)
    assert all(shapes[i].intersection(shapes[j]).area < 1e-6 for i in range(0, 60) for j in range(i))


def test_minor_roads_have_stop_lines_where_they_meet_major_ones(towns: dict[str, Town]) -> None:
    for town in towns.values():
        assert town.stop_lines
        for line in town.stop_lines:
            lane = town.lanes[line.lanes[0]]
            rank = town.roads[lane.road].road_class.rank
            crossing = [
                town.roads[town.lanes[after].road].road_class.rank
                for name in lane.successors
                if town.lanes[name].turn in ("left", "right")
                for after in town.lanes[name].successors
            ]
            assert not crossing or max(crossing) >= rank


def test_a_placement_turns_mirrors_and_shifts() -> None:
    plain = Placement(100.0, 50.0, np.pi / 2, False)
    mirrored = Placement(100.0, 50.0, np.pi / 2, True)
    assert plain.poses(np.array([10.0, 2.0, 0.1])) == pytest.approx([98.0, 60.0, np.pi / 2 + 0.1])
    assert mirrored.poses(np.array([10.0, 2.0, 0.1])) == pytest.approx([102.0, 60.0, np.pi / 2 - 0.1])


def test_a_mirrored_curve_is_the_curve_of_the_mirrored_points(towns: dict[str, Town]) -> None:
    town = towns["queens-close"]
    assert town.placement.is_mirrored
    for lane in list(town.lanes.values())[::13]:
        along = np.linspace(0, lane.curve.length, 5)
        there = town.placement.curve(lane.curve).poses(along)[:, :2]
        assert np.allclose(there, town.placement.points(lane.curve.poses(along)[:, :2]), atol=1e-6)


def test_arc_line_paths_carry_the_curve_exactly(towns: dict[str, Town]) -> None:
    lane = next(lane for lane in towns["harbour"].lanes.values() if lane.turn == "right")
    path = arcline_path(lane.curve)
    (bend,) = [part for part in path if part["shape"] == "RSR"]
    assert bend["radius"] == pytest.approx(6.6, abs=4) and bend["segment_length"][0] == pytest.approx(
        bend["radius"] * np.pi / 2
    )
    assert path[-1]["end_pose"][:2] == pytest.approx(lane.curve.end[:2])


def test_a_location_without_towns_still_has_every_layer() -> None:
    layers = build_expansion("singapore-onenorth", [])
    assert layers["canvas_edge"] == [1585.6, 2025.0] and layers["lane"] == [] and layers["version"] == "1.3"


def test_the_same_seed_gives_the_same_town() -> None:
    build_town.cache_clear()
    first = build_town(SITES[0], 5)
    build_town.cache_clear()
    again = build_town(SITES[0], 5)
    assert first.buildings == again.buildings and first.lanes == again.lanes
    assert build_town(SITES[0], 6).lanes != first.lanes
