"""People on the walkways of a route: they walk alone or together, stand and talk, wait at crossings, sit.

They take no notice of cars and keep off the roadway, so their ways are known when the scene is set: the social-force
model moves the crowd once, and everybody gets poses by the clock.
"""

from dataclasses import dataclass

import numpy as np
import shapely
from jaxtyping import Float

from dima_pipeline.geometry import boxes_overlap
from dima_pipeline.world.roads import WALKWAY_M, Crossing, Road
from dima_pipeline.world.sizes import draw_size
from dima_pipeline.world.social_force import accelerations, step
from dima_pipeline.world.staging import Rng, Stage

Array = np.ndarray
LASTS_S, CLOCK_S, STEP_S, WARM_UP_S = 30.0, 0.05, 0.1, 2.0
"""How long they walk, the steps of their poses and of the model, and how long they have walked before."""
PER_100_M = {"residential": 2.0, "oneway": 3.0, "street": 3.0, "avenue": 3.0}
"""Parties (one to three people) on the walk along 100 m of one side of a road, by its class."""
ADULT, CHILD = "human.pedestrian.adult", "human.pedestrian.child"
BODY_M = 0.36
WALK_M = (0.8, 1.5)
"""From the kerb to where people walk; who stands and talks, or sits, is behind them, and who waits before them."""
TALK_M, SIT_M, WAIT_M = 2.0, 2.3, 0.6
NO_WALLS = np.full((1, 2, 4), -1e6)
"""Of those who stand."""
LEEWAY_M = 1.3
"""Between anybody here and those that an event needs."""


@dataclass
class Person:
    """Somebody on a walkway: a line to follow (its first point is where they stand), and how fast."""

    line: Float[Array, "K 2"]
    walls: Float[Array, "K 2 4"]
    """Kerb and far edge beside each point of the line, as segments."""
    yaw: float
    size: tuple[float, float, float]
    category: str
    intention: str
    wanted_mps: float = 0.0
    group: int = -1


@dataclass(frozen=True)
class Walkway:
    """One side of a road; ``side`` is +1 on the left of its axis."""

    road: Road
    side: float

    def poses(self, along_m: Float[Array, "N"], from_kerb_m: float) -> Float[Array, "N 3"]:
        """Poses along the axis of the road, off the kerb."""
        poses = self.road.curve.poses(along_m)
        left = self.side * (self.road.road_class.half_width_m + from_kerb_m)
        normal = np.stack([-np.sin(poses[:, 2]), np.cos(poses[:, 2])], -1)
        return np.column_stack([poses[:, :2] + left * normal, poses[:, 2]])

    def toward_road(self, yaw: float) -> float:
        """Heading of somebody who looks at the road."""
        return yaw - self.side * np.pi / 2

    def walls(self, along_m: Float[Array, "K"]) -> Float[Array, "K 2 4"]:
        """The kerb and the far edge beside places along the axis, as segments with the walkway on their left."""
        edges = []
        for from_kerb, ahead in ((0.3, self.side), (WALKWAY_M, -self.side)):
            ends = [self.poses(along_m + ahead * reach, from_kerb)[:, :2] for reach in (-2.5, 2.5)]
            edges.append(np.concatenate(ends, 1))
        return np.stack(edges, 1)


def add_crowd(stage: Stage, density: float = 1.0, num_roads: int = 3) -> None:
    """People along the first roads of the route, ``density`` times as many as usual, none in the way of an event."""
    names = list(dict.fromkeys(lane.road for lane in stage.route.lanes if lane.road))[:num_roads]
    ways = [Walkway(stage.town.roads[name], side) for name in names for side in (-1.0, 1.0)]
    crowds = []
    for way in ways:
        places = [place for place in stage.town.crossings if place.road == way.road.name]
        crowds.append(_walkers(way, stage.rng, density) + _standing(way, stage.rng, density))
        crowds[-1] += _waiting(way, stage.rng, places)
    reserved = _reserved(stage)
    shapely.prepare(stage.town.drivable)
    for people, tracks in zip(crowds, walk(crowds), strict=True):
        for index in _undisturbed(people, tracks, reserved):
            person = people[index]
            if shapely.contains_xy(stage.town.drivable, tracks[::10, index, :2]).any():
                continue
            poses = tracks[:, index] if person.wanted_mps else tracks[:1, index]
            actor = stage.add(
                person.category, pose=tuple(float(v) for v in poses[0]), timed_poses=poses, is_walker=True,
                intention=person.intention,
            )  # fmt: skip
            actor.size = person.size


