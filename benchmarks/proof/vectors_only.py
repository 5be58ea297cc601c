"""``vad`` whose ego reads agents and map alone, as in VAD: without the way past them, straight from the BEV."""

from typing import Any

from jaxtyping import Float
from torch import Tensor

from dima_pipeline.planners import vad
from dima_pipeline.planners.vad import EgoDecoder, VadPlanner
from dima_pipeline.plugins import config_dataclass


@config_dataclass
class Config(vad.Config):
    """As ``vad``."""


class VectorEgo(EgoDecoder):
    """The ego query: it attends to agents, then map."""

    def forward(
        self, bev: Float[Tensor, "B Q D"], agent: Float[Tensor, "B A D"], map_: Float[Tensor, "B M D"]
    ) -> Float[Tensor, "B 1 D"]:
        """The ego token."""
        ego = self.query.expand(bev.shape[0], -1, -1)
        return self.norm(self.map_layer(self.agent_layer(ego, agent), map_))


def build(config: Config, *, image_size: tuple[int, int], **_: Any) -> VadPlanner:
    """A freshly initialised planner for images of ``image_size`` = (height, width) pixels."""
    planner = VadPlanner(config, image_size)
    planner.ego.__class__ = VectorEgo  # all else begins with the very weights of ``vad``
    del planner.ego.summary, planner.ego.seed, planner.ego.bev_layer
    return planner
