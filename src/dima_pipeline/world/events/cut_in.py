"""A car on the neighbouring lane changes into the ego's lane with its signal on, 10-13 m ahead.

Truth: from the car's first 0.3 m sideways until a second after it is within 0.3 m of the middle of the ego's lane, if
less than 15 m lay between the two when its middle crossed the line.
"""

from functools import partial

import numpy as np

from dima_pipeline.world.events._facts import beside_route, first_true, gap_m, lasting, place_of
from dima_pipeline.world.events._shared import stage_on, with_traffic
from dima_pipeline.world.paths import Shift
from dima_pipeline.world.roads import Lane, Town
from dima_pipeline.world.simulation import Actor, Tracks
from dima_pipeline.world.staging import Rng, Stage, gates_of, lane_path
from dima_pipeline.world.truth import Interval

GAP_M = 15.0
CHANGE_S = 3.2
"""Of the lane change; the car crosses the line half-way."""


def plant(town: Town, rng: Rng) -> Stage | None:
    """A stage on a straight road with two lanes in the ego's direction; none where the town has no such road."""
    stage = stage_on(town, rng, "avenue", "oneway", straight=True, min_m=85.0)
    if stage is None:
        return None
    lane = stage.route.lanes[0]
    side = neighbour_side(town, lane)
    if side is None:
        return None
    speed = lane.speed_mps
    car = stage.add("vehicle.car", role="event", intention="cut_in")
    change_s = float(rng.uniform(1.5, 2.5))
    start = stage.start_m + 3.5 + float(rng.uniform(10.0, 13.0)) + 0.2 * car.size[0]
    begin = start + change_s * speed
    shift = Shift(-2.0, -1.0, begin, begin + CHANGE_S * speed, side * lane.width_m)
    car.path, car.start_m, car.speed_mps = lane_path(stage.route, [shift]), start, speed
    car.center_ahead_m, car.gates = 0.3 * car.size[0], gates_of(town, stage.route)
    car.speed_plan = ((0.0, speed), (change_s, speed), (change_s + CHANGE_S, 0.85 * speed))
    car.signal_plan = ((change_s - 1.5, change_s + CHANGE_S - 0.5, "right" if side > 0 else "left"),)
    stage.truth_rules.append(partial(_truth, car=car.name))
    return with_traffic(stage, neighbours=0)


def neighbour_side(town: Town, lane: Lane) -> float | None:
    """+1 where the neighbour in the same direction lies to the left, -1 to the right; none without a neighbour."""
    others = [o.index for o in town.lanes.values() if o.road == lane.road and o.is_forward == lane.is_forward]
    # Index 0 is next to the kerb, on the right.
    if lane.index + 1 in others:
        return 1.0
    return -1.0 if lane.index - 1 in others else None


def _truth(stage: Stage, actors: list[Actor], tracks: Tracks, car: str) -> list[Interval]:
    index = place_of(actors, car)
    if index is None:
        return []
    width = stage.route.lanes[0].width_m
    left = np.abs(beside_route(stage, tracks.poses[:, index, :2])[1])
    crosses, arrives = first_true(left < width / 2), first_true(left < 0.3)
    if crosses is None or arrives is None or not 0.0 < gap_m(stage, actors, tracks, index)[crosses] < GAP_M:
        return []
    begin = first_true(left < width - 0.3) or 0
    return lasting("cut_in", tracks, tracks.times_s[begin], tracks.times_s[arrives] + 1.0, actors[index])
