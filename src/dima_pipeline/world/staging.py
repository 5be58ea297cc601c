"""Sets a scene up: a route through a town, and everybody else on, beside and across it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from dima_pipeline.geometry import boxes_overlap
from dima_pipeline.world.actors import Blink, Course, GateKind
from dima_pipeline.world.curves import Curve
from dima_pipeline.world.paths import DrivePath, Shift, forward_path, sample_curves, with_limits
from dima_pipeline.world.roads import Lane, Road, Town
from dima_pipeline.world.simulation import Actor, Gate, Tracks, make_ego
from dima_pipeline.world.sizes import SIZES, draw_size

if TYPE_CHECKING:
    from dima_pipeline.world.truth import Interval

Rng = np.random.Generator
TruthRule = Callable[["Stage", list[Actor], Tracks], "list[Interval]"]
"""(stage, actors in the order of the tracks with the ego first, tracks) to the intervals that an event lasts."""
DRIVE_M = 230.0
FREE_OF_CHANGES_M = 20.0
"""Nobody is still changing lanes so near to a junction."""
GATE_KINDS: dict[str, GateKind] = {"STOP_SIGN": "stop", "TRAFFIC_LIGHT": "signal", "YIELD": "yield"}
"""What a driver does at a stop line of a kind."""


@dataclass(frozen=True)
class Route:
    """Lanes and connectors that follow each other; distances count from the start of the first."""

    lanes: tuple[Lane, ...]

    def begins(self) -> list[float]:
        """Distance at which each lane begins, m."""
        return [0.0, *np.cumsum([lane.curve.length for lane in self.lanes])[:-1].tolist()]

    @property
    def length(self) -> float:
        """Total length, m."""
        return float(sum(lane.curve.length for lane in self.lanes))


@dataclass
class Stage:
    """A scene before it runs. Distances of shifts, caps and marks are along the route."""

    town: Town
    rng: Rng
    route: Route
    start_m: float
    shifts: list[Shift] = field(default_factory=list)
    caps: list[tuple[float, float, float]] = field(default_factory=list)
    marks: list[tuple[str, float, float, str | None]] = field(default_factory=list)
    """(event, from m, to m, name of the actor it is about)."""
    actors: list[Actor] = field(default_factory=list)
    ego_path: DrivePath | None = None
    """Set where the ego does not simply follow its route."""
    planned: tuple[Curve, ...] = ()
    """Set where the planned route is not the lanes of ``route``."""
    keep_clear: list[tuple[float, float]] = field(default_factory=list)
    """Distances along the first lane without parked cars."""
    must_reach_m: float = 0.0
    """Where the ego must be at the end, for events of which the half would be another event."""
    gates: list[Gate] = field(default_factory=list)
    """Of the ego, besides those of its route."""
    red: tuple[str, float] | None = None
    """A signal that shows red from the start until this second."""
    starts_standing: bool = False
    """The ego begins at a red light or in a queue."""
    truth_rules: list[TruthRule] = field(default_factory=list)
    """What the event itself reads off the tracks; each is asked once, after the scene has run."""

    def ego(self) -> Actor:
        """The ego as an actor with its path and gates."""
        path = self.ego_path or lane_path(self.route, self.shifts, self.caps)
        blinks = () if self.ego_path else (*blinks_of(self.route), *(b for s in self.shifts for b in blinks_for(s)))
        ego = make_ego(path, self.start_m, (*gates_of(self.town, self.route), *self.gates), blinks)
        ego.speed_mps = 0.0 if self.starts_standing else ego.speed_mps
        return ego

    def add(self, category: str, **facts: object) -> Actor:
        """Add an actor of a nuScenes category; its size is drawn, its name counts up."""
        size = draw_size(category, self.rng)
        color = tuple(int(c) for c in self.rng.integers(25, 236, 3))
        name = f"{category.rsplit('.', 1)[-1]}{len(self.actors)}"
        actor = Actor(name, category, size, color=color, **facts)  # type: ignore[arg-type]
        self.actors.append(actor)
        return actor

    def base_pose(self, along_m: float, left_m: float = 0.0) -> tuple[float, float, float]:
        """A pose beside the route."""
        for lane, begin in zip(self.route.lanes, self.route.begins(), strict=True):
            if along_m <= begin + lane.curve.length:
                return beside(lane.curve, along_m - begin, left_m)
        raise ValueError(f"the route is {self.route.length:.0f} m long, asked at {along_m:.0f} m")


def beside(curve: Curve, along_m: float, left_m: float) -> tuple[float, float, float]:
    """Pose at a distance along a curve, ``left_m`` beside it."""
    x, y, yaw = curve.poses(np.array([along_m]))[0]
    return float(x - left_m * np.sin(yaw)), float(y + left_m * np.cos(yaw)), float(yaw)


def is_straight(lane: Lane) -> bool:
    """Whether a lane has no bend."""
    return all(curvature == 0.0 for _, curvature in lane.curve.pieces)


def lanes_where(town: Town, accepts: Callable[[Lane, Road], bool]) -> list[Lane]:
    """Lanes of roads that ``accepts`` takes, by name."""
    found = []
    for name in sorted(town.lanes):
        lane = town.lanes[name]
        road = town.road_of(lane)
        if road is not None and accepts(lane, road):
            found.append(lane)
    return found


def extend(town: Town, lanes: list[Lane], rng: Rng, length_m: float) -> Route:
    """Continue a route at random, straight on where it can, until it is ``length_m`` long."""
    lanes = list(lanes)
    while sum(lane.curve.length for lane in lanes) < length_m:
        following = [town.lanes[name] for name in lanes[-1].successors]
        assert following, f"lane {lanes[-1].name} leads nowhere"
        weights = np.array([4.0 if lane.turn == "straight" else 1.0 for lane in following])
        lanes.append(following[int(rng.choice(len(following), p=weights / weights.sum()))])
    return Route(tuple(lanes))


def find_route(
    town: Town, rng: Rng, accepts: Callable[[Lane, Road], bool], turn: str | None = None
) -> tuple[Route, Lane] | None:
    """A route whose first lane ``accepts`` takes and whose first junction is taken as ``turn``; none where there is
    no such lane."""
    firsts = lanes_where(town, accepts)
    for index in rng.permutation(len(firsts)):
        lane = firsts[index]
        ways = [town.lanes[name] for name in lane.successors if turn is None or town.lanes[name].turn == turn]
        if ways:
            lanes = [lane] if turn is None else [lane, ways[int(rng.integers(len(ways)))]]
            return extend(town, lanes, rng, lane.curve.length + DRIVE_M), lane
    return None


def lane_path(
    route: Route, shifts: list[Shift] | None = None, caps: list[tuple[float, float, float]] | None = None
) -> DrivePath:
    """The path of a driver who keeps to the middle of a route's lanes but for ``shifts``."""
    poses, speeds = sample_curves([lane.curve for lane in route.lanes], [lane.speed_mps for lane in route.lanes])
    return forward_path(poses, speeds, shifts or (), caps or ())


