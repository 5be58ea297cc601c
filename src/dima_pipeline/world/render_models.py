"""Unit models of the box categories: faces in [-0.5, 0.5]^3 with x forward, y left, z up, later scaled to the box.

Models fill their box, so what is seen agrees with the annotation: glass, lamps and wheels are patches of its surface.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
from jaxtyping import Bool, Float, Int

from dima_pipeline.world.render_types import quad_triangles

Array = np.ndarray


@dataclass(frozen=True)
class Paint:
    """A colour 0 ... 255; ``is_body`` multiplies it with the box's own colour; ``is_glowing`` is not shaded."""

    rgb: tuple[float, float, float]
    is_body: bool = False
    is_glowing: bool = False


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


Row = tuple[float, list[tuple[float, Paint]]]
"""Height at which a band of a face ends (0 bottom ... 1 top) and its cells: right end (0 left ... 1 right), paint."""
Face = tuple[Array, Paint]


def _body(factor: float = 1.0) -> Paint:
    return Paint((255 * factor,) * 3, is_body=True)


BODY: Final = _body()
TRIM: Final = _body(0.55)
GLASS: Final = Paint((42, 52, 62))
BLACK: Final = Paint((26, 26, 28))
GRILLE: Final = Paint((52, 52, 56))
HEADLAMP: Final = Paint((255, 250, 228), is_glowing=True)
TAIL_LAMP: Final = Paint((205, 22, 20), is_glowing=True)
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
ROOF: Final = _body(0.7)


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


def _mirror_row(edge: float, lamp: Paint, middle: Paint) -> list[tuple[float, Paint]]:
    return [(edge, lamp), (1 - edge, middle), (1.0, lamp)]


def _windows(
    count: int, wall: Paint = BODY, pane: Paint = GLASS, wall_share: float = 0.15
) -> list[tuple[float, Paint]]:
    columns = []
    for index in range(count):
        columns += [((index + wall_share) / count, wall), ((index + 1 - wall_share) / count, pane)]
    return [*columns, (1.0, wall)]


def _car() -> list[Face]:
    nose: list[Row] = [(0.35, [(1.0, TRIM)]), (0.8, _mirror_row(0.24, HEADLAMP, GRILLE)), (1.0, [(1.0, BODY)])]
    tail: list[Row] = [
        (0.3, [(1.0, TRIM)]),
        (0.52, [(0.38, BODY), (0.62, PLATE), (1.0, BODY)]),
        (0.9, _mirror_row(0.22, TAIL_LAMP, BODY)),
        (1.0, [(1.0, BODY)]),
    ]
    flank: list[Row] = [(0.2, [(1.0, TRIM)]), (1.0, [(1.0, BODY)])]
    panes = [(0.08, BODY), (0.48, GLASS), (0.54, BODY), (0.92, GLASS), (1.0, BODY)]
    glazed: list[Row] = [(0.1, [(1.0, BODY)]), (0.84, panes), (1.0, [(1.0, BODY)])]
    screen: list[Row] = [(0.88, [(0.06, BODY), (0.94, GLASS), (1.0, BODY)]), (1.0, [(1.0, BODY)])]
    lower = block(
        (-0.5, 0.5), (-0.485, 0.485), (-0.37, 0.08), {"front": nose, "rear": tail, "all": flank, "top": solid(BODY)}
    )
    cabin = block(
        (-0.46, 0.24),
        (-0.475, 0.475),
        (0.08, 0.5),
        {"front": screen, "rear": screen, "left": glazed, "right": glazed},
        inset=(0.17, 0.1, 0.06),
    )
    return lower + cabin + wheels([-0.3, 0.31], 0.15, 0.38)


def _truck() -> list[Face]:
    face: list[Row] = [
        (0.12, [(1.0, TRIM)]),
        (0.28, _mirror_row(0.2, HEADLAMP, GRILLE)),
        (0.52, [(1.0, BODY)]),
        (0.88, [(0.08, BODY), (0.92, GLASS), (1.0, BODY)]),
        (1.0, [(1.0, BODY)]),
    ]
    door: list[Row] = [(0.5, [(1.0, BODY)]), (0.88, [(0.3, BODY), (0.8, GLASS), (1.0, BODY)]), (1.0, [(1.0, BODY)])]
    doors: list[Row] = [
        (0.08, _mirror_row(0.14, TAIL_LAMP, GRILLE)),
        (0.97, [(0.48, CARGO), (0.52, GRILLE), (1.0, CARGO)]),
        (1.0, [(1.0, GRILLE)]),
    ]
    cab = block(
        (0.24, 0.5),
        (-0.485, 0.485),
        (-0.36, 0.34),
        {"front": face, "left": door, "right": door},
        inset=(0.02, 0.0, 0.03),
    )
    chassis = block((-0.49, 0.24), (-0.4, 0.4), (-0.36, -0.26), {"all": solid(GRILLE)})
    cargo = block((-0.5, 0.22), (-0.5, 0.5), (-0.27, 0.5), {"rear": doors, "all": solid(CARGO)})
    return cab + chassis + cargo + wheels([-0.36, -0.22, 0.34], 0.13, 0.3)


