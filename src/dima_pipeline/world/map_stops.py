"""Stop lines as nuScenes means them, areas to stop in: those that rule drivers, and those before crossings."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from dima_pipeline.world.lane_graph import axis_of, num_lanes
from dima_pipeline.world.roads import Crossing, Lane, Road, Town, band

DEEP_M = 1.0
"""Of a stop area before a crossing."""


@dataclass(frozen=True)
class MapStop:
    """A row of the layer ``stop_line``: names of what it belongs to in the town; ``block`` is (road, "f" or "b")."""

    name: str
    kind: str
    polygon: Float[np.ndarray, "4 2"]
    block: tuple[str, str] | None = None
    crossings: tuple[str, ...] = ()
    signals: tuple[str, ...] = ()


def map_stops(town: Town) -> list[MapStop]:
    """All stop areas of a town."""
    stops = []
    for line in town.stop_lines:
        signal = town.signal_of(town.lanes[line.lanes[0]]) if line.kind == "TRAFFIC_LIGHT" else None
        names = (signal.name,) if signal else ()
        stops.append(MapStop(line.name, line.kind, line.polygon, (line.road, line.name[-1]), signals=names))
    for crossing in town.crossings:
        if crossing.is_midblock:
            stops += _before_crossing(town.roads[crossing.road], crossing)
    for lane in town.lanes.values():
        if lane.turn in ("left", "right") and town.junctions[lane.junction].kind == "signals":
            stops += _at_end_of_turn(town, lane)
    return stops


def _before_crossing(road: Road, crossing: Crossing) -> list[MapStop]:
    """One for each direction, half a metre before the stripes."""
    stops = []
    for is_forward in (True, False):
        half = num_lanes(road, is_forward) * road.road_class.lane_width_m / 2
        if half > 0:
            side = axis_of(road, is_forward).offset(half - road.road_class.lanes_half_m)
            share = crossing.along_m / road.curve.length
            end = side.length * (share if is_forward else 1 - share) - 2.0
            polygon = band(side, end - DEEP_M, end, half)
            block = (road.name, "f" if is_forward else "b")
            stops.append(MapStop(f"{crossing.name}{block[1]}", "PED_CROSSING", polygon, block, (crossing.name,)))
    return stops


def _at_end_of_turn(town: Town, lane: Lane) -> list[MapStop]:
    """Where who turns waits for people on the crossing of the road turned into."""
    after = town.lanes[lane.successors[0]]
    road = town.roads[after.road]
    mouth = 0.0 if after.is_forward else road.curve.length
    near = tuple(c.name for c in town.crossings if c.road == road.name and abs(c.along_m - mouth) < 4.0)
    if not near:
        return []
    polygon = band(lane.curve, lane.curve.length - DEEP_M, lane.curve.length, lane.width_m / 2)
    return [MapStop(lane.name, "TURN_STOP", polygon, None, near)]
