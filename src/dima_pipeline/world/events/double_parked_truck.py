"""A truck (or car, or two vehicles) stands in the lane with hazard lights; the ego passes through the oncoming lane.

It looks like the tail of a queue (``red_light_queue``) but for its lights: one must be passed, the other must not.
Truth: from 2 m after the ego begins to leave its lane until 2 m before it is back.
"""

from dima_pipeline.world.actors import Gate
from dima_pipeline.world.events._rows import draw_aside, stand_in_row, street_stage
from dima_pipeline.world.events._shared import with_traffic
from dima_pipeline.world.paths import Shift
from dima_pipeline.world.roads import Town
from dima_pipeline.world.staging import Rng, Stage

BESIDE_M = 0.8
"""Between the ego's side and the row's."""
PASSING_MPS = 5.5


def plant(town: Town, rng: Rng) -> Stage | None:
    """A stage with a row not far from the end of a straight street; none where no street is long enough."""
    stage = street_stage(town, rng)
    if stage is None:
        return None
    # Room to be back in the lane before the junction: 13 m, the ego's front, and the stop line.
    front = stage.route.lanes[0].curve.length - float(rng.uniform(24.5, 30.0))
    row = stand_in_row(stage, front, most=2, intention="double_parked", hazard=True)
    if stage.start_m < 5.0:
        return None
    for actor, rear in zip(row.actors, row.rears_m, strict=True):
        actor.pose = stage.base_pose(rear + actor.size[0] / 2, draw_aside(rng))
    aside = 0.1 + max(actor.size[1] for actor in row.actors) / 2 + 0.93 + BESIDE_M
    rear, end = row.rears_m[0], row.end_m
    shift = Shift(rear - 21.0, rear - 5.0, end + 2.0, end + 15.0, aside)
    stage.shifts.append(shift)
    stage.caps.append((shift.begin_m, shift.over_m - 4.0, PASSING_MPS))
    stage.marks.append(("double_parked_truck", shift.begin_m + 2.0, shift.over_m - 2.0, row.actors[0].name))
    # The front stops here while somebody comes; the rear axle is 3.5 m behind it.
    stage.gates.append(Gate(shift.begin_m + 3.5, (0.0, 0.0), False, kind="overtake", over_m=shift.over_m))
    stage.must_reach_m = shift.over_m - 2.0
    return with_traffic(stage, oncoming=1, cross=0)
