"""Builds towns: a 4 x 4 grid of roads whose corners are curves, with right of way, crossings, houses.

Every row and every column of the grid is one class of road, so what a junction connects follows from two classes.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from shapely.geometry import MultiPolygon, Polygon
from shapely.ops import unary_union
from shapely.prepared import prep

from dima_pipeline.geometry import box_corners, boxes_overlap
from dima_pipeline.world.curves import Curve, join
from dima_pipeline.world.roads import (
    ROAD_CLASSES,
    WALKWAY_M,
    Building,
    Crossing,
    Junction,
    Lane,
    Placement,
    Road,
    RoadClass,
    StopLine,
    Town,
    band,
    strip,
    with_successors,
)

CORNER_M = 5.0
"""Kerb radius at junctions."""
STOP_BEFORE_END_M = 5.5
"""Stop lines lie before the crossing at the mouth of an arm."""
PAINTS = ((158, 107, 87), (184, 173, 153), (128, 135, 148), (199, 184, 128), (112, 92, 82))
SIZE = 4
Node = tuple[int, int]
DIRECTIONS = ((0, 1), (1, 0), (0, -1), (-1, 0))
"""Row and column steps of the four arms east, north, west, south."""


@dataclass(frozen=True)
class TownSite:
    """Where a town lies: canvas, middle (m), split and the class of its ring road."""

    name: str
    location: str
    split: str
    x_m: float
    y_m: float
    ring: str

    @property
    def is_mirrored(self) -> bool:
        """Singapore keeps left."""
        return self.location.startswith("singapore")


SITES = (
    TownSite("harbour", "boston-seaport", "train", 600.0, 600.0, "avenue"),
    TownSite("north-end", "boston-seaport", "train", 600.0, 1450.0, "street"),
    TownSite("science-park", "singapore-onenorth", "train", 790.0, 1000.0, "avenue"),
    TownSite("queens-close", "singapore-queenstown", "train", 1600.0, 1800.0, "street"),
    TownSite("fort-point", "boston-seaport", "val", 2200.0, 1000.0, "street"),
    TownSite("holland", "singapore-hollandvillage", "val", 1400.0, 1400.0, "avenue"),
)
CANVAS_EDGES = {
    "boston-seaport": (2979.5, 2118.1),
    "singapore-onenorth": (1585.6, 2025.0),
    "singapore-hollandvillage": (2808.3, 2922.9),
    "singapore-queenstown": (3228.6, 3687.1),
}
"""Width and height (m) of the four canvases the devkit knows."""


@dataclass(frozen=True)
class _Grid:
    xs: np.ndarray
    ys: np.ndarray
    rows: tuple[RoadClass, ...]
    columns: tuple[RoadClass, ...]
    flipped: frozenset[tuple[str, int]]
    """One-way rows and columns that run west or south."""

    def arm_class(self, node: Node, direction: int) -> RoadClass:
        return self.rows[node[0]] if direction % 2 == 0 else self.columns[node[1]]

    def extent(self, node: Node, direction: int) -> float:
        return self.arm_class(node, direction + 1).half_width_m + CORNER_M

    def neighbour(self, node: Node, direction: int) -> Node | None:
        row, column = node[0] + DIRECTIONS[direction][0], node[1] + DIRECTIONS[direction][1]
        return (row, column) if 0 <= row < SIZE and 0 <= column < SIZE else None

    def arm_end(self, node: Node, direction: int) -> tuple[float, float, float]:
        """Pose at the mouth of an arm, looking away from the junction."""
        yaw = direction * np.pi / 2
        reach = self.extent(node, direction)
        return float(self.xs[node[1]] + reach * np.cos(yaw)), float(self.ys[node[0]] + reach * np.sin(yaw)), yaw


def is_corner(node: Node) -> bool:
    """Whether a grid node is one of the four corners, which are curves and no junctions."""
    return node[0] in (0, SIZE - 1) and node[1] in (0, SIZE - 1)


@lru_cache(maxsize=32)
def build_town(site: TownSite, seed: int) -> Town:
    """The town of a site; the same seed gives the same town."""
    rng = np.random.default_rng([seed, SITES.index(site) if site in SITES else len(SITES)])
    grid = _draw_grid(site, rng)
    placement = Placement(site.x_m, site.y_m, float(rng.uniform(-np.pi, np.pi)), site.is_mirrored)
    roads = _build_roads(grid, rng)
    junctions = _build_junctions(grid)
    lanes = _build_lanes(grid, roads)
    crossings = _build_crossings(roads, rng)
    surfaces = [Polygon(strip(r.curve, r.road_class.half_width_m, -r.road_class.half_width_m)) for r in roads.values()]
    surfaces += [Polygon(junction.polygon) for junction in junctions.values()]
    drivable = unary_union([surface.buffer(0.02, join_style="mitre") for surface in surfaces])
    walkway = drivable.buffer(WALKWAY_M, quad_segs=4).difference(drivable)
    carparks = _build_carparks(roads, drivable, rng)
    return Town(
        name=site.name,
        location=site.location,
        split=site.split,
        placement=placement,
        roads=roads,
        junctions=junctions,
        lanes=lanes,
        crossings=crossings,
        stop_lines=_build_stop_lines(grid, roads, lanes),
        carparks=carparks,
        buildings=_build_buildings(roads, drivable, carparks, rng),
        drivable=drivable,
        walkway=walkway,
    )


def build_towns(seed: int) -> dict[str, Town]:
    """All towns of a world by name."""
    return {site.name: build_town(site, seed) for site in SITES}


def _draw_grid(site: TownSite, rng: np.random.Generator) -> _Grid:
    inner = ["residential", "avenue" if site.ring == "street" else "street", "residential", "oneway"]
    inner = [inner[index] for index in rng.permutation(4)]
    ring = ROAD_CLASSES[site.ring]
    rows = (ring, ROAD_CLASSES[inner[0]], ROAD_CLASSES[inner[1]], ring)
    columns = (ring, ROAD_CLASSES[inner[2]], ROAD_CLASSES[inner[3]], ring)
    spacing = rng.uniform(112.0, 150.0, (2, SIZE - 1))
    edges = np.concatenate([np.zeros((2, 1)), np.cumsum(spacing, 1)], 1)
    middle = edges[:, -1:] / 2
    flips = frozenset((axis, line) for axis in ("row", "column") for line in range(SIZE) if rng.random() < 0.5)
    return _Grid(edges[0] - middle[0], edges[1] - middle[1], rows, columns, flips)


def _build_roads(grid: _Grid, rng: np.random.Generator) -> dict[str, Road]:
    roads = []
    for row in range(SIZE):
        for column in range(SIZE):
            node = (row, column)
            if is_corner(node):
                roads.append(_corner_road(grid, node, rng))
                continue
            for direction in (0, 1):
                other = grid.neighbour(node, direction)
                if other is not None and not is_corner(other):
                    roads.append(_line_road(grid, (node, other), direction, rng))
    return {road.name: road for road in roads}


def _line_road(grid: _Grid, ends: tuple[Node, Node], direction: int, rng: np.random.Generator) -> Road:
    start, goal = grid.arm_end(ends[0], direction), grid.arm_end(ends[1], direction + 2)
    length = float(np.hypot(goal[0] - start[0], goal[1] - start[1]))
    road_class = grid.arm_class(ends[0], direction)
    pieces: tuple[tuple[float, float], ...] = ((length, 0.0),)
    if rng.random() < 0.45:
        pieces = _bulge(length, rng)
    curve = Curve(start, pieces)
    line = ("row", ends[0][0]) if direction == 0 else ("column", ends[0][1])
    if road_class.num_backward == 0 and line in grid.flipped:
        curve, ends = curve.reversed(), (ends[1], ends[0])
    return Road(f"{_name(ends[0])}-{_name(ends[1])}", road_class, curve, _name(ends[0]), _name(ends[1]))


def _bulge(length: float, rng: np.random.Generator) -> tuple[tuple[float, float], ...]:
    """Four arcs that leave a straight line and come back to it."""
    radius = float(rng.uniform(26.0, 40.0))
    angle = float(np.arcsin(min(0.62, (length - 14.0) / (4 * radius))))
    lead = (length - 4 * radius * np.sin(angle)) / 2
    bend = float(rng.choice([-1.0, 1.0])) / radius
    arc = radius * angle
    return ((lead, 0.0), (arc, bend), (2 * arc, -bend), (arc, bend), (lead, 0.0))


def _corner_road(grid: _Grid, node: Node, rng: np.random.Generator) -> Road:
    arms = [direction for direction in range(4) if grid.neighbour(node, direction) is not None]
    ends = [grid.neighbour(node, arm) for arm in arms]
    assert ends[0] is not None and ends[1] is not None
    start = grid.arm_end(ends[0], (arms[0] + 2) % 4)
    back = grid.arm_end(ends[1], (arms[1] + 2) % 4)
    goal = (back[0], back[1], back[2] + np.pi)
    curve = join(start, goal, float(rng.uniform(19.0, 34.0)))
    return Road(f"{_name(ends[0])}-{_name(ends[1])}", grid.rows[0], curve, _name(ends[0]), _name(ends[1]))


def _name(node: Node) -> str:
    return f"j{node[0]}{node[1]}"


def _build_junctions(grid: _Grid) -> dict[str, Junction]:
    found = {}
    for row in range(SIZE):
        for column in range(SIZE):
            if not is_corner((row, column)):
                center = (float(grid.xs[column]), float(grid.ys[row]))
                found[_name((row, column))] = Junction(_name((row, column)), center, _outline(grid, (row, column)))
    return found


def _outline(grid: _Grid, node: Node) -> np.ndarray:
    """Outline of a junction: mouths of its arms, joined by kerb arcs, straight where there is no arm."""
    points = []
    for direction in range(4):
        half = grid.arm_class(node, direction).half_width_m
        across = grid.arm_class(node, direction + 1).half_width_m
        has_arm = grid.neighbour(node, direction) is not None
        has_next = grid.neighbour(node, (direction + 1) % 4) is not None
        reach = across + CORNER_M if has_arm else across
        local = [(reach, -half), (reach, half)]
        if has_arm and has_next:
            angles = np.linspace(0.0, np.pi / 2, 6)[1:-1]
            local += [(across + CORNER_M * (1 - np.sin(a)), half + CORNER_M * (1 - np.cos(a))) for a in angles]
        yaw = direction * np.pi / 2
        turn = np.array([[np.cos(yaw), -np.sin(yaw)], [np.sin(yaw), np.cos(yaw)]])
        points.append(np.array(local) @ turn.T)
    middle = np.array([grid.xs[node[1]], grid.ys[node[0]]])
    outline = np.concatenate(points) + middle
    hull = Polygon(outline).buffer(0)
    return np.array(hull.exterior.coords)[:-1]


def _build_lanes(grid: _Grid, roads: dict[str, Road]) -> dict[str, Lane]:
    lanes: dict[str, Lane] = {}
    for road in roads.values():
        kind = road.road_class
        for is_forward, count in ((True, kind.num_forward), (False, kind.num_backward)):
            for index in range(count):
                curve = road.curve.offset(kind.lane_offset(is_forward, index))
                name = f"{road.name}{'f' if is_forward else 'b'}{index}"
                curve = curve if is_forward else curve.reversed()
                lanes[name] = Lane(name, curve, kind.lane_width_m, kind.speed_mps, road.name, is_forward, index)
    connectors, links = _connect(roads, lanes)
    return with_successors({**lanes, **connectors}, links)


def _connect(roads: dict[str, Road], lanes: dict[str, Lane]) -> tuple[dict[str, Lane], list[tuple[str, str]]]:
    connectors: dict[str, Lane] = {}
    links = []
    for before in lanes.values():
        for after in lanes.values():
            junction = _end_junction(roads, before)
            if before.road == after.road or junction != _start_junction(roads, after):
                continue
            turn = _turn(roads, before, after)
            if turn is None:
                continue
            curve = join(before.curve.end, after.curve.start)
            name = f"{before.name}>{after.name}"
            width, speed = min(before.width_m, after.width_m), min(before.speed_mps, after.speed_mps)
            connectors[name] = Lane(name, curve, width, speed, junction=junction, turn=turn)  # type: ignore[arg-type]
            links += [(before.name, name), (name, after.name)]
    return connectors, links


def _end_junction(roads: dict[str, Road], lane: Lane) -> str:
    road = roads[lane.road]
    return road.end_junction if lane.is_forward else road.start_junction


def _start_junction(roads: dict[str, Road], lane: Lane) -> str:
    road = roads[lane.road]
    return road.start_junction if lane.is_forward else road.end_junction


def _turn(roads: dict[str, Road], before: Lane, after: Lane) -> str | None:
    """Kerb lanes turn right, inner lanes turn left, and every lane goes straight on into its own continuation."""
    delta = np.rad2deg(np.angle(np.exp(1j * (after.curve.start[2] - before.curve.end[2]))))
    last = [
        (r.num_forward if lane.is_forward else r.num_backward) - 1
        for lane, r in ((before, roads[before.road].road_class), (after, roads[after.road].road_class))
    ]
    if abs(delta) < 5:
        return "straight" if before.index == after.index else None
    if delta < 0:
        return "right" if before.index == after.index == 0 else None
    return "left" if (before.index, after.index) == (last[0], last[1]) else None


def _build_crossings(roads: dict[str, Road], rng: np.random.Generator) -> tuple[Crossing, ...]:
    found = []
    for road in roads.values():
        length, half = road.curve.length, road.road_class.half_width_m
        places = [(2.5, False), (length - 2.5, False)]
        chosen = [place for place in places if rng.random() < 0.6]
        if length > 60.0 and rng.random() < 0.6:
            chosen.append((float(length * rng.uniform(0.42, 0.58)), True))
        for along, is_midblock in chosen:
            polygon = band(road.curve, along - 1.5, along + 1.5, half)
            found.append(Crossing(f"{road.name}@{along:.0f}", road.name, along, polygon, is_midblock))
    return tuple(found)


def _build_stop_lines(grid: _Grid, roads: dict[str, Road], lanes: dict[str, Lane]) -> tuple[StopLine, ...]:
    """One for each side of a road that ends at a junction where the crossing road has the right of way."""
    found = []
    for road in roads.values():
        kind = road.road_class
        for is_forward, count in ((True, kind.num_forward), (False, kind.num_backward)):
            names = tuple(f"{road.name}{'f' if is_forward else 'b'}{index}" for index in range(count))
            if not names:
                continue
            junction = road.end_junction if is_forward else road.start_junction
            axis = road.curve if is_forward else road.curve.reversed()
            is_row = abs(np.cos(axis.end[2])) > 0.7
            if is_row != _minor_is_row(grid, (int(junction[1]), int(junction[2]))):
                continue
            side = axis.offset(count * kind.lane_width_m / 2 - kind.lanes_half_m)
            end, half = side.length - STOP_BEFORE_END_M, count * kind.lane_width_m / 2
            name = f"{road.name}{'f' if is_forward else 'b'}"
            found.append(StopLine(name, road.name, names, STOP_BEFORE_END_M, band(side, end, end + 0.5, half)))
    return tuple(found)


def _minor_is_row(grid: _Grid, node: Node) -> bool:
    ranks = grid.rows[node[0]].rank, grid.columns[node[1]].rank
    if ranks[0] != ranks[1]:
        return ranks[0] < ranks[1]
    return node[1] in (0, SIZE - 1)


def _build_carparks(
    roads: dict[str, Road], drivable: Polygon | MultiPolygon, rng: np.random.Generator
) -> tuple[np.ndarray, ...]:
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


def _build_buildings(
    roads: dict[str, Road],
    drivable: Polygon | MultiPolygon,
    carparks: tuple[np.ndarray, ...],
    rng: np.random.Generator,
) -> tuple[Building, ...]:
    """Rows of houses along both sides of every road, none on a road, walkway, lot or other house."""
    blocked = prep(unary_union([drivable.buffer(WALKWAY_M + 0.4), *map(Polygon, carparks)]))
    placed: list[Building] = []
    boxes = np.zeros((0, 5))
    for road in roads.values():
        for side in (-1.0, 1.0):
            for building in _row_of_houses(road, side, rng):
                box = np.array([building.x_m, building.y_m, building.yaw_rad, *building.size[:2]])
                if not boxes_overlap(boxes, box).any() and not blocked.intersects(Polygon(box_corners(box))):
                    placed.append(building)
                    boxes = np.vstack([boxes, box])
    return tuple(placed)


def _row_of_houses(road: Road, side: float, rng: np.random.Generator) -> list[Building]:
    kind, along, row = road.road_class, 4.0, []
    while along < road.curve.length - 4.0:
        length, depth = float(rng.uniform(8.0, 16.0)), float(rng.uniform(7.0, 11.0))
        low, high = kind.building_height_m
        pose = road.curve.poses(np.array([along + length / 2]))[0]
        left = side * (kind.half_width_m + WALKWAY_M + 0.5 + kind.setback_m + depth / 2)
        x, y = pose[0] - left * np.sin(pose[2]), pose[1] + left * np.cos(pose[2])
        color = tuple(int(c) for c in np.array(PAINTS[rng.integers(len(PAINTS))]) * rng.uniform(0.8, 1.1))
        size = (length, depth, float(rng.uniform(low, high)))
        row.append(Building(float(x), float(y), float(pose[2]), size, color))  # type: ignore[arg-type]
        along += length + float(rng.uniform(0.8, 4.0))
    return row
