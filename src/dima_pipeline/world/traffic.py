"""The usual others of a scene: vehicles on, beside and across the route, cyclists, and rows of parked cars."""

import numpy as np
from shapely.geometry import Polygon

from dima_pipeline.contracts.frames import EGO_CENTER_AHEAD_M, EGO_LENGTH_M
from dima_pipeline.world.paths import forward_path, sample_curves
from dima_pipeline.world.roads import Lane, Road, Town
from dima_pipeline.world.staging import Rng, Stage, beside, extend, gates_of, is_free, lane_path, place_driver

KINDS = {"vehicle.car": 0.76, "vehicle.truck": 0.12, "vehicle.bus.rigid": 0.06, "vehicle.motorcycle": 0.06}
"""Shares of vehicles that drive."""
PARKED = {
    "vehicle.car": 0.82,
    "vehicle.truck": 0.05,
    "vehicle.trailer": 0.03,
    "vehicle.motorcycle": 0.05,
    "vehicle.bicycle": 0.05,
}
CYCLIST_M = 0.75
"""From the middle of a cyclist to the edge of the lane."""
FRONT_M = EGO_CENTER_AHEAD_M + EGO_LENGTH_M / 2
"""From the ego's rear axle to its front."""
LONGEST_RED_S = 18.5
"""A little less than ``signal_plans`` can hold a light."""


def try_driver(stage: Stage, lane: Lane, along_m: float, gap_m: float = 6.0) -> None:
    """Add a background vehicle of a random kind where there is room; only small ones on narrow lanes."""
    x, y, _ = beside(lane.curve, along_m, 0.0)
    category = _draw(KINDS, stage.rng)
    if lane.width_m < 3.0 and category in ("vehicle.truck", "vehicle.bus.rigid"):
        category = "vehicle.car"
    if is_free(stage, x, y, gap_m):
        place_driver(stage, lane, along_m, category)


def _draw(shares: dict[str, float], rng: Rng) -> str:
    return str(rng.choice(list(shares), p=list(shares.values())))


def add_flow(stage: Stage, lanes: list[Lane], gap_m: float, most: int) -> None:
    """At most ``most`` vehicles that follow each other on lanes, ``gap_m`` apart on the average."""
    added = len(stage.actors)
    for lane in lanes:
        along = lane.curve.length - 8.0 - float(stage.rng.exponential(0.5 * gap_m))
        while along > 3.0 and len(stage.actors) - added < most:
            try_driver(stage, lane, along)
            along -= 12.0 + float(stage.rng.exponential(max(gap_m - 12.0, 1.0)))


def add_oncoming(stage: Stage, num: int) -> None:
    """Vehicles on the other side of the roads of the route."""
    ways = [other for lane in stage.route.lanes[:3] for other in stage.town.opposite(lane)]
    names = stage.rng.permutation(len(ways))
    add_flow(stage, [ways[index] for index in names], 30.0, num)


def add_neighbours(stage: Stage, num: int) -> None:
    """Vehicles on the other lanes in the ego's direction, where there are such, ``num`` on each road."""
    for lane in stage.route.lanes[:3:2]:
        others = [
            other
            for other in stage.town.lanes.values()
            if other.road == lane.road != "" and other.is_forward == lane.is_forward and other.name != lane.name
        ]
        add_flow(stage, others, 30.0, num)


def add_ahead(stage: Stage, num: int) -> None:
    """Vehicles that drive on far ahead of the ego on its own way, and one that follows it where there is room."""
    begins = stage.route.begins()
    for place in np.cumsum(stage.rng.uniform(24.0, 45.0, num)) + stage.start_m + 18.0:
        index = int(np.searchsorted(begins, place, side="right")) - 1
        lane = stage.route.lanes[index]
        if lane.road and place - begins[index] < lane.curve.length - 6.0:
            try_driver(stage, lane, float(place - begins[index]), 4.0)
    behind = stage.start_m - float(stage.rng.uniform(13.0, 22.0))
    if behind > 4.0:
        x, y, _ = beside(stage.route.lanes[0].curve, behind, 0.0)
        if is_free(stage, x, y, 0.0):
            place_driver(stage, stage.route.lanes[0], behind, "vehicle.car")


