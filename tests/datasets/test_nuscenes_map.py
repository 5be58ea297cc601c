"""Map elements, ground and commands on hand-made roads."""

from pathlib import Path

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from dima_pipeline.contracts.frames import MAP_KINDS, PERCEPTION_RANGE_M
from dima_pipeline.datasets._nuscenes_map import TownMap, pieces, read_layers
from dima_pipeline.datasets._nuscenes_route import (
    LaneGraph,
    command_along,
    command_on_route,
    cut,
    look_ahead_m,
    project,
)
from dima_pipeline.datasets.nuscenes import Config, NuScenesDataset
from dima_pipeline.geometry import from_frame
from nuscenes_root import LOCATION, NORTH, VERSION, edit_json, make_map, write_json

POSE = np.array([100.0, 60.0, NORTH])


@pytest.fixture(scope="module")
def town(root: Path) -> TownMap:
    return TownMap(read_layers(root / "maps" / "expansion" / f"{LOCATION}.json"))


def elements_of(town: TownMap, kind: str, pose: np.ndarray = POSE) -> np.ndarray:
    kinds, points = town.elements(pose)
    return points[kinds == MAP_KINDS.index(kind)]


def test_dividers_lie_to_the_left_and_end_at_the_perception_range(town: TownMap) -> None:
    lines = sorted(elements_of(town, "divider"), key=lambda line: line[0, 1])
    assert [line[:, 1].round(6).tolist() for line in lines] == [[1.75] * 20, [5.25] * 20]
    assert lines[0][:, 0].tolist() == pytest.approx(np.linspace(-30, 30, 20).tolist())


def test_the_boundary_is_the_two_sides_of_the_road(town: TownMap) -> None:
    sides = sorted(elements_of(town, "boundary"), key=lambda line: line[0, 1])
    assert [side[0, 1] for side in sides] == pytest.approx([-3.5, 7.0])
    assert all(abs(np.ptp(side[:, 0])) == pytest.approx(60.0) for side in sides)


def test_the_crossing_is_one_closed_outline(town: TownMap) -> None:
    (outline,) = elements_of(town, "ped_crossing")
    assert outline[0] == pytest.approx(outline[-1])
    assert (outline[:, 0].min(), outline[:, 0].max()) == pytest.approx((10.0, 13.0))
    assert shapely.Polygon(outline).area == pytest.approx(3.0 * 10.5, rel=0.2)


def test_a_crossing_cut_by_the_range_is_one_open_line(town: TownMap) -> None:
    (outline,) = elements_of(town, "ped_crossing", np.array([100.0, 41.0, NORTH]))
    assert outline[[0, -1], 0] == pytest.approx([30.0, 30.0]) and outline[:, 0].min() == pytest.approx(29.0)


def test_the_outline_of_a_roundabout_is_joined_from_its_pieces(tmp_path: Path) -> None:
    content = make_map()
    at = np.linspace(0, 2 * np.pi, 60, endpoint=False)
    nodes = [{"token": f"o{k}", "x": 300 + 10 * np.cos(a), "y": 10 * np.sin(a)} for k, a in enumerate(at)]
    content["node"] += nodes
    content["polygon"][0].update(exterior_node_tokens=[node["token"] for node in nodes])
    write_json(tmp_path / "town.json", content)
    (ring,) = elements_of(TownMap(read_layers(tmp_path / "town.json")), "boundary", np.array([302.0, 1.0, 1.0]))
    assert ring[0] == pytest.approx(ring[-1])
    assert shapely.Polygon(ring).area == pytest.approx(np.pi * 100, rel=0.05)


def test_centrelines_run_in_driving_direction(town: TownMap) -> None:
    lines = elements_of(town, "centerline")
    assert sorted({round(float(line[0, 1]), 3) for line in lines}) == [0.0, 3.5]
    assert all(line[-1, 0] > line[0, 0] for line in lines)


def test_seen_from_the_other_direction_left_is_right(town: TownMap) -> None:
    ahead = elements_of(town, "divider")
    back = elements_of(town, "divider", np.array([100.0, 60.0, -NORTH]))
    assert np.sort(back[:, 0, 1]) == pytest.approx(np.sort(-ahead[:, 0, 1]))


