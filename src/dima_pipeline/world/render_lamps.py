"""Lamps of vehicles: which patch of a model shines in which colour, from what its driver has switched on.

Lit lamps keep their colour whatever the light of the scene: at night they stand out. By day, switched off, they are
dull glass.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np
from jaxtyping import Bool, Float

from dima_pipeline.world.lights import Lights
from dima_pipeline.world.render_types import Backdrop

Array = np.ndarray

LAMPS: Final = ("", "head", "tail", "brake", "left", "right", "blue", "pale")
"""Names by index: no lamp; headlamp; tail and brake lamp; the raised brake lamp; turn signals; the emergency bar."""
DULL_RGB: Final = {
    "": (0, 0, 0),
    "head": (224, 224, 214),
    "tail": (104, 22, 22),
    "brake": (64, 18, 20),
    "left": (122, 92, 66),
    "right": (122, 92, 66),
    "blue": (26, 40, 96),
    "pale": (90, 100, 120),
}
_HEAD_RGB: Final = (255, 252, 238)
_TAIL_RGB: Final = (176, 16, 14)
_BRAKE_RGB: Final = (255, 26, 18)
_TURN_RGB: Final = (255, 150, 0)
_BLUE_RGB: Final = (24, 80, 255)
_PALE_RGB: Final = (150, 196, 255)


def shining(lights: Lights, lamps_are_on: bool) -> dict[str, tuple[int, int, int]]:
    """The colours (0 ... 255) of the lamps that shine; the others are dull."""
    lit: dict[str, tuple[int, int, int]] = {}
    if lamps_are_on:
        lit |= {"head": _HEAD_RGB, "tail": _TAIL_RGB}
    if lights.brake:
        lit |= {"tail": _BRAKE_RGB, "brake": _BRAKE_RGB}
    if lights.left:
        lit["left"] = _TURN_RGB
    if lights.right:
        lit["right"] = _TURN_RGB
    if lights.emergency:
        lit |= {"blue": _BLUE_RGB, "pale": _PALE_RGB}
    return lit


def lamp_table(all_lights: Sequence[Lights], backdrop: Backdrop) -> tuple[Float[Array, "B L 3"], Bool[Array, "B L"]]:
    """Colour of each lamp of each vehicle in the order of ``LAMPS``, and whether it shines (else it is shaded)."""
    rgb = np.tile(np.array(list(DULL_RGB.values()), float), (len(all_lights), 1, 1))
    is_lit = np.zeros(rgb.shape[:2], bool)
    for row, lights in enumerate(all_lights):
        for name, color in shining(lights, backdrop.lamps_are_on).items():
            rgb[row, LAMPS.index(name)] = color
            is_lit[row, LAMPS.index(name)] = True
    return rgb, is_lit
