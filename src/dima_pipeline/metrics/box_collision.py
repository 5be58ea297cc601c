"""Whether the planned ego box meets an agent's box at each step, by the protocol that is asked for.

A step where the driven box itself meets one (annotation noise, people boarding) counts as no collision, in every
protocol; how often that is so is what ``compute_driven`` reports.
"""

import numpy as np
from jaxtyping import Float

from dima_pipeline.metrics import DrivenScenes, MetricValues
from dima_pipeline.metrics._open_loop import ProtocolName, open_loop_samples
from dima_pipeline.plugins import config_dataclass
from dima_pipeline.scoring.protocols import protocol_named


@config_dataclass
class Config:
    """Whose numbers these shall be."""

    protocol: ProtocolName = "standardised"
    """Out of ``scoring.protocols.PROTOCOLS``; it also decides which agents count."""


class BoxCollision:
    """``box_collision`` (1 collides, 0 does not) of a protocol."""

    def __init__(self, config: Config) -> None:
        self._protocol = protocol_named(config.protocol)
        self.protocol, self.horizon_rule = self._protocol.name, self._protocol.collision_rule

    def compute(self, plans: Float[np.ndarray, "N T 3"], scenes: DrivenScenes) -> MetricValues:
        """1 where the planned box meets an agent that counts and the driven box meets none."""
        samples = open_loop_samples(plans, scenes, self.protocol)
        return self._protocol.box_collision(samples, self._protocol.collisions(samples))

    def compute_driven(self, scenes: DrivenScenes) -> MetricValues:
        """1 where the driven box itself meets one: the raw ground-truth rate, to print beside every result."""
        samples = open_loop_samples(scenes.path, scenes, self.protocol)
        return self._protocol.gt_box_collision(samples, self._protocol.collisions(samples))


build = BoxCollision
