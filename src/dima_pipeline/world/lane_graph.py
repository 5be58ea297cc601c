"""Roads along the lines of a grid, the surfaces of its junctions, and lanes with the connectors between them."""

import numpy as np
from shapely.geometry import Point, Polygon
from shapely.ops import unary_union

from dima_pipeline.world.curves import Curve, Pose, join, join_around
from dima_pipeline.world.grid import (
    CORNER_M,
    DEAD_END,
    NODES,
    ROUNDABOUT_RADII_M,
    Grid,
    Node,
    is_corner,
    node_name,
)
from dima_pipeline.world.roads import (
    Junction,
    Lane,
    Road,
    Turn,
    lane_name,
    strip,
    with_successors,
)

RING_SPEED_MPS = 5.5
RING_HALF_M = 3.2
"""Half the width of the paved ring of a roundabout."""
CIRCLE_RADII_M = (7.5, 9.0)
"""Of the way round a turning circle, and of the bends into it and out of it."""
CIRCLE_AHEAD_M = 13.3
"""From the end of a cul-de-sac to the middle of its turning circle."""
HALF_WAY_M = 2.2
"""Paved to each side of a way round a ring."""
TAPER_M = 4.0
Lanes = dict[str, Lane]
Roads = dict[str, Road]


def build_roads(grid: Grid, rng: np.random.Generator) -> Roads:
    """All roads of a town by name."""
    roads = []
    for node in NODES:
        if is_corner(node):
            roads.append(_corner_road(grid, node, rng))
            continue
        for direction in (0, 1):
            other = grid.neighbour(node, direction)
            if other is not None and not is_corner(other):
                roads.append(_line_road(grid, (node, other), direction, rng))
    if grid.dead_end is not None:
        node, direction = grid.dead_end
        curve, name = Curve(grid.arm_end(node, direction), ((grid.dead_end_m, 0.0),)), node_name(node)
        roads.append(Road(f"{name}-{DEAD_END}", grid.arm_class(node, direction), curve, name, DEAD_END))
    return {road.name: road for road in roads}


def _line_road(grid: Grid, ends: tuple[Node, Node], direction: int, rng: np.random.Generator) -> Road:
    start, goal = grid.arm_end(ends[0], direction), grid.arm_end(ends[1], direction + 2)
    length = float(np.hypot(goal[0] - start[0], goal[1] - start[1]))
    road_class = grid.arm_class(ends[0], direction)
    pieces: tuple[tuple[float, float], ...] = ((length, 0.0),)
    # Main roads run straight up to their traffic lights: whoever queues there is seen from afar.
    is_lit = road_class.rank >= 2 and not grid.signals.isdisjoint(ends)
    if rng.random() < 0.45 and not is_lit:
        pieces = _bulge(length, rng)
    curve = Curve(start, pieces)
    line = ("row", ends[0][0]) if direction == 0 else ("column", ends[0][1])
    if road_class.num_backward == 0 and line in grid.flipped:
        curve, ends = curve.reversed(), (ends[1], ends[0])
    names = node_name(ends[0]), node_name(ends[1])
    return Road(f"{names[0]}-{names[1]}", road_class, curve, *names)


def _bulge(length: float, rng: np.random.Generator) -> tuple[tuple[float, float], ...]:
    """Four arcs that leave a straight line and come back to it."""
    radius = float(rng.uniform(26.0, 40.0))
    angle = float(np.arcsin(min(0.62, (length - 14.0) / (4 * radius))))
    lead = (length - 4 * radius * np.sin(angle)) / 2
    bend = float(rng.choice([-1.0, 1.0])) / radius
    arc = radius * angle
    return ((lead, 0.0), (arc, bend), (2 * arc, -bend), (arc, bend), (lead, 0.0))


def _corner_road(grid: Grid, node: Node, rng: np.random.Generator) -> Road:
    arms = [direction for direction in range(4) if grid.neighbour(node, direction) is not None]
    ends = [grid.neighbour(node, arm) for arm in arms]
    assert ends[0] is not None and ends[1] is not None
    start = grid.arm_end(ends[0], (arms[0] + 2) % 4)
    back = grid.arm_end(ends[1], (arms[1] + 2) % 4)
    goal = (back[0], back[1], back[2] + np.pi)
    curve = join(start, goal, float(rng.uniform(19.0, 34.0)))
    names = node_name(ends[0]), node_name(ends[1])
    return Road(f"{names[0]}-{names[1]}", grid.rows[0], curve, *names)


