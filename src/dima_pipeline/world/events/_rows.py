"""Vehicles that stand one behind the other in the ego's lane: parked with hazard lights, or in a queue.

Both events draw the same kinds, gaps and places before a junction, so that but for the lights they look alike.
"""

from dataclasses import dataclass

import numpy as np

from dima_pipeline.world.events._shared import ends_at_roundabout, on, start_stage
from dima_pipeline.world.roads import Lane, Road, Town
from dima_pipeline.world.simulation import Actor
from dima_pipeline.world.staging import Rng, Stage, find_route

NEAREST_M, FARTHEST_M = 30.0, 38.0
"""From the ego's rear axle to the rear of the row when the scene begins."""
COUNTS = (0.2, 0.4, 0.4)
"""Shares of one, two and three vehicles: the longer a queue, the further from the junction is its tail."""


@dataclass(frozen=True)
class Row:
    """Vehicles from the rear one on, and where along the route the rear of each is."""

    actors: list[Actor]
    rears_m: list[float]

    @property
    def end_m(self) -> float:
        """The front of the foremost."""
        return self.rears_m[-1] + self.actors[-1].size[0]


def stand_in_row(stage: Stage, front_m: float, most: int, **facts: object) -> Row:
    """One to ``most`` vehicles up to ``front_m``, the rear one a truck or a car; the ego starts 30-38 m behind them."""
    rng = stage.rng
    weights = np.array(COUNTS[:most]) / sum(COUNTS[:most])
    count = 1 + int(rng.choice(most, p=weights))
    kinds = [_kind(rng, truck=0.6 if place == 0 else 0.2) for place in range(count)]
    actors = [stage.add(kind, role="event", **facts) for kind in kinds]
    rears: list[float] = []
    for actor in reversed(actors):
        front = rears[0] - float(rng.uniform(1.5, 2.3)) if rears else front_m
        rears.insert(0, front - actor.size[0])
    stage.start_m = rears[0] - float(rng.uniform(NEAREST_M, FARTHEST_M))
    stage.keep_clear.append((rears[0] - 25.0, front_m + 20.0))
    return Row(actors, rears)


def _kind(rng: Rng, truck: float) -> str:
    return str(rng.choice(["vehicle.truck", "vehicle.car"], p=[truck, 1 - truck]))


def draw_aside(rng: Rng) -> float:
    """Sideways place in the lane, m: nobody stands exactly in the middle."""
    return float(rng.uniform(-0.25, 0.1))


def street_stage(town: Town, rng: Rng, *, straight: bool = True, has_signal: bool = False) -> Stage | None:
    """A stage on a street with one lane each way, one that ends at a signal if asked for; none without such a street.

    Neither ends at a roundabout, where nobody waits in a queue for long.
    """
    fits = on("street", straight=straight, min_m=85.0)

    def accepts(lane: Lane, road: Road) -> bool:
        good_end = town.signal_of(lane) is not None if has_signal else not ends_at_roundabout(town, lane)
        return fits(lane, road) and good_end

    return start_stage(town, rng, find_route(town, rng, accepts))
