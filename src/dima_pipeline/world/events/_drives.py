"""Scenes in which nothing is planted: driving on along a kind of road, as most driving is."""

from collections.abc import Callable
from functools import partial

from dima_pipeline.world.events._shared import find_to_wait, on, stage_on, start_stage, with_traffic
from dima_pipeline.world.roads import Town
from dima_pipeline.world.staging import Rng, Stage
from dima_pipeline.world.traffic import add_ahead, begin_waiting

WAITING = 0.7
"""Share of drives that begin at a red light or in a queue at a stop sign."""
RED_S = (4.0, 16.0)


def cruise(town: Town, rng: Rng, classes: tuple[str, ...]) -> Stage | None:
    """Drive on along a road of one of ``classes``, or wait at its end first; none where the town has none."""
    if rng.random() < WAITING:
        stage = start_stage(town, rng, find_to_wait(town, rng, on(*classes)))
        if stage is not None:
            begin_waiting(stage, RED_S)
            return with_traffic(stage)
    stage = stage_on(town, rng, *classes)
    if stage is None:
        return None
    add_ahead(stage, int(rng.integers(0, 3)))
    return with_traffic(stage)


DRIVES: dict[str, Callable[[Town, Rng], Stage | None]] = {
    "avenue": partial(cruise, classes=("avenue",)),
    "residential": partial(cruise, classes=("residential",)),
    "street": partial(cruise, classes=("street", "oneway")),
}
