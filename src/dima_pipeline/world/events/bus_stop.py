"""A bus ahead draws in to the kerb, stands for a few seconds, and pulls out with its signal; the ego waits behind it.

Truth: from two seconds before the bus stands until it is back in its lane (three seconds after it drives on at the
soonest), if the ego came within 30 m.
"""

from functools import partial

import numpy as np

from dima_pipeline.world.events._facts import beside_route, first_true, gap_m, lasting, place_of
from dima_pipeline.world.events._shared import start_stage, with_traffic
from dima_pipeline.world.paths import Shift
from dima_pipeline.world.roads import Lane, Road, Town
from dima_pipeline.world.simulation import Actor, Tracks
from dima_pipeline.world.staging import Rng, Stage, find_route, gates_of, is_straight, lane_path
from dima_pipeline.world.truth import Interval, runs

NEAR_M = 30.0
BACK_M = 0.6


def plant(town: Town, rng: Rng) -> Stage | None:
    """A stage with a bus ahead on a straight road with one lane each way; none where no such road is long enough."""
    stage = start_stage(town, rng, find_route(town, rng, _is_long))
    if stage is None:
        return None
    lane = stage.route.lanes[0]
    bus = stage.add("vehicle.bus.rigid", role="event", intention="bus_stop", gates=gates_of(town, stage.route))
    strip = town.roads[lane.road].road_class.parking_m
    # Not all the way into the strip: whoever comes from behind has to wait.
    aside = -min(lane.width_m / 2 + strip - bus.size[1] / 2 - 0.1, bus.size[1] / 2 + 0.8)
    start, speed = stage.start_m + float(rng.uniform(15.0, 18.0)), 0.8 * lane.speed_mps
    # A steady speed for a second and a half, then a ramp down to nothing within four.
    halt_s, stand_s = 5.5, float(rng.uniform(2.5, 3.5))
    halt = start + speed * (1.5 + halt_s) / 2
    reach = 7.0 + 3.0 * abs(aside)
    shift = Shift(halt - reach - 3.0, halt - 3.0, halt + 1.0, halt + 1.0 + 1.2 * reach, aside)
    go_s = halt_s + stand_s
    bus.path, bus.start_m, bus.speed_mps = lane_path(stage.route, [shift]), start, speed
    bus.center_ahead_m = 0.3 * bus.size[0]
    bus.speed_plan = ((0.0, speed), (1.5, speed), (halt_s, 0.0), (go_s, 0.0), (go_s + 3.0, speed))
    bus.signal_plan = ((1.0, halt_s, "right"), (go_s - 1.5, go_s + 6.0, "left"))
    stage.keep_clear.append((halt - 25.0, halt + 30.0))
    stage.truth_rules.append(partial(_truth, bus=bus.name))
    return with_traffic(stage, oncoming=2, cross=1, neighbours=0)


def _is_long(lane: Lane, road: Road) -> bool:
    fits = road.road_class.name in ("street", "residential") and lane.curve.length >= 85.0
    return fits and is_straight(lane) and lane.index == 0


def _truth(stage: Stage, actors: list[Actor], tracks: Tracks, bus: str) -> list[Interval]:
    index = place_of(actors, bus)
    if index is None:
        return []
    times, gap = tracks.times_s, gap_m(stage, actors, tracks, index)
    is_back = np.abs(beside_route(stage, tracks.poses[:, index, :2])[1]) < BACK_M
    for first, last in runs(tracks.speeds[:, index] < 0.1):
        drives_on = last + 1 < len(times) and tracks.speeds[last + 1 :, index].max() > 1.0
        if times[last] - times[first] >= 1.5 and drives_on and 0.0 < gap[first:last].min() < NEAR_M:
            back = first_true(is_back, last)
            end = max(times[last] + 3.0, times[-1 if back is None else back])
            return lasting("bus_stop", tracks, times[first] - 2.0, end, actors[index])
    return []