def _bus() -> list[Face]:
    front: list[Row] = [
        (0.1, [(1.0, TRIM)]),
        (0.2, _mirror_row(0.18, HEADLAMP, BODY)),
        (0.36, [(1.0, BODY)]),
        (0.82, [(0.04, BODY), (0.96, GLASS), (1.0, BODY)]),
        (0.95, [(0.2, BODY), (0.8, Paint((232, 168, 48), is_glowing=True)), (1.0, BODY)]),
        (1.0, [(1.0, BODY)]),
    ]
    rear: list[Row] = [
        (0.12, [(1.0, TRIM)]),
        (0.26, _mirror_row(0.14, TAIL_LAMP, BODY)),
        (0.5, [(1.0, BODY)]),
        (0.82, [(0.12, BODY), (0.88, GLASS), (1.0, BODY)]),
        (1.0, [(1.0, BODY)]),
    ]
    side: list[Row] = [
        (0.1, [(1.0, TRIM)]),
        (0.4, [(1.0, BODY)]),
        (0.8, _windows(6, wall_share=0.06)),
        (1.0, [(1.0, BODY)]),
    ]
    body = block(
        (-0.5, 0.5),
        (-0.49, 0.49),
        (-0.4, 0.5),
        {"front": front, "rear": rear, "left": side, "right": side, "top": solid(CARGO)},
    )
    return body + wheels([-0.28, 0.32], 0.09, 0.3)


def _trailer() -> list[Face]:
    rear: list[Row] = [
        (0.1, _mirror_row(0.14, TAIL_LAMP, GRILLE)),
        (1.0, [(0.48, CARGO), (0.52, GRILLE), (1.0, CARGO)]),
    ]
    side: list[Row] = [(0.1, [(1.0, GRILLE)]), (0.3, [(1.0, BODY)]), (1.0, [(1.0, CARGO)])]
    body = block(
        (-0.5, 0.5), (-0.49, 0.49), (-0.3, 0.5), {"rear": rear, "left": side, "right": side, "all": solid(CARGO)}
    )
    return body + wheels([-0.38, -0.27, -0.16, 0.3], 0.09, 0.26)


def _construction_vehicle() -> list[Face]:
    glazed: list[Row] = [(0.3, [(1.0, YELLOW)]), (0.88, _mirror_row(0.1, YELLOW, GLASS)), (1.0, [(1.0, YELLOW)])]
    nose: list[Row] = [(0.5, [(1.0, BLACK)]), (0.8, _mirror_row(0.2, HEADLAMP, YELLOW)), (1.0, [(1.0, YELLOW)])]
    tail: list[Row] = [(0.5, [(1.0, BLACK)]), (0.8, _mirror_row(0.2, TAIL_LAMP, YELLOW)), (1.0, [(1.0, YELLOW)])]
    flank: list[Row] = [(0.35, [(1.0, GRILLE)]), (1.0, [(1.0, YELLOW)])]
    hull = block(
        (-0.5, 0.5),
        (-0.47, 0.47),
        (-0.4, 0.1),
        {"front": nose, "rear": tail, "left": flank, "right": flank, "all": solid(YELLOW)},
    )
    cabin = block((-0.4, 0.15), (-0.44, 0.44), (0.1, 0.5), {"top": solid(YELLOW), "all": glazed}, (0.04, 0.02, 0.03))
    boom = block((0.15, 0.46), (-0.12, 0.12), (0.1, 0.34), {"all": solid(GRILLE)}, inset=(0.1, 0.0, 0.0))
    return hull + cabin + boom + wheels([-0.28, 0.28], 0.26, 0.44)