def add_cross_traffic(stage: Stage, num: int) -> None:
    """Vehicles on their way to the first junctions of the route, the first one first."""
    own = {lane.name for lane in stage.route.lanes}
    junctions = [lane.junction for lane in stage.route.lanes if lane.is_connector][:2]
    for junction in junctions:
        ways = [
            before
            for name, before in sorted(stage.town.lanes.items())
            if name not in own and any(stage.town.lanes[after].junction == junction for after in before.successors)
        ]
        share = num - num // 2 if junction == junctions[0] else num // 2
        for _ in range(share if ways else 0):
            lane = ways[int(stage.rng.integers(len(ways)))]
            try_driver(stage, lane, max(4.0, lane.curve.length - float(stage.rng.uniform(9.0, 60.0))))


def add_cyclists(stage: Stage, num: int) -> None:
    """Cyclists along the kerb: towards the ego, on roads beyond the first, and across."""
    roads = list(dict.fromkeys(lane.road for lane in stage.route.lanes if lane.road))[:3]
    own = {lane.name for lane in stage.route.lanes}
    ways = [
        lane for lane in stage.town.lanes.values() if lane.road in roads and lane.index == 0 and lane.name not in own
    ]
    for _ in range(num if ways else 0):
        lane = ways[int(stage.rng.integers(len(ways)))]
        pace, along = (
            float(np.clip(stage.rng.normal(4.3, 0.8), 2.8, 6.5)),
            float(stage.rng.uniform(5.0, lane.curve.length - 10.0)),
        )
        route = extend(stage.town, [lane], stage.rng, along + 30.0 * pace)
        curves = [way.curve.offset(CYCLIST_M - way.width_m / 2) if way.road else way.curve for way in route.lanes]
        path = forward_path(*sample_curves(curves, [pace] * len(curves)))
        x, y, _ = path.pose(np.array([along]))[0]
        if is_free(stage, float(x), float(y), 3.0):
            stage.add(
                "vehicle.bicycle", path=path, start_m=along, speed_mps=path.limit(along), center_ahead_m=0.5,
                gates=gates_of(stage.town, route), intention="keep_lane",
            )  # fmt: skip


def add_queue(stage: Stage, lane: Lane, along_m: float, num: int) -> None:
    """Vehicles that stand one behind the other when the scene begins, the foremost with its front at ``along_m``."""
    route = extend(stage.town, [lane], stage.rng, lane.curve.length + 150.0)
    path, gates = lane_path(route), gates_of(stage.town, route)
    front = along_m
    for _ in range(num if along_m > 10.0 * num else 0):
        actor = stage.add(_draw({"vehicle.car": 0.85, "vehicle.truck": 0.15}, stage.rng), path=path, gates=gates)
        actor.center_ahead_m, actor.intention = 0.3 * actor.size[0], "queue"
        actor.start_m = front - actor.size[0] / 2 - actor.center_ahead_m
        front -= actor.size[0] + float(stage.rng.uniform(1.6, 2.8))


def meet_red_light(stage: Stage, waits_s: tuple[float, float] = (2.5, 9.0)) -> None:
    """The first traffic light on the ego's way is red when it comes, some seconds more; others may queue at it."""
    for lane, begin in list(zip(stage.route.lanes, stage.route.begins(), strict=True))[:3]:
        signal, line = stage.town.signal_of(lane), stage.town.stop_line_of(lane)
        if signal is None or line is None:
            continue
        at = lane.curve.length - line.before_end_m
        room = begin + at - stage.start_m - FRONT_M
        until = room / (0.85 * lane.speed_mps) + 1.0 + float(stage.rng.uniform(*waits_s))
        if room > 0.0 and until < LONGEST_RED_S:
            stage.red = (signal.name, until)
            if room > 45.0 and not stage.shifts and not stage.actors:
                add_queue(stage, lane, at - 0.8, int(stage.rng.integers(0, 3)))
        return


