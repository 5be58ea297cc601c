"""What stands beside the roads of a town: rows of houses, an open car park, a monument on the roundabout."""

import numpy as np
from shapely.geometry import MultiPolygon, Polygon
from shapely.ops import unary_union
from shapely.prepared import prep

from dima_pipeline.geometry import box_corners, boxes_overlap
from dima_pipeline.world.roads import WALKWAY_M, Building, Junction, Road, RoadClass

PAINTS = ((158, 107, 87), (184, 173, 153), (128, 135, 148), (199, 184, 128), (112, 92, 82))
MONUMENT = ((2.6, 2.6, 4.5), (150, 146, 138))
"""Length, width, height (m) and colour of what stands in the middle of a roundabout."""
Lots = tuple[np.ndarray, ...]


def build_carparks(roads: dict[str, Road], drivable: Polygon | MultiPolygon, rng: np.random.Generator) -> Lots:
    """One open lot beside a straight road, where one fits."""
    names = list(roads)
    for index in rng.permutation(len(names)):
        road = roads[names[index]]
        left = road.road_class.half_width_m + WALKWAY_M + 7.5
        pose = road.curve.poses(np.array([road.curve.length / 2]))[0]
        middle = pose[:2] + left * np.array([-np.sin(pose[2]), np.cos(pose[2])])
        corners = box_corners(np.array([*middle, pose[2], 24.0, 14.0]))
        if not Polygon(corners).buffer(WALKWAY_M).intersects(drivable):
            return (corners,)
    return ()


def build_buildings(
    roads: dict[str, Road],
    junctions: dict[str, Junction],
    drivable: Polygon | MultiPolygon,
    carparks: Lots,
    rng: np.random.Generator,
) -> tuple[Building, ...]:
    """Houses along both sides of every road and round turning circles, none on a road, walkway, lot or other house."""
    rows = [_row_of_houses(road, side, rng) for road in roads.values() for side in (-1.0, 1.0)]
    rows += [_round_of_houses(junctions[road.end_junction], road, rng) for road in _dead_ends(roads, junctions)]
    rows.append([Building(*j.center, 0.0, *MONUMENT) for j in junctions.values() if j.kind == "roundabout"])
    blocked = prep(unary_union([drivable.buffer(WALKWAY_M + 0.4), *map(Polygon, carparks)]))
    placed: list[Building] = []
    boxes = np.zeros((0, 5))
    for building in (house for row in rows for house in row):
        box = np.array([building.x_m, building.y_m, building.yaw_rad, *building.size[:2]])
        if not boxes_overlap(boxes, box).any() and not blocked.intersects(Polygon(box_corners(box))):
            placed.append(building)
            boxes = np.vstack([boxes, box])
    return tuple(placed)


def _row_of_houses(road: Road, side: float, rng: np.random.Generator) -> list[Building]:
    kind, along, row = road.road_class, 4.0, []
    while along < road.curve.length - 4.0:
        length, depth = float(rng.uniform(8.0, 16.0)), float(rng.uniform(7.0, 11.0))
        pose = road.curve.poses(np.array([along + length / 2]))[0]
        left = side * (kind.half_width_m + WALKWAY_M + 0.5 + kind.setback_m + depth / 2)
        x, y = pose[0] - left * np.sin(pose[2]), pose[1] + left * np.cos(pose[2])
        row.append(_house((float(x), float(y), float(pose[2])), (length, depth), kind, rng))
        along += length + float(rng.uniform(0.8, 4.0))
    return row


def _dead_ends(roads: dict[str, Road], junctions: dict[str, Junction]) -> list[Road]:
    return [road for road in roads.values() if junctions[road.end_junction].kind == "dead_end"]


def _round_of_houses(junction: Junction, road: Road, rng: np.random.Generator) -> list[Building]:
    """Houses that look at the middle of a turning circle."""
    reach = float(np.linalg.norm(junction.polygon - junction.center, axis=1)[:-1].min())
    row = []
    for angle in np.deg2rad([-108.0, -54.0, 0.0, 54.0, 108.0]) + road.curve.end[2]:
        length, depth = float(rng.uniform(9.0, 12.0)), float(rng.uniform(7.0, 10.0))
        far = reach + WALKWAY_M + 2.5 + depth / 2
        x, y = junction.center[0] + far * np.cos(angle), junction.center[1] + far * np.sin(angle)
        row.append(_house((float(x), float(y), float(angle + np.pi / 2)), (length, depth), road.road_class, rng))
    return row


def _house(
    pose: tuple[float, float, float], floor: tuple[float, float], kind: RoadClass, rng: np.random.Generator
) -> Building:
    red, green, blue = (int(c) for c in np.array(PAINTS[rng.integers(len(PAINTS))]) * rng.uniform(0.8, 1.1))
    return Building(*pose, (*floor, float(rng.uniform(*kind.building_height_m))), (red, green, blue))
