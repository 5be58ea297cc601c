"""Unit models of vehicles with their lamps: car, truck, bus, trailer, construction vehicle and cycles."""

from typing import Final

import numpy as np

from dima_pipeline.world.render_shapes import (
    BLACK,
    BODY,
    BRAKE_LAMP,
    CARGO,
    GLASS,
    GRILLE,
    HEADLAMP,
    LEFT,
    PLATE,
    RIGHT,
    SKIN,
    TAIL_LAMP,
    TRIM,
    TROUSERS,
    WHITE,
    YELLOW,
    Face,
    Paint,
    Row,
    block,
    flank_row,
    lamp,
    mirror_row,
    signal_rows,
    solid,
    wheels,
    windows,
)

BAR_SHARE: Final = 0.13
"""Height of an emergency vehicle's bar in that of the vehicle."""


def car() -> list[Face]:
    signals_ahead, signals_behind = signal_rows(0.24)
    nose: list[Row] = [
        (0.28, [(1.0, TRIM)]),
        (0.64, mirror_row(0.24, HEADLAMP, GRILLE)),
        (0.94, signals_ahead),
        (1.0, [(1.0, BODY)]),
    ]
    tail: list[Row] = [
        (0.22, [(1.0, TRIM)]),
        (0.32, [(0.38, BODY), (0.62, PLATE), (1.0, BODY)]),
        (0.65, [(0.24, TAIL_LAMP), (0.38, BODY), (0.62, PLATE), (0.76, BODY), (1.0, TAIL_LAMP)]),
        (0.96, signals_behind),
        (1.0, [(1.0, BODY)]),
    ]
    flanks: list[list[Row]] = [
        [(0.2, [(1.0, TRIM)]), (0.64, [(1.0, BODY)]), (0.95, flank_row(lamp, 0.09)), (1.0, [(1.0, BODY)])]
        for lamp in (LEFT, RIGHT)
    ]
    panes = [(0.08, BODY), (0.48, GLASS), (0.54, BODY), (0.92, GLASS), (1.0, BODY)]
    glazed: list[Row] = [(0.1, [(1.0, BODY)]), (0.84, panes), (1.0, [(1.0, BODY)])]
    screen: list[Row] = [(0.88, [(0.06, BODY), (0.94, GLASS), (1.0, BODY)]), (1.0, [(1.0, BODY)])]
    rear_screen: list[Row] = [
        (0.62, [(0.06, BODY), (0.94, GLASS), (1.0, BODY)]),
        (0.94, [(0.25, BODY), (0.75, BRAKE_LAMP), (1.0, BODY)]),
        (1.0, [(1.0, BODY)]),
    ]
    lower = block(
        (-0.5, 0.5),
        (-0.485, 0.485),
        (-0.37, 0.08),
        {"front": nose, "rear": tail, "left": flanks[0], "right": flanks[1], "top": solid(BODY)},
    )
    cabin = block(
        (-0.46, 0.24),
        (-0.475, 0.475),
        (0.08, 0.5),
        {"front": screen, "rear": rear_screen, "left": glazed, "right": glazed},
        inset=(0.17, 0.1, 0.06),
    )
    return lower + cabin + wheels([-0.3, 0.31], 0.15, 0.38)


def truck() -> list[Face]:
    signals_ahead, signals_behind = signal_rows(0.2, GRILLE, CARGO)
    face: list[Row] = [
        (0.1, [(1.0, TRIM)]),
        (0.26, mirror_row(0.2, HEADLAMP, GRILLE)),
        (0.4, signals_ahead),
        (0.52, [(1.0, BODY)]),
        (0.88, [(0.08, BODY), (0.92, GLASS), (1.0, BODY)]),
        (1.0, [(1.0, BODY)]),
    ]
    door: list[Row] = [(0.5, [(1.0, BODY)]), (0.88, [(0.3, BODY), (0.8, GLASS), (1.0, BODY)]), (1.0, [(1.0, BODY)])]
    doors: list[Row] = [
        (0.15, mirror_row(0.2, TAIL_LAMP, GRILLE)),
        (0.29, signals_behind),
        (0.97, [(0.48, CARGO), (0.52, GRILLE), (1.0, CARGO)]),
        (1.0, [(1.0, GRILLE)]),
    ]
    walls: list[list[Row]] = [
        [(0.15, [(1.0, GRILLE)]), (0.29, flank_row(lamp, 0.07, CARGO)), (1.0, [(1.0, CARGO)])] for lamp in (LEFT, RIGHT)
    ]
    cab = block(
        (0.24, 0.5),
        (-0.485, 0.485),
        (-0.36, 0.34),
        {"front": face, "left": door, "right": door},
        inset=(0.02, 0.0, 0.03),
    )
    chassis = block((-0.49, 0.24), (-0.4, 0.4), (-0.36, -0.26), {"all": solid(GRILLE)})
    cargo = block(
        (-0.5, 0.22),
        (-0.5, 0.5),
        (-0.27, 0.5),
        {"rear": doors, "left": walls[0], "right": walls[1], "all": solid(CARGO)},
    )
    return cab + chassis + cargo + wheels([-0.36, -0.22, 0.34], 0.13, 0.3)


