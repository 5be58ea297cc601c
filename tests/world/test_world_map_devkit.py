"""Every call that the devkit's tutorial of the map expansion makes, on generated towns, against our own lane graph."""

from collections.abc import Iterator
from pathlib import Path as FilePath

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.patches import PathPatch
from matplotlib.path import Path
from nuscenes.map_expansion import arcline_path_utils, map_api
from nuscenes.map_expansion.bitmap import BitMap
from nuscenes.map_expansion.map_api import NuScenesMap
from nuscenes.nuscenes import NuScenes
from shapely.geometry import MultiPolygon, Point, Polygon

from dima_pipeline.world.config import WorldConfig
from dima_pipeline.world.map_layers import LAYERS, layer_token, write_maps
from dima_pipeline.world.roads import Lane, Town
from dima_pipeline.world.towns import CANVAS_EDGES, build_towns

TOWN = "science-park"
"""The town whose pictures are drawn; it lies on the smallest canvas."""


@pytest.fixture(scope="module")
def towns() -> dict[str, Town]:
    """One for each canvas."""
    one_each = {town.location: town for town in build_towns(3).values()}
    return {town.name: town for town in one_each.values()}


@pytest.fixture(autouse=True)
def drawing(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The devkit draws polygons with descartes, which knows shapely 1 only: with shapely 2 no map can be drawn."""
    monkeypatch.setattr(map_api.descartes, "PolygonPatch", polygon_patch)
    yield
    plt.close("all")


def polygon_patch(polygon: Polygon | MultiPolygon, **style: object) -> PathPatch:
    """What ``descartes.PolygonPatch`` makes, for shapely 2."""
    rings = [ring for part in getattr(polygon, "geoms", [polygon]) for ring in (part.exterior, *part.interiors)]
    return PathPatch(Path.make_compound_path(*(Path(np.array(ring.coords), closed=True) for ring in rings)), **style)


@pytest.fixture(scope="module")
def maps(towns: dict[str, Town], tmp_path_factory: pytest.TempPathFactory) -> dict[str, NuScenesMap]:
    root = tmp_path_factory.mktemp("maps")
    (root / "maps" / "expansion").mkdir(parents=True)
    write_maps(root, list(towns.values()))
    return {location: NuScenesMap(str(root), location) for location in CANVAS_EDGES}


@pytest.fixture
def town(towns: dict[str, Town]) -> Town:
    return towns[TOWN]


@pytest.fixture
def here(maps: dict[str, NuScenesMap], town: Town) -> NuScenesMap:
    return maps[town.location]


def place_on(town: Town, lane: Lane, share: float = 0.5) -> tuple[float, float, float]:
    """Pose on the canvas at a share of a lane."""
    pose = town.placement.curve(lane.curve).poses(np.array([share * lane.curve.length]))[0]
    return float(pose[0]), float(pose[1]), float(pose[2])


def a_lane(town: Town, road_class: str = "avenue") -> Lane:
    """A lane of a kind of road."""
    return next(
        lane for lane in town.lanes.values() if lane.road and town.roads[lane.road].road_class.name == road_class
    )


def around(x: float, y: float, half_m: float = 60.0) -> tuple[float, float, float, float]:
    return x - half_m, y - half_m, x + half_m, y + half_m


def test_every_layer_has_records_and_every_reference_between_them_is_good(
    towns: dict[str, Town], maps: dict[str, NuScenesMap]
) -> None:
    for town in towns.values():
        nusc_map = maps[town.location]
        assert set(nusc_map.layer_names) == set(LAYERS) and all(getattr(nusc_map, layer) for layer in LAYERS)
        for row in nusc_map.stop_line + nusc_map.carpark_area:
            assert not row["road_block_token"] or nusc_map.get("road_block", row["road_block_token"])
        for row in nusc_map.ped_crossing + nusc_map.road_block + nusc_map.road_divider:
            assert nusc_map.get("road_segment", row["road_segment_token"])
        for row in nusc_map.traffic_light:
            blocks = {token for item in row["items"] for token in item["to_road_block_tokens"]}
            assert all(nusc_map.get("road_block", token) for token in [*blocks, row["from_road_block_token"]])
            assert [item["color"] for item in row["items"]] == ["RED", "YELLOW", "GREEN"]
            assert set(row["pose"]) == {"tx", "ty", "tz", "rx", "ry", "rz"}


def test_stop_lines_are_of_all_five_types_and_name_their_cues(maps: dict[str, NuScenesMap]) -> None:
    for nusc_map in maps.values():
        cues: dict[str, list[int]] = {}
        for row in nusc_map.stop_line:
            cues.setdefault(row["stop_line_type"], []).append(len(row["cue"]))
        assert set(cues) == {"TURN_STOP", "TRAFFIC_LIGHT", "STOP_SIGN", "YIELD", "PED_CROSSING"}
        assert set(cues["STOP_SIGN"] + cues["YIELD"]) == {0}
        assert min(cues["TRAFFIC_LIGHT"] + cues["PED_CROSSING"] + cues["TURN_STOP"]) == 1


def test_discretised_lanes_lie_on_the_lanes_of_the_town(towns: dict[str, Town], maps: dict[str, NuScenesMap]) -> None:
    for town in towns.values():
        for name, lane in town.lanes.items():
            path = maps[town.location].get_arcline_path(layer_token(town, "lane", name))
            poses = np.array(arcline_path_utils.discretize_lane(path, resolution_meters=1.0))
            begins = town.placement.curve(lane.curve).knots[:, 0]
            # The devkit takes equal steps on each piece, both ends included.
            counts = [int(max(np.ceil(length / 1.0) + 1.5, 2)) for length, _ in lane.curve.pieces]
            pieces = zip(begins[:-1], begins[1:], counts, strict=True)
            along = np.concatenate([np.linspace(first, last, count) for first, last, count in pieces])
            ours = town.placement.curve(lane.curve).poses(along)
            assert np.abs(poses[:, :2] - ours[:, :2]).max() <= 1e-6
            assert np.abs(np.exp(1j * poses[:, 2]) - np.exp(1j * ours[:, 2])).max() <= 1e-6
            assert arcline_path_utils.length_of_lane(path) == pytest.approx(lane.curve.length, abs=1e-6)


def test_the_ways_on_from_and_to_a_lane_are_those_of_the_town(
    towns: dict[str, Town], maps: dict[str, NuScenesMap]
) -> None:
    for town in towns.values():
        nusc_map = maps[town.location]
        before: dict[str, set[str]] = {name: set() for name in town.lanes}
        for name, lane in town.lanes.items():
            after = {layer_token(town, "lane", other) for other in lane.successors}
            assert set(nusc_map.get_outgoing_lane_ids(layer_token(town, "lane", name))) == after and after
            for other in lane.successors:
                before[other].add(layer_token(town, "lane", name))
        for name, tokens in before.items():
            assert set(nusc_map.get_incoming_lane_ids(layer_token(town, "lane", name))) == tokens and tokens


def test_the_closest_lane_is_the_one_stood_on(towns: dict[str, Town], maps: dict[str, NuScenesMap]) -> None:
    for town in towns.values():
        curves = {layer_token(town, "lane", name): town.placement.curve(ln.curve) for name, ln in town.lanes.items()}
        for name, lane in town.lanes.items():
            own = layer_token(town, "lane", name)
            # The devkit measures to points half a metre apart: ask at one of them.
            points = maps[town.location].discretize_lanes([own], 0.5)[own]
            x, y, _ = points[len(points) // 2]
            found = maps[town.location].get_closest_lane(x, y, radius=2)
            if not lane.is_connector:
                assert found == own
            # Where ways through a junction share their middle, any of them will do.
            dense = curves[found].poses(np.arange(0.0, curves[found].length, 0.02))[:, :2]
            assert np.linalg.norm(dense - [x, y], axis=1).min() <= 0.02


def test_a_pose_beside_a_lane_is_projected_onto_it(here: NuScenesMap, town: Town) -> None:
    lane = a_lane(town)
    x, y, yaw = place_on(town, lane)
    path = here.get_arcline_path(layer_token(town, "lane", lane.name))
    aside = (x - 0.8 * np.sin(yaw), y + 0.8 * np.cos(yaw), yaw)
    closest, along = arcline_path_utils.project_pose_to_lane(aside, path)
    assert np.hypot(closest[0] - x, closest[1] - y) < 0.3 and along == pytest.approx(lane.curve.length / 2, rel=0.05)


def test_curvature_along_a_lane_is_that_of_its_curve(here: NuScenesMap, town: Town) -> None:
    for lane in list(town.lanes.values())[::7]:
        path = here.get_arcline_path(layer_token(town, "lane", lane.name))
        for index, begin in enumerate(lane.curve.knots[:-1, 0]):
            along = begin + lane.curve.pieces[index][0] / 2
            found = arcline_path_utils.get_curvature_at_distance_along_lane(along, path)
            assert found == pytest.approx(abs(lane.curve.curvatures[index]))


def test_the_next_road_of_a_lane_is_its_junction_and_that_of_a_junction_all_its_arms(
    towns: dict[str, Town], maps: dict[str, NuScenesMap]
) -> None:
    for town in towns.values():
        nusc_map = maps[town.location]
        for lane in [lane for lane in town.lanes.values() if not lane.is_connector][::5]:
            junction = town.lanes[lane.successors[0]].junction
            found = nusc_map.get_next_roads(*place_on(town, lane)[:2])
            assert found["road_segment"] == [layer_token(town, "segment", junction)]
        for crossroads in [junction for junction in town.junctions.values() if not junction.holes][::3]:
            arms = [road for road in town.roads.values() if crossroads.name in (road.start_junction, road.end_junction)]
            x, y = town.placement.points(np.array(crossroads.center))
            found = nusc_map.get_next_roads(x, y)
            assert set(found["road_segment"]) == {layer_token(town, "segment", road.name) for road in arms}
            sides = sum(1 + (road.road_class.num_backward > 0) for road in arms)
            assert len(found["road_block"]) == sides
            assert len(found["lane"]) == sum(r.road_class.num_forward + r.road_class.num_backward for r in arms)


def test_layers_on_a_point_of_a_lane_are_those_it_lies_on(here: NuScenesMap, town: Town) -> None:
    lane = a_lane(town)
    x, y, _ = place_on(town, lane, 0.3)
    layers = here.layers_on_point(x, y)
    assert layers["lane"] == layer_token(town, "lane", lane.name) == here.record_on_point(x, y, "lane")
    assert layers["road_block"] == layer_token(town, "block", lane.road, "f" if lane.is_forward else "b")
    assert layers["road_segment"] == layer_token(town, "segment", lane.road)
    assert layers["drivable_area"] == layer_token(town, "drivable") and not layers["walkway"]


def test_a_point_on_a_stop_line_is_found_on_it_and_inside_its_bounds(here: NuScenesMap, town: Town) -> None:
    line = town.stop_lines[0]
    x, y = town.placement.points(line.polygon.mean(0))
    token = here.record_on_point(x, y, "stop_line")
    assert token == layer_token(town, "stop", line.name) == here.layers_on_point(x, y)["stop_line"]
    x_min, y_min, x_max, y_max = here.get_bounds("stop_line", token)
    assert x_min < x < x_max and y_min < y < y_max
    divider = here.get_bounds("road_divider", here.road_divider[0]["token"])
    assert divider[0] < divider[2] and divider[1] < divider[3]


def test_more_records_intersect_a_patch_than_lie_within_it(here: NuScenesMap, town: Town) -> None:
    junction = next(junction for junction in town.junctions.values() if junction.kind == "signals")
    patch = around(*town.placement.points(np.array(junction.center)))
    within = here.get_records_in_patch(patch, here.non_geometric_layers, mode="within")
    touching = here.get_records_in_patch(patch, here.non_geometric_layers, mode="intersect")
    assert all(set(within[layer]) <= set(touching[layer]) for layer in here.non_geometric_layers)
    assert layer_token(town, "segment", junction.name) in within["road_segment"]
    assert len(touching["road_segment"]) > len(within["road_segment"]) and len(touching["traffic_light"]) >= 3
    assert here.is_record_in_patch("road_segment", touching["road_segment"][0], patch)


def test_masks_show_where_one_may_drive(here: NuScenesMap, town: Town) -> None:
    x, y, _ = place_on(town, a_lane(town))
    mask = here.get_map_mask((x, y, 100, 100), 0, ["drivable_area", "walkway"], (200, 200))
    assert mask.shape == (2, 200, 200) and mask[0, 100, 100] == 1 and mask[1, 100, 100] == 0
    centers = x - 49.75 + 0.5 * np.arange(200), y - 49.75 + 0.5 * np.arange(200)
    polygon = here.extract_polygon(here.drivable_area[0]["polygon_tokens"][0])
    for row, column in [(3, 5), (60, 90), (101, 99), (150, 20), (190, 190)]:
        point = Point(centers[0][column], centers[1][row])
        if polygon.exterior.distance(point) > 1.0:
            assert mask[0, row, column] == polygon.contains(point)
    turned = here.get_map_mask((x, y, 100, 100), 45, None, (100, 100))
    # The devkit makes no mask of traffic lights.
    assert len(turned) == len(here.non_geometric_layers) - 1 and turned[0].any()
    assert here.get_map_geom((x, y, 100, 100), 0, ["lane", "lane_divider"])[1][1]


def test_outer_lanes_of_an_avenue_have_a_divider_on_the_side_of_their_neighbour(
    towns: dict[str, Town], maps: dict[str, NuScenesMap]
) -> None:
    for town in towns.values():
        for lane in town.lanes.values():
            if lane.is_connector:
                continue
            row = maps[town.location].get("lane", layer_token(town, "lane", lane.name))
            x, y, yaw = place_on(town, lane, 0.0)
            for side, sign in (("left", 1.0), ("right", -1.0)):
                neighbour = town.right_of if (sign > 0) == town.placement.is_mirrored else town.left_of
                nodes = row[f"{side}_lane_divider_segment_nodes"]
                assert bool(nodes) == (neighbour(lane) is not None)
                if nodes:
                    aside = sign * lane.width_m / 2
                    wanted = (x - aside * np.sin(yaw), y + aside * np.cos(yaw))
                    assert (nodes[0]["x"], nodes[0]["y"]) == pytest.approx(wanted, abs=1e-3)


def test_every_picture_of_the_tutorial_is_drawn(here: NuScenesMap, town: Town) -> None:
    bitmap = BitMap(here.dataroot, here.map_name, "basemap")
    assert bitmap.image.max() > 0 and BitMap(here.dataroot, here.map_name, "semantic_prior").image.min() == 0
    x, y, _ = place_on(town, a_lane(town))
    layers = here.non_geometric_layers
    here.render_layers(layers, figsize=1)
    here.render_layers(["lane"], figsize=1, bitmap=bitmap)
    for layer in layers:
        here.render_record(layer, getattr(here, layer)[0]["token"], other_layers=[], bitmap=bitmap)
    here.render_map_mask((x, y, 100, 100), 45, ["drivable_area", "walkway"], (100, 100), figsize=(12, 4), n_row=1)
    here.render_next_roads(x, y, figsize=1, bitmap=bitmap)
    here.render_centerlines(resolution_meters=0.5, figsize=1, bitmap=bitmap)
    _, axes = here.render_map_patch(around(x, y), layers, figsize=(10, 10), bitmap=bitmap)
    assert len(axes.patches) > 50
    assert len(here.discretize_centerlines(1.0)) == len(town.lanes)


def test_the_map_is_drawn_into_images_and_under_ego_poses(world_root: FilePath, world_config: WorldConfig) -> None:
    nusc = NuScenes(world_config.version, str(world_root), verbose=False)
    scene = nusc.scene[0]
    location = nusc.get("log", scene["log_token"])["location"]
    nusc_map = NuScenesMap(str(world_root), location)
    layers = ["road_segment", "lane", "ped_crossing", "walkway", "stop_line", "carpark_area"]
    nusc_map.render_map_in_image(nusc, scene["first_sample_token"], layer_names=layers, camera_channel="CAM_FRONT")
    poses, _, _ = nusc_map.render_egoposes_on_fancy_map(nusc, scene_tokens=[scene["token"]], verbose=False)
    assert len(poses) == world_config.num_keyframes
    assert all(nusc_map.record_on_point(x, y, "drivable_area") for x, y in poses[:, :2])
