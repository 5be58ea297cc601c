"""Boxes of a frame as one mesh: unit models scaled, turned, shaded by face and coloured, all at once per category."""

from collections.abc import Sequence
from typing import Final

import numpy as np
from jaxtyping import Float, Int, UInt8

from dima_pipeline.world.render_lamps import lamp_table
from dima_pipeline.world.render_models import agent_model, building_model
from dima_pipeline.world.render_shapes import Model
from dima_pipeline.world.render_types import Backdrop, Mesh, RenderBox, concatenate, quad_triangles, tint

Array = np.ndarray

_SUN: Final = np.array([0.42, 0.58, 0.7]) / np.linalg.norm([0.42, 0.58, 0.7])
"""Towards the light, in the world."""
_AMBIENT: Final = 0.58
_SHADOW_RGB: Final = (50, 50, 54)
_PAINTS: Final = np.array(
    [
        (206, 208, 210),
        (60, 62, 66),
        (150, 154, 158),
        (168, 34, 34),
        (38, 70, 132),
        (232, 232, 228),
        (96, 104, 88),
        (122, 94, 66),
        (30, 30, 32),
        (84, 128, 168),
    ],
    float,
)
_CLOTHES: Final = np.array(
    [(180, 60, 54), (62, 96, 152), (210, 200, 182), (66, 120, 82), (222, 168, 62), (120, 80, 140), (72, 74, 80)], float
)
_WALLS: Final = np.array(
    [(176, 164, 146), (158, 118, 96), (190, 186, 178), (140, 142, 148), (196, 176, 138), (150, 132, 118)], float
)
_OWN_PAINTS: Final = {"pedestrian": _CLOTHES, "bicycle": _CLOTHES, "motorcycle": _CLOTHES, "building": _WALLS}
_FLOOR_M, _COLUMN_M = 3.3, 4.5
VEHICLES: Final = ("car", "truck", "bus", "trailer", "construction_vehicle", "motorcycle")
"""Categories that can carry the bar of an emergency vehicle."""


def box_color(box: RenderBox) -> tuple[float, ...]:
    """The box's own colour, or one of its category's palette by the instance id."""
    if box.color is not None:
        return box.color
    palette = _OWN_PAINTS.get(box.category, _PAINTS)
    return tuple(palette[box.instance_id * 2654435761 % 2**32 % len(palette)])


def box_mesh(boxes: Sequence[RenderBox], backdrop: Backdrop) -> tuple[Mesh, UInt8[Array, "P 3"]]:
    """The boxes in world coordinates and the colours that encode their instance ids (red is the high byte)."""
    groups: dict[tuple[str, int, int, bool], list[RenderBox]] = {}
    for box in boxes:
        groups.setdefault(_model_key(box, backdrop), []).append(box)
    meshes, id_colors = [], [np.zeros((0, 3), np.uint8)]
    for (category, *windows), members in groups.items():
        shape = building_model(*windows) if category == "building" else agent_model(category, windows[-1])
        meshes.append(_placed(shape, members, backdrop))
        ids = np.array([box.instance_id for box in members], np.int64)
        coded = np.stack([ids >> 16, ids >> 8 & 255, ids & 255], 1).astype(np.uint8)
        id_colors.append(np.repeat(coded, len(shape.points), axis=0))
    return concatenate(meshes), np.concatenate(id_colors)


def shadow_mesh(boxes: Sequence[RenderBox], backdrop: Backdrop) -> Mesh:
    """A dark patch under each box, a little larger than its footprint, for the ground pass."""
    if not boxes:
        return concatenate([])
    corners = np.array([(-0.5, -0.5, -0.5), (0.5, -0.5, -0.5), (0.5, 0.5, -0.5), (-0.5, 0.5, -0.5)])
    sizes = np.array([box.size for box in boxes]) + np.array([0.3, 0.3, 0.0])
    points = _world_points(corners, boxes, sizes)
    color = tint(np.array(_SHADOW_RGB), backdrop).round().astype(np.uint8)
    return Mesh(points.reshape(-1, 3), np.repeat(color[None], 4 * len(boxes), 0), quad_triangles(len(boxes)))


def _model_key(box: RenderBox, backdrop: Backdrop) -> tuple[str, int, int, bool]:
    if box.category != "building":
        return box.category, 0, 0, box.lights.emergency and box.category in VEHICLES
    floors = int(np.clip(round(box.size[2] / _FLOOR_M), 1, 6))
    columns = int(np.clip(round(max(box.size[:2]) / _COLUMN_M), 1, 5))
    return "building", floors, columns, backdrop.light != "day"


def _rotations(boxes: Sequence[RenderBox]) -> Float[Array, "B 3 3"]:
    yaws = np.array([box.yaw for box in boxes], float)
    rotation = np.zeros((len(boxes), 3, 3))
    rotation[:, 0, 0] = rotation[:, 1, 1] = np.cos(yaws)
    rotation[:, 1, 0] = np.sin(yaws)
    rotation[:, 0, 1] = -rotation[:, 1, 0]
    rotation[:, 2, 2] = 1
    return rotation


def _world_points(
    unit: Float[Array, "P 3"], boxes: Sequence[RenderBox], sizes: Float[Array, "B 3"]
) -> Float[Array, "B P 3"]:
    centers = np.array([box.center for box in boxes], float)
    return unit * sizes[:, None] @ np.swapaxes(_rotations(boxes), 1, 2) + centers[:, None]


def _placed(shape: Model, boxes: Sequence[RenderBox], backdrop: Backdrop) -> Mesh:
    sizes = np.array([box.size for box in boxes], float)
    points = _world_points(shape.points, boxes, sizes)
    normals = shape.normals / sizes[:, None]
    normals /= np.linalg.norm(normals, axis=-1, keepdims=True)
    toward_sun = (normals @ (_SUN @ _rotations(boxes))[..., None])[..., 0]
    rgb = _colors(shape, boxes, np.clip(toward_sun, 0, 1), backdrop)
    count = len(shape.points)
    triangles: Int[Array, "B T 3"] = shape.triangles + count * np.arange(len(boxes))[:, None, None]
    return Mesh(points.reshape(-1, 3), rgb.reshape(-1, 3), triangles.reshape(-1, 3))


def _colors(
    shape: Model, boxes: Sequence[RenderBox], toward_sun: Float[Array, "B P"], backdrop: Backdrop
) -> UInt8[Array, "B P 3"]:
    own = np.array([box_color(box) for box in boxes], float)[:, None]
    rgb = np.where(shape.is_body[:, None], shape.rgb / 255 * own, shape.rgb)
    is_glowing = shape.is_glowing
    if shape.lamp.any():
        lamps, is_lit = lamp_table([box.lights for box in boxes], backdrop)
        rgb = np.where(shape.lamp[:, None] > 0, lamps[:, shape.lamp], rgb)
        is_glowing = is_glowing | is_lit[:, shape.lamp]
    # clouds and darkness leave the ambient light alone
    direct = (1 - _AMBIENT) * (1.0 if backdrop == Backdrop() else 0.5)
    shaded = tint(rgb * (1 - direct + direct * toward_sun[..., None]), backdrop)
    return np.where(is_glowing[..., None], rgb, shaded).clip(0, 255).round().astype(np.uint8)