def test_far_from_the_road_there_is_nothing(town: TownMap) -> None:
    kinds, points = town.elements(np.array([1000.0, 1000.0, 0.0]))
    assert len(kinds) == 0 and points.shape == (0, 20, 2)


@given(st.floats(60, 140), st.floats(-20, 140), st.floats(-np.pi, np.pi))
@settings(max_examples=60, deadline=None)
def test_elements_stay_in_range_and_on_their_lines_from_every_pose(
    town: TownMap, x: float, y: float, yaw: float
) -> None:
    pose = np.array([x, y, yaw])
    kinds, points = town.elements(pose)
    x_min, y_min, x_max, y_max = PERCEPTION_RANGE_M
    low, high = np.array([x_min, y_min]) - 1e-6, np.array([x_max, y_max]) + 1e-6
    assert ((points >= low) & (points <= high)).all()
    assert (np.diff(kinds) >= 0).all()
    dividers = from_frame(points[kinds == MAP_KINDS.index("divider")].reshape(-1, 2), pose)
    assert np.abs(dividers[:, :1] - [98.25, 94.75]).min(1).max(initial=0.0) < 1e-6


def test_a_map_without_road_segments_is_bounded_by_its_drivable_area(tmp_path: Path) -> None:
    content = make_map()
    content["road_segment"] = []
    write_json(tmp_path / "town.json", content)
    sides = elements_of(TownMap(read_layers(tmp_path / "town.json")), "boundary")
    assert sorted(side[0, 1] for side in sides) == pytest.approx([-3.5, 7.0])


def test_a_crossed_polygon_does_not_stop_the_map(tmp_path: Path) -> None:
    content = make_map()
    crossing = next(row for row in content["polygon"] if row["token"] == "polygon-ped_crossing")
    nodes = crossing["exterior_node_tokens"]
    nodes[0], nodes[1] = nodes[1], nodes[0]
    write_json(tmp_path / "town.json", content)
    kinds, _ = TownMap(read_layers(tmp_path / "town.json")).elements(POSE)
    assert MAP_KINDS.index("centerline") in kinds


@given(st.integers(2, 80))
def test_pieces_of_an_outline_join_to_the_outline(count: int) -> None:
    line = shapely.LineString(np.column_stack([np.arange(count), np.arange(count) ** 2]))
    assert shapely.line_merge(shapely.multilinestrings(pieces(np.array([line])))).equals(line)


def test_the_ground_has_every_kind_in_global_coordinates(dataset: NuScenesDataset) -> None:
    areas, lines = dataset.ground(LOCATION, np.array([100.0, 60.0]), 20.0)
    assert {kind for kind, _, _ in areas} == {"road", "walkway", "crossing", "carpark"}
    assert {kind for kind, _ in lines} == {"divider", "road_divider", "boundary", "stop_line"}
    road = next(exterior for kind, exterior, _ in areas if kind == "road")
    assert (road.min(0), road.max(0)) == (pytest.approx([93.0, 40.0]), pytest.approx([103.5, 80.0]))
    assert dataset.ground("nowhere", np.zeros(2), 20.0) == ([], [])


def test_an_intersection_is_a_ground_of_its_own(own_root: Path) -> None:
    path = own_root / "maps" / "expansion" / f"{LOCATION}.json"
    edit_json(path, lambda content: content["road_segment"][0].update(is_intersection=True))
    dataset = NuScenesDataset(Config(version=VERSION), dataroot=own_root)
    areas, _ = dataset.ground(LOCATION, np.array([100.0, 60.0]), 20.0)
    assert "intersection" in {kind for kind, _, _ in areas}


def arc(turn_rad: float, radius_m: float = 10.0) -> np.ndarray:
    """A left turn (right for a negative one) that starts at the origin heading along x."""
    at = np.linspace(0, turn_rad, 40)
    return radius_m * np.sign(turn_rad) * np.column_stack([np.sin(at), 1 - np.cos(at)])


