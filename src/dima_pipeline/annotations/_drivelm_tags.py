"""Which agent DriveLM's ``<c1,CAM_FRONT,801.2,470.5>`` means: a camera and a pixel of its 1600 x 900 image.

The boxes of the keyframe are drawn in that camera. A box answers to the tag where the tag is within 16 px of its centre
(DriveLM's own tolerance) or in the middle half of what is seen of it. Of several that answer, the one counts that fits
the ``2d_bbox`` best, where the file has one, then the nearest. What stays open is said, never guessed.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float

from dima_pipeline.annotations._drivelm_file import shown
from dima_pipeline.contracts.frames import CAMERAS
from dima_pipeline.geometry import box_corners, image_from_ego, project

Array = np.ndarray
IMAGE_PX = (1600.0, 900.0)
REACH_PX = 16.0
MIDDLE_SHARE = 0.25
"""Of the drawn width and height on either side of the centre: its middle half."""
EQUAL_PX = 2.0
EQUAL_OVERLAP = 0.05
NEAR_M = 0.1
MAX_TAG = 120

_TAG = re.compile(rf"<c\d{{1,6}}\s*,[^<>]{{0,{MAX_TAG}}}>", re.ASCII)
_NUMBER = re.compile(r"[-+]?\d{1,12}(?:\.\d{0,12})?", re.ASCII)
_EDGES = np.array([(a, b) for a, b in product(range(8), repeat=2) if a < b and bin(a ^ b).count("1") == 1])
TRAFFIC = ("traffic_cone", "barrier")
RIDDEN = ("motorcycle", "bicycle")
KINDS = {
    "vehicle": ("car", "truck", "bus", "trailer", "construction_vehicle", *RIDDEN),
    "pedestrian": ("pedestrian", *RIDDEN),
    "traffic element": TRAFFIC,
}
"""Agents that a ``Category`` can mean; lights and signs, most traffic elements, have no box at all."""


class Tag(NamedTuple):
    """A tag as it was read; a place of NaN is no number."""

    text: str
    camera: str
    x: float
    y: float


class Drawn(NamedTuple):
    """The boxes of a keyframe in one camera, in pixels of a 1600 x 900 image."""

    centre: Float[Array, "N 2"]
    """Of the box; NaN where it is behind the camera."""
    rectangle: Float[Array, "N 4"]
    """x1, y1, x2, y2 around what is inside the image."""
    is_inside: Bool[Array, "N"]


def tags_of(text: str) -> Iterator[Tag]:
    """The tags of a text, in its order."""
    for match in _TAG.finditer(text):
        parts = [part.strip() for part in match.group()[1:-1].split(",")]
        numbers = [float(part) if _NUMBER.fullmatch(part) else np.nan for part in parts[2:]]
        x, y = numbers if len(numbers) == 2 else (np.nan, np.nan)
        yield Tag(match.group(), parts[1], x, y)


def number_of(tag: str) -> int:
    """1 of ``<c1,...>``."""
    return int(tag[2:].split(",", maxsplit=1)[0])


@dataclass(frozen=True, eq=False)
class Boxes:
    """The boxes of one keyframe and its cameras; N agents."""

    sample: Any
    """The row of ``samples`` as a named tuple."""
    instances: tuple[str, ...]
    categories: tuple[str, ...]
    corners: Float[Array, "N 8 3"]
    """In the ego frame, m; corners next to each other differ in one bit of their index."""
    centres: Float[Array, "N 3"]

    @cached_property
    def _drawn(self) -> dict[str, Drawn]:
        return {}

    def drawn(self, camera: str) -> Drawn:
        """The boxes in a camera of ``frames.CAMERAS``."""
        if camera not in self._drawn:
            self._drawn[camera] = _draw(self.projection(camera), self.corners, self.centres)
        return self._drawn[camera]

    def projection(self, camera: str) -> Float[Array, "3 4"]:
        """Ego points to pixels of a 1600 x 900 image, whatever the size of ours."""
        name = camera.lower()
        intrinsics = np.asarray(getattr(self.sample, f"{name}_intrinsics"), float).reshape(3, 3)
        camera_from_ego = np.asarray(getattr(self.sample, f"{name}_camera_from_ego"), float).reshape(4, 4)
        size = (getattr(self.sample, f"{name}_width"), getattr(self.sample, f"{name}_height"))
        return image_from_ego(intrinsics, camera_from_ego, (IMAGE_PX[0] / size[0], IMAGE_PX[1] / size[1]))

    def resolve(self, tag: Tag, info: Any = None) -> tuple[str | None, str]:
        """Instance token of the agent that a tag means, and nothing; or None, and why not.

        ``info``: what ``key_object_infos`` says of the tag (``Category``, ``2d_bbox``), whatever it holds.
        """
        why = _unusable(tag)
        if why:
            return None, why
        drawn = self.drawn(tag.camera)
        rows, distance = _in_reach(drawn, np.array([tag.x, tag.y]))
        kinds = _kinds(info)
        rows = [row for row in rows if kinds is None or self.categories[row] in kinds]
        if not rows:
            return None, f"no agent within {REACH_PX:.0f} px" if kinds is None else "no agent of its category there"
        rows = _best(rows, _overlaps(drawn.rectangle, info), EQUAL_OVERLAP)
        rows = _best(rows, -distance, EQUAL_PX)
        return (self.instances[rows[0]], "") if len(rows) == 1 else (None, f"{len(rows)} agents equally near")


def boxes_of(sample: Any, agents: pd.DataFrame) -> Boxes:
    """The boxes of a keyframe: its row of ``samples``, its rows of ``agents``."""
    centres = agents[["x_m", "y_m", "z_m"]].to_numpy(float)
    plane = box_corners(agents[["x_m", "y_m", "yaw_rad", "length_m", "width_m"]].to_numpy(float))
    # Around the box 0 1 3 2: neighbours differ in one bit.
    ground = plane[:, [0, 1, 3, 2]]
    half = agents.height_m.to_numpy(float)[:, None] / 2
    levels = [
        np.concatenate([ground, np.broadcast_to((centres[:, 2:] + s * half)[:, None], (len(ground), 4, 1))], -1)
        for s in (-1, 1)
    ]
    return Boxes(
        sample=sample,
        instances=tuple(agents.instance_token),
        categories=tuple(agents.category),
        corners=np.concatenate(levels, 1),
        centres=centres,
    )


def _draw(image: Float[Array, "3 4"], corners: Float[Array, "N 8 3"], centres: Float[Array, "N 3"]) -> Drawn:
    points = corners @ image[:, :3].T + image[:, 3]
    first, second = points[:, _EDGES[:, 0]], points[:, _EDGES[:, 1]]
    # Where an edge runs through the plane just ahead of the camera, it is cut there.
    crosses = (first[..., 2] < NEAR_M) != (second[..., 2] < NEAR_M)
    run = np.where(crosses, second[..., 2] - first[..., 2], 1.0)
    cuts = first + ((NEAR_M - first[..., 2]) / run)[..., None] * (second - first)
    all_points = np.concatenate([points, cuts], 1)
    is_ahead = np.concatenate([points[..., 2] >= NEAR_M, crosses], 1)[..., None]
    pixels = all_points[..., :2] / np.where(is_ahead, all_points[..., 2:], 1.0)
    low = np.where(is_ahead, pixels, np.inf).min(1, initial=np.inf).clip(0.0, IMAGE_PX)
    high = np.where(is_ahead, pixels, -np.inf).max(1, initial=-np.inf).clip(0.0, IMAGE_PX)
    centre, depth = project(image, centres)
    return Drawn(
        centre=np.where(depth[:, None] >= NEAR_M, centre, np.nan),
        rectangle=np.concatenate([low, high], 1),
        is_inside=(high > low).all(1),
    )


def _unusable(tag: Tag) -> str:
    if tag.camera not in CAMERAS:
        return f"no camera {shown(tag.camera)}"
    if np.isnan(tag.x) or np.isnan(tag.y):
        return "no two numbers"
    is_outside = not (0 <= tag.x <= IMAGE_PX[0] and 0 <= tag.y <= IMAGE_PX[1])
    return "outside the image" if is_outside else ""


def _in_reach(drawn: Drawn, place: Float[Array, "2"]) -> tuple[list[int], Float[Array, "N"]]:
    """Rows of the boxes that answer to a place, and the distance of each box to it, px."""
    middle = (drawn.rectangle[:, :2] + drawn.rectangle[:, 2:]) / 2
    size = drawn.rectangle[:, 2:] - drawn.rectangle[:, :2]
    to_centre = np.nan_to_num(np.linalg.norm(drawn.centre - place, axis=1), nan=np.inf)
    distance = np.minimum(to_centre, np.linalg.norm(middle - place, axis=1))
    is_middle = (np.abs(place - middle) <= MIDDLE_SHARE * size).all(1)
    return [int(row) for row in np.flatnonzero(drawn.is_inside & ((distance <= REACH_PX) | is_middle))], distance


def _kinds(info: Any) -> tuple[str, ...] | None:
    """Categories of agents that a tag can mean; None for all."""
    category = info.get("Category") if isinstance(info, dict) else None
    return KINDS.get(category.strip().lower()) if isinstance(category, str) else None


def _overlaps(rectangles: Float[Array, "N 4"], info: Any) -> Float[Array, "N"]:
    """Intersection over union with the tag's ``2d_bbox``; all zero without one."""
    box = info.get("2d_bbox") if isinstance(info, dict) else None
    is_box = (
        isinstance(box, list) and len(box) == 4 and all(type(one) in (int, float) and abs(one) < 1e6 for one in box)
    )
    if not is_box:
        return np.zeros(len(rectangles))
    given = np.array(box, float)
    both = np.minimum(rectangles[:, 2:], given[2:]) - np.maximum(rectangles[:, :2], given[:2])
    shared = both.clip(0).prod(1)
    areas = (rectangles[:, 2:] - rectangles[:, :2]).clip(0).prod(1) + (given[2:] - given[:2]).clip(0).prod()
    return shared / np.maximum(areas - shared, 1e-9)


def _best(rows: list[int], score: Float[Array, "N"], equal: float) -> list[int]:
    """The rows whose score is the highest, or as good as that."""
    highest = max(score[row] for row in rows)
    return [row for row in rows if score[row] >= highest - equal]
