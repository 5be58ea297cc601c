"""What several events share: where they may play, the usual others, somebody who walks across.

All events think in right-hand traffic; mirrored towns turn left into right afterwards.
"""

from collections.abc import Callable

import numpy as np

from dima_pipeline.world.crowds import add_crowd
from dima_pipeline.world.roads import Lane, Road, Town
from dima_pipeline.world.staging import (
    Rng,
    Route,
    Stage,
    find_route,
    is_straight,
    walk_path,
)
from dima_pipeline.world.traffic import (
    add_ahead,
    add_cross_traffic,
    add_cyclists,
    add_neighbours,
    add_oncoming,
    add_parked,
    begin_waiting,
    meet_red_light,
    waits_somewhere,
)

Accepts = Callable[[Lane, Road], bool]
TURNS_WAITING = 0.7
"""Share of turns before which the ego stands when the scene begins."""


def start_stage(
    town: Town, rng: Rng, found: tuple[Route, Lane] | None, before_end_m: float | None = None
) -> Stage | None:
    """A stage at the start of the first lane, or ``before_end_m`` from its end; none where no route was found."""
    if found is None:
        return None
    route, lane = found
    start = 7.0 if before_end_m is None else max(7.0, lane.curve.length - before_end_m)
    return Stage(town, rng, route, start)


def stage_on(town: Town, rng: Rng, *classes: str, straight: bool = False, min_m: float = 40.0) -> Stage | None:
    """A stage at the start of a lane of given road classes; none where the town has no such lane."""
    return start_stage(town, rng, find_route(town, rng, on(*classes, straight=straight, min_m=min_m)))


def on(*classes: str, straight: bool = False, min_m: float = 40.0) -> Accepts:
    """Accepts lanes of given road classes."""

    def accepts(lane: Lane, road: Road) -> bool:
        fits = road.road_class.name in classes and lane.curve.length >= min_m
        return fits and (is_straight(lane) or not straight)

    return accepts


def with_traffic(
    stage: Stage, oncoming: int | None = None, cross: int | None = None, neighbours: int = 3, red: float = 0.9
) -> Stage:
    """The stage with parked cars, other drivers and people on the walkways.

    Events that need a clear road say how many come. ``red``: the chance that the ego meets a red light ahead.
    """
    rng = stage.rng
    if stage.red is None and not stage.starts_standing and rng.random() < red:
        meet_red_light(stage)
    add_parked(stage, float(rng.uniform(0.35, 0.95)))
    add_oncoming(stage, int(rng.integers(4, 8)) if oncoming is None else oncoming)
    add_cross_traffic(stage, int(rng.integers(3, 6)) if cross is None else cross)
    add_neighbours(stage, neighbours)
    add_cyclists(stage, int(rng.integers(0, 3)))
    add_crowd(stage, float(np.clip(rng.lognormal(0.0, 0.6), 0.3, 2.2)))
    return stage


def find_to_wait(town: Town, rng: Rng, accepts: Accepts, turn: str | None = None) -> tuple[Route, Lane] | None:
    """A route whose first lane ends at a traffic light, or at a stop sign where no light is; none without either."""
    lit = find_route(town, rng, lambda lane, road: accepts(lane, road) and town.signal_of(lane) is not None, turn)
    return lit or find_route(town, rng, lambda lane, road: accepts(lane, road) and waits_somewhere(town, lane), turn)


def turn(town: Town, rng: Rng, direction: str) -> Stage | None:
    """Turn at the first junction; ``direction`` is that of the road, so mirrored towns swap before they ask."""
    mirrored = {"left": "right", "right": "left"}[direction] if town.placement.is_mirrored else direction
    accepts = on("street", "avenue", "oneway")
    if rng.random() < TURNS_WAITING:
        stage = start_stage(town, rng, find_to_wait(town, rng, accepts, mirrored))
        if stage is not None:
            begin_waiting(stage, (2.0, 6.5))
            return with_traffic(stage)
    found = find_route(town, rng, accepts, mirrored)
    if found is None:
        return None
    stage = start_stage(town, rng, found, before_end_m=12.0 + 3.0 * found[1].speed_mps)
    assert stage is not None
    meet_red_light(stage, (1.0, 4.0))
    add_ahead(stage, 0)
    return with_traffic(stage, red=0.0)


def ends_at_roundabout(town: Town, lane: Lane) -> bool:
    """Whether a lane leads into a roundabout."""
    return any(town.junctions[town.lanes[name].junction].kind == "roundabout" for name in lane.successors)


def is_near_crossing(stage: Stage, along_m: float, within_m: float = 8.0) -> bool:
    """Whether a pedestrian crossing lies near a place on the first lane."""
    here = stage.base_pose(along_m)[:2]
    road = stage.route.lanes[0].road
    middles = [crossing.polygon.mean(0) for crossing in stage.town.crossings if crossing.road == road]
    return any(np.hypot(*(middle - here)) < within_m for middle in middles)


def send_across(stage: Stage, along_m: float, intention: str) -> None:
    """Somebody on a kerb, who walks across the first road of the route when the ego comes."""
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
        "human.pedestrian.adult", path=path, speed_mps=pace, is_walker=True, role="event", intention=intention,
        waits_for_ego_m=8.0 + lane.speed_mps * float(np.clip(to_lane / pace, 1.6, 4.0)),
        crossing_xy=(float(x), float(y)),
    )  # fmt: skip
