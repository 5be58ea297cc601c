"""Towns: what a driver and a map reader may rely on."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from shapely import STRtree
from shapely.geometry import Point, Polygon

from dima_pipeline.contracts.frames import EGO_CENTER_AHEAD_M, EGO_LENGTH_M, EGO_WIDTH_M
from dima_pipeline.geometry import box_corners
from dima_pipeline.world.map_layers import arcline_path, build_expansion
from dima_pipeline.world.paths import LATERAL_ACCELERATION_MPS2, three_point_path
from dima_pipeline.world.roads import Junction, Lane, Placement, Town, parking_strips, strip
from dima_pipeline.world.towns import CANVAS_EDGES, SITES, TownSite, build_town, build_towns


@pytest.fixture(scope="module")
def towns() -> dict[str, Town]:
    return build_towns(3)


def test_there_are_towns_for_every_split_on_all_four_canvases(towns: dict[str, Town]) -> None:
    assert {town.location for town in towns.values()} == set(CANVAS_EDGES)
    assert {town.split for town in towns.values()} == {"train", "val", "test"}


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


def surface(lane: Lane) -> Polygon:
    """The area of a lane."""
    return Polygon(strip(lane.curve, lane.width_m / 2, -lane.width_m / 2)).buffer(0)


def approaches(town: Town, junction: Junction) -> set[str]:
    """Lanes that end at a junction."""
    ends = {lane.name: [town.lanes[name].junction for name in lane.successors] for lane in town.lanes.values()}
    return {name for name, through in ends.items() if junction.name in through}


def arms(town: Town, junction: Junction) -> int:
    return sum(junction.name in (road.start_junction, road.end_junction) for road in town.roads.values())


def junction_of(town: Town, kind: str) -> Junction:
    """The only junction of a kind."""
    (found,) = [junction for junction in town.junctions.values() if junction.kind == kind]
    return found


def stays_on_the_road(town: Town, poses: np.ndarray) -> bool:
    """Whether the ego's footprint with its rear axle at poses (N, 3) stays on the drivable area."""
    ahead = EGO_CENTER_AHEAD_M * np.stack([np.cos(poses[:, 2]), np.sin(poses[:, 2])], -1)
    size = np.broadcast_to([EGO_LENGTH_M, EGO_WIDTH_M], (len(poses), 2))
    corners = box_corners(np.column_stack([poses[:, :2] + ahead, poses[:, 2], size]))
    return all(town.drivable.contains(Polygon(box)) for box in corners)


def test_no_lane_leaves_the_drivable_area_with_any_of_its_width(towns: dict[str, Town]) -> None:
    for town in towns.values():
        area = town.drivable.buffer(0.05)
        assert town.drivable.is_valid and town.drivable.geom_type == "Polygon"
        assert all(area.contains(surface(lane)) for lane in town.lanes.values())


def test_lanes_of_roads_do_not_overlap(towns: dict[str, Town]) -> None:
    for town in towns.values():
        shapes = [surface(lane) for lane in town.lanes.values() if not lane.is_connector]
        pairs = STRtree(shapes).query(shapes, predicate="intersects").T
        assert len(pairs) > len(shapes)
        assert all(shapes[i].intersection(shapes[j]).area < 1e-3 for i, j in pairs if i < j)


def test_the_lane_to_the_left_lies_a_lane_width_to_the_left_and_has_this_one_to_its_right(
    towns: dict[str, Town],
) -> None:
    for town in towns.values():
        pairs = [(lane, town.left_of(lane)) for lane in town.lanes.values() if town.left_of(lane)]
        assert pairs and sum(town.right_of(lane) is not None for lane in town.lanes.values()) == len(pairs)
        for lane, left in pairs:
            assert left is not None and town.right_of(left) is lane and left.road == lane.road
            beside = lane.curve.offset(lane.width_m)
            assert left.curve.start == pytest.approx(beside.start) and left.curve.end == pytest.approx(beside.end)