def bus() -> list[Face]:
    signals_ahead, signals_behind = signal_rows(0.17)
    front: list[Row] = [
        (0.08, [(1.0, TRIM)]),
        (0.19, mirror_row(0.18, HEADLAMP, BODY)),
        (0.29, signals_ahead),
        (0.36, [(1.0, BODY)]),
        (0.82, [(0.04, BODY), (0.96, GLASS), (1.0, BODY)]),
        (0.95, [(0.2, BODY), (0.8, Paint((226, 232, 210), is_glowing=True)), (1.0, BODY)]),
        (1.0, [(1.0, BODY)]),
    ]
    rear: list[Row] = [
        (0.1, [(1.0, TRIM)]),
        (0.24, mirror_row(0.17, TAIL_LAMP, BODY)),
        (0.36, signals_behind),
        (0.5, [(1.0, BODY)]),
        (0.82, [(0.12, BODY), (0.88, GLASS), (1.0, BODY)]),
        (0.92, [(0.35, BODY), (0.65, BRAKE_LAMP), (1.0, BODY)]),
        (1.0, [(1.0, BODY)]),
    ]
    sides: list[list[Row]] = [
        [
            (0.1, [(1.0, TRIM)]),
            (0.24, [(1.0, BODY)]),
            (0.36, flank_row(lamp, 0.05)),
            (0.4, [(1.0, BODY)]),
            (0.8, windows(6, wall_share=0.06)),
            (1.0, [(1.0, BODY)]),
        ]
        for lamp in (LEFT, RIGHT)
    ]
    body = block(
        (-0.5, 0.5),
        (-0.49, 0.49),
        (-0.4, 0.5),
        {"front": front, "rear": rear, "left": sides[0], "right": sides[1], "top": solid(CARGO)},
    )
    return body + wheels([-0.28, 0.32], 0.09, 0.3)


def trailer() -> list[Face]:
    rear: list[Row] = [
        (0.14, mirror_row(0.18, TAIL_LAMP, GRILLE)),
        (0.27, signal_rows(0.18, CARGO, CARGO)[1]),
        (1.0, [(0.48, CARGO), (0.52, GRILLE), (1.0, CARGO)]),
    ]
    side: list[Row] = [(0.1, [(1.0, GRILLE)]), (0.3, [(1.0, BODY)]), (1.0, [(1.0, CARGO)])]
    body = block(
        (-0.5, 0.5), (-0.49, 0.49), (-0.3, 0.5), {"rear": rear, "left": side, "right": side, "all": solid(CARGO)}
    )
    return body + wheels([-0.38, -0.27, -0.16, 0.3], 0.09, 0.26)


def construction_vehicle() -> list[Face]:
    signals_ahead, signals_behind = signal_rows(0.18, YELLOW, YELLOW)
    glazed: list[Row] = [(0.3, [(1.0, YELLOW)]), (0.88, mirror_row(0.1, YELLOW, GLASS)), (1.0, [(1.0, YELLOW)])]
    nose: list[Row] = [(0.45, [(1.0, BLACK)]), (0.7, mirror_row(0.2, HEADLAMP, YELLOW)), (0.9, signals_ahead)]
    tail: list[Row] = [(0.45, [(1.0, BLACK)]), (0.7, mirror_row(0.2, TAIL_LAMP, YELLOW)), (0.9, signals_behind)]
    flank: list[Row] = [(0.35, [(1.0, GRILLE)]), (1.0, [(1.0, YELLOW)])]
    rim: Row = (1.0, [(1.0, YELLOW)])
    hull = block(
        (-0.5, 0.5),
        (-0.47, 0.47),
        (-0.4, 0.1),
        {"front": [*nose, rim], "rear": [*tail, rim], "left": flank, "right": flank, "all": solid(YELLOW)},
    )
    cabin = block((-0.4, 0.15), (-0.44, 0.44), (0.1, 0.5), {"top": solid(YELLOW), "all": glazed}, (0.04, 0.02, 0.03))
    boom = block((0.15, 0.46), (-0.12, 0.12), (0.1, 0.34), {"all": solid(GRILLE)}, inset=(0.1, 0.0, 0.0))
    return hull + cabin + boom + wheels([-0.28, 0.28], 0.26, 0.44)


