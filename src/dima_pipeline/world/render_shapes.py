"""Painted blocks, the stuff of unit models: faces in [-0.5, 0.5]^3 with x forward, y left, z up.

Models fill their box, so what is seen agrees with the annotation: glass, lamps and wheels are patches of its surface.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from jaxtyping import Bool, Float, Int

from dima_pipeline.world.render_lamps import DULL_RGB, LAMPS
from dima_pipeline.world.render_types import quad_triangles

Array = np.ndarray


@dataclass(frozen=True)
class Paint:
    """A colour 0 ... 255; ``is_body`` multiplies it with the box's own colour; ``is_glowing`` is not shaded.

    A ``lamp`` takes its colour from what is switched on.
    """

    rgb: tuple[float, float, float]
    is_body: bool = False
    is_glowing: bool = False
    lamp: str = ""


@dataclass(frozen=True)
class Model:
    """Triangles of a unit model; normals and colours are constant on a face."""

    points: Float[Array, "P 3"]
    normals: Float[Array, "P 3"]
    triangles: Int[Array, "T 3"]
    rgb: Float[Array, "P 3"]
    """0 ... 255; a factor (times 255) of the box's colour where ``is_body``."""
    is_body: Bool[Array, "P"]
    is_glowing: Bool[Array, "P"]
    lamp: Int[Array, "P"]
    """Place in ``LAMPS``; 0 where there is none."""


Row = tuple[float, list[tuple[float, Paint]]]
"""Height at which a band of a face ends (0 bottom ... 1 top) and its cells: right end (0 left ... 1 right), paint."""
Face = tuple[Array, Paint]


def lamp(name: str) -> Paint:
    return Paint(DULL_RGB[name], lamp=name)


def body(factor: float = 1.0) -> Paint:
    return Paint((255 * factor,) * 3, is_body=True)


BODY: Final = body()
TRIM: Final = body(0.55)
GLASS: Final = Paint((42, 52, 62))
BLACK: Final = Paint((26, 26, 28))
GRILLE: Final = Paint((52, 52, 56))
HEADLAMP: Final = lamp("head")
TAIL_LAMP: Final = lamp("tail")
BRAKE_LAMP: Final = lamp("brake")
LEFT: Final = lamp("left")
RIGHT: Final = lamp("right")
PLATE: Final = Paint((210, 210, 200))
SKIN: Final = Paint((206, 164, 132))
TROUSERS: Final = Paint((52, 56, 74))
ORANGE: Final = Paint((242, 106, 28))
WHITE: Final = Paint((236, 236, 232))
RED: Final = Paint((200, 44, 38))
YELLOW: Final = Paint((228, 176, 44))
CARGO: Final = Paint((214, 214, 210))
WINDOW: Final = Paint((74, 92, 108))
LIT_WINDOW: Final = Paint((236, 206, 138), is_glowing=True)
ROOF: Final = body(0.7)


def solid(paint: Paint) -> list[Row]:
    """One cell."""
    return [(1.0, [(1.0, paint)])]


def cells(corners: Float[Array, "4 3"], rows: list[Row]) -> list[Face]:
    """A quad (bottom left, bottom right, top right, top left) cut into painted cells."""
    faces, low = [], 0.0
    for high, columns in rows:
        left = 0.0
        for right, paint in columns:
            u = np.array([left, right, right, left])[:, None]
            v = np.array([low, low, high, high])[:, None]
            bottom = (1 - u) * corners[0] + u * corners[1]
            top = (1 - u) * corners[3] + u * corners[2]
            faces.append(((1 - v) * bottom + v * top, paint))
            left = right
        low = high
    return faces


