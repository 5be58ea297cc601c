"""Sky, terrain and fog: bands of colour between rings around the camera, and contrast that falls with distance."""

from collections.abc import Sequence
from typing import Final

import numpy as np
from jaxtyping import Float, UInt8

from dima_pipeline.world.render_types import Backdrop, Mesh, tint

Array = np.ndarray

_SKIES: Final = {
    # horizon, zenith
    ("day", "clear"): ((206, 220, 232), (96, 148, 208)),
    ("day", "rain"): ((168, 172, 176), (132, 138, 146)),
    ("day", "fog"): ((194, 197, 200), (194, 197, 200)),
    ("dusk", "clear"): ((226, 160, 112), (74, 84, 128)),
    ("dusk", "rain"): ((134, 120, 116), (84, 84, 96)),
    ("dusk", "fog"): ((138, 126, 126), (126, 118, 122)),
    ("night", "clear"): ((38, 40, 54), (10, 12, 24)),
    ("night", "rain"): ((42, 42, 50), (22, 23, 30)),
    ("night", "fog"): ((58, 58, 64), (48, 48, 54)),
}
TERRAIN_RGB: Final = (126, 128, 104)
FOG_M: Final = 45.0
"""Distance at which fog leaves 1 / e of the contrast."""
_RING_ELEVATIONS: Final = np.deg2rad([-3.0, 0.0, 4.0, 12.0, 30.0, 89.9])
_RING_RADII_M: Final = (0.1, 40.0, 120.0, 400.0, 3000.0)
_SPOKES: Final = 24


def sky(backdrop: Backdrop) -> Mesh:
    """A dome around the camera."""
    horizon, zenith = np.array(_SKIES[backdrop.light, backdrop.weather], float)
    share = np.clip(np.sin(_RING_ELEVATIONS), 0, 1)[:, None] ** 0.6
    rgb = (1 - share) * horizon + share * zenith
    return _rings(list(100 * np.sin(_RING_ELEVATIONS)), list(100 * np.cos(_RING_ELEVATIONS)), rgb)


def terrain(backdrop: Backdrop) -> Mesh:
    """The plane z = 0 around the camera; far away it takes the colour of the horizon."""
    near, horizon = tint(np.array(TERRAIN_RGB), backdrop), np.array(_SKIES[backdrop.light, backdrop.weather][0])
    haze = np.array([0.0, 0.0, 0.1, 0.35, 1.0])[:, None]
    return _rings([0.0] * len(_RING_RADII_M), list(_RING_RADII_M), (1 - haze) * near + haze * horizon)


def _rings(heights: Sequence[float], radii: Sequence[float], rgb: Float[Array, "R 3"]) -> Mesh:
    """Bands between concentric rings around the camera, coloured by ring."""
    angles = np.arange(_SPOKES) * 2 * np.pi / _SPOKES
    circle = np.stack([np.cos(angles), np.sin(angles), np.zeros(_SPOKES)], 1)
    points = np.concatenate([circle * radius + (0, 0, height) for height, radius in zip(heights, radii, strict=True)])
    inner = np.arange((len(radii) - 1) * _SPOKES)
    after = inner - inner % _SPOKES + (inner + 1) % _SPOKES
    triangles = np.stack([inner, after, after + _SPOKES, inner, after + _SPOKES, inner + _SPOKES], 1).reshape(-1, 3)
    return Mesh(points, np.repeat(rgb.round().astype(np.uint8), _SPOKES, axis=0), triangles)


def ground_distances(
    intrinsics: Float[Array, "3 3"], world_from_camera: Float[Array, "4 4"], size: tuple[int, int]
) -> Float[Array, "H W"]:
    """How far (m) the ground lies behind each pixel of a picture of width, height; infinite above the horizon."""
    x = ((np.arange(size[0]) + 0.5 - intrinsics[0, 2]) / intrinsics[0, 0]).astype(np.float32)
    y = ((np.arange(size[1]) + 0.5 - intrinsics[1, 2]) / intrinsics[1, 1]).astype(np.float32)[:, None]
    right, down, ahead, height = world_from_camera[2].astype(np.float32)
    falls = -(x * right + y * down + ahead)
    with np.errstate(divide="ignore"):
        away = np.sqrt(x * x + y * y + 1) * (height / falls)
    return np.where(falls > 1e-6, away, np.float32(np.inf))


def fogged(picture: UInt8[Array, "H W 3"], distances: Float[Array, "H W"], backdrop: Backdrop) -> UInt8[Array, "H W 3"]:
    """A picture seen through fog: what is ``FOG_M`` away keeps 1 / e of its difference to the fog's grey."""
    grey = np.array(_SKIES[backdrop.light, backdrop.weather][0], np.float32)
    clear = np.exp(-distances.astype(np.float32) / np.float32(FOG_M))[..., None]
    return (grey + (picture - grey) * clear + 0.5).astype(np.uint8)
