"""Trees of a town: rows behind the walkways where the houses leave room; the same town always has the same trees."""

import zlib

import numpy as np
import shapely
from jaxtyping import Float
from shapely.geometry import MultiPoint, Polygon

from dima_pipeline.geometry import box_corners
from dima_pipeline.world.render_types import RenderTree
from dima_pipeline.world.roads import WALKWAY_M, Road, Town

Array = np.ndarray

SPACING_M = (9.0, 17.0)
HEIGHT_M = (5.5, 9.0)
BEHIND_WALKWAY_M = 1.3
CLEAR_M = 0.9
"""Between a trunk and anything built."""


def street_trees(town: Town) -> list[RenderTree]:
    """Trees on the canvas, along both sides of every road with a strip of green between walkway and houses."""
    rng = np.random.default_rng(zlib.crc32(f"{town.location}/{town.name}".encode()))
    rows = [_row(road, side, rng) for road in town.roads.values() for side in (-1.0, 1.0)]
    places = np.concatenate([np.zeros((0, 3)), *rows])
    is_free = ~shapely.intersects(_built(town), shapely.points(places[:, :2]))
    kept = places[is_free]
    centers = town.placement.points(kept[:, :2])
    return [RenderTree(center, float(height)) for center, height in zip(centers, kept[:, 2], strict=True)]


def near(trees: list[RenderTree], points: Float[Array, "N 2"], sight_m: float) -> list[RenderTree]:
    """The trees within sight of points of the canvas."""
    if not trees:
        return []
    away = shapely.distance(MultiPoint(points), shapely.points(np.array([tree.center for tree in trees])))
    return [tree for tree, distance in zip(trees, away, strict=True) if distance <= sight_m]


def _row(road: Road, side: float, rng: np.random.Generator) -> Float[Array, "N 3"]:
    """x, y and height of trees along one side of a road, in the town's frame."""
    offset = road.road_class.half_width_m + WALKWAY_M + BEHIND_WALKWAY_M
    if road.road_class.setback_m < BEHIND_WALKWAY_M + 1.0:
        return np.zeros((0, 3))
    curve = road.curve.offset(side * offset)
    steps = rng.uniform(*SPACING_M, int(curve.length / SPACING_M[0]) + 1)
    along = np.cumsum(steps) - steps[0] / 2
    along = along[along < curve.length]
    return np.column_stack([curve.poses(along)[:, :2], rng.uniform(*HEIGHT_M, len(along))])


def _built(town: Town) -> shapely.Geometry:
    """Everything a tree cannot stand on: roads, walkways, car parks, houses and some room around them."""
    houses = np.array([(house.x_m, house.y_m, house.yaw_rad, *house.size[:2]) for house in town.buildings])
    shapes = [Polygon(corners) for corners in box_corners(houses)] if len(houses) else []
    shapes += [Polygon(lot) for lot in town.carparks]
    built = shapely.union_all([town.drivable, town.walkway, *shapes]).buffer(CLEAR_M, quad_segs=2)
    shapely.prepare(built)
    return built
