"""Unit models by category: those of vehicles, and pedestrians, cones, barriers and houses."""

from functools import lru_cache
from typing import Final

from dima_pipeline.world.render_shapes import (
    BLACK,
    BODY,
    GRILLE,
    LIT_WINDOW,
    ORANGE,
    RED,
    ROOF,
    SKIN,
    TROUSERS,
    WHITE,
    WINDOW,
    Face,
    Model,
    Row,
    block,
    solid,
    to_model,
    windows,
)
from dima_pipeline.world.render_vehicles import (
    bicycle,
    bus,
    car,
    construction_vehicle,
    motorcycle,
    trailer,
    truck,
    with_bar,
)


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


_WALL: Final = 0.497
"""Walls are set back by a few centimetres: enough for the depth buffer to see panes in front of them."""


def building(floors: int, columns: int, is_lit: bool) -> list[Face]:
    """A block with a ground floor and rows of windows; at night every third window is lit."""
    rows: list[Row] = []
    for floor in range(floors):
        panes = windows(columns, pane=WINDOW, wall_share=0.22)
        if is_lit:
            panes = [
                (end, LIT_WINDOW if paint is WINDOW and (index // 2 + 2 * floor) % 3 == 0 else paint)
                for index, (end, paint) in enumerate(panes)
            ]
        rows += [((floor + 0.3) / floors, [(1.0, BODY)]), ((floor + 0.8) / floors, panes)]
    rows.append((1.0, [(1.0, BODY)]))
    # walls in one piece behind the panes: half the corners of a wall cut around them, and no gaps to see through
    walls = block((-_WALL, _WALL), (-_WALL, _WALL), (-0.5, 0.5), {"top": solid(ROOF), "all": solid(BODY)})
    facades = block((-0.5, 0.5), (-0.5, 0.5), (-0.5, 0.5), {"all": rows, "top": solid(BODY)})
    return walls + [(corners, paint) for corners, paint in facades if paint in (WINDOW, LIT_WINDOW)]


_FACES: Final = {
    "car": car,
    "truck": truck,
    "bus": bus,
    "trailer": trailer,
    "construction_vehicle": construction_vehicle,
    "pedestrian": _pedestrian,
    "motorcycle": motorcycle,
    "bicycle": bicycle,
    "traffic_cone": _traffic_cone,
    "barrier": _barrier,
}


@lru_cache(maxsize=128)
def building_model(floors: int, columns: int, is_lit: bool) -> Model:
    """The unit model of a house."""
    return to_model(building(floors, columns, is_lit))


@lru_cache(maxsize=32)
def agent_model(category: str, has_bar: bool = False) -> Model:
    """The unit model of a category; with ``has_bar`` the emergency lights are on its roof."""
    faces = _FACES[category]()
    return to_model(with_bar(faces, category in ("truck", "bus", "trailer")) if has_bar else faces)
