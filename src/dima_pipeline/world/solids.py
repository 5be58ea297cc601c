"""What of a box is solid: a car has a cabin on a lower body, a pedestrian shoulders and a head.

Rays that take whole boxes for solid find more hidden than the pictures show; the parts follow the models in
``render_vehicles`` and ``render_models``.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np
from jaxtyping import Float, Int

Array = np.ndarray

Span = tuple[float, float]
_PARTS: Final[dict[str, tuple[tuple[Span, Span, Span], ...]]] = {
    # rear and front, right and left, bottom and top, in lengths, widths and heights of the box
    "car": (
        ((-0.5, 0.5), (-0.485, 0.485), (-0.42, 0.08)),
        ((-0.435, 0.2), (-0.46, 0.46), (0.08, 0.29)),
        ((-0.385, 0.11), (-0.43, 0.43), (0.29, 0.5)),
    ),
    "truck": (
        ((0.24, 0.5), (-0.485, 0.485), (-0.43, 0.34)),
        ((-0.5, 0.22), (-0.5, 0.5), (-0.27, 0.5)),
        ((-0.49, 0.24), (-0.42, 0.42), (-0.42, -0.26)),
    ),
    "bus": (((-0.5, 0.5), (-0.49, 0.49), (-0.42, 0.5)),),
    "trailer": (((-0.5, 0.5), (-0.49, 0.49), (-0.32, 0.5)),),
    "construction_vehicle": (
        ((-0.5, 0.5), (-0.47, 0.47), (-0.43, 0.1)),
        ((-0.38, 0.13), (-0.42, 0.42), (0.1, 0.5)),
        ((0.15, 0.41), (-0.12, 0.12), (0.1, 0.34)),
    ),
    "pedestrian": (
        ((-0.4, 0.4), (-0.4, 0.4), (-0.5, -0.05)),
        ((-0.46, 0.46), (-0.46, 0.46), (-0.05, 0.34)),
        ((-0.28, 0.28), (-0.26, 0.26), (0.34, 0.5)),
    ),
    "motorcycle": (
        ((-0.48, 0.42), (-0.42, 0.42), (-0.3, 0.06)),
        ((-0.46, -0.16), (-0.2, 0.2), (-0.5, -0.3)),
        ((0.16, 0.46), (-0.2, 0.2), (-0.5, -0.3)),
        ((-0.1, 0.06), (-0.44, 0.44), (-0.4, 0.0)),
        ((-0.19, 0.06), (-0.43, 0.43), (0.0, 0.16)),
        ((-0.12, 0.13), (-0.4, 0.4), (0.16, 0.32)),
        ((-0.03, 0.16), (-0.24, 0.24), (0.32, 0.5)),
        ((0.1, 0.29), (-0.42, 0.42), (0.07, 0.19)),
    ),
    "bicycle": (
        ((-0.14, 0.14), (-0.12, 0.12), (-0.24, -0.1)),
        ((-0.48, -0.14), (-0.1, 0.1), (-0.48, -0.06)),
        ((0.14, 0.48), (-0.1, 0.1), (-0.48, -0.06)),
        ((-0.1, 0.06), (-0.34, 0.34), (-0.4, 0.0)),
        ((-0.19, 0.06), (-0.43, 0.43), (0.0, 0.16)),
        ((-0.12, 0.13), (-0.4, 0.4), (0.16, 0.32)),
        ((-0.03, 0.16), (-0.24, 0.24), (0.32, 0.5)),
        ((0.1, 0.29), (-0.42, 0.42), (0.07, 0.19)),
    ),
    "traffic_cone": (((-0.42, 0.42), (-0.42, 0.42), (-0.5, -0.1)), ((-0.3, 0.3), (-0.3, 0.3), (-0.1, 0.5))),
}
_WHOLE: Final = (((-0.5, 0.5), (-0.5, 0.5), (-0.5, 0.5)),)


def solid_parts(
    boxes: Float[Array, "B 7"], categories: Sequence[str] | None = None
) -> tuple[Float[Array, "P 7"], Int[Array, "P"]]:
    """Solid boxes that make up boxes of categories, and the box each belongs to; without categories the boxes.

    ``boxes``: x, y, z of the centre, yaw, length, width, height. Parts of a box follow each other.
    """
    if categories is None:
        return boxes, np.arange(len(boxes))
    if len(categories) != len(boxes):
        raise ValueError(f"{len(boxes)} boxes need as many categories, got {len(categories)}")
    parts = [_PARTS.get(category, _WHOLE) for category in categories]
    owner = np.repeat(np.arange(len(boxes)), [len(part) for part in parts])
    spans = np.array([span for part in parts for span in part], float).reshape(-1, 3, 2)
    whole = boxes[owner]
    middle = spans.mean(2) * whole[:, 4:7]
    cos, sin = np.cos(whole[:, 3]), np.sin(whole[:, 3])
    x = whole[:, 0] + cos * middle[:, 0] - sin * middle[:, 1]
    y = whole[:, 1] + sin * middle[:, 0] + cos * middle[:, 1]
    sizes = np.diff(spans, axis=2)[..., 0] * whole[:, 4:7]
    return np.column_stack([x, y, whole[:, 2] + middle[:, 2], whole[:, 3], sizes]), owner
