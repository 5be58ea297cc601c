"""Distance between planned and driven position at each step.

Standardised protocol (PARA-Drive, CVPR 2024; DiMA table 1): the value at a horizon is the distance at that step, never
the mean over the steps before it, and a step whose driven position is unknown is left out instead of counted as 0.
"""

import numpy as np
from jaxtyping import Float

from dima_pipeline.metrics import DrivenScenes, MetricValues
from dima_pipeline.plugins import config_dataclass


@config_dataclass
class Config:
    """Nothing to choose: the distance is that of the ego origin in the plane, in metres."""


class PlanningL2:
    """``planning_l2`` (m) of the standardised protocol."""

    protocol = "standardised"

    def __init__(self, config: Config) -> None:
        self.config = config

    def compute(self, plans: Float[np.ndarray, "N T 3"], scenes: DrivenScenes) -> MetricValues:
        """Distance (m) of the planned to the driven ego origin; headings do not matter."""
        distance = np.linalg.norm(plans[..., :2] - scenes.path[..., :2], axis=-1)
        return MetricValues(value=np.where(scenes.path_valid, distance, 0.0), valid=scenes.path_valid)


build = PlanningL2
