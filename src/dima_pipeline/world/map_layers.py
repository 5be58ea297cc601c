"""Towns as nuScenes map expansion 1.3: every layer the devkit knows, arc-line paths and connectivity, per location.

Points that coincide are one node: the devkit finds the next road by the nodes that two outlines share.
"""

import json
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from shapely.geometry import LinearRing, Point, Polygon

from dima_pipeline.world.curves import Curve
from dima_pipeline.world.ground import divider_lines, polygons, ring
from dima_pipeline.world.lane_graph import axis_of, num_lanes
from dima_pipeline.world.map_rasters import map_file, write_rasters
from dima_pipeline.world.map_stops import map_stops
from dima_pipeline.world.recording import token
from dima_pipeline.world.roads import SIGNAL_HEIGHT_M, Lane, Road, Signal, Town, parking_strips, strip
from dima_pipeline.world.towns import CANVAS_EDGES

__all__ = ["arcline_path", "build_expansion", "map_file", "write_maps"]
Row = dict[str, Any]
LAYERS = (
    "polygon", "line", "node", "drivable_area", "road_segment", "road_block", "lane", "ped_crossing", "walkway",
    "stop_line", "carpark_area", "road_divider", "lane_divider", "traffic_light", "lane_connector",
)  # fmt: skip
STRAIGHT_RADIUS_M = 999.999
SAME_POINT_M = 1e-6
BULBS = (("RED", 0.35), ("YELLOW", 0.0), ("GREEN", -0.35))
"""Colours of a traffic light and their heights (m) relative to its middle."""


def write_maps(directory: Path, towns: list[Town]) -> None:
    """Write ``maps/expansion/<location>.json``, a semantic prior and a basemap for all four locations."""
    for location, edge in CANVAS_EDGES.items():
        here = [town for town in towns if town.location == location]
        expansion = build_expansion(location, here)
        (directory / "maps" / "expansion" / f"{location}.json").write_text(json.dumps(expansion))
        write_rasters(directory, location, edge, here)


def build_expansion(location: str, towns: list[Town]) -> dict[str, Any]:
    """The map expansion of one location; towns of other locations must not be passed."""
    layers: dict[str, Any] = {name: [] for name in LAYERS}
    layers |= {"version": "1.3", "canvas_edge": list(CANVAS_EDGES[location])}
    layers |= {"arcline_path_3": {}, "connectivity": {}}
    for town in towns:
        assert town.location == location
        _TownLayers(town, layers).build()
    return layers


def layer_token(town: Town, *parts: object) -> str:
    """Token of a part of a town in the map expansion, such as ("lane", name) for lanes and connectors."""
    return token("layer", town.location, town.name, *parts)


