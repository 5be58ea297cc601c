"""A parked car pulls out in front of the ego with its turn signal on; the ego lets it.

Truth: from its signal, 1.5 s before it moves, until a second after it is within 0.4 m of the middle of the ego's lane.
"""

from functools import partial

import numpy as np

from dima_pipeline.world.events._facts import beside_route, first_true, gap_m, lasting, place_of
from dima_pipeline.world.events._shared import stage_on, with_traffic
from dima_pipeline.world.paths import Shift
from dima_pipeline.world.roads import Town
from dima_pipeline.world.simulation import Actor, Tracks
from dima_pipeline.world.staging import Rng, Stage, gates_of, lane_path
from dima_pipeline.world.truth import Interval

SIGNALS_S = 1.5
GAP_M = 25.0


def plant(town: Town, rng: Rng) -> Stage | None:
    """A stage on a straight road with a parking strip; none where no such road is long enough."""
    stage = stage_on(town, rng, "residential", straight=True, min_m=75.0)
    if stage is None or town.roads[stage.route.lanes[0].road].road_class.parking_m <= 0:
        return None
    lane = stage.route.lanes[0]
    strip = -(lane.width_m + town.roads[lane.road].road_class.parking_m) / 2
    start = stage.start_m + float(rng.uniform(26.0, 32.0))
    shift = Shift(-2.0, -1.0, start + 0.5, start + 11.0, strip)
    car = stage.add(
        "vehicle.car", path=lane_path(stage.route, [shift]), start_m=start, gates=gates_of(town, stage.route),
        waits_for_ego_m=float(rng.uniform(17.0, 19.0)) + 1.0, role="event", intention="pull_out",
        speed_plan=((0.0, 0.0), (SIGNALS_S, 0.0), (SIGNALS_S + 2.0, 0.8 * lane.speed_mps)),
        signal_plan=((0.0, SIGNALS_S + 3.5, "left"),),
    )  # fmt: skip
    car.center_ahead_m = 0.3 * car.size[0]
    stage.keep_clear.append((start - 5.0, start + 16.0))
    stage.truth_rules.append(partial(_truth, car=car.name))
    return with_traffic(stage, oncoming=1, cross=1)


def _truth(stage: Stage, actors: list[Actor], tracks: Tracks, car: str) -> list[Interval]:
    index = place_of(actors, car)
    if index is None:
        return []
    left = np.abs(beside_route(stage, tracks.poses[:, index, :2])[1])
    moves, arrives = first_true(tracks.speeds[:, index] > 0.1), first_true(left < 0.4)
    if moves is None or arrives is None or not 0.0 < gap_m(stage, actors, tracks, index)[arrives] < GAP_M:
        return []
    begin, end = tracks.times_s[moves] - SIGNALS_S, tracks.times_s[arrives] + 1.0
    return lasting("pull_out", tracks, begin, end, actors[index])