def bicycle() -> list[Face]:
    """A thin frame between wheels, and a rider who leans forward: seen from the side nothing else has that outline."""
    tail: list[Row] = [(0.5, [(1.0, TRIM)]), (1.0, [(1.0, TAIL_LAMP)])]
    lamp: list[Row] = [(0.5, [(1.0, TRIM)]), (1.0, [(1.0, HEADLAMP)])]
    frame = block((-0.36, 0.32), (-0.12, 0.12), (-0.24, -0.1), {"rear": tail, "front": lamp, "all": solid(TRIM)})
    return frame + _rider(0.34) + wheels([-0.31, 0.31], 0.38, 0.46, side=0.08)


def motorcycle() -> list[Face]:
    """A heavy body between wide wheels, with turn signals at its ends."""
    lamp: list[Row] = [(0.5, [(1.0, GRILLE)]), (1.0, [(0.34, RIGHT), (0.66, HEADLAMP), (1.0, LEFT)])]
    tail: list[Row] = [(0.5, [(1.0, GRILLE)]), (1.0, [(0.34, LEFT), (0.66, TAIL_LAMP), (1.0, RIGHT)])]
    machine = block(
        (-0.48, 0.42),
        (-0.42, 0.42),
        (-0.3, 0.06),
        {"front": lamp, "rear": tail, "top": solid(BODY), "all": solid(GRILLE)},
    )
    return machine + _rider(0.44) + wheels([-0.31, 0.31], 0.36, 0.46, side=0.2)


def _rider(half_width: float) -> list[Face]:
    shoes: list[Row] = [(0.15, [(1.0, BLACK)]), (1.0, [(1.0, TROUSERS)])]
    legs = block((-0.12, 0.08), (-half_width, half_width), (-0.4, 0.0), {"all": shoes}, inset=(0.04, -0.06, 0.0))
    torso = block((-0.24, 0.02), (-0.45, 0.45), (-0.04, 0.32), {}, inset=(-0.14, 0.14, 0.06))
    arms = block((0.06, 0.27), (-0.42, 0.42), (0.1, 0.2), {"all": solid(BODY)})
    bars = block((0.25, 0.31), (-0.5, 0.5), (0.06, 0.13), {"all": solid(BLACK)})
    face: list[Row] = [(0.6, [(1.0, SKIN)]), (1.0, [(1.0, WHITE)])]
    helmet: list[Row] = [(0.3, [(1.0, SKIN)]), (1.0, [(1.0, WHITE)])]
    head = block((-0.03, 0.16), (-0.24, 0.24), (0.32, 0.5), {"front": face, "all": helmet, "top": solid(WHITE)})
    return legs + torso + arms + bars + head


def with_bar(faces: list[Face], is_long: bool) -> list[Face]:
    """The faces pressed down a little, with the blue bar of an emergency vehicle on the roof: the box stays full.

    Long vehicles have a bar at each end of the roof: from the ground nobody sees the middle of it.
    """
    factor, offset = np.array([1, 1, 1 - BAR_SHARE]), np.array([0, 0, -BAR_SHARE / 2])
    lowered: list[Face] = [(corners * factor + offset, paint) for corners, paint in faces]
    bar: list[Row] = [(1.0, [(0.4, lamp("blue")), (0.6, lamp("pale")), (1.0, lamp("blue"))])]
    for x in [(-0.49, -0.41), (0.12, 0.2)] if is_long else [(-0.2, -0.02)]:
        lowered += block(x, (-0.4, 0.4), (0.5 - BAR_SHARE, 0.5), {"all": bar})
    return lowered