def block(
    x: tuple[float, float],
    y: tuple[float, float],
    z: tuple[float, float],
    sides: dict[str, list[Row]],
    inset: tuple[float, float, float] = (0.0, 0.0, 0.0),
) -> list[Face]:
    """A block between rear and front ``x``, right and left ``y``, bottom and top ``z``.

    ``sides`` are rows by face (front rear left right top; ``all`` for the others); ``inset`` is what the top loses at
    the front, the rear and each side.
    """
    (x0, x1), (y0, y1), (z0, z1) = x, y, z
    low = np.array([(x0, y0, z0), (x1, y0, z0), (x1, y1, z0), (x0, y1, z0)])
    a, b, c = inset
    high = np.array([(x0 + b, y0 + c, z1), (x1 - a, y0 + c, z1), (x1 - a, y1 - c, z1), (x0 + b, y1 - c, z1)])
    quads = {
        "front": (low[1], low[2], high[2], high[1]),
        "rear": (low[3], low[0], high[0], high[3]),
        "left": (low[2], low[3], high[3], high[2]),
        "right": (low[0], low[1], high[1], high[0]),
        "top": tuple(high),
        "bottom": (low[0], low[3], low[2], low[1]),
    }
    default = sides.get("all", solid(BODY))
    faces = []
    for name, quad in quads.items():
        faces += cells(np.array(quad), sides.get(name, solid(BLACK) if name == "bottom" else default))
    return faces


def wheels(at: list[float], length: float, height: float, side: float = 0.5) -> list[Face]:
    """Octagons at ``side`` to the left and right, standing on the bottom of the box."""
    angles = np.pi / 8 + np.arange(8) * np.pi / 4
    rim = np.stack([np.cos(angles) * length / 2, np.zeros(8), np.sin(angles) * height / 2], 1) / np.cos(np.pi / 8)
    faces: list[Face] = []
    for center in at:
        for y in (-side, side):
            ring = rim + np.array([center, y, -0.5 + height / 2])
            ring = ring if y < 0 else ring[::-1]
            faces += [(ring[[0, i, i + 1, i + 2]], BLACK) for i in (1, 3, 5)]
    return faces


def mirror_row(edge: float, lamp: Paint, middle: Paint) -> list[tuple[float, Paint]]:
    return [(edge, lamp), (1 - edge, middle), (1.0, lamp)]


def signal_rows(edge: float, front: Paint = BODY, rear: Paint = BODY) -> tuple[list[tuple[float, Paint]], ...]:
    """Cells of a front and of a rear with a turn signal at each side; seen from outside, left and right swap."""
    return [(edge, RIGHT), (1 - edge, front), (1.0, LEFT)], [(edge, LEFT), (1 - edge, rear), (1.0, RIGHT)]


def flank_row(lamp: Paint, edge: float, wall: Paint = BODY) -> list[tuple[float, Paint]]:
    """Cells of a flank: turn signals reach around both corners."""
    return [(edge, lamp), (1 - edge, wall), (1.0, lamp)]


def windows(count: int, wall: Paint = BODY, pane: Paint = GLASS, wall_share: float = 0.15) -> list[tuple[float, Paint]]:
    columns = []
    for index in range(count):
        columns += [((index + wall_share) / count, wall), ((index + 1 - wall_share) / count, pane)]
    return [*columns, (1.0, wall)]


def to_model(faces: list[Face]) -> Model:
    """Triangles of painted quads."""
    quads = np.array([corners for corners, _ in faces])
    normals = np.cross(quads[:, 1] - quads[:, 0], quads[:, 3] - quads[:, 0])
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    return Model(
        points=quads.reshape(-1, 3),
        normals=np.repeat(normals, 4, axis=0),
        triangles=quad_triangles(len(quads)),
        rgb=np.repeat(np.array([paint.rgb for _, paint in faces], float), 4, axis=0),
        is_body=np.repeat([paint.is_body for _, paint in faces], 4),
        is_glowing=np.repeat([paint.is_glowing for _, paint in faces], 4),
        lamp=np.repeat([LAMPS.index(paint.lamp) for _, paint in faces], 4),
    )