def test_commands_follow_the_way() -> None:
    assert command_along(arc(np.pi / 2)) == "left"
    assert command_along(arc(-np.pi / 2)) == "right"
    assert command_along(arc(np.pi)) == "left"
    assert command_along(arc(np.deg2rad(15), radius_m=100.0)) == "straight"
    assert command_along(np.array([[0.0, 0.0], [30.0, 0.0]])) == "straight"
    assert command_along(np.array([[0.0, 0.0]])) == "unknown"


@given(st.floats(-np.pi, np.pi), st.floats(5, 60), st.floats(-np.pi, np.pi))
def test_a_mirrored_way_has_the_mirrored_command_wherever_it_lies(turn: float, radius: float, yaw: float) -> None:
    way = arc(turn, radius) if abs(turn) > 0.01 else np.array([[0.0, 0.0], [30.0, 0.0]])
    mirrored = {"left": "right", "right": "left", "straight": "straight"}
    command = command_along(from_frame(way, np.array([7.0, -3.0, yaw])))
    assert command_along(way * [1, -1]) == mirrored[command]


def test_look_ahead_is_three_seconds_but_never_less_than_twenty_metres() -> None:
    assert [look_ahead_m(speed) for speed in (10.0, -1.0, np.nan)] == [30.0, 20.0, 20.0]


def test_a_route_counts_from_where_the_ego_is_and_only_near_it() -> None:
    route = np.concatenate([[[-50.0, 0.0]], arc(np.pi / 2), [[10.0, 60.0]]])
    assert command_on_route(route, np.array([-40.0, 1.0, 0.0]), 20.0) == "straight"
    assert command_on_route(route, np.array([-5.0, 1.0, 0.0]), 20.0) == "left"
    assert command_on_route(route, np.array([-40.0, 6.0, 0.0]), 20.0) == "unknown"
    assert command_on_route(route, np.array([-40.0, 1.0, np.pi]), 20.0) == "unknown"
    assert command_on_route(route, np.array([10.0, 55.0, np.pi / 2]), 20.0) == "unknown"


@given(st.floats(0, 30), st.floats(0, 30))
def test_a_cut_is_as_long_as_asked_within_the_line(begin: float, length: float) -> None:
    line = np.array([[0.0, 0.0], [10.0, 0.0], [10.0, 10.0]])
    part = cut(line, begin, begin + length)
    measured = np.linalg.norm(np.diff(part, axis=0), axis=1).sum()
    assert measured == pytest.approx(max(min(begin + length, 20.0) - min(begin, 20.0), 0.0), abs=1e-6)


def test_projection_prefers_the_branch_in_driving_direction() -> None:
    there_and_back = np.array([[0.0, 0.0], [100.0, 0.0], [100.0, 4.0], [0.0, 4.0]])
    assert project(there_and_back, np.array([30.0, 1.9, 0.0])) == pytest.approx((1.9, 30.0))
    assert project(there_and_back, np.array([30.0, 1.9, np.pi])) == pytest.approx((2.1, 174.0))


def test_the_lane_of_oncoming_traffic_is_not_ours_and_off_the_lanes_nothing_is_known() -> None:
    along = np.linspace(0, 60, 61)
    east = np.column_stack([along, np.zeros(61), np.zeros(61)])
    west = np.column_stack([60 - along, np.full(61, 2.0), np.full(61, np.pi)])
    graph = LaneGraph({"east": east, "west": west}, {})
    assert [token for token, _ in graph.lanes_at(np.array([10.0, 1.5, 0.1]))] == ["east"]
    assert graph.command(np.array([10.0, 1.5, 0.1]), 20.0) == "straight"
    assert graph.command(np.array([10.0, 9.0, 0.0]), 20.0) == "unknown"
    assert graph.command(np.array([55.0, 0.0, 0.0]), 20.0) == "unknown"


def test_a_circular_lane_graph_ends() -> None:
    point = np.zeros((2, 3))
    graph = LaneGraph({"a": point, "b": point}, {"a": ["b"], "b": ["a"]})
    assert graph.command(np.zeros(3), 20.0) == "unknown"
