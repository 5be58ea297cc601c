"""Who heeds whom (VAD, Jiang et al., ICCV 2023): agents other agents and the map, the ego both.

Motion: six modes of each agent attend to agents, then to the map. Ego: one query does the same. All heads after it
read tokens alone.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from dima_pipeline.contracts.frames import NUM_FUTURE_STEPS
from dima_pipeline.models.attention import DecoderLayer
from dima_pipeline.models.heads import POSITION_SCALE_M, STEP_SCALE_M, mlp
from dima_pipeline.models.initialization import scaled
from dima_pipeline.models.vector_losses import MotionAnswers


class MotionDecoder(nn.Module):
    """``num_modes`` futures of each agent, and one token that has seen them all (VAD's ``agent_fus_mlp``)."""

    def __init__(self, dim: int, *, num_modes: int, num_heads: int) -> None:
        super().__init__()
        self.num_modes = num_modes
        self.modes = nn.Parameter(torch.randn(num_modes, dim) * 0.02)
        self.position = nn.Linear(2, dim)
        self.agent_layer = DecoderLayer(dim, num_heads, self_attention=False)
        self.map_layer = DecoderLayer(dim, num_heads, self_attention=False)
        self.steps = mlp(2 * dim, 2 * NUM_FUTURE_STEPS)
        self.classify = mlp(2 * dim, 1)
        self.fuse = nn.Sequential(
            scaled(nn.Linear(2 * num_modes * dim, dim)),
            nn.LayerNorm(dim),
            nn.ReLU(),
            scaled(nn.Linear(dim, dim), gain=1.0),
        )

    def forward(
        self,
        agents: Float[Tensor, "B A D"],
        agent_centers: Float[Tensor, "B A 2"],
        lanes: Float[Tensor, "B M D"],
        lane_centers: Float[Tensor, "B M 2"],
    ) -> tuple[Float[Tensor, "B A D"], MotionAnswers]:
        """Agent tokens and futures; ``lanes`` are one token an element. Centres in metres."""
        where, lanes_at = (self.position(xy / POSITION_SCALE_M) for xy in (agent_centers, lane_centers))
        queries = (agents[:, :, None] + self.modes).flatten(1, 2)
        position = where.repeat_interleave(self.num_modes, 1)
        by_agents = self.agent_layer(queries, agents, position=position, context_position=where)
        by_map = self.map_layer(by_agents, lanes, position=position, context_position=lanes_at)
        seen = torch.cat([by_agents, by_map], -1).unflatten(1, (-1, self.num_modes))
        steps = STEP_SCALE_M * self.steps(seen).unflatten(-1, (NUM_FUTURE_STEPS, 2))
        return self.fuse(seen.flatten(2)), MotionAnswers(steps=steps, logits=self.classify(seen)[..., 0])


class EgoInteraction(nn.Module):
    """The ego query attends to agent tokens, then to map tokens; both carry their places themselves."""

    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        self.query = nn.Parameter(torch.randn(1, 1, dim) * 0.02)
        self.agent_layer = DecoderLayer(dim, num_heads, self_attention=False)
        self.map_layer = DecoderLayer(dim, num_heads, self_attention=False)
        self.norm = nn.LayerNorm(dim)

    def forward(
        self,
        agents: Float[Tensor, "B A D"],
        lanes: Float[Tensor, "B M D"],
        agent_valid: Bool[Tensor, "B A"],
        map_valid: Bool[Tensor, "B M"],
    ) -> tuple[Float[Tensor, "B 1 D"], Float[Tensor, "B 2D"]]:
        """The ego token after both, and VAD's ``ego_feats``: the query after the agents beside that after the map."""
        start = self.query.expand(agents.shape[0], -1, -1)
        by_agents = self._heed(self.agent_layer, start, agents, agent_valid)
        by_map = self.norm(self._heed(self.map_layer, by_agents, lanes, map_valid))
        return by_map, torch.cat([by_agents, by_map], -1)[:, 0]

    def _heed(
        self,
        layer: nn.Module,
        ego: Float[Tensor, "B 1 D"],
        others: Float[Tensor, "B N D"],
        valid: Bool[Tensor, "B N"],
    ) -> Float[Tensor, "B 1 D"]:
        # The ego stands among the others, so that a scene without anybody is no NaN.
        context = torch.cat([ego, others], 1)
        there = torch.cat([valid.new_ones(valid.shape[0], 1), valid], 1)
        return layer(ego, context, valid=there)
