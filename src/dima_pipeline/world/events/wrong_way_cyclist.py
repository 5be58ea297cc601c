"""A cyclist comes towards the ego on the ego's own lane, along the kerb; the ego slows down and makes room.

Truth: while the cyclist rides against the lane, on it, less than 40 m ahead of the ego, until they have passed.
"""

from functools import partial

import numpy as np

from dima_pipeline.geometry import wrap_angle
from dima_pipeline.world.events._facts import beside_route, lasting, place_of
from dima_pipeline.world.events._shared import stage_on, with_traffic
from dima_pipeline.world.paths import Shift, forward_path, sample_curves
from dima_pipeline.world.roads import Town
from dima_pipeline.world.simulation import Actor, Tracks
from dima_pipeline.world.staging import Rng, Stage
from dima_pipeline.world.truth import Interval, runs

PACE_MPS = (3.2, 4.8)
KERB_M = 0.4
"""From the cyclist to the edge of the lane."""


def plant(town: Town, rng: Rng) -> Stage | None:
    """A stage on a straight kerb lane with a cyclist 55-65 m ahead; none where no such lane is long enough."""
    stage = stage_on(town, rng, "street", "oneway", straight=True, min_m=88.0)
    if stage is None or stage.route.lanes[0].index != 0:
        return None
    lane = stage.route.lanes[0]
    room = lane.width_m / 2 - KERB_M
    pace, from_m = float(rng.uniform(*PACE_MPS)), stage.start_m + float(rng.uniform(55.0, 65.0))
    meets = stage.start_m + (from_m - stage.start_m) * 6.0 / (6.0 + pace)
    line = lane.curve.offset(-room).reversed()
    path = forward_path(*sample_curves([line], [pace]))
    rider = stage.add(
        "vehicle.bicycle", path=path, start_m=line.length - from_m, speed_mps=pace, center_ahead_m=0.5, role="event",
        intention="wrong_way",
    )  # fmt: skip
    stage.shifts.append(Shift(stage.start_m + 1.0, stage.start_m + 15.0, meets + 10.0, meets + 24.0, 0.55))
    stage.caps.append((meets - 16.0, meets + 8.0, 4.5))
    stage.keep_clear.append((stage.start_m, from_m + 6.0))
    stage.truth_rules.append(partial(_truth, rider=rider.name))
    return with_traffic(stage, oncoming=2, cross=1, neighbours=0)


def _truth(stage: Stage, actors: list[Actor], tracks: Tracks, rider: str) -> list[Interval]:
    index = place_of(actors, rider)
    if index is None:
        return []
    own, _ = beside_route(stage, tracks.poses[:, 0, :2])
    along, left = beside_route(stage, tracks.poses[:, index, :2])
    against = np.abs(wrap_angle(tracks.poses[:, index, 2] - stage.route.lanes[0].curve.start[2])) > 2.6
    on_lane = np.abs(left) < stage.route.lanes[0].width_m / 2
    meeting = against & on_lane & (along - own < 40.0) & (along - own > -3.0) & (tracks.speeds[:, index] > 0.5)
    passes = [run for run in runs(meeting) if run[1] + 1 < len(own) and along[run[1] + 1] < own[run[1] + 1]]
    if not passes:
        return []
    first, last = passes[0]
    return lasting("wrong_way_cyclist", tracks, tracks.times_s[first], tracks.times_s[last], actors[index])
