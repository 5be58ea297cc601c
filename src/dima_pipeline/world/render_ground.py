"""The ground as layers of flat trapezoids in painting order: paving, kerbs, zebra stripes and lane lines.

Everything lies in z = 0 and is drawn without a depth test, so later layers cover earlier ones and nothing flickers.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np
import shapely
from jaxtyping import Float
from shapely.geometry import Polygon
from shapely.geometry.base import BaseGeometry

from dima_pipeline.world.render_types import (
    AREA_KINDS,
    Backdrop,
    GroundArea,
    GroundLine,
    Mesh,
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
_SIMPLIFY_M: Final = 0.02


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
    return shapely.set_precision(shape.simplify(_SIMPLIFY_M), _GRID_M)


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


def trapezoids(shape: BaseGeometry) -> Float[Array, "Q 4 2"]:
    """Trapezoids with level tops and bottoms that cover polygons once, holes left open.

    A sweep over the heights of all corners: between two of them the edges that cross pair up from left to right; a
    pair that goes on into the next band makes one trapezoid with it. At most two trapezoids a corner, any valid shape.
    """
    polygons = [part for part in shapely.get_parts(shape) if part.geom_type == "Polygon"]
    rings = [np.asarray(ring.coords) for part in polygons for ring in (part.exterior, *part.interiors)]
    edges = np.concatenate([np.zeros((0, 2, 2)), *(np.stack([ring[:-1], ring[1:]], 1) for ring in rings)])
    edges = edges[edges[:, 0, 1] != edges[:, 1, 1]]
    if not len(edges):
        return np.zeros((0, 4, 2))
    low, high = edges[..., 1].min(1), edges[..., 1].max(1)
    levels = np.unique(edges[..., 1])
    bands, crossing = np.nonzero((low <= levels[:-1, None]) & (high >= levels[1:, None]))
    middle = (levels[bands] + levels[bands + 1]) / 2
    order = np.lexsort([_x_at(edges[crossing], middle), bands])
    left, right, bands = crossing[order][::2], crossing[order][1::2], bands[order][::2]
    order = np.lexsort([bands, right, left])
    left, right, bands = left[order], right[order], bands[order]
    is_first = np.append(True, (np.diff(left) != 0) | (np.diff(right) != 0) | (np.diff(bands) != 1))
    is_last = np.append(is_first[1:], True)
    left, right = edges[left[is_first]], edges[right[is_first]]
    bottom, top = levels[bands[is_first]], levels[bands[is_last] + 1]
    corners = [(left, bottom), (right, bottom), (right, top), (left, top)]
    return np.stack([np.stack([_x_at(edge, y), y], -1) for edge, y in corners], 1)


def _x_at(edges: Float[Array, "E 2 2"], y: Float[Array, "E"]) -> Float[Array, "E"]:
    (x0, y0), (x1, y1) = np.moveaxis(edges, 0, -1)
    return x0 + (x1 - x0) * np.clip((y - y0) / (y1 - y0), 0, 1)


def _flat(quads: Float[Array, "Q 4 2"], rgb: Sequence[int], backdrop: Backdrop) -> Mesh:
    color = tint(np.array(rgb), backdrop).round().astype(np.uint8)
    points = np.concatenate([quads.reshape(-1, 2), np.zeros((4 * len(quads), 1))], 1)
    return Mesh(points, np.repeat(color[None], len(points), 0), quad_triangles(len(quads)))


def _filled(shapes: Sequence[BaseGeometry], rgb: Sequence[int], backdrop: Backdrop) -> Mesh:
    return _flat(np.concatenate([np.zeros((0, 4, 2)), *map(trapezoids, shapes)]), rgb, backdrop)


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
    corners = np.stack([begin - across, end - across, end + across, begin + across], 1)
    return _flat(corners, rgb, backdrop)
