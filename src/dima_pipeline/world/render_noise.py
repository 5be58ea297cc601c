"""What a sensor adds to a picture: exposure that is a little off, grain, streaks of rain."""

from functools import lru_cache
from typing import Final

import numpy as np
from jaxtyping import Int, UInt8

from dima_pipeline.world.render_types import Backdrop

Array = np.ndarray

_GRAIN_STD: Final = {"day": 2.0, "dusk": 4.0, "night": 6.5}
"""Of the values 0 ... 255."""
_EXPOSURE_STD: Final = 0.06
_MARGIN: Final = 64
_STREAKS_PER_PIXEL: Final = 1 / 500


def expose(picture: UInt8[Array, "H W 3"], backdrop: Backdrop, rng: np.random.Generator) -> UInt8[Array, "H W 3"]:
    """The picture as a camera would have taken it; the same generator state gives the same picture."""
    gain = np.exp(rng.normal(0.0, _EXPOSURE_STD))
    if backdrop.weather == "rain":
        picture = _rained_on(picture, rng)
    table = np.clip(np.arange(256) * gain + 0.5, 0, 255).astype(np.int16)
    height, width = picture.shape[:2]
    top, left = rng.integers(0, _MARGIN, 2)
    grain = _grain(height + _MARGIN, width + _MARGIN, backdrop.light)[top : top + height, left : left + width]
    if rng.random() < 0.5:
        grain = grain[:, ::-1]
    return np.clip(table[picture] + grain, 0, 255).astype(np.uint8)


@lru_cache(maxsize=8)
def _grain(height: int, width: int, light: str) -> Int[Array, "H W 3"]:
    """One sheet of grain a size and light, of which pictures take windows: drawing it anew is dear."""
    sheet = np.random.default_rng([height, width]).normal(0.0, _GRAIN_STD[light], (height, width, 3))
    return sheet.round().astype(np.int16)


def _rained_on(picture: UInt8[Array, "H W 3"], rng: np.random.Generator) -> UInt8[Array, "H W 3"]:
    """Short slanted streaks that lighten what is behind them."""
    height, width = picture.shape[:2]
    count = max(int(height * width * _STREAKS_PER_PIXEL), 1)
    length = max(height // 18, 3)
    steps = np.arange(length)
    rows = rng.integers(-length, height, count)[:, None] + steps
    columns = rng.integers(0, width, count)[:, None] + steps // 5
    inside = (rows >= 0) & (rows < height) & (columns < width)
    wet = picture.copy()
    wet[rows[inside], columns[inside]] += (255 - wet[rows[inside], columns[inside]]) // 5
    return wet
