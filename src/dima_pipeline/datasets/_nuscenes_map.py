"""Map expansion 1.3 of one nuScenes location as geometry: map elements around a pose, lanes, and the ground itself.

Everything is built once per location; a keyframe then costs one query of a spatial index and one vectorised clip.
Elements follow VAD: dividers, outlines of crossings, outlines of the union of road segments and lanes, lane centres.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

import msgspec
import numpy as np
import shapely
from jaxtyping import Float

from dima_pipeline.contracts.frames import MAP_KINDS, NUM_POLYLINE_POINTS, PERCEPTION_RANGE_M
from dima_pipeline.datasets._nuscenes_check import read_json
from dima_pipeline.datasets._nuscenes_findings import broken, shown
from dima_pipeline.geometry import from_frame, to_frame

POLYGON_LAYERS = ("drivable_area", "road_segment", "lane", "ped_crossing", "walkway", "stop_line", "carpark_area")
LINE_LAYERS = ("road_divider", "lane_divider")
OTHER_LAYERS = ("node", "polygon", "line", "arcline_path_3", "connectivity")
MIN_ELEMENT_M = 0.5
"""Shorter pieces are slivers at the border of the perception range."""
PIECE_POINTS = 16
"""Outlines of whole towns are indexed in pieces of this many points and joined again after the clip."""
LANE_STEP_M = 1.0
MAX_COORDINATE_M, MAX_LANE_M = 1e6, 1e4

_NUMBER = Annotated[float, msgspec.Meta(ge=-MAX_COORDINATE_M, le=MAX_COORDINATE_M)]
_LENGTH = Annotated[float, msgspec.Meta(ge=0, le=MAX_LANE_M)]
_POSE = Annotated[list[_NUMBER], msgspec.Meta(min_length=3, max_length=3)]
_FIELDS: dict[str, dict[str, Any]] = {
    "node": {"token": str, "x": _NUMBER, "y": _NUMBER},
    "polygon": {"token": str, "exterior_node_tokens": Annotated[list[str], msgspec.Meta(min_length=3)]}
    | {"holes": list[msgspec.defstruct("hole", [("node_tokens", list[str])])]},  # type: ignore[misc]
    "line": {"token": str, "node_tokens": list[str]},
    "drivable_area": {"polygon_tokens": list[str]},
    **{name: {"polygon_token": str} for name in POLYGON_LAYERS[1:]},
    **{name: {"line_token": str} for name in LINE_LAYERS},
}
_ARC = {"start_pose": _POSE, "shape": str, "radius": Annotated[float, msgspec.Meta(gt=0)]} | {
    "segment_length": Annotated[list[_LENGTH], msgspec.Meta(min_length=3, max_length=3)]
}
_KINDS: dict[str, Any] = {name: msgspec.defstruct(name, list(fields.items())) for name, fields in _FIELDS.items()}
_PATH: Any = msgspec.defstruct("arc", list(_ARC.items()))
_LINKS: Any = msgspec.defstruct("lanes", [("outgoing", list[str])])
MAP = msgspec.defstruct(
    "map",
    [
        *((name, list[kind]) for name, kind in _KINDS.items()),  # type: ignore[valid-type]
        ("arcline_path_3", dict[str, list[_PATH]]),
        ("connectivity", dict[str, _LINKS]),
    ],
)
"""What is read of a map expansion, and what it must be to be drawn."""

Area = tuple[str, np.ndarray, tuple[np.ndarray, ...]]
Line = tuple[str, np.ndarray]


@dataclass(frozen=True)
class Layers:
    """Shapely geometries of the layers of one map, global coordinates in metres."""

    polygons: dict[str, np.ndarray]
    lines: dict[str, np.ndarray]
    intersections: np.ndarray
    """Road segments that are intersections."""
    lanes: dict[str, Float[np.ndarray, "K 3"]]
    """Lane or connector token -> x, y (m) and yaw (rad) along its centre, in driving direction."""
    outgoing: dict[str, list[str]]


def read_layers(path: Path) -> Layers:
    """Read a map expansion file; raises ``BrokenRecording`` that names it when a layer or a referenced token is
    missing, or a shape is none."""
    table = "/".join(path.parts[-3:])
    content = read_json(path, table, "broken_map")
    if not isinstance(content, dict):
        raise broken("broken_map", table, f"{path} holds no map expansion but a {type(content).__name__}")
    lacking = [name for name in (*POLYGON_LAYERS, *LINE_LAYERS, *OTHER_LAYERS) if name not in content]
    if lacking:
        raise broken("broken_map", table, f"{path} lacks {', '.join(lacking)}: map expansion 1.3 or later is needed")
    try:
        msgspec.convert(content, MAP)
        return _layers(content)
    except (KeyError, ValueError, ArithmeticError, AssertionError, shapely.errors.ShapelyError) as error:
        # The devkit asserts and divides where it discretises lanes.
        message = f"{path}: a record is incomplete or points to a missing token: {shown(repr(error))}"
        raise broken("broken_map", table, message, token=_culprit(content, error)) from None


def _culprit(content: dict[str, Any], error: Exception) -> str:
    """The token that is missing, or that of the record which an error is about; empty where it is neither."""
    if isinstance(error, KeyError):
        return str(error.args[0])
    place = re.search(r"\$\.(\w+)\[(\d+)\]", str(error))
    record = content[place[1]][int(place[2])] if place else None
    return str(record.get("token", "")) if isinstance(record, dict) else ""


def _layers(content: dict[str, Any]) -> Layers:
    from nuscenes.map_expansion.arcline_path_utils import discretize_lane

    nodes = {row["token"]: (row["x"], row["y"]) for row in content["node"]}
    polygons = {row["token"]: _polygon(row, nodes) for row in content["polygon"]}
    lines = {row["token"]: [nodes[token] for token in row["node_tokens"]] for row in content["line"]}
    areas = {name: [polygons[row["polygon_token"]] for row in content[name]] for name in POLYGON_LAYERS[1:]}
    areas["drivable_area"] = [polygons[token] for row in content["drivable_area"] for token in row["polygon_tokens"]]
    is_crossing = [bool(row.get("is_intersection")) for row in content["road_segment"]]
    return Layers(
        polygons={name: np.array(shapes, object) for name, shapes in areas.items()},
        lines={name: _linestrings(lines[row["line_token"]] for row in content[name]) for name in LINE_LAYERS},
        intersections=np.array(areas["road_segment"], object)[np.array(is_crossing, bool)],
        lanes={
            token: np.array(discretize_lane(path, resolution_meters=LANE_STEP_M), float)
            for token, path in content["arcline_path_3"].items()
            if path
        },
        outgoing={token: list(links["outgoing"]) for token, links in content["connectivity"].items()},
    )


def _polygon(row: dict[str, Any], nodes: dict[str, tuple[float, float]]) -> shapely.Geometry:
    holes = [[nodes[token] for token in hole["node_tokens"]] for hole in row["holes"]]
    shell = [nodes[token] for token in row["exterior_node_tokens"]]
    shape = shapely.Polygon(shell, [hole for hole in holes if len(hole) > 2])
    return shape if shape.is_valid else shape.buffer(0)


def _linestrings(lines: Iterable[Any]) -> np.ndarray:
    return np.array([shapely.LineString(points) for points in lines if len(points) > 1], object)


class TownMap:
    """Answers what is around a place of one location."""

    def __init__(self, layers: Layers) -> None:
        self.layers = layers
        by_kind = {
            "divider": np.concatenate([layers.lines["lane_divider"], layers.lines["road_divider"]]),
            "ped_crossing": rings(layers.polygons["ped_crossing"]),
            "boundary": pieces(rings(self._road)),
            "centerline": shapely.linestrings(np.zeros((0, 2, 2)))
            if not layers.lanes
            else np.array([shapely.LineString(poses[:, :2]) for poses in layers.lanes.values()], object),
        }
        self._lines = np.concatenate([by_kind[kind] for kind in MAP_KINDS]).astype(object)
        self._kind = np.repeat(np.arange(len(MAP_KINDS)), [len(by_kind[kind]) for kind in MAP_KINDS])
        self._tree = shapely.STRtree(self._lines)

    @cached_property
    def _road(self) -> np.ndarray:
        """Union of road segments and lanes; the drivable area where a map has no road segments."""
        polygons = self.layers.polygons
        has_segments = len(polygons["road_segment"]) > 0
        parts = [polygons["road_segment"], polygons["lane"]] if has_segments else [polygons["drivable_area"]]
        return polygon_parts(shapely.union_all(np.concatenate(parts)))

    def elements(self, pose: Float[np.ndarray, "3"]) -> tuple[np.ndarray, Float[np.ndarray, "M 20 2"]]:
        """Kind (index into ``MAP_KINDS``) and points of the polylines in the perception range of an ego ``pose``
        (global x, y, yaw), in that ego frame, sorted by kind."""
        x_min, y_min, x_max, y_max = PERCEPTION_RANGE_M
        corners = np.array([[x_min, y_min], [x_max, y_min], [x_max, y_max], [x_min, y_max]])
        found = np.sort(self._tree.query(shapely.Polygon(from_frame(corners, pose))))
        coordinates, owner = shapely.get_coordinates(self._lines[found], return_index=True)
        local = shapely.linestrings(to_frame(coordinates, pose), indices=owner)
        clipped = shapely.clip_by_rect(local, x_min, y_min, x_max, y_max)
        kind = self._kind[found]
        is_boundary = kind == MAP_KINDS.index("boundary")
        outline = shapely.multilinestrings(lines_of(clipped[is_boundary])[0])
        shapes = np.append(clipped[~is_boundary], outline)
        kinds = np.append(kind[~is_boundary], MAP_KINDS.index("boundary"))
        parts, owner = lines_of(shapely.line_merge(shapes, directed=True))
        is_long = shapely.length(parts) >= MIN_ELEMENT_M
        parts, kinds = parts[is_long], kinds[owner[is_long]]
        order = np.argsort(kinds, kind="stable")
        fractions = np.linspace(0.0, 1.0, NUM_POLYLINE_POINTS)
        points = shapely.line_interpolate_point(parts[order][:, None], fractions, normalized=True)
        return kinds[order], shapely.get_coordinates(points).reshape(-1, NUM_POLYLINE_POINTS, 2)

    @cached_property
    def _ground(self) -> tuple[list[str], np.ndarray, shapely.STRtree]:
        polygons, lines = self.layers.polygons, self.layers.lines
        has_area = len(polygons["drivable_area"]) > 0
        by_kind = {
            "road": polygons["drivable_area"] if has_area else self._road,
            "intersection": self.layers.intersections,
            "walkway": polygons["walkway"],
            "crossing": polygons["ped_crossing"],
            "carpark": polygons["carpark_area"],
            "divider": lines["lane_divider"],
            "road_divider": lines["road_divider"],
            "boundary": pieces(rings(self._road)),
            "stop_line": rings(polygons["stop_line"]),
        }
        kinds = [kind for kind, shapes in by_kind.items() for _ in shapes]
        shapes = np.concatenate(list(by_kind.values())).astype(object)
        return kinds, shapes, shapely.STRtree(shapes)

    def ground(self, center_xy: Float[np.ndarray, "2"], radius_m: float) -> tuple[list[Area], list[Line]]:
        """Areas and lines within the square of half-width ``radius_m`` around a global place, clipped to it."""
        kinds, shapes, tree = self._ground
        (x, y), r = center_xy, radius_m
        window = shapely.box(x - r, y - r, x + r, y + r)
        areas: list[Area] = []
        lines: list[Line] = []
        for row in np.sort(tree.query(window)):
            clipped = shapely.intersection(shapes[row], window)
            for part in polygon_parts(clipped):
                holes = tuple(shapely.get_coordinates(ring) for ring in part.interiors)
                areas.append((kinds[row], shapely.get_coordinates(part.exterior), holes))
            lines += [(kinds[row], shapely.get_coordinates(part)) for part in lines_of(np.array([clipped]))[0]]
        return areas, lines


def polygon_parts(shape: shapely.Geometry) -> np.ndarray:
    """The non-empty polygons of a geometry."""
    parts = shapely.get_parts(shapely.get_parts(np.array([shape], object)))
    return parts[(shapely.get_type_id(parts) == shapely.GeometryType.POLYGON) & ~shapely.is_empty(parts)]


def lines_of(shapes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The non-empty line strings of geometries, and the index of the geometry each came from."""
    parts, owner = shapely.get_parts(shapes, return_index=True)
    is_line = (shapely.get_type_id(parts) == shapely.GeometryType.LINESTRING) & ~shapely.is_empty(parts)
    return parts[is_line], owner[is_line]


def rings(polygons: np.ndarray) -> np.ndarray:
    """Outer and inner outlines of polygons, as closed line strings."""
    found = shapely.get_rings(np.concatenate([polygon_parts(shape) for shape in polygons])) if len(polygons) else []
    return np.array([shapely.LineString(shapely.get_coordinates(ring)) for ring in found], object)


def pieces(lines: np.ndarray) -> np.ndarray:
    """Lines cut into consecutive pieces of at most ``PIECE_POINTS`` points that share their ends."""
    cut = []
    for line in lines:
        points = shapely.get_coordinates(line)
        starts = range(0, len(points) - 1, PIECE_POINTS - 1)
        cut += [shapely.LineString(points[start : start + PIECE_POINTS]) for start in starts]
    return np.array(cut, object)
