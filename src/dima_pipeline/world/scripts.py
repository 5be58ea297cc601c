"""What happens in a scene: one recipe an event, each a function (town, rng) that sets a stage or finds no place for it.

All recipes think in right-hand traffic; mirrored towns turn left into right afterwards.
"""

from collections.abc import Callable

import numpy as np

from dima_pipeline.world.curves import Curve
from dima_pipeline.world.paths import Shift, three_point_path
from dima_pipeline.world.roads import Lane, Road, Town
from dima_pipeline.world.staging import (
    Rng,
    Route,
    Stage,
    add_cross_traffic,
    add_neighbours,
    add_oncoming,
    add_parked,
    add_walkers,
    find_route,
    gates_of,
    is_straight,
    lane_path,
    walk_path,
)

Recipe = Callable[[Town, Rng], Stage | None]


def _stage(town: Town, rng: Rng, found: tuple[Route, Lane] | None, before_end_m: float | None = None) -> Stage | None:
    """A stage at the start of the first lane, or ``before_end_m`` from its end."""
    if found is None:
        return None
    route, lane = found
    start = 7.0 if before_end_m is None else max(7.0, lane.curve.length - before_end_m)
    return Stage(town, rng, route, start)


def _on(*classes: str, straight: bool = False, min_m: float = 40.0) -> Callable[[Lane, Road], bool]:
    """Accepts lanes of given road classes."""

    def accepts(lane: Lane, road: Road) -> bool:
        fits = road.road_class.name in classes and lane.curve.length >= min_m
        return fits and (is_straight(lane) or not straight)

    return accepts


def _traffic(stage: Stage, oncoming: int = 3, cross: int = 2, neighbours: int = 1) -> Stage:
    """The usual others."""
    add_parked(stage, float(stage.rng.uniform(0.3, 0.6)))
    add_oncoming(stage, oncoming)
    add_cross_traffic(stage, cross)
    add_neighbours(stage, neighbours)
    add_walkers(stage, int(stage.rng.integers(3, 8)))
    return stage


def cruise(*classes: str) -> Recipe:
    """Drive on along a kind of road."""

    def recipe(town: Town, rng: Rng) -> Stage | None:
        stage = _stage(town, rng, find_route(town, rng, _on(*classes)))
        return stage and _traffic(stage)

    return recipe


def turn(direction: str) -> Recipe:
    """Turn at the first junction; the direction is that of the road, so mirrored towns swap before they ask."""

    def recipe(town: Town, rng: Rng) -> Stage | None:
        mirrored = {"left": "right", "right": "left"}[direction] if town.placement.is_mirrored else direction
        found = find_route(town, rng, _on("street", "avenue", "oneway"), mirrored)
        if found is None:
            return None
        stage = _stage(town, rng, found, before_end_m=12.0 + 3.0 * found[1].speed_mps)
        return stage and _traffic(stage)

    return recipe


def curve(town: Town, rng: Rng) -> Stage | None:
    """A road that bends."""
    stage = _stage(town, rng, find_route(town, rng, lambda lane, road: not is_straight(lane) and lane.speed_mps > 5))
    return stage and _traffic(stage, cross=1)


def lead_vehicle(town: Town, rng: Rng) -> Stage | None:
    """Somebody ahead brakes and drives on."""
    stage = _stage(town, rng, find_route(town, rng, _on("street", "avenue", min_m=60.0)))
    if stage is None:
        return None
    path = lane_path(stage.route)
    start = stage.start_m + float(rng.uniform(17.0, 22.0))
    fast, slow = path.limit(start), float(rng.uniform(0.0, 2.0))
    brake = float(rng.uniform(1.5, 3.5))
    plan = ((0.0, fast * 0.8), (brake, fast * 0.8), (brake + 3.0, slow), (brake + 5.5, slow), (brake + 9.0, fast))
    category = str(rng.choice(["vehicle.car", "vehicle.truck", "vehicle.bus.rigid"], p=[0.6, 0.25, 0.15]))
    stage.add(
        category, path=path, start_m=start, speed_mps=fast * 0.8, gates=gates_of(town, stage.route),
        center_ahead_m=3.0, speed_plan=plan, role="event", intention="brake",
    )  # fmt: skip
    return _traffic(stage)


def resume_from_stop(town: Town, rng: Rng) -> Stage | None:
    """Halt at a stop line, then drive on."""
    lines = {name for line in town.stop_lines for name in line.lanes}
    found = find_route(town, rng, lambda lane, road: lane.name in lines and lane.curve.length > 50)
    if found is None:
        return None
    stage = _stage(town, rng, found, before_end_m=16.0 + 4.0 * found[1].speed_mps)
    return stage and _traffic(stage, cross=3)


def crossing_pedestrian(town: Town, rng: Rng) -> Stage | None:
    """Somebody steps on a crossing in the middle of a block."""
    places = {crossing.road: crossing.along_m for crossing in town.crossings if crossing.is_midblock}
    found = find_route(town, rng, lambda lane, road: road.name in places and road.road_class.num_forward == 1)
    stage = _stage(town, rng, found)
    if stage is None:
        return None
    lane = stage.route.lanes[0]
    road = town.roads[lane.road]
    share = places[road.name] / road.curve.length
    _send_across(stage, lane.curve.length * (share if lane.is_forward else 1 - share), "crossing_pedestrian")
    return _traffic(stage, oncoming=1)


