"""What the renderer needs of a town and of the actors at one time, on the canvas."""

import numpy as np
from shapely.geometry import MultiPolygon, Polygon

from dima_pipeline.world.actors import SIGNAL_COLORS
from dima_pipeline.world.categories import agent_category
from dima_pipeline.world.drama import Drama
from dima_pipeline.world.lights import Lights, is_lit
from dima_pipeline.world.render_types import RenderSignal
from dima_pipeline.world.renderer import GroundArea, GroundLine, RenderBox
from dima_pipeline.world.roads import SIGNAL_HEIGHT_M, Placement, Town

SIGHT_M = 130.0
FIRST_BUILDING_ID = 10_001
"""Instance ids of houses; those of actors are their place in the scene, the ego's 0 is not drawn."""


def polygons(shape: Polygon | MultiPolygon) -> list[Polygon]:
    """The parts of a polygon."""
    return [part for part in getattr(shape, "geoms", [shape]) if part.area > 0.01]


def ring(coordinates: object) -> np.ndarray:
    """Points (N, 2) of a closed ring, the last one not repeated."""
    return np.array(coordinates)[:-1, :2]


def ground_areas(town: Town) -> list[GroundArea]:
    """Paved polygons of a town."""
    place = town.placement
    areas = [_area("walkway", part, place) for part in polygons(town.walkway)]
    areas += [_area("road", part, place) for part in polygons(town.drivable)]
    for junction in town.junctions.values():
        holes = tuple(place.points(hole) for hole in junction.holes)
        areas.append(GroundArea("intersection", place.points(junction.polygon), holes))
    areas += [GroundArea("crossing", place.points(crossing.polygon)) for crossing in town.crossings]
    return areas + [GroundArea("carpark", place.points(lot)) for lot in town.carparks]


def _area(kind: str, shape: Polygon, place: Placement) -> GroundArea:
    holes = tuple(place.points(ring(hole.coords)) for hole in shape.interiors)
    return GroundArea(kind, place.points(ring(shape.exterior.coords)), holes)


def divider_lines(town: Town) -> list[tuple[str, str, np.ndarray]]:
    """(road, kind, points in the town): ``road_divider`` between directions, ``divider`` between lanes of one."""
    lines = []
    for road in town.roads.values():
        kind = road.road_class
        for count in range(1, kind.num_forward + kind.num_backward):
            between = "road_divider" if count == kind.num_forward else "divider"
            offset = count * kind.lane_width_m - kind.lanes_half_m
            lines.append((road.name, between, road.curve.offset(offset).polyline()))
    return lines


def ground_lines(town: Town) -> list[GroundLine]:
    """Painted lines and kerbs of a town."""
    place = town.placement
    lines = [GroundLine(kind, place.points(points)) for _, kind, points in divider_lines(town)]
    for road in town.roads.values():
        if road.road_class.parking_m > 0:
            for side in (-1.0, 1.0):
                strip = road.curve.offset(side * road.road_class.lanes_half_m).polyline()
                lines.append(GroundLine("divider", place.points(strip)))
    for part in polygons(town.drivable):
        for edge in (part.exterior, *part.interiors):
            lines.append(GroundLine("boundary", place.points(np.array(edge.coords))))
    lines += [GroundLine("wear", place.points(lane.curve.polyline())) for lane in town.lanes.values()]
    for line in town.stop_lines:
        left, right = (line.polygon[0] + line.polygon[1]) / 2, (line.polygon[2] + line.polygon[3]) / 2
        lines.append(GroundLine("stop_line", place.points(np.stack([left, right]))))
    return lines


def building_boxes(town: Town, near_xy: np.ndarray) -> list[RenderBox]:
    """Houses within sight of points (N, 2) of the town."""
    found = []
    for index, house in enumerate(town.buildings):
        if np.linalg.norm(near_xy - [house.x_m, house.y_m], axis=1).min() > SIGHT_M:
            continue
        x, y, yaw = town.placement.poses(np.array([house.x_m, house.y_m, house.yaw_rad]))
        center = np.array([x, y, house.size[2] / 2])
        found.append(RenderBox(center, float(yaw), house.size, "building", FIRST_BUILDING_ID + index, house.color))
    return found


def actor_boxes(drama: Drama, tick: int) -> list[RenderBox]:
    """Everybody but the ego at a tick of the simulation; the instance id is the place in ``drama.actors``."""
    poses = drama.town.placement.poses(drama.tracks.poses[tick])
    boxes = []
    for index, actor in enumerate(drama.actors[1:], start=1):
        center = np.array([poses[index, 0], poses[index, 1], actor.size[2] / 2])
        category = agent_category(actor.category)
        color = None if category in ("traffic_cone", "barrier", "construction_vehicle") else actor.color
        lights = bright(drama, tick, index)
        boxes.append(RenderBox(center, float(poses[index, 2]), actor.size, category, index, color, lights))
    return boxes


def bright(drama: Drama, tick: int, index: int) -> Lights:
    """The lamps of an actor that shine at a tick, as seen on the canvas: turn signals blink, and a mirrored town swaps
    left and right."""
    brake, left, right, emergency = drama.tracks.lights[tick, index].tolist()
    if drama.town.placement.is_mirrored:
        left, right = right, left
    blinks = is_lit(float(drama.tracks.times_s[tick]))
    return Lights(brake, left and blinks, right and blinks, emergency)


def signal_heads(drama: Drama, tick: int) -> list[RenderSignal]:
    """The traffic lights of the town as they are at a tick; those without a plan are green."""
    heads = []
    for signal in drama.town.signals:
        x, y, yaw = drama.town.placement.poses(np.array(signal.pose)).tolist()
        color = drama.tracks.signals.get(signal.name)
        shown = "green" if color is None else SIGNAL_COLORS[int(color[tick])]
        heads.append(RenderSignal(np.array([x, y, SIGNAL_HEIGHT_M]), yaw, shown))
    return heads
