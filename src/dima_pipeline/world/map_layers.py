"""Towns as nuScenes map expansion 1.3: every layer the devkit knows, arc-line paths and connectivity, per location."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw
from shapely.geometry import Polygon

from dima_pipeline.world.curves import Curve
from dima_pipeline.world.ground import divider_lines, polygons, ring
from dima_pipeline.world.recording import token
from dima_pipeline.world.roads import Lane, Road, Town, strip
from dima_pipeline.world.towns import CANVAS_EDGES

Row = dict[str, Any]
LAYERS = (
    "polygon", "line", "node", "drivable_area", "road_segment", "road_block", "lane", "ped_crossing", "walkway",
    "stop_line", "carpark_area", "road_divider", "lane_divider", "traffic_light", "lane_connector",
)  # fmt: skip
RASTER_M_PER_PIXEL = 1.0
STRAIGHT_RADIUS_M = 999.999


def map_file(location: str) -> str:
    """Path of a location's raster below the root."""
    return f"maps/{token('map', location)}.png"


def write_maps(directory: Path, towns: list[Town]) -> None:
    """Write ``maps/expansion/<location>.json`` and a raster of the drivable area for all four locations."""
    for location in CANVAS_EDGES:
        here = [town for town in towns if town.location == location]
        expansion = build_expansion(location, here)
        (directory / "maps" / "expansion" / f"{location}.json").write_text(json.dumps(expansion))
        _raster(location, here).save(directory / map_file(location))


def build_expansion(location: str, towns: list[Town]) -> dict[str, Any]:
    """The map expansion of one location; towns of other locations must not be passed."""
    layers: dict[str, Any] = {name: [] for name in LAYERS}
    layers |= {"version": "1.3", "canvas_edge": list(CANVAS_EDGES[location])}
    layers |= {"arcline_path_3": {}, "connectivity": {}}
    for town in towns:
        assert town.location == location
        _TownLayers(town, layers).build()
    return layers