def gates_of(town: Town, route: Route) -> tuple[Gate, ...]:
    """Stop lines on a route, and its left turns across oncoming traffic."""
    gates = []
    begins = route.begins()
    for index, lane in enumerate(route.lanes[:-1]):
        connector = route.lanes[index + 1]
        if lane.is_connector:
            continue
        line = town.stop_line_of(lane)
        center = town.junctions[connector.junction].center
        if line is not None:
            signal = town.signal_of(lane)
            name = "" if signal is None else signal.name
            place, kind = begins[index + 1] - line.before_end_m, GATE_KINDS[line.kind]
            gates.append(Gate(place, center, kind == "stop", kind=kind, signal=name))
        elif connector.turn == "left":
            gates.append(Gate(begins[index + 1] + 0.5, center, is_stop=False))
    return tuple(gates)


def place_driver(stage: Stage, lane: Lane, along_m: float, category: str = "vehicle.car", **facts: object) -> Actor:
    """A vehicle that drives on from a place on a lane."""
    course = _course(stage, lane, along_m)
    start = min(along_m, course.path.length)
    speed = min(course.path.limit(start), _speed_for_gates(start + SIZES[category][0], course.gates))
    beside = [stage.town.left_of(lane), stage.town.right_of(lane)]
    return stage.add(
        category, path=course.path, start_m=start, speed_mps=speed, gates=course.gates, blinks=course.blinks,
        center_ahead_m=0.3 * SIZES[category][0], intention=course.intention,
        beside=tuple(_course(stage, other, along_m) for other in beside if other is not None),
        beside_until_m=lane.curve.length - FREE_OF_CHANGES_M, **facts,
    )  # fmt: skip