def _walkers(way: Walkway, rng: Rng, density: float) -> list[Person]:
    """Parties on the walk in either direction, at the pace of each."""
    length, found = way.road.curve.length, []
    num = rng.poisson(density * PER_100_M[way.road.road_class.name] * length / 100.0)
    for party in range(num):
        start = float(rng.uniform(2.0, length - 2.0))
        # Most have the longer part of the road before them, or half of the crowd would soon stand at the corners.
        ahead = (1.0 if start < length / 2 else -1.0) * float(rng.choice([1.0, -1.0], p=[0.75, 0.25]))
        pace, count = float(np.clip(rng.normal(1.33, 0.2), 0.7, 1.9)), 1 + int(rng.choice(3, p=[0.65, 0.28, 0.07]))
        lateral = float(rng.uniform(*WALK_M)) if count == 1 else float(rng.uniform(0.7, 0.9))
        for member in range(count):
            # Two walk side by side, the third behind them.
            begin = start - ahead * (1.0 * (member // 2) + float(rng.uniform(0.0, 0.25)))
            end = length - 1.5 if ahead > 0 else 1.5
            along = np.arange(begin, end, ahead) if (end - begin) * ahead > 1.0 else np.array([begin])
            line = way.poses(along, lateral + 0.85 * (member % 2))
            yaw = float(line[0, 2]) + (0.0 if ahead > 0 else np.pi)
            category = CHILD if member and rng.random() < 0.3 else ADULT
            wanted = pace if len(along) > 1 else 0.0
            group = party if count > 1 else -1
            size, walls = draw_size(category, rng), way.walls(along)
            found.append(Person(line[:, :2], walls, yaw, size, category, "keep_walkway", wanted, group))
    return found


def _standing(way: Walkway, rng: Rng, density: float) -> list[Person]:
    """Two or three who talk, and some who sit before the houses."""
    length, found = way.road.curve.length, []
    for _ in range(rng.poisson(0.25 * density * length / 100.0)):
        (x, y, yaw), count = way.poses(rng.uniform(5.0, length - 5.0, 1), TALK_M)[0], int(rng.integers(2, 4))
        turned = float(rng.uniform(-np.pi, np.pi))
        for member in range(count):
            angle = turned + 2 * np.pi * member / count
            at = np.array([[x + 0.6 * np.cos(angle), y + 0.6 * np.sin(angle)]])
            found.append(Person(at, NO_WALLS, angle + np.pi, draw_size(ADULT, rng), ADULT, "standing"))
    for _ in range(rng.poisson(0.2 * density * length / 100.0)):
        x, y, yaw = way.poses(rng.uniform(5.0, length - 5.0, 1), SIT_M)[0]
        _, width, height = draw_size(ADULT, rng)
        size = (0.85, width, 0.74 * height)
        found.append(Person(np.array([[x, y]]), NO_WALLS, way.toward_road(float(yaw)), size, ADULT, "sitting"))
    return found


def _waiting(way: Walkway, rng: Rng, crossings: list[Crossing]) -> list[Person]:
    """One or two at the kerb of a crossing, who look across."""
    found = []
    for crossing in crossings:
        count = int(rng.choice(3, p=[0.8, 0.14, 0.06]))
        for place in range(count):
            along = crossing.along_m + 0.9 * (place - (count - 1) / 2) + float(rng.uniform(-0.05, 0.05))
            x, y, yaw = way.poses(np.array([along]), WAIT_M)[0]
            look = way.toward_road(float(yaw)) + float(rng.normal(0.0, 0.2))
            found.append(Person(np.array([[x, y]]), NO_WALLS, look, draw_size(ADULT, rng), ADULT, "wait_to_cross"))
    return found


def walk(crowds: list[list[Person]]) -> list[Float[Array, "T N 3"]]:
    """Poses of everybody at 20 Hz; who stands stays as it is, who arrives stops."""
    most = max(map(len, crowds))
    # As many in every crowd: those that are missing stand far from everybody.
    absent = [Person(np.array([[1e7, 1e5 * n]]), NO_WALLS, 0.0, (1.0, 1.0, 1.0), ADULT, "") for n in range(most)]
    people = [person for crowd in crowds for person in (*crowd, *absent[: most - len(crowd)])]
    longest = max((len(person.line) for person in people), default=0)
    # The last point again and again: everybody's line has the same number.
    places = [np.minimum(np.arange(longest), len(person.line) - 1) for person in people]
    lines = np.array([person.line[place] for person, place in zip(people, places, strict=True)])
    walls = np.array([person.walls[place] for person, place in zip(people, places, strict=True)])
    trace = _simulate(people, lines, walls, (len(crowds), most)) if people else np.zeros((2, 0, 2))
    poses = _with_headings(trace, np.array([person.yaw for person in people]))
    return [poses[:, most * index : most * index + len(crowd)] for index, crowd in enumerate(crowds)]


def _simulate(people: list[Person], lines: Array, walls: Array, shape: tuple[int, int]) -> Float[Array, "S N 2"]:
    """Places at every step of the model, after the warm-up; ``shape``: number of crowds, and people in each."""
    lasts = np.array([len(person.line) - 1 for person in people])
    yaws = np.array([person.yaw for person in people])
    wanted = np.array([person.wanted_mps for person in people])
    groups = np.array([person.group for person in people]).reshape(shape)
    radii, rows = np.full(shape, BODY_M), np.arange(len(people))
    positions, following = lines[:, 0], np.minimum(3, lasts)
    velocities = wanted[:, None] * np.stack([np.cos(yaws), np.sin(yaws)], -1)
    trace = []
    for _ in range(round((WARM_UP_S + LASTS_S) / STEP_S) + 1):
        trace.append(positions)
        near = np.hypot(*(lines[rows, following] - positions).T) < 3.0
        following = np.minimum(following + near, lasts)
        pace = np.where(near & (following == lasts), 0.0, wanted)
        beside = walls[rows, np.maximum(following - 2, 0)]
        here, moving = positions.reshape(*shape, 2), velocities.reshape(*shape, 2)
        push = accelerations(
            here, moving, lines[rows, following].reshape(*shape, 2), pace.reshape(shape), radii,
            beside.reshape(*shape, 2, 4), groups,
        )  # fmt: skip
        positions, velocities = step(positions, velocities, push.reshape(-1, 2), pace, STEP_S)
    return np.stack(trace)[round(WARM_UP_S / STEP_S) :]


def _with_headings(places: Float[Array, "S N 2"], yaws: Float[Array, "N"]) -> Float[Array, "T N 3"]:
    """Poses by the clock: heads turn with the way of about a second, and stay as they were where somebody stands."""
    times, clock = np.arange(len(places)) * STEP_S, np.arange(round(LASTS_S / CLOCK_S) + 1) * CLOCK_S
    reach = round(0.5 / STEP_S)
    padded = np.concatenate([places[:1]] * reach + [places] + [places[-1:]] * reach)
    moved = padded[2 * reach :] - padded[: -2 * reach]
    walks = np.linalg.norm(moved, axis=-1) > 0.2
    headings = np.arctan2(moved[..., 1], moved[..., 0])
    latest = np.maximum.accumulate(np.where(walks, np.arange(len(places))[:, None], -1), axis=0)
    held = np.take_along_axis(headings, np.maximum(latest, 0), axis=0)
    held = np.unwrap(np.where(latest < 0, yaws, held), axis=0)
    around = np.concatenate([held[:1]] * reach + [held] + [held[-1:]] * reach)
    smooth = np.mean([around[shift : shift + len(held)] for shift in range(2 * reach + 1)], axis=0)
    poses = np.concatenate([places, smooth[..., None]], -1)
    columns = [np.interp(clock, times, column) for column in poses.reshape(len(places), -1).T]
    return np.stack(columns, -1).reshape(len(clock), len(yaws), 3)


def _reserved(stage: Stage) -> Float[Array, "P 3"]:
    """Places x, y of everything an event needs, and how far to stay off them (m)."""
    rows = []
    for actor in (actor for actor in stage.actors if actor.role == "event"):
        if actor.path is None:
            rows.append((*actor.pose[:2], np.hypot(*actor.size[:2]) / 2 + 0.4))
        elif actor.is_walker:
            along = np.arange(0.0, actor.path.length + 0.5, 0.5)
            rows += [(x, y, LEEWAY_M) for x, y in actor.path.pose(along)[:, :2]]
    return np.array(rows).reshape(-1, 3)


def _undisturbed(people: list[Person], tracks: Float[Array, "T N 3"], reserved: Float[Array, "P 3"]) -> list[int]:
    """Who never comes too near to a reserved place, nor into anybody listed before."""
    kept: list[int] = []
    sparse = tracks[::2]
    sizes = np.array([person.size[:2] for person in people]).reshape(-1, 2)
    boxes = np.concatenate([sparse, np.broadcast_to(sizes, (*sparse.shape[:2], 2))], -1).swapaxes(0, 1)
    for index in range(len(people)):
        away = np.linalg.norm(sparse[::5, index, None, :2] - reserved[:, :2], axis=-1)
        if (away < reserved[:, 2]).any():
            continue
        apart = np.linalg.norm(boxes[kept, :, :2] - boxes[index, :, :2], axis=-1)
        near = [other for other, gap in zip(kept, apart, strict=True) if gap.min() < 1.1]
        if not any(boxes_overlap(boxes[other], boxes[index]).any() for other in near):
            kept.append(index)
    return kept