class _TownLayers:
    """Adds one town to the layers of its location."""

    def __init__(self, town: Town, layers: dict[str, Any]) -> None:
        self.town, self.layers = town, layers

    def token(self, *parts: object) -> str:
        return token("layer", self.town.location, self.town.name, *parts)

    def build(self) -> None:
        self._areas()
        self._roads()
        self._lanes()
        self._crossings_and_stops()
        for index, (road, kind, points) in enumerate(divider_lines(self.town)):
            self._divider(index, road, kind, points)

    def _nodes(self, points: np.ndarray, *key: object) -> list[str]:
        tokens = []
        for index, (x, y) in enumerate(self.town.placement.points(points).round(4).tolist()):
            tokens.append(self.token("node", *key, index))
            self.layers["node"].append({"token": tokens[-1], "x": x, "y": y})
        return tokens

    def _polygon(self, exterior: np.ndarray, *key: object, holes: list[np.ndarray] | None = None) -> str:
        row: Row = {"token": self.token("polygon", *key), "exterior_node_tokens": self._nodes(exterior, *key)}
        row["holes"] = [{"node_tokens": self._nodes(hole, *key, n)} for n, hole in enumerate(holes or [])]
        self.layers["polygon"].append(row)
        return str(row["token"])

    def _shape(self, shape: Polygon, *key: object) -> str:
        return self._polygon(ring(shape.exterior.coords), *key, holes=[ring(hole.coords) for hole in shape.interiors])

    def _line(self, points: np.ndarray, *key: object) -> str:
        row: Row = {"token": self.token("line", *key), "node_tokens": self._nodes(points, *key)}
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
            polygon = self._polygon(lot, "carpark", index)
            row: Row = {"token": self.token("carpark", index), "polygon_token": polygon, "orientation": 0.0}
            self.layers["carpark_area"].append({**row, "road_block_token": ""})

    def _roads(self) -> None:
        for junction in self.town.junctions.values():
            self._segment(junction.name, junction.polygon, is_intersection=True)
        for road in self.town.roads.values():
            half = road.road_class.half_width_m
            self._segment(road.name, strip(road.curve, half, -half), is_intersection=False)
            self._blocks(road)

    def _segment(self, name: str, outline: np.ndarray, is_intersection: bool) -> None:
        self.layers["road_segment"].append(
            {
                "token": self.token("segment", name),
                "polygon_token": self._polygon(outline, "segment", name),
                "is_intersection": is_intersection,
                "drivable_area_token": self.token("drivable"),
            }
        )

    def _blocks(self, road: Road) -> None:
        """One block for each direction."""
        kind = road.road_class
        between = kind.num_forward * kind.lane_width_m - kind.lanes_half_m
        sides = [("f", -kind.half_width_m, between), ("b", between, kind.half_width_m)]
        for name, right, left in sides[: 2 if kind.num_backward else 1]:
            curve = road.curve if name == "f" else road.curve.reversed()
            edges = (right, left) if name == "f" else (-left, -right)
            ends = self._ends(curve, edges, "block", road.name, name)
            polygon = self._polygon(strip(curve, edges[1], edges[0]), "block", road.name, name)
            row = {"token": self.token("block", road.name, name), "polygon_token": polygon, **ends}
            self.layers["road_block"].append({**row, "road_segment_token": self.token("segment", road.name)})

    def _ends(self, curve: Curve, edges: tuple[float, float], *key: object) -> Row:
        lines = []
        for end, along in (("from", 0.0), ("to", curve.length)):
            x, y, yaw = curve.poses(np.array([along]))[0]
            normal = np.array([-np.sin(yaw), np.cos(yaw)])
            points = np.array([[x, y] + normal * edge for edge in edges])
            lines.append(self._line(points, *key, end))
        return {"from_edge_line_token": lines[0], "to_edge_line_token": lines[1]}

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
        polygon = self._polygon(strip(lane.curve, half, -half), "lane", lane.name)
        row = {"token": self.token("lane", lane.name), "polygon_token": polygon}
        if lane.is_connector:
            self.layers["lane_connector"].append(row)
            return
        ends = self._ends(lane.curve, (-half, half), "lane", lane.name)
        empty: Row = {"left_lane_divider_segments": [], "right_lane_divider_segments": []}
        self.layers["lane"].append({**row, "lane_type": "CAR", **ends, **empty})

    def _crossings_and_stops(self) -> None:
        for crossing in self.town.crossings:
            polygon = self._polygon(crossing.polygon, "crossing", crossing.name)
            segment = self.token("segment", crossing.road)
            known = {"token": self.token("crossing", crossing.name), "polygon_token": polygon}
            self.layers["ped_crossing"].append({**known, "road_segment_token": segment})
        for line in self.town.stop_lines:
            row: Row = {
                "token": self.token("stop", line.name),
                "polygon_token": self._polygon(line.polygon, "stop", line.name),
            }
            row |= {"stop_line_type": "STOP_SIGN", "ped_crossing_tokens": [], "traffic_light_tokens": []}
            self.layers["stop_line"].append({**row, "road_block_token": self.token("block", line.road, line.name[-1])})

    def _divider(self, index: int, road: str, kind: str, points: np.ndarray) -> None:
        line = self._line(points, "divider", index)
        row: Row = {"token": self.token("divider", index), "line_token": line}
        if kind == "road_divider":
            self.layers["road_divider"].append({**row, "road_segment_token": self.token("segment", road)})
            return
        nodes = self.layers["line"][-1]["node_tokens"]
        dashes = [{"node_token": node, "segment_type": "SINGLE_DASHED_WHITE"} for node in nodes]
        self.layers["lane_divider"].append({**row, "lane_divider_segments": dashes})


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


def _raster(location: str, towns: list[Town]) -> Image.Image:
    """White drivable area on black at a metre a pixel, north up. (The devkit draws rasters at 0.1 m a pixel.)"""
    width, height = (int(np.ceil(edge / RASTER_M_PER_PIXEL)) for edge in CANVAS_EDGES[location])
    image = Image.new("L", (width, height), 0)
    draw = ImageDraw.Draw(image)
    for town in towns:
        for part in polygons(town.drivable):
            for edge, color in [(part.exterior, 255), *[(hole, 0) for hole in part.interiors]]:
                points = town.placement.points(ring(edge.coords)) / RASTER_M_PER_PIXEL
                draw.polygon([(float(x), height - float(y)) for x, y in points], fill=color)
    return image
