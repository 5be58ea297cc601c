"""A vehicle parked at the kerb blocks the lane; the ego passes it through the oncoming lane.

Truth: from where the ego has begun to leave its lane (2 m later) until 2 m before it is back.
"""

from dima_pipeline.world.actors import Gate
from dima_pipeline.world.events._shared import stage_on, with_traffic
from dima_pipeline.world.paths import Shift
from dima_pipeline.world.roads import Town
from dima_pipeline.world.staging import Rng, Stage


def plant(town: Town, rng: Rng) -> Stage | None:
    """A stage with a car or truck 32-38 m ahead at the kerb; none where no straight street is long enough."""
    stage = stage_on(town, rng, "street", straight=True, min_m=78.0)
    if stage is None:
        return None
    lane = stage.route.lanes[0]
    at = stage.start_m + float(rng.uniform(32.0, 38.0))
    category = str(rng.choice(["vehicle.car", "vehicle.truck"], p=[0.7, 0.3]))
    actor = stage.add(category, role="event", intention="parked")
    left = (actor.size[1] - lane.width_m) / 2 + 0.05
    actor.pose = stage.base_pose(at, left)
    half = actor.size[0] / 2
    # Half the widths and 0.7 m between; distances are of the rear axle, whose front is 3.5 m ahead.
    aside = left + actor.size[1] / 2 + 0.93 + 0.7
    shift = Shift(at - half - 22.0, at - half - 6.0, at + half + 2.5, at + half + 18.0, aside)
    stage.shifts.append(shift)
    stage.caps.append((shift.begin_m, shift.over_m - 6.0, 5.5))
    stage.marks.append(("overtaking", shift.begin_m + 2.0, shift.over_m - 2.0, actor.name))
    # The front stops here while somebody comes; the rear axle is 3.5 m behind it.
    stage.gates.append(Gate(shift.begin_m + 3.5, (0.0, 0.0), False, kind="overtake", over_m=shift.over_m))
    stage.must_reach_m = shift.over_m - 2.0
    stage.keep_clear.append((at - 30.0, at + 25.0))
    return with_traffic(stage, oncoming=1, cross=0)
