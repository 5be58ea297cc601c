"""What the devkit's map holds in the patch around each keyframe, beside table ``map_elements``.

Lines come from ``extract_line``, ``extract_polygon`` and ``discretize_lanes``, the patch from ``get_patch_coord``, and
lines are cut and turned as ``get_map_geom`` does it: in the world, where ours are cut in the frame of the ego.
"""

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import shapely
from nuscenes.eval.common.utils import quaternion_yaw
from nuscenes.map_expansion.map_api import NuScenesMap
from pyquaternion import Quaternion
from scipy.optimize import linear_sum_assignment
from shapely import affinity
from shapely.geometry.base import BaseGeometry

from devkit_values import EXACT, Compared, Devkit, Row
from dima_pipeline.contracts.frames import MAP_KINDS
from dima_pipeline.datasets import SceneTables

HEIGHT_M, WIDTH_M = 30.0, 60.0
"""Of the patch across and along the ego's heading, in the devkit's words and order."""
LAYERS = {"divider": ["lane_divider", "road_divider"], "ped_crossing": ["ped_crossing"]}
"""Layers that ``get_map_geom`` has as such."""
TOKENS = "map_elements.sample_token map_elements.kind"
NUM_POINTS = 20
MIN_LENGTH_M = 0.5
LANE_STEP_M = 1.0
SAME_M = 1e-9
"""Lanes hold segments of 1e-13 m, of which the intersection with a patch is empty."""


class DevkitMap:
    """The lines of one town by kind, and what of them lies in a patch."""

    def __init__(self, dataroot: Path, location: str) -> None:
        self.town = NuScenesMap(str(dataroot), location)
        self.lines = {
            "divider": [*self._lines("lane_divider"), *self._lines("road_divider")],
            "ped_crossing": _rings(self._polygons("ped_crossing")),
            "boundary": _rings([shapely.union_all(self._road())]),
            "centerline": [shapely.LineString(poses[:, :2]) for poses in self.lanes().values()],
        }

    def _lines(self, layer: str) -> list[BaseGeometry]:
        return [self.town.extract_line(row["line_token"]) for row in getattr(self.town, layer)]

    def _polygons(self, layer: str) -> list[BaseGeometry]:
        return [self.town.extract_polygon(row["polygon_token"]) for row in getattr(self.town, layer)]

    def _road(self) -> list[BaseGeometry]:
        """Road segments and lanes, as in VAD; the drivable area of a map without road segments."""
        if self.town.road_segment:
            return [*self._polygons("road_segment"), *self._polygons("lane")]
        tokens = [token for row in self.town.drivable_area for token in row["polygon_tokens"]]
        return [self.town.extract_polygon(token) for token in tokens]

    def lanes(self) -> dict[str, np.ndarray]:
        """Centre of each lane and connector, (K, 3): x, y, yaw."""
        tokens = [token for token, path in self.town.arcline_path_3.items() if path]
        return {token: np.array(poses) for token, poses in self.town.discretize_lanes(tokens, LANE_STEP_M).items()}

    def elements(self, kind: str, pose: Row) -> list[BaseGeometry]:
        """Lines of a kind in the patch of an ego pose, in its frame."""
        x, y, yaw_deg = patch_of(pose)
        patch = self.town.explorer.get_patch_coord((x, y, HEIGHT_M, WIDTH_M), yaw_deg)
        lines = np.array(self.lines[kind], object)
        pieces = [piece for line in lines[shapely.intersects(lines, patch)] for piece in cut(line, patch)]
        turned = [affinity.rotate(piece, -yaw_deg, origin=(x, y)) for piece in pieces]
        return [affinity.affine_transform(piece, [1.0, 0.0, 0.0, 1.0, -x, -y]) for piece in turned]

    def layers(self, kind: str, pose: Row) -> list[BaseGeometry]:
        """Lines of a kind as ``get_map_geom`` has them in the same patch; of crossings the outlines, cut or not."""
        x, y, yaw_deg = patch_of(pose)
        layers = self.town.explorer.get_map_geom((x, y, HEIGHT_M, WIDTH_M), yaw_deg, LAYERS[kind])
        shapes = [shape for _, found in layers for shape in found]
        return [shape if kind == "divider" else shape.boundary for shape in shapes]


def patch_of(pose: Row) -> tuple[float, float, float]:
    """Centre (m) and angle (degrees) of the patch around an ego pose."""
    x, y, _ = pose["translation"]
    return x, y, float(np.degrees(quaternion_yaw(Quaternion(pose["rotation"]))))


