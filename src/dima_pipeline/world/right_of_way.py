"""Who waits for whom: crossings, stop lines and traffic lights of a town."""

import numpy as np

from dima_pipeline.world.grid import DEAD_END, NODES, SIZE, Grid, Node, node_name
from dima_pipeline.world.lane_graph import Lanes, Roads, approaches, axis_of, num_lanes
from dima_pipeline.world.roads import Crossing, Road, Signal, StopKind, StopLine, band, lane_name

STOP_BEFORE_END_M = 5.5
"""Stop lines lie before the crossing at the mouth of an arm."""
YIELD_BEFORE_END_M = -3.0
"""At a roundabout they lie beyond it, near the ring."""
POLE_ASIDE_M = 1.0
"""From the kerb to the pole of a traffic light."""


def build_crossings(grid: Grid, roads: Roads, rng: np.random.Generator) -> tuple[Crossing, ...]:
    """Crossings at many mouths of junctions, all of them where there are signals, and in the middle of some blocks."""
    lit = {node_name(node) for node in grid.signals}
    found = []
    for road in roads.values():
        length, half = road.curve.length, road.road_class.half_width_m
        places = [(2.5, False, road.start_junction), (length - 2.5, False, road.end_junction)]
        chosen = [place[:2] for place in places if (rng.random() < 0.6 or place[2] in lit) and place[2] != DEAD_END]
        if length > 60.0 and rng.random() < 0.6:
            chosen.append((float(length * rng.uniform(0.42, 0.58)), True))
        for along, is_midblock in chosen:
            polygon = band(road.curve, along - 1.5, along + 1.5, half)
            found.append(Crossing(f"{road.name}@{along:.0f}", road.name, along, polygon, is_midblock))
    return tuple(found)


def build_stop_lines(grid: Grid, roads: Roads) -> tuple[StopLine, ...]:
    """One for each side of a road that has to give way where it ends."""
    found = []
    for node in NODES:
        for road, is_forward in approaches(roads, node_name(node)):
            kind = _stop_kind(grid, node, road, is_forward)
            if kind is not None:
                found.append(_stop_line(road, is_forward, kind))
    return tuple(found)


def _stop_kind(grid: Grid, node: Node, road: Road, is_forward: bool) -> StopKind | None:
    kind = grid.kind(node)
    if kind == "signals":
        return "TRAFFIC_LIGHT"
    if kind == "roundabout":
        return "YIELD"
    return "STOP_SIGN" if _is_row(road, is_forward) == _minor_is_row(grid, node) else None


def _is_row(road: Road, is_forward: bool) -> bool:
    """Whether a road ends along a row of the grid."""
    return bool(abs(np.cos(axis_of(road, is_forward).end[2])) > 0.7)


def _stop_line(road: Road, is_forward: bool, kind: StopKind) -> StopLine:
    count = num_lanes(road, is_forward)
    half = count * road.road_class.lane_width_m / 2
    side = axis_of(road, is_forward).offset(half - road.road_class.lanes_half_m)
    before = YIELD_BEFORE_END_M if kind == "YIELD" else STOP_BEFORE_END_M
    polygon = band(side, side.length - before, side.length - before + 0.5, half)
    names = tuple(lane_name(road.name, is_forward, index) for index in range(count))
    return StopLine(f"{road.name}{'f' if is_forward else 'b'}", road.name, names, before, polygon, kind)


def _minor_is_row(grid: Grid, node: Node) -> bool:
    row, column = grid.ranks(node)
    return row < column if row != column else node[1] in (0, SIZE - 1)


def build_signals(grid: Grid, roads: Roads, lanes: Lanes) -> tuple[Signal, ...]:
    """One for each approach of a junction with signals; rows are green together, then columns."""
    found = []
    for node in sorted(grid.signals):
        for road, is_forward in approaches(roads, node_name(node)):
            names = tuple(lane_name(road.name, is_forward, index) for index in range(num_lanes(road, is_forward)))
            phase = 0 if _is_row(road, is_forward) else 1
            pose = _signal_pose(grid, node, road, is_forward)
            found.append(Signal(f"{road.name}{'f' if is_forward else 'b'}", node_name(node), names, pose, phase))
    assert all(name in lanes for signal in found for name in signal.lanes)
    return tuple(found)


def _signal_pose(grid: Grid, node: Node, road: Road, is_forward: bool) -> tuple[float, float, float]:
    """Across the junction, where a driver at the stop line sees it: at the right kerb of the arm opposite, or straight
    ahead of the lanes where there is none."""
    yaw = axis_of(road, is_forward).end[2]
    direction = round(yaw / (np.pi / 2)) % 4
    kind = grid.arm_class(node, direction)
    if grid.has_arm(node, direction):
        ahead, right = grid.extent(node, direction), kind.half_width_m + POLE_ASIDE_M
    else:
        ahead, right = grid.arm_class(node, direction + 1).half_width_m + POLE_ASIDE_M, kind.lanes_half_m / 2
    x, y = grid.center(node)
    cos, sin = np.cos(yaw), np.sin(yaw)
    facing = float((yaw + 2 * np.pi) % (2 * np.pi) - np.pi)
    return float(x + ahead * cos + right * sin), float(y + ahead * sin - right * cos), facing
