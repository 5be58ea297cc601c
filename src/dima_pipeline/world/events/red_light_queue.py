"""One to three vehicles wait at a red light with their brake lights on; the ego must wait behind them.

It looks like ``double_parked_truck`` but for the lights: a planner that has learned to pass what stands fails here.
Truth: from where the ego is less than 40 m behind the standing row until its rear vehicle drives on.
"""

from functools import partial

from dima_pipeline.world.events._facts import first_true, gap_m, lasting, place_of
from dima_pipeline.world.events._rows import stand_in_row, street_stage
from dima_pipeline.world.events._shared import with_traffic
from dima_pipeline.world.roads import Town
from dima_pipeline.world.simulation import Actor, Tracks
from dima_pipeline.world.staging import Rng, Stage, gates_of, lane_path
from dima_pipeline.world.truth import Interval

RED_S = (7.0, 9.0)
AT_LINE_M = 0.6
"""Between the foremost vehicle and the stop line."""


def plant(town: Town, rng: Rng) -> Stage | None:
    """A stage on a street with a signal at its end, a straight one if possible; none without such a street."""
    stage = street_stage(town, rng, has_signal=True) or street_stage(town, rng, straight=False, has_signal=True)
    if stage is None:
        return None
    lane = stage.route.lanes[0]
    signal, line = town.signal_of(lane), town.stop_line_of(lane)
    assert signal is not None
    before_end_m = (line.before_end_m if line else 0.0) + AT_LINE_M
    row = stand_in_row(stage, lane.curve.length - before_end_m, most=3, intention="queue")
    if stage.start_m < 5.0:
        return None
    gates = gates_of(town, stage.route)
    for actor, rear in zip(row.actors, row.rears_m, strict=True):
        actor.path, actor.gates, actor.center_ahead_m = lane_path(stage.route), gates, 0.3 * actor.size[0]
        actor.start_m = rear + actor.size[0] / 2 - actor.center_ahead_m
    stage.red = (signal.name, float(rng.uniform(*RED_S)))
    stage.truth_rules.append(partial(_truth, rear=row.actors[0].name, signal=signal.name))
    return with_traffic(stage, oncoming=1, cross=0)


def _truth(stage: Stage, actors: list[Actor], tracks: Tracks, rear: str, signal: str) -> list[Interval]:
    index = place_of(actors, rear)
    if index is None:
        return []
    gap = gap_m(stage, actors, tracks, index)
    begin = first_true(gap < 40.0)
    drives_on = first_true(tracks.speeds[:, index] > 0.5)
    was_red = begin is not None and tracks.signals[signal][begin] == 0
    if begin is None or drives_on is None or not was_red or gap.min() <= 0.0:
        return []
    return lasting("red_light_queue", tracks, tracks.times_s[begin], tracks.times_s[drives_on], actors[index])