def jaywalker(town: Town, rng: Rng) -> Stage | None:
    """Somebody crosses where there is no crossing."""
    stage = _stage(town, rng, find_route(town, rng, _on("street", "residential", "oneway", straight=True, min_m=70.0)))
    if stage is None:
        return None
    _send_across(stage, stage.start_m + float(rng.uniform(33.0, 42.0)), "jaywalker")
    return _traffic(stage, oncoming=1)


def _send_across(stage: Stage, along_m: float, event: str) -> None:
    lane = stage.route.lanes[0]
    road = stage.town.roads[lane.road]
    rng, half = stage.rng, road.road_class.half_width_m
    axis = road.curve if lane.is_forward else road.curve.reversed()
    place = axis.length * along_m / lane.curve.length
    x, y, yaw = axis.poses(np.array([place]))[0]
    side = float(rng.choice([-1.0, 1.0]))
    reach = side * (half + 1.2) * np.array([-np.sin(yaw), np.cos(yaw)])
    middle = np.array([x, y])
    path = walk_path(np.stack([middle + reach, middle - reach]))
    pace = float(rng.uniform(0.95, 1.3))
    # It should be in the ego's lane when the ego would be there, if the ego did not brake.
    to_lane = half + 1.2 + side * road.road_class.lane_width_m / 2
    stage.keep_clear.append((along_m - 14.0, along_m + 5.0))
    stage.add(
        "human.pedestrian.adult", path=path, speed_mps=pace, is_walker=True, role="event", intention=event,
        waits_for_ego_m=8.0 + lane.speed_mps * float(np.clip(to_lane / pace, 1.6, 4.0)),
        crossing_xy=(float(x), float(y)),
    )  # fmt: skip


def overtaking(town: Town, rng: Rng) -> Stage | None:
    """A vehicle parked in the lane is passed through the oncoming lane."""
    stage = _stage(town, rng, find_route(town, rng, _on("street", straight=True, min_m=78.0)))
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
    stage.keep_clear.append((at - 30.0, at + 25.0))
    return _traffic(stage, oncoming=0, cross=0)


def construction(town: Town, rng: Rng) -> Stage | None:
    """Cones, barriers, a machine and its crew narrow the lane."""
    stage = _stage(town, rng, find_route(town, rng, _kerb_lane))
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
    return _traffic(stage, oncoming=0, cross=1, neighbours=0)


def _kerb_lane(lane: Lane, road: Road) -> bool:
    fits = road.road_class.name in ("street", "avenue") and lane.curve.length >= 78.0
    return fits and is_straight(lane) and lane.index == 0


def three_point_turn(town: Town, rng: Rng) -> Stage | None:
    """Turn round between two kerbs: forward, back, forward."""
    found = find_route(town, rng, _on("residential", straight=True, min_m=70.0))
    stage = _stage(town, rng, found)
    if stage is None:
        return None
    lane = stage.route.lanes[0]
    (back,) = town.opposite(lane)
    # Late on the road, so that the way back is long enough for the rest of the scene.
    stage.start_m = 0.55 * lane.curve.length
    turn_at = stage.start_m + float(rng.uniform(5.0, 8.0))
    path, begin, end = three_point_path(lane.curve, back.curve, turn_at, lane.speed_mps)
    stage.ego_path = path
    stage.route = Route((lane,))
    stage.planned = (Curve(lane.curve.start, ((turn_at + 6.0, 0.0),)), back.curve)
    stage.marks.append(("three_point_turn", begin - 1.0, end + 1.0, None))
    stage.keep_clear.append((turn_at - 20.0, turn_at + 25.0))
    add_parked(stage, 0.5)
    add_walkers(stage, 4)
    return stage


RECIPES: dict[str, Recipe] = {
    "overtaking": overtaking,
    "construction": construction,
    "crossing_pedestrian": crossing_pedestrian,
    "turn_left": turn("left"),
    "turn_right": turn("right"),
    "lead_vehicle": lead_vehicle,
    "curve": curve,
    "resume_from_stop": resume_from_stop,
    "jaywalker": jaywalker,
    "three_point_turn": three_point_turn,
    "avenue": cruise("avenue"),
    "residential": cruise("residential"),
    "street": cruise("street", "oneway"),
}
TRAIN_ORDER = (
    "overtaking", "construction", "crossing_pedestrian", "turn_left", "turn_right", "resume_from_stop", "lead_vehicle",
    "curve", "jaywalker", "avenue", "residential", "street", "avenue", "lead_vehicle",
)  # fmt: skip
VAL_ORDER = (
    "three_point_turn", "overtaking", "construction", "crossing_pedestrian", "turn_left", "turn_right",
    "resume_from_stop", "lead_vehicle", "curve", "avenue", "jaywalker", "residential", "street",
)  # fmt: skip
PLANTED = frozenset(RECIPES) - {"avenue", "residential", "street"}
"""Recipes whose event must show up in the scene."""


def recipe_name(split: str, index: int) -> str:
    """Which recipe the ``index``-th scene of a split plays; the three-point turn plays in val only, and first."""
    if split == "train":
        return TRAIN_ORDER[index % len(TRAIN_ORDER)]
    order = VAL_ORDER if index < len(VAL_ORDER) else VAL_ORDER[1:]
    return order[index % len(order)]
