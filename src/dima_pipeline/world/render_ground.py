"""The ground as layers of flat trapezoids in painting order: paving, kerbs, zebra stripes and lane lines.

Everything lies in z = 0 and is drawn without a depth test, so later layers cover earlier ones and nothing flickers.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np
import shapely
from jaxtyping import Float, Int
from shapely.geometry import LineString, Polygon

from dima_pipeline.world.render_grain import WEAR_M, marks, mottles
from dima_pipeline.world.render_sky import TERRAIN_RGB
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
_TRACK_RGB: Final = (84, 84, 88)
_TRACK_WIDTH_M: Final = 0.45
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
    shapes = {kind: area_shapes([area for area in areas if area.kind == kind]) for kind in AREA_KINDS}
    layers = [_flat(trapezoids(shapes[kind]), _AREA_RGB[kind], backdrop) for kind in AREA_KINDS]
    layers[AREA_KINDS.index("walkway") : AREA_KINDS.index("walkway")] = _grain(shapes, lines, backdrop)
    kerbs = _strips([_rings(shapes["walkway"])[0]], _KERB_WIDTH_M, _KERB_RGB, backdrop)
    layers.insert(-1, kerbs)
    layers.insert(0, _toned(*mottles(np.concatenate(list(shapes.values()))), TERRAIN_RGB, backdrop))
    layers.append(_flat(trapezoids(zebra_stripes(shapes["crossing"])), _STRIPE_RGB, backdrop))
    for kind, (width_m, dash_m, gap_m, rgb) in _LINES.items():
        paths = [np.asarray(line.points, float) for line in lines if line.kind == kind]
        pieces = [dashes(path, dash_m, gap_m) if dash_m else path for path in paths]
        layers.append(_strips([_steps(piece) for piece in pieces], width_m, rgb, backdrop))
    return [layer for layer in layers if len(layer.triangles)]


def _grain(shapes: dict[str, Array], lines: Sequence[GroundLine], backdrop: Backdrop) -> list[Mesh]:
    """Worn tracks and marks, for on top of the asphalt and below the rest."""
    tracks = [track for line in lines if line.kind == "wear" for track in _tracks(np.asarray(line.points, float))]
    worn = _strips([_steps(track) for track in tracks], _TRACK_WIDTH_M, _TRACK_RGB, backdrop)
    asphalt = np.concatenate([shapes["road"], shapes["intersection"]])
    return [worn, _toned(*marks(asphalt), _AREA_RGB["road"], backdrop)]


def _tracks(middle: Float[Array, "N 2"]) -> list[Float[Array, "N 2"]]:
    """Where the left and the right tyres run on a lane."""
    line = LineString(middle)
    shifted = (shapely.offset_curve(line, side * WEAR_M, join_style="mitre") for side in (-1.0, 1.0))
    return [np.array(part.coords) for curve in shifted for part in shapely.get_parts(curve) if len(part.coords) > 1]


def _toned(quads: Float[Array, "Q 4 2"], tones: Float[Array, "Q"], rgb: Sequence[int], backdrop: Backdrop) -> Mesh:
    """Quads in lighter and darker versions of a colour."""
    mesh = _flat(quads, rgb, backdrop)
    colors = tint(np.array(rgb) * tones[:, None], backdrop).clip(0, 255).round().astype(np.uint8)
    return Mesh(mesh.points, np.repeat(colors, 4, axis=0), mesh.triangles)


def area_shapes(areas: Sequence[GroundArea]) -> Array:
    """Valid polygons of areas, an array of shapely geometries: crossing rings are repaired, corners snapped to cm."""
    shapes = np.array([Polygon(area.exterior, area.holes) for area in areas], object)
    broken = ~shapely.is_valid(shapes)
    shapes[broken] = shapely.make_valid(shapes[broken])
    polygons = shapely.get_parts(
        shapely.get_parts(shapely.set_precision(shapely.simplify(shapes, _SIMPLIFY_M), _GRID_M))
    )
    return polygons[shapely.get_type_id(polygons) == shapely.GeometryType.POLYGON]


def zebra_stripes(crossings: Array) -> Array:
    """Stripes across pedestrian crossings, side by side along their longer axes, as wide as the gaps between them.

    The axes of a crossing follow its longest edge. Takes and gives arrays of shapely geometries.
    """
    stripes, owners = [np.zeros((0, 4, 2))], [np.zeros(0, int)]
    for index, crossing in enumerate(crossings):
        corners = np.asarray(crossing.exterior.coords)
        steps = np.diff(corners, axis=0)
        longest = steps[np.linalg.norm(steps, axis=1).argmax()]
        along = longest / np.linalg.norm(longest)
        if np.ptp(corners @ along) < np.ptp(corners @ (-along[1], along[0])):
            along = np.array([-along[1], along[0]])
        axes = np.stack([along, [-along[1], along[0]]])
        (low, bottom), (high, top) = (corners @ axes.T).min(0), (corners @ axes.T).max(0)
        begin = np.arange(low + _STRIPE_M / 2, high, 2 * _STRIPE_M)
        end = np.minimum(begin + _STRIPE_M, high)
        boxes = np.stack([begin, 0 * begin + bottom, end, 0 * end + top], 1)
        stripes.append(boxes[:, [[0, 1], [2, 1], [2, 3], [0, 3]]] @ axes)
        owners.append(np.full(len(begin), index))
    cut = shapely.intersection(shapely.polygons(np.concatenate(stripes)), crossings[np.concatenate(owners)])
    return shapely.get_parts(cut)


def dashes(path: Float[Array, "N 2"], dash_m: float, gap_m: float) -> Float[Array, "K 3 2"]:
    """Begin, middle and end of pieces of ``dash_m`` along a polyline with ``gap_m`` between them."""
    along = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(path, axis=0), axis=1))])
    begin = np.arange(gap_m / 2, along[-1], dash_m + gap_m)
    stops = np.linspace(begin, np.minimum(begin + dash_m, along[-1]), 3, axis=-1)
    return np.stack([np.interp(stops, along, path[:, axis]) for axis in (0, 1)], -1)


def trapezoids(shapes: Array) -> Float[Array, "Q 4 2"]:
    """Trapezoids with level tops and bottoms that cover each polygon of an array once, holes left open.

    A sweep over the heights of a polygon's corners: between two of them the edges that cross pair up from left to
    right; a pair that goes on into the next band makes one trapezoid with it. At most two trapezoids a corner.
    """
    edges, owner = _rings(shapes)
    is_slanted = edges[:, 0, 1] != edges[:, 1, 1]
    edges, owner = edges[is_slanted], owner[is_slanted]
    if not len(edges):
        return np.zeros((0, 4, 2))
    crossing, bands, levels = _bands(edges[..., 1], owner)
    order = np.lexsort([_x_at(edges[crossing], (levels[bands] + levels[bands + 1]) / 2), bands])
    left, right, bands = crossing[order][::2], crossing[order][1::2], bands[order][::2]
    order = np.lexsort([bands, right, left])
    left, right, bands = left[order], right[order], bands[order]
    is_first = np.append(True, (np.diff(left) != 0) | (np.diff(right) != 0) | (np.diff(bands) != 1))
    is_last = np.append(is_first[1:], True)
    left, right = edges[left[is_first]], edges[right[is_first]]
    bottom, top = levels[bands[is_first]], levels[bands[is_last] + 1]
    corners = [(left, bottom), (right, bottom), (right, top), (left, top)]
    return np.stack([np.stack([_x_at(edge, y), y], -1) for edge, y in corners], 1)


def _bands(
    heights: Float[Array, "E 2"], owner: Int[Array, "E"]
) -> tuple[Int[Array, "K"], Int[Array, "K"], Float[Array, "L"]]:
    """Which edge crosses which band: edge indices, band indices (from level to next level) and all levels.

    Levels are the distinct heights of each owner's edges, owner by owner.
    """
    flat, owners = heights.ravel(), np.repeat(owner, 2)
    order = np.lexsort([flat, owners])
    is_new = np.append(True, (np.diff(flat[order]) != 0) | (np.diff(owners[order]) != 0))
    rank = np.empty(len(flat), np.int64)
    rank[order] = np.cumsum(is_new) - 1
    first, last = np.sort(rank.reshape(-1, 2), axis=1).T
    counts = last - first
    crossing = np.repeat(np.arange(len(heights)), counts)
    bands = np.arange(counts.sum()) + np.repeat(first - np.cumsum(counts) + counts, counts)
    return crossing, bands, flat[order][is_new]


def _rings(shapes: Array) -> tuple[Float[Array, "E 2 2"], Int[Array, "E"]]:
    """Edges of all rings of the polygons in an array, and the index of the polygon each belongs to."""
    polygons = shapes[shapely.get_type_id(shapes) == shapely.GeometryType.POLYGON]
    rings, polygon = shapely.get_rings(polygons, return_index=True)
    corners, ring = shapely.get_coordinates(rings, return_index=True)
    is_edge = ring[:-1] == ring[1:]
    return np.stack([corners[:-1], corners[1:]], 1)[is_edge], polygon[ring[:-1][is_edge]]


def _x_at(edges: Float[Array, "E 2 2"], y: Float[Array, "E"]) -> Float[Array, "E"]:
    (x0, y0), (x1, y1) = np.moveaxis(edges, 0, -1)
    return x0 + (x1 - x0) * np.clip((y - y0) / (y1 - y0), 0, 1)


def _flat(quads: Float[Array, "Q 4 2"], rgb: Sequence[int], backdrop: Backdrop) -> Mesh:
    color = tint(np.array(rgb), backdrop).round().astype(np.uint8)
    points = np.concatenate([quads.reshape(-1, 2), np.zeros((4 * len(quads), 1))], 1)
    return Mesh(points, np.repeat(color[None], len(points), 0), quad_triangles(len(quads)))


def _steps(path: Float[Array, "... N 2"]) -> Float[Array, "E 2 2"]:
    return np.stack([path[..., :-1, :], path[..., 1:, :]], -2).reshape(-1, 2, 2)


def _strips(parts: Sequence[Float[Array, "E 2 2"]], width_m: float, rgb: Sequence[int], backdrop: Backdrop) -> Mesh:
    """A quad a segment, made longer by a quarter of its width at both ends so that bends close."""
    pairs = np.concatenate([np.zeros((0, 2, 2)), *parts])
    steps = pairs[:, 1] - pairs[:, 0]
    lengths = np.linalg.norm(steps, axis=1)
    pairs, steps, lengths = pairs[lengths > 1e-3], steps[lengths > 1e-3], lengths[lengths > 1e-3]
    along = steps / lengths[:, None] * width_m / 2
    across = np.stack([-along[:, 1], along[:, 0]], 1)
    begin, end = pairs[:, 0] - along / 2, pairs[:, 1] + along / 2
    corners = np.stack([begin - across, end - across, end + across, begin + across], 1)
    return _flat(corners, rgb, backdrop)
