"""Scenes in which nothing is planted: driving on along a kind of road, as most driving is."""

from collections.abc import Callable
from functools import partial

from dima_pipeline.world.events._shared import stage_on, with_traffic
from dima_pipeline.world.roads import Town
from dima_pipeline.world.staging import Rng, Stage


def cruise(town: Town, rng: Rng, classes: tuple[str, ...]) -> Stage | None:
    """Drive on along a road of one of ``classes``; none where the town has none."""
    stage = stage_on(town, rng, *classes)
    return stage and with_traffic(stage)


DRIVES: dict[str, Callable[[Town, Rng], Stage | None]] = {
    "avenue": partial(cruise, classes=("avenue",)),
    "residential": partial(cruise, classes=("residential",)),
    "street": partial(cruise, classes=("street", "oneway")),
}
