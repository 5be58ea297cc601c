"""The plan of a town: a 4 x 4 grid whose rows and columns are each one class of road, and its special places.

The four corners are bends. Of the twelve junctions one is a roundabout, some have signals, and from one a cul-de-sac
leads out of the grid.
"""

from dataclasses import dataclass

import numpy as np

from dima_pipeline.world.roads import ROAD_CLASSES, JunctionKind, RoadClass

CORNER_M = 5.0
"""Kerb radius at junctions."""
SIZE = 4
Node = tuple[int, int]
DIRECTIONS = ((0, 1), (1, 0), (0, -1), (-1, 0))
"""Row and column steps of the four arms east, north, west, south."""
NODES = tuple((row, column) for row in range(SIZE) for column in range(SIZE))
ROUNDABOUT_RADII_M = (14.0, 12.0)
"""Of the ring, and of the bends into it and out of it: 5 to 5.5 m/s at 2.2 m/s2."""
ROUNDABOUT_REACH_M = 23.0
"""From the middle of a roundabout to the mouths of its arms."""
DEAD_END = "end"
"""Name of the junction at the end of the cul-de-sac."""


@dataclass(frozen=True)
class Grid:
    """Lines of a grid (m), their classes and the special nodes."""

    xs: np.ndarray
    ys: np.ndarray
    rows: tuple[RoadClass, ...]
    columns: tuple[RoadClass, ...]
    flipped: frozenset[tuple[str, int]]
    """One-way rows and columns that run west or south."""
    signals: frozenset[Node] = frozenset()
    roundabout: Node | None = None
    dead_end: tuple[Node, int] | None = None
    """The junction that the cul-de-sac leaves, and its direction."""
    dead_end_m: float = 0.0

    def arm_class(self, node: Node, direction: int) -> RoadClass:
        """Class of the line through a node: of its row for east and west, of its column for north and south."""
        return self.rows[node[0]] if direction % 2 == 0 else self.columns[node[1]]

    def extent(self, node: Node, direction: int) -> float:
        """From the middle of a junction to the mouth of an arm, m."""
        if node == self.roundabout:
            return ROUNDABOUT_REACH_M
        return self.arm_class(node, direction + 1).half_width_m + CORNER_M

    def neighbour(self, node: Node, direction: int) -> Node | None:
        """The next node of the grid; none outside it."""
        row, column = node[0] + DIRECTIONS[direction][0], node[1] + DIRECTIONS[direction][1]
        return (row, column) if 0 <= row < SIZE and 0 <= column < SIZE else None

    def has_arm(self, node: Node, direction: int) -> bool:
        """Whether a road leaves a junction in a direction."""
        return self.neighbour(node, direction) is not None or self.dead_end == (node, direction)

    def center(self, node: Node) -> tuple[float, float]:
        """Middle of a node, m."""
        return float(self.xs[node[1]]), float(self.ys[node[0]])

    def arm_end(self, node: Node, direction: int) -> tuple[float, float, float]:
        """Pose at the mouth of an arm, looking away from the junction."""
        yaw = direction * np.pi / 2
        reach = self.extent(node, direction)
        x, y = self.center(node)
        return float(x + reach * np.cos(yaw)), float(y + reach * np.sin(yaw)), yaw

    def kind(self, node: Node) -> JunctionKind:
        """How traffic is ruled at a node."""
        return "roundabout" if node == self.roundabout else "signals" if node in self.signals else "stop"

    def ranks(self, node: Node) -> tuple[int, int]:
        """Right of way of the row and of the column of a node."""
        return self.rows[node[0]].rank, self.columns[node[1]].rank


def is_corner(node: Node) -> bool:
    """Whether a grid node is one of the four corners, which are curves and no junctions."""
    return node[0] in (0, SIZE - 1) and node[1] in (0, SIZE - 1)


def node_name(node: Node) -> str:
    """Name of the junction at a node."""
    return f"j{node[0]}{node[1]}"


def draw_grid(ring_class: str, rng: np.random.Generator) -> Grid:
    """A plan whose outer lines are of ``ring_class``; every town has every class of road."""
    inner = ["residential", "avenue" if ring_class == "street" else "street", "residential", "oneway"]
    inner = [inner[index] for index in rng.permutation(4)]
    ring = ROAD_CLASSES[ring_class]
    rows = (ring, ROAD_CLASSES[inner[0]], ROAD_CLASSES[inner[1]], ring)
    columns = (ring, ROAD_CLASSES[inner[2]], ROAD_CLASSES[inner[3]], ring)
    spacing = rng.uniform(113.0, 150.0, (2, SIZE - 1))
    edges = np.concatenate([np.zeros((2, 1)), np.cumsum(spacing, 1)], 1)
    middle = edges[:, -1:] / 2
    flips = frozenset((axis, line) for axis in ("row", "column") for line in range(SIZE) if rng.random() < 0.5)
    lines = (edges[0] - middle[0], edges[1] - middle[1], rows, columns, flips)
    plain = Grid(*lines)
    roundabout = _pick_roundabout(plain, rng)
    dead_end = _pick_dead_end(plain, roundabout, rng)
    return Grid(*lines, _signals(plain, roundabout), roundabout, dead_end, float(rng.uniform(82.0, 96.0)))


def _pick_roundabout(grid: Grid, rng: np.random.Generator) -> Node:
    """A junction of roads with one lane each way; one with four arms where there is one."""
    simple = {kind.name for kind in ROAD_CLASSES.values() if kind.num_forward == kind.num_backward == 1}
    fits = [
        node
        for node in NODES
        if not is_corner(node) and {grid.arm_class(node, 0).name, grid.arm_class(node, 1).name} <= simple
    ]
    fits = [node for node in fits if _num_arms(grid, node) == 4] or fits
    return fits[int(rng.integers(len(fits)))]


def _num_arms(grid: Grid, node: Node) -> int:
    return sum(grid.has_arm(node, direction) for direction in range(4))


def _pick_dead_end(grid: Grid, roundabout: Node, rng: np.random.Generator) -> tuple[Node, int]:
    """Where a residential line meets the ring, it may go on beyond it."""
    places = [
        (node, direction)
        for node in NODES
        for direction in range(4)
        if not is_corner(node) and node != roundabout and not grid.has_arm(node, direction)
    ]
    places = [place for place in places if grid.arm_class(*place).name == "residential"]
    return places[int(rng.integers(len(places)))]


def _signals(grid: Grid, roundabout: Node) -> frozenset[Node]:
    """Where avenues meet avenues or streets, and at the busiest junction inside the grid."""
    major = {"avenue", "street"}
    free = [node for node in NODES if not is_corner(node) and node != roundabout]
    found = [
        node
        for node in free
        if {grid.arm_class(node, 0).name, grid.arm_class(node, 1).name} <= major and 3 in grid.ranks(node)
    ]
    inner = [node for node in free if _num_arms(grid, node) == 4]
    return frozenset([*found, max(inner, key=lambda node: (sum(grid.ranks(node)), node))])
