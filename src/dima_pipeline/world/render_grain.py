"""What makes the ground look like ground: stains, mended patches and worn tracks on asphalt, mottled grass.

Every mark follows from the cell of a world grid it lies in, so the same place looks the same in every scene. Without
marks a plain has nothing by which motion could be seen.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np
import shapely
from jaxtyping import Float

from dima_pipeline.world.render_props import scrambled

Array = np.ndarray

MARK_CELL_M: Final = 3.0
MOTTLE_CELL_M: Final = 8.0
MOTTLE_REACH_M: Final = 40.0
"""Grass is mottled this far from the nearest paving."""
WEAR_M: Final = 0.8
"""Tyres run this far to both sides of the middle of a lane."""
_MAX_CELLS: Final = 400_000
"""Larger grounds are drawn without marks: a town of 1.8 km is no town of ours."""
_KINDS: Final = (
    # share, length (m), width (m), brightness between and between
    (0.55, (0.8, 2.6), (0.6, 1.8), (0.94, 1.06)),  # stain
    (0.12, (1.2, 3.0), (0.8, 2.0), (0.84, 0.9)),  # mended patch
    (0.05, (0.6, 0.7), (0.6, 0.7), (0.66, 0.72)),  # manhole
    (0.28, (1.0, 2.8), (0.05, 0.1), (0.72, 0.82)),  # crack
)


def grid(bounds: Sequence[float], cell_m: float) -> tuple[Float[Array, "N 2"], Float[Array, "N 6"]]:
    """A place in each cell of the world grid within bounds (x and y low, x and y high), and six chances 0 ... 1."""
    low, high = np.floor(np.array(bounds).reshape(2, 2) / cell_m)
    if not np.isfinite(bounds).all() or np.prod(high - low + 1) > _MAX_CELLS:
        return np.zeros((0, 2)), np.zeros((0, 6))
    cells = np.stack(np.meshgrid(*(np.arange(int(a), int(b) + 1) for a, b in zip(low, high, strict=True))), -1).reshape(
        -1, 2
    )
    seeds = (cells & 0xFFFFFFFF).astype(np.uint64) @ np.array([2654435761, 40503], np.uint64)
    chances = scrambled(seeds[:, None] * np.uint64(8) + np.arange(8, dtype=np.uint64))
    return (cells + chances[:, 6:]) * cell_m, chances[:, :6]


def quads(
    places: Float[Array, "N 2"], lengths: Float[Array, "N"], widths: Float[Array, "N"], yaws: Float[Array, "N"]
) -> Float[Array, "N 4 2"]:
    """Corners of rectangles."""
    along = np.stack([np.cos(yaws), np.sin(yaws)], -1)[:, None] * lengths[:, None, None] / 2
    across = np.stack([-np.sin(yaws), np.cos(yaws)], -1)[:, None] * widths[:, None, None] / 2
    signs = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]])[..., None]
    return places[:, None] + signs[:, 0] * along + signs[:, 1] * across


def marks(paved: Array) -> tuple[Float[Array, "N 4 2"], Float[Array, "N"]]:
    """Quads of marks that lie wholly on the paving (an array of shapely polygons), and their brightness."""
    if not len(paved):
        return np.zeros((0, 4, 2)), np.zeros(0)
    places, chance = grid(shapely.total_bounds(paved), MARK_CELL_M)
    is_near = _inside(places, paved)
    places, chance = places[is_near], chance[is_near]
    kind = np.searchsorted(np.cumsum([share for share, *_ in _KINDS])[:-1], chance[:, 0])
    ranges = np.array([[length, width, tone] for _, length, width, tone in _KINDS])[kind]
    length, width, tone = np.moveaxis(ranges[..., 0] + chance[:, 1:4] * (ranges[..., 1] - ranges[..., 0]), 1, 0)
    corners = quads(places, length, width, 2 * np.pi * chance[:, 4])
    is_inside = _inside(corners.reshape(-1, 2), paved).reshape(-1, 4).all(1)
    return corners[is_inside], tone[is_inside]


def _inside(points: Float[Array, "N 2"], polygons: Array) -> Array:
    """Whether points lie in one of the polygons."""
    inside = np.zeros(len(points), bool)
    # asked this way round the polygons are prepared, not the points: a hundred times faster
    _, which = shapely.STRtree(shapely.points(points)).query(polygons, predicate="contains")
    inside[which] = True
    return inside


def mottles(paved: Array) -> tuple[Float[Array, "N 4 2"], Float[Array, "N"]]:
    """Quads of lighter and darker grass around the paving, and their brightness."""
    if not len(paved):
        return np.zeros((0, 4, 2)), np.zeros(0)
    low_x, low_y, high_x, high_y = shapely.total_bounds(paved)
    reach = MOTTLE_REACH_M
    places, chance = grid((low_x - reach, low_y - reach, high_x + reach, high_y + reach), MOTTLE_CELL_M)
    sizes = 2.0 + 5.0 * chance[:, :2]
    return quads(places, sizes[:, 0], sizes[:, 1], 2 * np.pi * chance[:, 2]), 0.9 + 0.2 * chance[:, 3]