def _rings(polygons: Sequence[BaseGeometry]) -> list[BaseGeometry]:
    parts = [part for polygon in polygons for part in getattr(polygon, "geoms", [polygon])]
    return [shapely.LineString(ring.coords) for part in parts for ring in (part.exterior, *part.interiors)]


def cut(line: BaseGeometry, patch: BaseGeometry) -> list[BaseGeometry]:
    """Pieces of a line within a patch, segment by segment: a line that crosses itself is not cut there."""
    points = np.array(line.coords)
    inside = shapely.intersection(shapely.linestrings(np.stack([points[:-1], points[1:]], 1)), patch)
    chains: list[list[tuple[float, float]]] = []
    for segment in inside[shapely.length(inside) > 0]:
        start, end = segment.coords
        if chains and math.dist(chains[-1][-1], start) <= SAME_M:
            chains[-1].append(end)
        else:
            chains.append([start, end])
    if len(chains) > 1 and math.dist(chains[-1][-1], chains[0][0]) <= SAME_M:  # a ring that begins inside
        chains[0] = chains.pop() + chains[0][1:]
    return [shapely.LineString(chain) for chain in chains]


def compare_map(devkit: Devkit, town: DevkitMap, name: str, tables: SceneTables) -> Iterator[Compared]:
    """Table ``map_elements`` of a scene: as many lines, the same points on them, and these on ``get_map_geom``."""
    rows = {key: list(points) for key, points in tables.map_elements.groupby(["sample_token", "kind"])["points"]}
    for sample in devkit.samples(name):
        pose = devkit.pose(sample)
        for kind in MAP_KINDS:
            ours = np.array(rows.pop((sample["token"], kind), []), float).reshape(-1, NUM_POINTS, 2)
            lines = town.elements(kind, pose)
            yield from compare_lines(kind, ours, [line for line in lines if line.length >= MIN_LENGTH_M])
            if kind in LAYERS:
                yield from compare_layers(kind, ours, lines, town.layers(kind, pose))
    yield Compared("map: lines of no keyframe or kind", TOKENS, EXACT, [len(rows)], [0])


def compare_lines(kind: str, ours: np.ndarray, lines: list[BaseGeometry]) -> Iterator[Compared]:
    """Polylines (M, 20, 2) of a keyframe with the lines they were made of."""
    yield Compared(f"map, {kind}: number of lines", TOKENS, EXACT, [len(ours)], [len(lines)])
    matched = pairs(ours, lines)
    expected = [resampled(line, points) for points, line in matched]
    yield Compared(f"map, {kind}: points", "map_elements.points", "m", [points for points, _ in matched], expected)


def compare_layers(
    kind: str, ours: np.ndarray, lines: list[BaseGeometry], layers: list[BaseGeometry]
) -> Iterator[Compared]:
    """Polylines of a keyframe, and the lines they were made of, with ``get_map_geom``."""
    points = shapely.points(ours.reshape(-1, 2))
    away_m = shapely.distance(points, shapely.union_all(layers)) if len(points) else []
    check = f"map, {kind}: points on get_map_geom"
    yield Compared(check, "map_elements.points", "m", away_m, np.zeros(len(points)))
    if kind == "divider":
        total_m = [sum(shape.length for shape in shapes) for shapes in (lines, layers)]
        yield Compared(f"map, {kind}: length of get_map_geom", "", "m", total_m[:1], total_m[1:])


def pairs(ours: np.ndarray, theirs: list[BaseGeometry]) -> list[tuple[np.ndarray, BaseGeometry]]:
    """Polylines of ours (M, 20, 2), each with the line of the devkit that is nearest to it."""
    middles = np.array([resampled(line).mean(0) for line in theirs]).reshape(-1, 2)
    distance = np.linalg.norm(ours.mean(1)[:, None] - middles, axis=2)
    return [(ours[one], theirs[other]) for one, other in zip(*linear_sum_assignment(distance), strict=True)]


def resampled(line: BaseGeometry, like: np.ndarray | None = None) -> np.ndarray:
    """20 points at equal distances along a line, (20, 2); a ring begins where ``like`` does."""
    along = np.linspace(0.0, line.length, NUM_POINTS)
    if like is not None and line.is_closed:
        along = (along + line.project(shapely.Point(like[0]))) % line.length
    return shapely.get_coordinates(shapely.line_interpolate_point(line, along))
