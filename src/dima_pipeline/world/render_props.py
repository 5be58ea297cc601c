"""What stands beside the road and is nobody's box: traffic lights on poles, and trees."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Final

import numpy as np
from jaxtyping import Float, Int, UInt8

from dima_pipeline.world.render_shapes import BLACK, GRILLE, Face, Model, Paint, block, solid, to_model
from dima_pipeline.world.render_types import Backdrop, Mesh, RenderSignal, RenderTree, concatenate, tint

Array = np.ndarray

_LIT_RGB: Final = {"red": (255, 34, 22), "yellow": (255, 200, 0), "green": (20, 236, 110)}
_DULL_RGB: Final = {"red": (70, 20, 18), "yellow": (72, 58, 16), "green": (14, 58, 34)}
_HEAD_M: Final = (0.3, 0.9, 2.3)
"""Depth, width and height of a signal's housing: about twice the true size, to be read in small pictures."""
_LAMP_M: Final = 0.31
"""Radius of a lamp."""
_LAMP_HEIGHTS_M: Final = {"red": 0.72, "yellow": 0.0, "green": -0.72}
_POLE_M: Final = 0.09
_SIDES: Final = 6
_RINGS: Final = np.array([(0.36, 0.1), (0.48, 0.24), (0.7, 0.28), (0.9, 0.17), (1.0, 0.02)])
"""Height and radius of the rings of a crown, in heights of the tree."""
_TRUNK: Final = 0.025
_LEAF_RGB: Final = np.array([(74, 104, 52), (92, 116, 56), (62, 92, 58), (108, 116, 60)], float)
_BARK_RGB: Final = (92, 78, 64)


def signal_mesh(signals: Sequence[RenderSignal], backdrop: Backdrop) -> Mesh:
    """Poles and heads with three lamps; the lit one is bright in any light."""
    return concatenate([_signal(signal, backdrop) for signal in signals])


def _signal(signal: RenderSignal, backdrop: Backdrop) -> Mesh:
    shape = _signal_model(signal.color, float(signal.center[2]))
    cos, sin = np.cos(signal.yaw), np.sin(signal.yaw)
    turned = shape.points @ np.array([[cos, sin, 0], [-sin, cos, 0], [0, 0, 1]])
    rgb = np.where(shape.is_glowing[:, None], shape.rgb, tint(shape.rgb, backdrop))
    return Mesh(turned + np.asarray(signal.center, float), rgb.round().astype(np.uint8), shape.triangles)


@lru_cache(maxsize=64)
def _signal_model(color: str, height_m: float) -> Model:
    return to_model(_signal_faces(color, height_m))


def _signal_faces(color: str, height_m: float) -> list[Face]:
    """Faces in metres around the middle of the face, which looks along x."""
    depth, width, height = _HEAD_M
    half, top = width / 2, height / 2
    rim = block((-depth - 0.06, -depth), (-half - 0.1, half + 0.1), (-top - 0.1, top + 0.1), {"all": solid(GRILLE)})
    rim = [(corners, _RIM if abs(np.ptp(corners[:, 0])) < 1e-9 else paint) for corners, paint in rim]
    head = block((-depth, 0.0), (-half, half), (-top, top), {"all": solid(BLACK)})
    back = -depth - 0.06
    pole = block((back - 2 * _POLE_M, back), (-_POLE_M, _POLE_M), (-height_m, top), {"all": solid(GRILLE)})
    lamps: list[Face] = []
    angles = np.pi / 8 + np.arange(8) * np.pi / 4
    for name, z in _LAMP_HEIGHTS_M.items():
        is_lit = name == color
        paint = Paint(_LIT_RGB[name] if is_lit else _DULL_RGB[name], is_glowing=is_lit)
        ring = np.stack([np.full(8, 0.02), _LAMP_M * np.cos(angles), _LAMP_M * np.sin(angles) + z], 1)
        lamps += [(ring[[0, i, i + 1, i + 2]], paint) for i in (1, 3, 5)]
    return rim + pole + head + lamps


_RIM: Final = Paint((196, 196, 190))


def tree_mesh(trees: Sequence[RenderTree], backdrop: Backdrop) -> Mesh:
    """Trunks and crowns; the green and the outline follow from the place."""
    if not trees:
        return concatenate([])
    feet = np.array([tree.center for tree in trees], float)
    heights = np.array([tree.height for tree in trees], float)
    chance = _chances(feet, 1 + len(_RINGS) * _SIDES)
    rings = _column(_RINGS, _SIDES)
    crown = rings * heights[:, None, None]
    crown[..., :2] *= 0.8 + 0.4 * chance[:, 1:, None]
    trunk = _column(np.array([(0.0, _TRUNK), (_RINGS[1, 0], _TRUNK)]), 4) * heights[:, None, None]
    points = np.concatenate([trunk, crown], 1)
    points[..., :2] += feet[:, None]
    leaves = _LEAF_RGB[(chance[:, 0] * len(_LEAF_RGB)).astype(int)][:, None]
    # lighter above and on some leaves: all that tells one leaf from another at this size
    shade = 0.55 + 0.5 * (rings[:, 2] - 0.36) / 0.64 + 0.25 * (chance[:, 1:] - 0.5)
    bark = np.broadcast_to(np.array(_BARK_RGB, float), (len(trees), trunk.shape[1], 3))
    rgb = tint(np.concatenate([bark, leaves * shade[..., None]], 1), backdrop).clip(0, 255).round().astype(np.uint8)
    bands = np.concatenate([_bands(2, 4), _bands(len(_RINGS), _SIDES) + trunk.shape[1]])
    triangles = bands + points.shape[1] * np.arange(len(trees))[:, None, None]
    return Mesh(points.reshape(-1, 3), rgb.reshape(-1, 3), triangles.reshape(-1, 3))


def _column(rings: Float[Array, "R 2"], sides: int) -> Float[Array, "P 3"]:
    """Points on rings of a height and a radius, one above the other."""
    angles = np.arange(sides) * 2 * np.pi / sides
    circle = np.stack([np.cos(angles), np.sin(angles), 0 * angles], 1)
    return np.concatenate([circle * radius + (0, 0, height) for height, radius in rings])


def _bands(num_rings: int, sides: int) -> Int[Array, "T 3"]:
    """Triangles between neighbouring rings, seen from outside."""
    low = np.arange((num_rings - 1) * sides)
    after = low - low % sides + (low + 1) % sides
    return np.stack([low, after, after + sides, low, after + sides, low + sides], 1).reshape(-1, 3)


def _chances(places: Float[Array, "N 2"], count: int) -> Float[Array, "N count"]:
    """Numbers 0 ... 1 that look random and follow from the centimetres of a place alone."""
    x, y = (np.floor(places * 100).astype(np.int64) & 0xFFFFFFFF).astype(np.uint64).T
    seed = (x * np.uint64(73856093) ^ y * np.uint64(19349663))[:, None] + np.arange(count, dtype=np.uint64)
    return scrambled(seed)


def scrambled(seeds: UInt8[Array, "..."] | Array) -> Float[Array, "..."]:
    """Numbers 0 ... 1 from whole numbers (uint64); neighbours have nothing in common (splitmix64)."""
    mixed = seeds + np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray((mixed ^ (mixed >> np.uint64(31))) >> np.uint64(40), float) / 2**24
