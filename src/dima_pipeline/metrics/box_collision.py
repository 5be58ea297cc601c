"""Whether the planned ego box overlaps an agent's box at each step, with exact oriented boxes instead of a raster.

Standardised protocol (PARA-Drive, CVPR 2024): the ego box is turned by the planned heading, pedestrians count, and the
value at a horizon is that of its step. A step where the driven box overlaps too (annotation noise, people boarding)
counts as no collision; how often that is so is what ``compute_driven`` reports.
"""

from typing import Annotated

import numpy as np
from jaxtyping import Bool, Float
from pydantic import AfterValidator

from dima_pipeline.contracts.frames import AGENT_CATEGORIES, EGO_LENGTH_M, EGO_WIDTH_M
from dima_pipeline.geometry import boxes_overlap, ego_boxes
from dima_pipeline.metrics import DrivenScenes, MetricValues
from dima_pipeline.plugins import config_dataclass, unknown

DEFAULT_CLASSES = tuple(name for name in AGENT_CATEGORIES if name not in ("traffic_cone", "barrier"))


def known_class(name: str) -> str:
    """``name`` if it is an agent category; raises ``ValueError`` with the nearest one."""
    if name not in AGENT_CATEGORIES:
        raise ValueError(unknown("agent category", name, list(AGENT_CATEGORIES)))
    return name


@config_dataclass
class Config:
    """Which agents an ego box can collide with."""

    classes: tuple[Annotated[str, AfterValidator(known_class)], ...] = DEFAULT_CLASSES
    """Agent categories that count; cones and barriers do not by default, as their boxes are often driven past within
    annotation noise."""


class BoxCollision:
    """``box_collision`` (1 collides, 0 does not) of the standardised protocol."""

    protocol = "standardised"

    def __init__(self, config: Config) -> None:
        # Category -1 pads and picks the last entry: never counted.
        self._is_counted = np.array([name in config.classes for name in AGENT_CATEGORIES] + [False])

    def compute(self, plans: Float[np.ndarray, "N T 3"], scenes: DrivenScenes) -> MetricValues:
        """1 where the planned box overlaps a counted agent and the driven box does not."""
        collides = self.collides(plans, scenes) & ~self.collides(scenes.path, scenes)
        return MetricValues(value=np.where(scenes.path_valid, collides, False).astype(float), valid=scenes.path_valid)

    def compute_driven(self, scenes: DrivenScenes) -> MetricValues:
        """1 where the driven box itself overlaps: the raw ground-truth rate, to print beside every result."""
        collides = self.collides(scenes.path, scenes) & scenes.path_valid
        return MetricValues(value=collides.astype(float), valid=scenes.path_valid)

    def collides(self, path: Float[np.ndarray, "N T 3"], scenes: DrivenScenes) -> Bool[np.ndarray, "N T"]:
        """Whether the ego box on ``path`` overlaps a counted agent, before any forgiveness."""
        ego = ego_boxes(path)
        reach = (np.hypot(EGO_LENGTH_M, EGO_WIDTH_M) + np.hypot(scenes.boxes[..., 3], scenes.boxes[..., 4])) / 2
        gap = np.linalg.norm(scenes.boxes[..., :2] - ego[:, :, None, :2], axis=-1)
        is_counted = self._is_counted[scenes.category][:, None, :] & scenes.boxes_valid
        # Most boxes are too far away to touch: the exact test runs on the few that are not.
        sample, step, agent = np.nonzero(is_counted & (gap < reach))
        hit = boxes_overlap(ego[sample, step], scenes.boxes[sample, step, agent])
        collides = np.zeros(path.shape[:2], bool)
        collides[sample[hit], step[hit]] = True
        return collides


build = BoxCollision