def approaches(roads: Roads, junction: str) -> list[tuple[Road, bool]]:
    """(road, whether forward) of every side of a road that ends at a junction."""
    found = [(road, True) for road in roads.values() if road.end_junction == junction]
    found += [(road, False) for road in roads.values() if road.start_junction == junction]
    return [(road, forward) for road, forward in found if num_lanes(road, forward) > 0]


def num_lanes(road: Road, is_forward: bool) -> int:
    """Lanes of a road in one direction."""
    return road.road_class.num_forward if is_forward else road.road_class.num_backward


def axis_of(road: Road, is_forward: bool) -> Curve:
    """Axis of a road as driven in one direction."""
    return road.curve if is_forward else road.curve.reversed()


def build_junctions(grid: Grid, roads: Roads, lanes: Lanes) -> dict[str, Junction]:
    """All junctions of a town by name."""
    found = {}
    for node in NODES:
        name, kind = node_name(node), grid.kind(node)
        if kind == "roundabout":
            outline, holes = _ring_surface(roads, lanes, name, grid.center(node), ROUNDABOUT_RADII_M[0])
            found[name] = Junction(name, grid.center(node), outline, kind, holes)
        elif not is_corner(node):
            found[name] = Junction(name, grid.center(node), _outline(grid, node), kind)
    if grid.dead_end is not None:
        center = _circle_center(roads)
        outline, _ = _ring_surface(roads, lanes, DEAD_END, center, CIRCLE_RADII_M[0])
        found[DEAD_END] = Junction(DEAD_END, center, outline, "dead_end")
    return found


def _outline(grid: Grid, node: Node) -> np.ndarray:
    """Outline of a junction: mouths of its arms, joined by kerb arcs, straight where there is no arm."""
    points = []
    for direction in range(4):
        half = grid.arm_class(node, direction).half_width_m
        across = grid.arm_class(node, direction + 1).half_width_m
        has_arm = grid.has_arm(node, direction)
        reach = across + CORNER_M if has_arm else across
        local = [(reach, -half), (reach, half)]
        if has_arm and grid.has_arm(node, (direction + 1) % 4):
            angles = np.linspace(0.0, np.pi / 2, 6)[1:-1]
            local += [(across + CORNER_M * (1 - np.sin(a)), half + CORNER_M * (1 - np.cos(a))) for a in angles]
        yaw = direction * np.pi / 2
        turn = np.array([[np.cos(yaw), -np.sin(yaw)], [np.sin(yaw), np.cos(yaw)]])
        points.append(np.array(local) @ turn.T)
    hull = Polygon(np.concatenate(points) + np.array(grid.center(node))).buffer(0)
    return np.array(hull.exterior.coords)[:-1]


def _ring_surface(
    roads: Roads, lanes: Lanes, name: str, center: tuple[float, float], radius_m: float
) -> tuple[np.ndarray, tuple[np.ndarray, ...]]:
    """Outline and islands of a roundabout or turning circle: what its ways round take, and the mouths of its arms."""
    ways = [lane.curve for lane in lanes.values() if lane.junction == name]
    parts = [Polygon(strip(way, HALF_WAY_M, -HALF_WAY_M)).buffer(0) for way in ways]
    parts.append(Point(center).buffer(radius_m + RING_HALF_M, quad_segs=24))
    # The mouths are as wide as their roads and narrow down to the lanes.
    ends = [(axis_of(road, True).end, road) for road in roads.values() if road.end_junction == name]
    ends += [(axis_of(road, False).end, road) for road in roads.values() if road.start_junction == name]
    for (x, y, yaw), road in ends:
        half, ahead = road.road_class.half_width_m, np.array([np.cos(yaw), np.sin(yaw)])
        side = np.array([-ahead[1], ahead[0]])
        narrow = min(half, road.road_class.lane_width_m / 2 + HALF_WAY_M)
        local = [(0.0, half), (TAPER_M, narrow), (TAPER_M, -narrow), (0.0, -half)]
        parts.append(Polygon([np.array([x, y]) + along * ahead + left * side for along, left in local]))
    paved = unary_union(parts)
    if len(ends) > 1:
        paved = paved.difference(Point(center).buffer(radius_m - RING_HALF_M, quad_segs=24))
    paved = paved.buffer(0.6, join_style="mitre").buffer(-0.6, join_style="mitre")
    assert isinstance(paved, Polygon)
    islands = [hole for hole in paved.interiors if Polygon(hole).area > 4.0 and len(ends) > 1]
    return np.array(paved.exterior.coords)[:-1], tuple(np.array(hole.coords)[:-1] for hole in islands)