def _course(stage: Stage, lane: Lane, along_m: float) -> Course:
    """Along a lane and on, wherever chance leads."""
    route = extend(stage.town, [lane], stage.rng, along_m + DRIVE_M)
    words = {"straight": "keep_lane", "left": "turn_left", "right": "turn_right"}
    ways = ["u_turn" if stage.town.leads_back(lane) else words[lane.turn] for lane in route.lanes if lane.is_connector]
    intention = ways[0] if ways else "keep_lane"
    return Course(lane_path(route), gates_of(stage.town, route), blinks_of(route), intention)


def blinks_of(route: Route) -> tuple[Blink, ...]:
    """The turns of a route at junctions."""
    return tuple(
        (begin, begin + lane.curve.length, lane.turn)
        for lane, begin in zip(route.lanes, route.begins(), strict=True)
        if lane.turn in ("left", "right")
    )


def blinks_for(shift: Shift) -> tuple[Blink, Blink]:
    """Out of the lane and back."""
    out, back = ("left", "right") if shift.left_m > 0 else ("right", "left")
    return (shift.begin_m, shift.full_m, out), (shift.back_m, shift.over_m, back)


def _speed_for_gates(front_m: float, gates: tuple[Gate, ...]) -> float:
    ahead = [gate.along_m - front_m for gate in gates if gate.is_stop and gate.along_m > front_m]
    return float(np.sqrt(2 * 2.0 * max(min(ahead) - 2.0, 0.0))) if ahead else np.inf


def is_free(stage: Stage, x_m: float, y_m: float, gap_m: float = 3.0) -> bool:
    """Whether a new vehicle may start at a place: clear of the ego's start and of every actor."""
    here = np.array([x_m, y_m])
    ego = np.array(stage.base_pose(stage.start_m)[:2])
    if np.linalg.norm(here - ego) < 12.0 + gap_m:
        return False
    places = [a.path.pose(np.array([a.start_m]))[0, :2] if a.path else np.array(a.pose[:2]) for a in stage.actors]
    reach = [gap_m + actor.size[0] / 2 + 3.0 for actor in stage.actors]
    return all(np.linalg.norm(here - place) > far for place, far in zip(places, reach, strict=True))


def walk_path(points: np.ndarray) -> DrivePath:
    """A way on foot through points (N, 2)."""
    steps = np.linalg.norm(np.diff(points, axis=0), axis=1)
    along = np.concatenate([[0.0], np.cumsum(steps)])
    grid = np.linspace(0.0, along[-1], max(int(along[-1] / 0.5), 2))
    xy = np.stack([np.interp(grid, along, points[:, axis]) for axis in (0, 1)], -1)
    step = np.gradient(xy, axis=0)
    yaw = np.unwrap(np.arctan2(step[:, 1], step[:, 0]))
    return with_limits(grid, np.column_stack([xy, yaw]), np.full(len(grid), 3.0), np.ones(len(grid)))


def drop_overlapping_starts(stage: Stage) -> None:
    """Take out background actors that would begin inside another one or the ego."""
    kept, boxes = list[Actor](), _start_box(stage.ego())[None]
    for actor in sorted(stage.actors, key=lambda a: a.role != "event"):
        box = _start_box(actor)
        reach = (boxes[:, 3:].sum(1) + box[3:].sum()) / 2
        near = boxes[np.hypot(*(boxes[:, :2] - box[:2]).T) < reach]
        if actor.role == "event" or not (len(near) and boxes_overlap(box, near).any()):
            kept.append(actor)
            boxes = np.vstack([boxes, box])
    names = {actor.name for actor in kept}
    stage.actors = [actor for actor in stage.actors if actor.name in names]


def _start_box(actor: Actor) -> np.ndarray:
    if actor.path is None:
        return np.array([*actor.pose, *actor.size[:2]])
    x, y, yaw = actor.path.pose(np.array([actor.start_m]))[0]
    ahead = actor.center_ahead_m
    return np.array([x + ahead * np.cos(yaw), y + ahead * np.sin(yaw), yaw, *actor.size[:2]])
