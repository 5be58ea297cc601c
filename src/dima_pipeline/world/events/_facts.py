"""What truth rules ask of the tracks: where an actor is beside the route, how far it is from the ego, when it moves."""

import numpy as np
from jaxtyping import Bool, Float

from dima_pipeline.world.simulation import Actor, Tracks
from dima_pipeline.world.staging import Stage
from dima_pipeline.world.truth import Interval

Array = np.ndarray
STEP_M = 0.5


def beside_route(stage: Stage, xy: Float[Array, "T 2"]) -> tuple[Float[Array, "T"], Float[Array, "T"]]:
    """Distance along the route and to the left of it (m) of places in the town."""
    line = np.concatenate([lane.curve.poses(_steps(lane.curve.length)) for lane in stage.route.lanes])
    along = np.concatenate(
        [begin + _steps(lane.curve.length) for lane, begin in zip(stage.route.lanes, stage.route.begins(), strict=True)]
    )
    nearest = np.linalg.norm(xy[:, None] - line[None, :, :2], axis=-1).argmin(1)
    away, yaw = xy - line[nearest, :2], line[nearest, 2]
    ahead = away[:, 0] * np.cos(yaw) + away[:, 1] * np.sin(yaw)
    return along[nearest] + ahead, -away[:, 0] * np.sin(yaw) + away[:, 1] * np.cos(yaw)


def _steps(length_m: float) -> Float[Array, "N"]:
    return np.arange(0.0, length_m, STEP_M)


def place_of(actors: list[Actor], name: str) -> int | None:
    """Index of an actor in the tracks; none where it was left out of the scene."""
    return next((index for index, actor in enumerate(actors) if actor.name == name), None)


def gap_m(stage: Stage, actors: list[Actor], tracks: Tracks, index: int) -> Float[Array, "T"]:
    """Along the route from the ego's front to the rear of an actor ahead (negative from overlap on backwards)."""
    own, _ = beside_route(stage, tracks.poses[:, 0, :2])
    other, _ = beside_route(stage, tracks.poses[:, index, :2])
    return other - own - (actors[0].size[0] + actors[index].size[0]) / 2


def first_true(mask: Bool[Array, "T"], start: int = 0) -> int | None:
    """Index of the first true value at or after ``start``."""
    found = np.flatnonzero(mask[start:])
    return start + int(found[0]) if len(found) else None


def lasting(event: str, tracks: Tracks, begin_s: float, end_s: float, actor: Actor) -> list[Interval]:
    """The interval, cut to the scene; none where less than half a second of it is left."""
    begin, end = max(begin_s, 0.0), min(end_s, float(tracks.times_s[-1]))
    return [Interval("event", event, begin, end, actor.name)] if end - begin > 0.5 else []