class _TownLayers:
    """Adds one town to the layers of its location."""

    def __init__(self, town: Town, layers: dict[str, Any]) -> None:
        self.town, self.layers = town, layers
        self.known: dict[tuple[float, float], str] = {}

    def token(self, *parts: object) -> str:
        return layer_token(self.town, *parts)

    def build(self) -> None:
        self._areas()
        self._roads()
        self._lanes()
        self._crossings()
        self._signals()
        self._stops()
        for index, (road, kind, points) in enumerate(divider_lines(self.town)):
            self._divider(index, road, kind, points)

    def _nodes(self, points: np.ndarray) -> list[str]:
        return [self._node(x, y) for x, y in self.town.placement.points(points).tolist()]

    def _node(self, x: float, y: float) -> str:
        # Two ways to compute a point differ in the last bits, which may fall on two sides of a rounding step.
        xs, ys = ({round(value + by, 4): None for by in _JITTER} for value in (x, y))
        found = next((self.known[key] for key in product(xs, ys) if key in self.known), None)
        if found is None:
            key = (round(x, 4), round(y, 4))
            found = self.known[key] = self.token("node", *key)
            self.layers["node"].append({"token": found, "x": key[0], "y": key[1]})
        return found

    def _polygon(self, exterior: np.ndarray, *key: object, holes: list[np.ndarray] | None = None) -> str:
        row: Row = {"token": self.token("polygon", *key), "exterior_node_tokens": self._nodes(exterior)}
        row["holes"] = [{"node_tokens": self._nodes(hole)} for hole in holes or []]
        self.layers["polygon"].append(row)
        return str(row["token"])

    def _shape(self, shape: Polygon, *key: object) -> str:
        return self._polygon(ring(shape.exterior.coords), *key, holes=[ring(hole.coords) for hole in shape.interiors])

    def _line(self, points: np.ndarray, *key: object) -> str:
        row: Row = {"token": self.token("line", *key), "node_tokens": self._nodes(points)}
        self.layers["line"].append(row)
        return str(row["token"])

    def _areas(self) -> None:
        parts = polygons(self.town.drivable)
        tokens = [self._shape(part, "drivable", index) for index, part in enumerate(parts)]
        self.layers["drivable_area"].append({"token": self.token("drivable"), "polygon_tokens": tokens})
        for index, part in enumerate(polygons(self.town.walkway)):
            polygon = self._shape(part, "walkway", index)
            self.layers["walkway"].append({"token": self.token("walkway", index), "polygon_token": polygon})
        for index, lot in enumerate(self.town.carparks):
            # Cars stand across the long side of a lot.
            self._carpark(("lot", index), lot, lot[1] - lot[2], "")
        for index, (road, is_right, outline) in enumerate(parking_strips(self.town)):
            side = "f" if is_right or road.road_class.num_backward == 0 else "b"
            along = outline[1] - outline[0] if side == "f" else outline[0] - outline[1]
            self._carpark(("strip", index), outline, along, self.token("block", road.name, side))

    def _carpark(self, key: tuple[str, int], outline: np.ndarray, along: np.ndarray, block: str) -> None:
        x, y = np.diff(self.town.placement.points(np.array([[0.0, 0.0], along])), axis=0)[0]
        row: Row = {"token": self.token("carpark", *key), "polygon_token": self._polygon(outline, "carpark", *key)}
        self.layers["carpark_area"].append({**row, "orientation": float(np.arctan2(y, x)), "road_block_token": block})

    def _roads(self) -> None:
        roads = self.town.roads
        for junction in self.town.junctions.values():
            ends = [edge_points(road, 1.0) for road in roads.values() if road.end_junction == junction.name]
            ends += [edge_points(road, 0.0) for road in roads.values() if road.start_junction == junction.name]
            outline = with_points(junction.polygon, np.concatenate(ends))
            self._segment(junction.name, outline, True, list(junction.holes))
        for road in roads.values():
            half, ends = road.road_class.half_width_m, [edge_points(road, 0.0), edge_points(road, 1.0)]
            self._segment(road.name, with_points(strip(road.curve, half, -half), np.concatenate(ends)), False, [])
            self._blocks(road)

    def _segment(self, name: str, outline: np.ndarray, is_intersection: bool, holes: list[np.ndarray]) -> None:
        self.layers["road_segment"].append(
            {
                "token": self.token("segment", name),
                "polygon_token": self._polygon(outline, "segment", name, holes=holes),
                "is_intersection": is_intersection,
                "drivable_area_token": self.token("drivable"),
            }
        )

    def _blocks(self, road: Road) -> None:
        """One block for each direction."""
        kind = road.road_class
        between = kind.num_forward * kind.lane_width_m - kind.lanes_half_m
        between = between if kind.num_backward else kind.half_width_m
        for name, is_forward, right, left in (
            ("f", True, -kind.half_width_m, between),
            ("b", False, -kind.half_width_m, -between),
        ):
            if num_lanes(road, is_forward):
                curve = axis_of(road, is_forward)
                ends = self._ends(curve, (right, left), "block", road.name, name)
                polygon = self._polygon(strip(curve, left, right), "block", road.name, name)
                row = {"token": self.token("block", road.name, name), "polygon_token": polygon, **ends}
                self.layers["road_block"].append({**row, "road_segment_token": self.token("segment", road.name)})

    def _ends(self, curve: Curve, edges: tuple[float, float], *key: object) -> Row:
        first, last = (across(curve, along, np.array(edges)) for along in (0.0, curve.length))
        return {
            "from_edge_line_token": self._line(first, *key, "from"),
            "to_edge_line_token": self._line(last, *key, "to"),
        }

    def _lanes(self) -> None:
        incoming: dict[str, list[str]] = {name: [] for name in self.town.lanes}
        for name, lane in self.town.lanes.items():
            for after in lane.successors:
                incoming[after].append(self.token("lane", name))
        for name, lane in self.town.lanes.items():
            self._lane(lane)
            path = arcline_path(self.town.placement.curve(lane.curve))
            self.layers["arcline_path_3"][self.token("lane", name)] = path
            outgoing = [self.token("lane", after) for after in lane.successors]
            links = {"incoming": incoming[name], "outgoing": outgoing}
            self.layers["connectivity"][self.token("lane", name)] = links

    def _lane(self, lane: Lane) -> None:
        half = lane.width_m / 2
        # Round a turning circle a lane comes back beside itself: its outline must not touch itself there.
        inset = 0.05 if self.town.leads_back(lane) else 0.0
        polygon = self._polygon(strip(lane.curve, half - inset, inset - half), "lane", lane.name)
        row = {"token": self.token("lane", lane.name), "polygon_token": polygon}
        if lane.is_connector:
            self.layers["lane_connector"].append(row)
            return
        ends = self._ends(lane.curve, (-half, half), "lane", lane.name)
        left = self._dashes(lane, half) if self.town.left_of(lane) else []
        right = self._dashes(lane, -half) if self.town.right_of(lane) else []
        left, right = (right, left) if self.town.placement.is_mirrored else (left, right)
        dividers: Row = {"left_lane_divider_segments": left, "right_lane_divider_segments": right}
        self.layers["lane"].append({**row, "lane_type": "CAR", **ends, **dividers})

    def _dashes(self, lane: Lane, left_m: float) -> list[Row]:
        return _dashed(self._nodes(lane.curve.offset(left_m).polyline()))

    def _crossings(self) -> None:
        for crossing in self.town.crossings:
            polygon = self._polygon(crossing.polygon, "crossing", crossing.name)
            segment = self.token("segment", crossing.road)
            known = {"token": self.token("crossing", crossing.name), "polygon_token": polygon}
            self.layers["ped_crossing"].append({**known, "road_segment_token": segment})

    def _signals(self) -> None:
        for signal in self.town.signals:
            x, y, yaw = signal.pose
            ahead = np.array([[x, y], [x + np.cos(yaw), y + np.sin(yaw)]])
            head = dict(zip(("tx", "ty", "rz"), self.town.placement.poses(np.array(signal.pose)).tolist(), strict=True))
            self.layers["traffic_light"].append(
                {
                    "token": self.token("signal", signal.name),
                    "line_token": self._line(ahead, "signal", signal.name),
                    "traffic_light_type": "VERTICAL",
                    "from_road_block_token": self._block_of(self.town.lanes[signal.lanes[0]]),
                    "items": self._bulbs(signal),
                    "pose": {**head, "tz": SIGNAL_HEIGHT_M, "rx": 0.0, "ry": 0.0},
                }
            )

    def _block_of(self, lane: Lane) -> str:
        return self.token("block", lane.road, "f" if lane.is_forward else "b")

    def _bulbs(self, signal: Signal) -> list[Row]:
        lanes = self.town.lanes
        ways = [lanes[way] for name in signal.lanes for way in lanes[name].successors]
        blocks = sorted({self._block_of(lanes[after]) for way in ways for after in way.successors})
        still = {"tx": 0.0, "ty": 0.0, "rx": 0.0, "ry": 0.0, "rz": 0.0}
        return [
            {"color": color, "shape": "CIRCLE", "rel_pos": {**still, "tz": up}, "to_road_block_tokens": blocks}
            for color, up in BULBS
        ]

    def _stops(self) -> None:
        for stop in map_stops(self.town):
            row: Row = {
                "token": self.token("stop", stop.name),
                "polygon_token": self._polygon(stop.polygon, "stop", stop.name),
                "stop_line_type": stop.kind,
                "ped_crossing_tokens": [self.token("crossing", name) for name in stop.crossings],
                "traffic_light_tokens": [self.token("signal", name) for name in stop.signals],
                "road_block_token": self.token("block", *stop.block) if stop.block else "",
            }
            self.layers["stop_line"].append(row)

    def _divider(self, index: int, road: str, kind: str, points: np.ndarray) -> None:
        line = self._line(points, "divider", index)
        row: Row = {"token": self.token("divider", index), "line_token": line}
        if kind == "road_divider":
            self.layers["road_divider"].append({**row, "road_segment_token": self.token("segment", road)})
        else:
            dashes = _dashed(self.layers["line"][-1]["node_tokens"])
            self.layers["lane_divider"].append({**row, "lane_divider_segments": dashes})


