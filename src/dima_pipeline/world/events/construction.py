"""Cones, barriers, a machine and its crew narrow the ego's lane; the ego slows down and squeezes past.

Truth: from 18 m before the first cone until the rear axle is 4 m past the last one.
"""

import numpy as np

from dima_pipeline.world.events._shared import start_stage, with_traffic
from dima_pipeline.world.paths import Shift
from dima_pipeline.world.roads import Lane, Road, Town
from dima_pipeline.world.staging import Rng, Stage, find_route, is_straight


def plant(town: Town, rng: Rng) -> Stage | None:
    """A stage with a site 28-34 m ahead on a kerb lane; none where no straight one is long enough."""
    stage = start_stage(town, rng, find_route(town, rng, _is_long_kerb_lane))
    if stage is None:
        return None
    lane = stage.route.lanes[0]
    begin, long = stage.start_m + float(rng.uniform(28.0, 34.0)), 26.0
    kerb, edge = -lane.width_m / 2, -0.55
    for step in range(11):
        along = begin + long * step / 10
        left = kerb + 0.3 + (edge - kerb - 0.3) * min(1.0, step / 3)
        stage.add("movable_object.trafficcone", pose=stage.base_pose(along, left), role="event", intention="static")
    for step in range(3):
        at = stage.base_pose(begin + 8.0 + 4.5 * step, edge - 0.5)
        # A barrier is wide across its own heading: it stands along the lane.
        pose = (at[0], at[1], at[2] + np.pi / 2)
        stage.add("movable_object.barrier", pose=pose, role="event", intention="static")
    stage.add("vehicle.construction", pose=stage.base_pose(begin + 21.5, kerb - 0.9), role="event", intention="parked")
    for along in (12.0, 16.5):
        place = stage.base_pose(begin + along, kerb - float(rng.uniform(0.2, 0.8)))
        pose = (place[0], place[1], float(rng.uniform(-np.pi, np.pi)))
        stage.add("human.pedestrian.construction_worker", pose=pose, role="event", intention="standing")
    stage.shifts.append(Shift(begin - 14.0, begin + 1.0, begin + long, begin + long + 14.0, 1.05))
    stage.caps.append((begin - 12.0, begin + long + 2.0, 4.0))
    stage.marks.append(("construction", begin - 18.0, begin + long + 4.0, None))
    return with_traffic(stage, oncoming=0, cross=1, neighbours=0)


def _is_long_kerb_lane(lane: Lane, road: Road) -> bool:
    fits = road.road_class.name in ("street", "avenue") and lane.curve.length >= 78.0
    return fits and is_straight(lane) and lane.index == 0
