"""The ground as layers of flat triangles in painting order: paving, kerbs, zebra stripes and lane lines.

Everything lies in z = 0 and is drawn without a depth test, so later layers cover earlier ones and nothing flickers.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np
import shapely
from jaxtyping import Float, Int
from panda3d.core import Triangulator
from shapely.geometry import Polygon
from shapely.geometry.base import BaseGeometry

from dima_pipeline.world.render_types import (
    AREA_KINDS,
    Backdrop,
    GroundArea,
    GroundLine,
    Mesh,
    concatenate,
    quad_triangles,
    tint,
)

Array = np.ndarray

_AREA_RGB: Final = {
    "road": (92, 92, 96),
    "carpark": (112, 108, 104),
    "intersection": (100, 100, 103),
    "walkway": (164, 156, 144),
    "crossing": (92, 92, 96),
}
_KERB_RGB: Final = (196, 192, 184)
_STRIPE_RGB: Final = (228, 228, 224)
_LINES: Final = {
    # width (m), dash (m), gap (m), colour; no dash = solid
    "divider": (0.15, 3.0, 4.5, (226, 226, 222)),
    "road_divider": (0.2, 0.0, 0.0, (222, 184, 66)),
    "boundary": (0.15, 0.0, 0.0, (208, 206, 200)),
    "stop_line": (0.4, 0.0, 0.0, (232, 232, 228)),
}
_KERB_WIDTH_M: Final = 0.2
_STRIPE_M: Final = 0.55
"""Width of a zebra stripe and of the gap beside it."""
_GRID_M: Final = 0.01
_SPLIT_DEPTH: Final = 6


def ground_layers(areas: Sequence[GroundArea], lines: Sequence[GroundLine], backdrop: Backdrop) -> list[Mesh]:
    """Meshes to be painted one after the other, world coordinates."""
    shapes = {kind: [area_shape(area) for area in areas if area.kind == kind] for kind in AREA_KINDS}
    layers = [_filled(shapes[kind], _AREA_RGB[kind], backdrop) for kind in AREA_KINDS]
    kerbs = [shape.boundary for shape in shapes["walkway"] if not shape.is_empty]
    rings = [np.asarray(part.coords) for kerb in kerbs for part in getattr(kerb, "geoms", [kerb])]
    walkways = AREA_KINDS.index("walkway")
    layers.insert(walkways + 1, _strips(rings, _KERB_WIDTH_M, _KERB_RGB, backdrop))
    layers.append(_filled([zebra_stripes(shape) for shape in shapes["crossing"]], _STRIPE_RGB, backdrop))
    for kind, (width_m, dash_m, gap_m, rgb) in _LINES.items():
        paths = [np.asarray(line.points, float) for line in lines if line.kind == kind]
        if dash_m:
            paths = [dash for path in paths for dash in dashes(path, dash_m, gap_m)]
        layers.append(_strips(paths, width_m, rgb, backdrop))
    return [layer for layer in layers if len(layer.triangles)]


def area_shape(area: GroundArea) -> BaseGeometry:
    """A valid shape of an area: repaired where rings cross, snapped to centimetres."""
    shape: BaseGeometry = Polygon(area.exterior, area.holes)
    if not shape.is_valid:
        shape = shapely.make_valid(shape)
    return shapely.set_precision(shape, _GRID_M)


def zebra_stripes(crossing: BaseGeometry) -> BaseGeometry:
    """Stripes across a pedestrian crossing, side by side along its longer axis, as wide as the gaps."""
    frame = crossing.minimum_rotated_rectangle
    if frame.geom_type != "Polygon":
        return Polygon()
    corners = np.asarray(frame.exterior.coords)[:4]
    if np.linalg.norm(corners[1] - corners[0]) < np.linalg.norm(corners[2] - corners[1]):
        corners = np.roll(corners, -1, axis=0)
    along, across = corners[1] - corners[0], corners[3] - corners[0]
    length = float(np.linalg.norm(along))
    begins = np.arange(_STRIPE_M / 2, length, 2 * _STRIPE_M)
    ends = np.minimum(begins + _STRIPE_M, length)
    low = corners[0] + begins[:, None] / length * along
    high = corners[0] + ends[:, None] / length * along
    stripes = shapely.polygons(np.stack([low, high, high + across, low + across], 1))
    return shapely.union_all(shapely.intersection(stripes, crossing))


def dashes(path: Float[Array, "N 2"], dash_m: float, gap_m: float) -> list[Float[Array, "K 2"]]:
    """Pieces of ``dash_m`` along a polyline with ``gap_m`` between them; bends inside a dash are kept roughly."""
    along = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(path, axis=0), axis=1))])
    pieces = []
    for begin in np.arange(gap_m / 2, along[-1], dash_m + gap_m):
        stops = np.linspace(begin, min(begin + dash_m, along[-1]), 3)
        pieces.append(np.stack([np.interp(stops, along, path[:, axis]) for axis in (0, 1)], -1))
    return pieces


def triangulate(shape: BaseGeometry, depth: int = 0) -> tuple[Float[Array, "P 2"], Int[Array, "T 3"]]:
    """Triangles that cover a polygon or a collection of them, holes left open.

    The triangulation of each polygon is checked by its area; one that fails is cut in two and tried again.
    """
    points, triangles, start = [np.zeros((0, 2))], [np.zeros((0, 3), np.int64)], 0
    for polygon in shapely.get_parts(shape):
        if polygon.geom_type != "Polygon" or polygon.area < _GRID_M**2:
            continue
        corners, faces = _triangulate_polygon(polygon)
        covered = _triangle_areas(corners, faces).sum()
        if abs(covered - polygon.area) > 0.001 * polygon.area + _GRID_M**2 and depth < _SPLIT_DEPTH:
            corners, faces = triangulate(_cut_in_two(polygon), depth + 1)
        points.append(corners)
        triangles.append(faces + start)
        start += len(corners)
    return np.concatenate(points), np.concatenate(triangles)


def _triangulate_polygon(polygon: Polygon) -> tuple[Float[Array, "P 2"], Int[Array, "T 3"]]:
    polygon = shapely.geometry.polygon.orient(polygon)
    worker = Triangulator()
    corners = [np.asarray(polygon.exterior.coords)[:-1]]
    # the triangulator works best near the origin
    origin = corners[0][0]
    for x, y in corners[0] - origin:
        worker.add_polygon_vertex(worker.add_vertex(x, y))
    for hole in polygon.interiors:
        corners.append(np.asarray(hole.coords)[:-1])
        worker.begin_hole()
        for x, y in corners[-1] - origin:
            worker.add_hole_vertex(worker.add_vertex(x, y))
    worker.triangulate()
    faces = [
        (worker.get_triangle_v0(face), worker.get_triangle_v1(face), worker.get_triangle_v2(face))
        for face in range(worker.get_num_triangles())
    ]
    return np.concatenate(corners), np.array(faces, np.int64).reshape(-1, 3)


def _triangle_areas(points: Float[Array, "P 2"], triangles: Int[Array, "T 3"]) -> Float[Array, "T"]:
    first, second = points[triangles[:, 1]] - points[triangles[:, 0]], points[triangles[:, 2]] - points[triangles[:, 0]]
    return np.abs(first[:, 0] * second[:, 1] - first[:, 1] * second[:, 0]) / 2


def _cut_in_two(polygon: Polygon) -> BaseGeometry:
    x_min, y_min, x_max, y_max = polygon.bounds
    if x_max - x_min > y_max - y_min:
        middle = (x_min + x_max) / 2
        halves = [shapely.box(x_min, y_min, middle, y_max), shapely.box(middle, y_min, x_max, y_max)]
    else:
        middle = (y_min + y_max) / 2
        halves = [shapely.box(x_min, y_min, x_max, middle), shapely.box(x_min, middle, x_max, y_max)]
    parts = shapely.get_parts(shapely.intersection(np.array(halves), polygon))
    return shapely.geometrycollections([part for part in parts if part.geom_type == "Polygon"])


def _flat(points: Float[Array, "P 2"], triangles: Int[Array, "T 3"], rgb: Sequence[int], backdrop: Backdrop) -> Mesh:
    color = tint(np.array(rgb), backdrop).round().astype(np.uint8)
    lifted = np.concatenate([points, np.zeros((len(points), 1))], 1)
    return Mesh(lifted, np.repeat(color[None], len(points), 0), triangles)


def _filled(shapes: Sequence[BaseGeometry], rgb: Sequence[int], backdrop: Backdrop) -> Mesh:
    return concatenate([_flat(*triangulate(shape), rgb, backdrop) for shape in shapes])


def _strips(paths: Sequence[Float[Array, "N 2"]], width_m: float, rgb: Sequence[int], backdrop: Backdrop) -> Mesh:
    """A quad a segment, made longer by a quarter of its width at both ends so that bends close."""
    segments = [np.stack([path[:-1], path[1:]], 1) for path in paths if len(path) > 1]
    pairs = np.concatenate([np.zeros((0, 2, 2)), *segments])
    steps = pairs[:, 1] - pairs[:, 0]
    lengths = np.linalg.norm(steps, axis=1)
    pairs, steps, lengths = pairs[lengths > 1e-3], steps[lengths > 1e-3], lengths[lengths > 1e-3]
    along = steps / lengths[:, None] * width_m / 2
    across = np.stack([-along[:, 1], along[:, 0]], 1)
    begin, end = pairs[:, 0] - along / 2, pairs[:, 1] + along / 2
    corners = np.stack([begin - across, end - across, end + across, begin + across], 1).reshape(-1, 2)
    return _flat(corners, quad_triangles(len(pairs)), rgb, backdrop)