def _circle_center(roads: Roads) -> tuple[float, float]:
    (end,) = [road.curve for road in roads.values() if road.end_junction == DEAD_END]
    x, y, _ = end.poses(np.array([end.length + CIRCLE_AHEAD_M]))[0]
    return float(x), float(y)


def build_lanes(grid: Grid, roads: Roads) -> Lanes:
    """Lanes of all roads and the connectors through all junctions, with successors."""
    lanes: Lanes = {}
    for road in roads.values():
        kind = road.road_class
        for is_forward in (True, False):
            for index in range(num_lanes(road, is_forward)):
                curve = road.curve.offset(kind.lane_offset(is_forward, index))
                name = lane_name(road.name, is_forward, index)
                curve = curve if is_forward else curve.reversed()
                lanes[name] = Lane(name, curve, kind.lane_width_m, kind.speed_mps, road.name, is_forward, index)
    connectors = _connect(grid, roads, lanes)
    links = [link for name in connectors for link in ((name.split(">")[0], name), (name, name.split(">")[1]))]
    return with_successors({**lanes, **connectors}, links)


def _connect(grid: Grid, roads: Roads, lanes: Lanes) -> Lanes:
    connectors: Lanes = {}
    for before in lanes.values():
        junction = end_junction(roads, before)
        for after in lanes.values():
            is_way = junction == _start_junction(roads, after)
            turn = _turn(roads, before, after) if is_way else None
            if turn is None:
                continue
            curve, limit = _way(grid, roads, junction, (before.curve.end, after.curve.start))
            name = f"{before.name}>{after.name}"
            speed = min(before.speed_mps, after.speed_mps, limit)
            width = min(before.width_m, after.width_m)
            connectors[name] = Lane(name, curve, width, speed, junction=junction, turn=turn)
    return connectors


def _way(grid: Grid, roads: Roads, junction: str, ends: tuple[Pose, Pose]) -> tuple[Curve, float]:
    """A way through a junction, and how fast it may be driven."""
    if junction == DEAD_END:
        return join_around(*ends, _circle_center(roads), CIRCLE_RADII_M), np.inf
    if grid.roundabout is not None and junction == node_name(grid.roundabout):
        return join_around(*ends, grid.center(grid.roundabout), ROUNDABOUT_RADII_M), RING_SPEED_MPS
    return join(*ends), np.inf


def end_junction(roads: Roads, lane: Lane) -> str:
    """Name of the junction that a lane of a road leads to."""
    road = roads[lane.road]
    return road.end_junction if lane.is_forward else road.start_junction


def _start_junction(roads: Roads, lane: Lane) -> str:
    road = roads[lane.road]
    return road.start_junction if lane.is_forward else road.end_junction


def _turn(roads: Roads, before: Lane, after: Lane) -> Turn | None:
    """Kerb lanes turn right, inner lanes turn left, and every lane goes straight on into its own continuation."""
    if before.road == after.road:
        return "left" if end_junction(roads, before) == DEAD_END else None
    delta = np.rad2deg(np.angle(np.exp(1j * (after.curve.start[2] - before.curve.end[2]))))
    last = [num_lanes(roads[lane.road], lane.is_forward) - 1 for lane in (before, after)]
    if abs(delta) < 5:
        return "straight" if before.index == after.index else None
    if delta < 0:
        return "right" if before.index == after.index == 0 else None
    return "left" if (before.index, after.index) == (last[0], last[1]) else None