def waits_somewhere(town: Town, lane: Lane) -> bool:
    """Whether drivers come to a halt at the end of a lane: at a traffic light or a stop sign."""
    line = town.stop_line_of(lane)
    return line is not None and line.kind != "YIELD"


def begin_waiting(stage: Stage, red_s: tuple[float, float]) -> None:
    """The ego stands where its first lane ends: at a light that is red for some seconds, or in a queue at a sign."""
    lane, rng = stage.route.lanes[0], stage.rng
    signal, line = stage.town.signal_of(lane), stage.town.stop_line_of(lane)
    assert line is not None
    stage.starts_standing = True
    if signal is not None:
        stage.red = (signal.name, float(rng.uniform(*red_s)))
    front = lane.curve.length - line.before_end_m - 0.8
    add_queue(stage, lane, front, int(rng.integers(0, 3) if signal else rng.integers(1, 4)))
    rears = [actor.start_m + actor.center_ahead_m - actor.size[0] / 2 for actor in stage.actors]
    stage.start_m = min(rears, default=front + 2.0) - 2.0 - FRONT_M
    add_queue(stage, lane, stage.start_m + FRONT_M - EGO_LENGTH_M - 2.0, int(rng.integers(0, 3)))


def add_parked(stage: Stage, density: float) -> None:
    """Cars on the parking strips of the route's roads and on the lots near them; ``density`` is a share of places."""
    names = list(dict.fromkeys(lane.road for lane in stage.route.lanes[:5] if lane.road))
    for name in names:
        road = stage.town.roads[name]
        if road.road_class.parking_m > 0:
            for side in (-1.0, 1.0):
                _park_row(stage, road, side, density)
    for lot in stage.town.carparks:
        _park_lot(stage, lot)


def _park_row(stage: Stage, road: Road, side: float, density: float) -> None:
    rng, kind = stage.rng, road.road_class
    first = stage.town.roads[stage.route.lanes[0].road] if stage.route.lanes[0].road else None
    crossings = [crossing.along_m for crossing in stage.town.crossings if crossing.road == road.name]
    along = 11.0 + float(rng.uniform(0.0, 4.0))
    while along < road.curve.length - 11.0:
        own = along if stage.route.lanes[0].is_forward else road.curve.length - along
        clear = road == first and any(begin <= own <= end for begin, end in stage.keep_clear)
        if rng.random() < density and not clear and all(abs(along - place) > 6.0 for place in crossings):
            actor = stage.add(_draw(PARKED, rng), intention="parked")
            length, width, height = actor.size
            is_ridden = actor.category == "vehicle.bicycle"
            actor.size = (min(length, 7.0), min(width, kind.parking_m - 0.1), height * (0.7 if is_ridden else 1.0))
            x, y, yaw = beside(road.curve, along, side * (kind.lanes_half_m + kind.parking_m / 2))
            heading = yaw if side < 0 or kind.num_backward == 0 else yaw + np.pi
            actor.pose = (x, y, float(heading + rng.normal(0.0, 0.015)))
            along += actor.size[0] - 4.6
        along += float(rng.uniform(5.5, 7.5))


def _park_lot(stage: Stage, lot: np.ndarray) -> None:
    shape = Polygon(lot)
    x, y = shape.centroid.coords[0]
    if np.hypot(*(np.array([x, y]) - stage.base_pose(stage.start_m)[:2])) > 150:
        return
    length = lot[0] - lot[1]
    yaw = float(np.arctan2(length[1], length[0]))
    for slot in range(-3, 4):
        if stage.rng.random() < 0.6:
            place = np.array([x, y]) + 3.2 * slot * np.array([np.cos(yaw), np.sin(yaw)])
            stage.add("vehicle.car", pose=(float(place[0]), float(place[1]), yaw + np.pi / 2), intention="parked")
