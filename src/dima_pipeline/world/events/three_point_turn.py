"""The ego turns round between two kerbs: forward, back, forward.

Truth: from 1 m before the wheel is first turned until 1 m after the last of the three parts.
"""

from dima_pipeline.world.crowds import add_crowd
from dima_pipeline.world.curves import Curve
from dima_pipeline.world.events._shared import stage_on
from dima_pipeline.world.paths import three_point_path
from dima_pipeline.world.roads import Town
from dima_pipeline.world.staging import Rng, Route, Stage
from dima_pipeline.world.traffic import add_parked


def plant(town: Town, rng: Rng) -> Stage | None:
    """A stage in the second half of a straight residential road; none where no such road is long enough."""
    stage = stage_on(town, rng, "residential", straight=True, min_m=70.0)
    if stage is None:
        return None
    lane = stage.route.lanes[0]
    (back,) = town.opposite(lane)
    # Late on the road, so that the way back is long enough for the rest of the scene.
    stage.start_m = 0.55 * lane.curve.length
    turn_at = stage.start_m + float(rng.uniform(1.5, 3.0))
    path, begin, end = three_point_path(lane.curve, back.curve, turn_at, lane.speed_mps)
    stage.ego_path = path
    stage.route = Route((lane,))
    stage.planned = (Curve(lane.curve.start, ((turn_at + 6.0, 0.0),)), back.curve)
    stage.marks.append(("three_point_turn", begin - 1.0, end + 1.0, None))
    stage.must_reach_m = end + 1.0
    stage.keep_clear.append((turn_at - 20.0, turn_at + 25.0))
    add_parked(stage, 0.5)
    add_crowd(stage)
    return stage
