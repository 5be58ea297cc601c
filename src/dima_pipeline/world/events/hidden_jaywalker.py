"""Somebody steps out from in front of a parked van, unseen until late; the ego brakes.

Truth: while that person walks on the road near the ego, if the van hid it when it set off.
"""

from functools import partial

import numpy as np
from shapely.geometry import LineString, Polygon

from dima_pipeline.geometry import box_corners
from dima_pipeline.world.events._facts import lasting, place_of
from dima_pipeline.world.events._shared import is_near_crossing, on, start_stage, with_traffic
from dima_pipeline.world.roads import Town
from dima_pipeline.world.simulation import Actor, Tracks
from dima_pipeline.world.staging import Rng, Stage, find_route, walk_path
from dima_pipeline.world.truth import Interval, runs

VAN = (5.1, 1.95, 2.1)


def plant(town: Town, rng: Rng) -> Stage | None:
    """A stage on a straight road with a parking strip; none where no such road is long enough."""
    fits = on("residential", straight=True, min_m=75.0)
    found = find_route(town, rng, lambda lane, road: fits(lane, road) and road.road_class.parking_m >= VAN[1])
    stage = start_stage(town, rng, found)
    if stage is None:
        return None
    lane = stage.route.lanes[0]
    kind = town.roads[lane.road].road_class
    strip = -(lane.width_m + kind.parking_m) / 2
    at = stage.start_m + float(rng.uniform(26.0, 34.0))
    van = stage.add("vehicle.car", role="event", intention="parked")
    van.size, van.pose = VAN, stage.base_pose(at, strip)
    steps_out = at + VAN[0] / 2 + 0.8
    if is_near_crossing(stage, steps_out):
        return None
    begin, end = (np.array(stage.base_pose(steps_out, left)[:2]) for left in (strip - 0.3, lane.width_m + 2.6))
    pace = float(rng.uniform(1.4, 1.8))
    category = str(rng.choice(["human.pedestrian.adult", "human.pedestrian.child"], p=[0.6, 0.4]))
    walker = stage.add(
        category, path=walk_path(np.stack([begin, end])), speed_mps=pace, is_walker=True, role="event",
        intention="hidden_jaywalker", crossing_xy=stage.base_pose(steps_out)[:2],
        waits_for_ego_m=9.0 + 1.3 * lane.speed_mps,
    )  # fmt: skip
    stage.keep_clear.append((at - 6.5, at + 10.0))
    stage.truth_rules.append(partial(_truth, walker=walker.name, van=van.name))
    return with_traffic(stage, oncoming=0, cross=1)


def _truth(stage: Stage, actors: list[Actor], tracks: Tracks, walker: str, van: str) -> list[Interval]:
    index, cover = place_of(actors, walker), place_of(actors, van)
    if index is None or cover is None:
        return []
    near = np.linalg.norm(tracks.poses[:, index, :2] - tracks.poses[:, 0, :2], axis=1) < 30.0
    walks = runs((tracks.speeds[:, index] > 0.1) & near)
    box = Polygon(box_corners(np.array([*actors[cover].pose, *actors[cover].size[:2]])))
    for first, last in walks[:1]:
        sight = LineString([tracks.poses[first, 0, :2], tracks.poses[first, index, :2]])
        if sight.intersects(box):
            times = tracks.times_s
            return lasting("hidden_jaywalker", tracks, times[first], times[last], actors[index])
    return []
