"""How large things are: a middle size of each nuScenes category, and how far its members lie around it.

Sides are lognormal about the middle and hang together: a long vehicle is likely to be wide and high as well.
"""

from dataclasses import dataclass

import numpy as np

SIZES = {
    "vehicle.car": (4.6, 1.9, 1.65),
    "vehicle.truck": (6.6, 2.3, 2.65),
    "vehicle.bus.rigid": (10.8, 2.65, 3.35),
    "vehicle.construction": (5.8, 2.5, 2.9),
    "vehicle.emergency.ambulance": (6.2, 2.2, 2.7),
    "vehicle.emergency.police": (4.8, 1.9, 1.65),
    "vehicle.trailer": (7.0, 2.4, 2.8),
    "vehicle.motorcycle": (2.05, 0.7, 1.45),
    "vehicle.bicycle": (1.75, 0.6, 1.6),
    "human.pedestrian.adult": (0.7, 0.65, 1.75),
    "human.pedestrian.child": (0.5, 0.5, 1.25),
    "human.pedestrian.construction_worker": (0.7, 0.7, 1.75),
    "movable_object.trafficcone": (0.4, 0.4, 0.85),
    "movable_object.barrier": (0.5, 2.2, 1.0),
}
"""Length, width, height (m) by nuScenes category."""


@dataclass(frozen=True)
class Spread:
    """Standard deviations of the logarithms of length, width and height, and the greatest width that fits a lane."""

    sides: tuple[float, float, float]
    max_width_m: float = np.inf


SPREADS = {
    "vehicle.car": Spread((0.065, 0.055, 0.09), 2.1),
    "vehicle.truck": Spread((0.17, 0.09, 0.19), 2.5),
    "vehicle.bus.rigid": Spread((0.12, 0.05, 0.09), 2.8),
    "vehicle.construction": Spread((0.1, 0.02, 0.1), 2.5),
    "vehicle.emergency.ambulance": Spread((0.06, 0.02, 0.05), 2.25),
    "vehicle.emergency.police": Spread((0.05, 0.03, 0.06), 2.0),
    "vehicle.trailer": Spread((0.2, 0.06, 0.15), 2.5),
    "vehicle.motorcycle": Spread((0.09, 0.14, 0.1)),
    "vehicle.bicycle": Spread((0.06, 0.12, 0.1)),
    "human.pedestrian.adult": Spread((0.18, 0.11, 0.055)),
    "human.pedestrian.child": Spread((0.15, 0.12, 0.12)),
    "human.pedestrian.construction_worker": Spread((0.12, 0.1, 0.04)),
}
OTHERS = Spread((0.04, 0.04, 0.04))
SHARED = 0.7
"""Correlation of each side with the size as a whole."""
FARTHEST = 2.2
"""Standard deviations at most: nothing is twice as long as its like."""


def draw_size(category: str, rng: np.random.Generator) -> tuple[float, float, float]:
    """Length, width, height (m) of one of a category."""
    spread = SPREADS.get(category, OTHERS)
    whole, own = rng.normal(), rng.normal(size=3)
    apart = np.clip(SHARED * whole + (1 - SHARED**2) ** 0.5 * own, -FARTHEST, FARTHEST)
    length, width, height = (float(v) for v in np.array(SIZES[category]) * np.exp(apart * np.array(spread.sides)))
    return length, min(width, spread.max_width_m), height