_JITTER = (0.0, -SAME_POINT_M, SAME_POINT_M)


def _dashed(nodes: list[str]) -> list[Row]:
    return [{"node_token": node, "segment_type": "SINGLE_DASHED_WHITE"} for node in nodes]


def across(curve: Curve, along_m: float, left_m: np.ndarray) -> np.ndarray:
    """Points (N, 2) at one distance along a curve, ``left_m`` (N,) beside it."""
    x, y, yaw = curve.poses(np.array([along_m]))[0]
    return np.array([x, y]) + left_m[:, None] * np.array([-np.sin(yaw), np.cos(yaw)])


def edge_points(road: Road, share: float) -> np.ndarray:
    """Where kerbs and edges of lanes meet the start (0) or end (1) of a road."""
    kind = road.road_class
    edges = np.arange(kind.num_forward + kind.num_backward + 1) * kind.lane_width_m - kind.lanes_half_m
    return across(road.curve, share * road.curve.length, np.array([-kind.half_width_m, *edges, kind.half_width_m]))


def with_points(outline: np.ndarray, points: np.ndarray) -> np.ndarray:
    """An outline (N, 2) with further vertices for ``points`` (P, 2) that lie on it."""
    edge = LinearRing(outline)
    every = np.concatenate([outline, points])
    along = np.array([edge.project(Point(point)) for point in every])
    assert all(edge.distance(Point(point)) < 1e-3 for point in points)
    order = np.argsort(along, kind="stable")
    is_new = np.diff(along[order], prepend=-1.0) > SAME_POINT_M
    # The end of the ring is its beginning.
    is_new &= (along[order] < edge.length - SAME_POINT_M) | (order == 0)
    return np.asarray(every[order[is_new]])


def arcline_path(curve: Curve) -> list[Row]:
    """The pieces of a curve as nuScenes arc-line paths, one each: exact, since both are made of arcs and lines."""
    path = []
    for (length, curvature), first, last in zip(curve.pieces, curve.knots[:-1], curve.knots[1:], strict=True):
        lengths = [0.0, length, 0.0] if curvature == 0 else [length, 0.0, 0.0]
        path.append(
            {
                "start_pose": first[1:].tolist(),
                "end_pose": last[1:].tolist(),
                "shape": "RSR" if curvature < 0 else "LSL",
                "radius": STRAIGHT_RADIUS_M if curvature == 0 else 1 / abs(curvature),
                "segment_length": lengths,
            }
        )
    return path
