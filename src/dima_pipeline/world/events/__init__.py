"""What happens in a scene: one module an event, found by its file name; ``plant(town, rng)`` sets a stage for it.

A new event is one new file here: it plays at the end of every round of scenes, without being listed anywhere.
"""

import importlib
from collections.abc import Callable, Sequence

from dima_pipeline.plugins import Family, unknown
from dima_pipeline.world.events._drives import DRIVES
from dima_pipeline.world.roads import Town
from dima_pipeline.world.staging import Rng, Stage

EVENTS = Family(__name__)
Recipe = Callable[[Town, Rng], Stage | None]
HELD_OUT = ("three_point_turn",)
"""Events that no train scene shows: a planner meets them first where it is judged."""
PLANTED = frozenset(EVENTS.names())
"""Recipes whose event must show up in the scene; the others just drive."""
RECIPES: dict[str, Recipe] = {
    **{name: importlib.import_module(f"{__name__}.{name}").plant for name in EVENTS.names()},
    **DRIVES,
}
TRAIN_ORDER = (
    "overtaking", "construction", "crossing_pedestrian", "turn_left", "turn_right", "resume_from_stop", "lead_vehicle",
    "curve", "jaywalker", "double_parked_truck", "red_light_queue", "avenue", "cut_in", "hard_braking_lead", "street",
    "pull_out", "bus_stop", "residential", "hidden_jaywalker", "emergency_vehicle", "wrong_way_cyclist", "avenue",
    "turn_left", "double_parked_truck", "red_light_queue", "construction", "overtaking", "turn_right",
    "resume_from_stop", "crossing_pedestrian", "lead_vehicle", "street",
)  # fmt: skip
"""One round of scenes: what the ego must do most often, and the hard pair of standing rows, come twice."""
VAL_ORDER = (
    "three_point_turn", "overtaking", "construction", "crossing_pedestrian", "turn_left", "turn_right",
    "resume_from_stop", "lead_vehicle", "curve", "avenue", "double_parked_truck", "red_light_queue", "cut_in",
    "hard_braking_lead", "hidden_jaywalker", "pull_out", "bus_stop", "emergency_vehicle", "wrong_way_cyclist",
    "jaywalker", "residential", "street",
)  # fmt: skip


def recipe_name(
    split: str, index: int, *, held_out: Sequence[str] = HELD_OUT, events: Sequence[str] | None = None
) -> str:
    """Which recipe the ``index``-th scene of a split plays.

    Train scenes leave the events ``held_out`` out; with ``events`` only those are planted, between plain drives.
    Raises ``ValueError`` for an event that does not exist.
    """
    for name in (*held_out, *(events or ())):
        if name not in PLANTED:
            raise ValueError(unknown("event", name, sorted(PLANTED), where=__name__))
    listed = TRAIN_ORDER if split == "train" else VAL_ORDER
    order = [*listed, *sorted(set(RECIPES) - set(listed))]
    left_out = {*(held_out if split == "train" else ()), *(() if events is None else PLANTED - set(events))}
    # Until towns have signals.
    order = [name for name in order if name not in left_out and name in RECIPES]
    return order[index % len(order)]
