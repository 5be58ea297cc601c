"""When traffic lights are red, yellow and green: a fixed cycle a junction, one phase after the other."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from dima_pipeline.world.lights import SignalColor
from dima_pipeline.world.roads import Signal, Town

GREEN_S = 12.0
YELLOW_S = 3.0
ALL_RED_S = 2.0


@dataclass(frozen=True)
class SignalPlan:
    """The cycle of one traffic light: green from ``begin_s`` for ``green_s``, then yellow, else red."""

    cycle_s: float
    begin_s: float
    green_s: float = GREEN_S
    yellow_s: float = YELLOW_S

    def color(self, time_s: float) -> SignalColor:
        """What it shows."""
        since = (time_s - self.begin_s) % self.cycle_s
        if since < self.green_s:
            return "green"
        return "yellow" if since < self.green_s + self.yellow_s else "red"


Plans = Mapping[str, SignalPlan]


def plan_signals(town: Town, rng: np.random.Generator, red: tuple[str, float] | None = None) -> dict[str, SignalPlan]:
    """A plan for every traffic light of a town by name; the junctions begin anywhere in their cycles.

    ``red``: (name of a traffic light, seconds): its junction is set so that it turns green then, red until there.
    Raises ``ValueError`` where the town has no such light or no cycle is red for so long.
    """
    plans: dict[str, SignalPlan] = {}
    names = sorted({signal.junction for signal in town.signals})
    for junction in names:
        signals = [signal for signal in town.signals if signal.junction == junction]
        begin = float(rng.uniform(0.0, 60.0))
        plans |= _junction(signals, begin)
    return plans if red is None else plans | _held_red(town, red)


def _junction(signals: list[Signal], begin_s: float) -> dict[str, SignalPlan]:
    phases = sorted({signal.phase for signal in signals})
    part = GREEN_S + YELLOW_S + ALL_RED_S
    # A junction with one phase still shows red to it: people cross then.
    cycle = max(len(phases), 2) * part
    return {signal.name: SignalPlan(cycle, begin_s + phases.index(signal.phase) * part) for signal in signals}


def _held_red(town: Town, red: tuple[str, float]) -> dict[str, SignalPlan]:
    name, until_s = red
    held = next((signal for signal in town.signals if signal.name == name), None)
    if held is None:
        raise ValueError(f"town '{town.name}' has no traffic light '{name}': take one of town.signals")
    signals = [signal for signal in town.signals if signal.junction == held.junction]
    plans = _junction(signals, 0.0)
    longest = plans[name].cycle_s - GREEN_S - YELLOW_S
    if not 0.0 <= until_s <= longest:
        raise ValueError(f"'{name}' cannot stay red for {until_s:g} s: 0 to {longest:g} s are possible")
    return _junction(signals, until_s - plans[name].begin_s)