def test_every_lane_can_be_reached_from_every_other(towns: dict[str, Town]) -> None:
    for town in towns.values():
        assert_connected(town)


def assert_connected(town: Town) -> None:
    backwards = {name: [other.name for other in town.lanes.values() if name in other.successors] for name in town.lanes}
    for links in ({name: list(lane.successors) for name, lane in town.lanes.items()}, backwards):
        first = next(iter(town.lanes))
        seen, todo = {first}, [first]
        while todo:
            new = set(links[todo.pop()]) - seen
            seen |= new
            todo.extend(new)
        assert seen == set(town.lanes)


def test_every_town_has_t_and_x_junctions_with_and_without_signals(towns: dict[str, Town]) -> None:
    for town in towns.values():
        kinds = {(junction.kind, arms(town, junction)) for junction in town.junctions.values()}
        assert {("stop", 3), ("stop", 4), ("signals", 3), ("signals", 4), ("dead_end", 1)} <= kinds


def test_every_approach_of_a_junction_with_signals_has_exactly_one_and_no_other_lane_has_any(
    towns: dict[str, Town],
) -> None:
    for town in towns.values():
        assert_signals(town)


def assert_signals(town: Town) -> None:
    lit = [junction for junction in town.junctions.values() if junction.kind == "signals"]
    wanted = sorted(name for junction in lit for name in approaches(town, junction))
    assert wanted and wanted == sorted(name for signal in town.signals for name in signal.lanes)
    for name in wanted:
        line = town.stop_line_of(town.lanes[name])
        assert line is not None and line.kind == "TRAFFIC_LIGHT"
    for lane in town.lanes.values():
        line = town.stop_line_of(lane)
        assert (line is not None and line.kind == "TRAFFIC_LIGHT") == (lane.name in wanted)


def test_avenues_meet_streets_at_signals(towns: dict[str, Town]) -> None:
    for town in towns.values():
        for junction in town.junctions.values():
            ends = [r for r in town.roads.values() if junction.name in (r.start_junction, r.end_junction)]
            if {road.road_class.name for road in ends} == {"avenue", "street"}:
                assert junction.kind == "signals"


def test_a_signal_hangs_beside_the_road_across_the_junction_and_looks_at_who_comes(towns: dict[str, Town]) -> None:
    for town in towns.values():
        for signal in town.signals:
            x, y, facing = signal.pose
            assert town.walkway.contains(Point(x, y))
            for name in signal.lanes:
                end = town.lanes[name].curve.end
                ahead = (x - end[0]) * np.cos(end[2]) + (y - end[1]) * np.sin(end[2])
                right = (x - end[0]) * np.sin(end[2]) - (y - end[1]) * np.cos(end[2])
                assert 10.0 < ahead < 35.0 and abs(right) < 0.7 * ahead
                assert np.cos(facing - end[2]) == pytest.approx(-1.0)


def test_signals_of_one_phase_stand_on_one_axis(towns: dict[str, Town]) -> None:
    for town in towns.values():
        for first in town.signals:
            for second in town.signals:
                if first.junction == second.junction:
                    along = abs(np.cos(first.pose[2] - second.pose[2]))
                    assert along == pytest.approx(1.0 if first.phase == second.phase else 0.0, abs=1e-6)


def test_a_roundabout_is_driven_anticlockwise_only_and_entries_yield(towns: dict[str, Town]) -> None:
    for town in towns.values():
        ring = junction_of(town, "roundabout")
        ways = [lane for lane in town.lanes.values() if lane.junction == ring.name]
        assert len(ring.holes) >= 1 and len(ways) == arms(town, ring) * (arms(town, ring) - 1)
        for way in ways:
            poses = way.curve.poses(np.arange(0.0, way.curve.length, 0.5))
            out = poses[:, :2] - ring.center
            in_ring = np.linalg.norm(out, axis=1) < 14.01
            around = out[:, 0] * np.sin(poses[:, 2]) - out[:, 1] * np.cos(poses[:, 2])
            assert in_ring.sum() > 5 and (around[in_ring] > 13.9).all()
            assert stays_on_the_road(town, poses)
        for name in approaches(town, ring):
            line = town.stop_line_of(town.lanes[name])
            assert line is not None and line.kind == "YIELD"
            assert not Point(ring.center).buffer(17.2).intersects(Polygon(line.polygon))