def _pedestrian() -> list[Face]:
    hair: list[Row] = [(0.55, [(1.0, SKIN)]), (1.0, [(1.0, GRILLE)])]
    back: list[Row] = [(1.0, [(1.0, GRILLE)])]
    legs = block((-0.4, 0.4), (-0.4, 0.4), (-0.5, -0.05), {"all": [(0.1, [(1.0, BLACK)]), (1.0, [(1.0, TROUSERS)])]})
    torso = block((-0.5, 0.5), (-0.5, 0.5), (-0.05, 0.34), {}, inset=(0.08, 0.08, 0.08))
    head = block(
        (-0.28, 0.28),
        (-0.26, 0.26),
        (0.34, 0.5),
        {"front": hair, "rear": back, "left": hair, "right": hair, "top": back},
    )
    return legs + torso + head


def _cycle(frame: Paint, width: float) -> list[Face]:
    lamp: list[Row] = [(0.7, [(1.0, frame)]), (1.0, [(0.3, frame), (0.7, HEADLAMP), (1.0, frame)])]
    tail: list[Row] = [(0.7, [(1.0, frame)]), (1.0, [(0.3, frame), (0.7, TAIL_LAMP), (1.0, frame)])]
    machine = block((-0.48, 0.48), (-width, width), (-0.4, 0.08), {"front": lamp, "rear": tail, "all": solid(frame)})
    saddle = block((-0.3, 0.24), (-0.45, 0.45), (-0.05, 0.3), {"all": solid(BODY)}, inset=(0.06, 0.04, 0.04))
    head = block((-0.12, 0.14), (-0.25, 0.25), (0.3, 0.5), {"all": [(0.5, [(1.0, SKIN)]), (1.0, [(1.0, GRILLE)])]})
    bars = block((0.2, 0.3), (-0.5, 0.5), (0.08, 0.18), {"all": solid(GRILLE)})
    return machine + saddle + head + bars + wheels([-0.31, 0.31], 0.38, 0.5, side=width + 0.02)


def _traffic_cone() -> list[Face]:
    foot = block((-0.5, 0.5), (-0.5, 0.5), (-0.5, -0.4), {"all": solid(ORANGE)})
    bands: list[Row] = [(0.45, [(1.0, ORANGE)]), (0.75, [(1.0, WHITE)]), (1.0, [(1.0, ORANGE)])]
    cone = block((-0.46, 0.46), (-0.46, 0.46), (-0.4, 0.5), {"top": solid(ORANGE), "all": bands}, (0.22, 0.22, 0.22))
    return foot + cone


def _barrier() -> list[Face]:
    def stripes(count: int) -> list[Row]:
        paints = [(RED, WHITE)[index % 2] for index in range(count)]
        upper = [((index + 1) / count, paint) for index, paint in enumerate(paints)]
        return [(0.15, [(1.0, GRILLE)]), (0.55, upper), (0.65, [(1.0, GRILLE)]), (1.0, upper)]

    # barriers are annotated wide and short: x is across the board
    sides = {"front": stripes(7), "rear": stripes(7), "left": stripes(2), "right": stripes(2), "top": solid(WHITE)}
    return block((-0.5, 0.5), (-0.5, 0.5), (-0.5, 0.5), sides)


def building(floors: int, columns: int, is_lit: bool) -> list[Face]:
    """A block with a ground floor and rows of windows; at night every third window is lit."""
    rows: list[Row] = []
    for floor in range(floors):
        panes = _windows(columns, pane=WINDOW, wall_share=0.22)
        if is_lit:
            panes = [
                (end, LIT_WINDOW if paint is WINDOW and (index // 2 + 2 * floor) % 3 == 0 else paint)
                for index, (end, paint) in enumerate(panes)
            ]
        rows += [((floor + 0.3) / floors, [(1.0, BODY)]), ((floor + 0.8) / floors, panes)]
    rows.append((1.0, [(1.0, BODY)]))
    # corners of windows meet edges of walls: a core keeps the sky from shining through between them
    core = block((-0.495, 0.495), (-0.495, 0.495), (-0.5, 0.49), {})
    return core + block((-0.5, 0.5), (-0.5, 0.5), (-0.5, 0.5), {"top": solid(ROOF), "all": rows})


_FACES: Final = {
    "car": _car,
    "truck": _truck,
    "bus": _bus,
    "trailer": _trailer,
    "construction_vehicle": _construction_vehicle,
    "pedestrian": _pedestrian,
    "motorcycle": lambda: _cycle(GRILLE, 0.3),
    "bicycle": lambda: _cycle(TRIM, 0.16),
    "traffic_cone": _traffic_cone,
    "barrier": _barrier,
}


@lru_cache(maxsize=128)
def model(category: str, floors: int = 1, columns: int = 1, is_lit: bool = False) -> Model:
    """The unit model of a category; the last three arguments concern buildings."""
    faces = building(floors, columns, is_lit) if category == "building" else _FACES[category]()
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
    )
