"""Scenes in which nothing is planted: driving on along a kind of road, as most driving is."""

from collections.abc import Callable
from functools import partial

from dima_pipeline.world.events._shared import on, stage_on, start_stage, with_traffic
from dima_pipeline.world.roads import Town
from dima_pipeline.world.staging import Rng, Stage, find_route
from dima_pipeline.world.traffic import add_ahead, begin_at_red_light

WAITING = 0.5
"""Share of drives that begin at a red light, on roads that have one."""


def cruise(town: Town, rng: Rng, classes: tuple[str, ...]) -> Stage | None:
    """Drive on along a road of one of ``classes``, or wait at its red light first; none where the town has none."""
    fits, waits = on(*classes), rng.random() < WAITING
    found = find_route(town, rng, lambda lane, road: fits(lane, road) and town.signal_of(lane) is not None)
    if waits and found is not None:
        stage = start_stage(town, rng, found)
        if stage is not None:
            begin_at_red_light(stage)
    else:
        stage = stage_on(town, rng, *classes)
        if stage is not None:
            add_ahead(stage, int(rng.integers(0, 3)))
    return stage and with_traffic(stage)


DRIVES: dict[str, Callable[[Town, Rng], Stage | None]] = {
    "avenue": partial(cruise, classes=("avenue",)),
    "residential": partial(cruise, classes=("residential",)),
    "street": partial(cruise, classes=("street", "oneway")),
}