def test_a_roundabout_is_driven_at_five_to_six_metres_a_second(towns: dict[str, Town]) -> None:
    town = towns["harbour"]
    ring = junction_of(town, "roundabout")
    for way in [lane for lane in town.lanes.values() if lane.junction == ring.name]:
        bend = np.abs(way.curve.curvatures).max()
        assert min(way.speed_mps, np.sqrt(LATERAL_ACCELERATION_MPS2 / bend)) == pytest.approx(5.1, abs=0.9)
        assert np.sqrt(LATERAL_ACCELERATION_MPS2 * 14.0) == pytest.approx(5.5, abs=0.1)


def test_a_cul_de_sac_leads_back_and_is_wide_enough_to_turn_round_in(towns: dict[str, Town]) -> None:
    for town in towns.values():
        end = junction_of(town, "dead_end")
        (into,) = approaches(town, end)
        (way,) = town.lanes[into].successors
        (back,) = town.lanes[way].successors
        assert town.opposite(town.lanes[into]) == [town.lanes[back]]
        assert town.roads[town.lanes[into].road].road_class.name == "residential"
        assert Point(end.center).buffer(10.0).within(Polygon(end.polygon))
        curve = town.lanes[way].curve
        assert stays_on_the_road(town, curve.poses(np.arange(0.0, curve.length, 0.5)))
        # Three points fit between the kerbs before the circle.
        path, _, _ = three_point_path(town.lanes[into].curve, town.lanes[back].curve, 50.0, 4.0)
        assert stays_on_the_road(town, path.poses)


def test_parking_strips_lie_beside_the_lanes_and_clear_of_crossings(towns: dict[str, Town]) -> None:
    for town in towns.values():
        strips = parking_strips(town)
        assert len(strips) > 6 and {is_right for _, is_right, _ in strips} == {True, False}
        crossings = [Polygon(crossing.polygon) for crossing in town.crossings]
        for road, _, outline in strips:
            shape = Polygon(outline)
            assert shape.within(town.drivable.buffer(0.05)) and not any(shape.intersects(c) for c in crossings)
            lanes = [lane for lane in town.lanes.values() if lane.road == road.name]
            # Arcs are drawn with chords: edges shared by two shapes agree to a few centimetres.
            assert not any(shape.intersects(surface(lane).buffer(-0.05)) for lane in lanes)


@settings(max_examples=4, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from(SITES))
def test_a_town_of_any_seed_is_whole(seed: int, site: TownSite) -> None:
    town = build_town(site, seed)
    assert town.drivable.geom_type == "Polygon" and town.drivable.is_valid
    assert_connected(town)
    assert_signals(town)
    area = town.drivable.buffer(0.05)
    assert all(area.contains(surface(lane)) for lane in town.lanes.values())


@settings(max_examples=3, deadline=None)
@given(st.integers(0, 10_000))
def test_every_split_of_any_seed_has_long_straight_roads_to_stage_events_on(seed: int) -> None:
    towns = build_towns(seed).values()
    for split in ("train", "val"):
        straight = [
            (town, lane, town.roads[lane.road].road_class.name)
            for town in towns
            for lane in town.lanes.values()
            if town.split == split and lane.road and not lane.curve.curvatures.any()
        ]
        long = {name for _, lane, name in straight if lane.curve.length >= 80.0}
        assert {"residential", "street", "avenue"} <= long
        assert any(n == "street" and t.signal_of(ln) and ln.curve.length >= 90.0 for t, ln, n in straight)


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
        stops = [line for line in town.stop_lines if line.kind == "STOP_SIGN"]
        assert stops
        for line in stops:
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
