"""Distance between planned and driven position at each step, by the protocol that is asked for.

The distance is the same in all of them; what counts differs: standardised (PARA-Drive, CVPR 2024; DiMA) leaves out the
steps whose driven position is unknown and the first keyframe of a scene, UniAD counts unknown steps as 0 m.
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
    """Out of ``scoring.protocols.PROTOCOLS``."""


class PlanningL2:
    """``planning_l2`` (m) of a protocol."""

    def __init__(self, config: Config) -> None:
        self._protocol = protocol_named(config.protocol)
        self.protocol, self.horizon_rule = self._protocol.name, self._protocol.l2_rule

    def compute(self, plans: Float[np.ndarray, "N T 3"], scenes: DrivenScenes) -> MetricValues:
        """Distance (m) of the planned to the driven ego origin; headings do not matter."""
        return self._protocol.l2(open_loop_samples(plans, scenes, self.protocol))


build = PlanningL2
