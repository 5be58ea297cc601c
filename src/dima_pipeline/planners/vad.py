"""A small planner after VAD (Jiang et al., ICCV 2023): BEV -> agents and map as vectors -> ego query -> trajectory.

Dense camera masking, explicit memory and heads that read tokens alone make the module exportable as it is. Ego status
(speed, acceleration) is no input: the car must see how it moves.
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dima_pipeline.contracts.batch import BeamTokens, BevMemory, Plan, SceneBatch, SceneTargets
from dima_pipeline.contracts.frames import PERCEPTION_RANGE_M
from dima_pipeline.models.attention import DecoderLayer, sinusoids
from dima_pipeline.models.backbone import STRIDE, ImageBackbone
from dima_pipeline.models.bev import BevEncoder, BevGrid, SpatialLifting, TemporalFusion
from dima_pipeline.models.heads import AgentHead, MapHead, TrajectoryHead, spread_points
from dima_pipeline.models.initialization import scaled
from dima_pipeline.models.planning_losses import agent_losses, collision, map_losses, trajectory_l1
from dima_pipeline.plugins import config_dataclass


@config_dataclass
class Config:
    """The defaults train on two CPU cores; a cluster-size planner is these numbers, larger."""

    token_dim: int = 64
    """Width D of all tokens; a multiple of 8 and of ``num_heads``."""
    feature_dim: int = 64
    """Width of the penultimate features that distillation compares."""
    bev_shape: tuple[int, int] = (24, 12)
    range_m: tuple[float, float, float, float] = PERCEPTION_RANGE_M
    heights_m: tuple[float, ...] = (0.0, 1.0, 2.5)
    image_channels: int = 64
    num_bev_layers: int = 2
    num_decoder_layers: int = 2
    num_heads: int = 4
    num_agent_queries: int = 20
    num_map_queries: int = 16

    def __post_init__(self) -> None:
        """Refuse widths that do not divide; pydantic reports it under the plug-in's name."""
        if self.token_dim % 8 or self.token_dim % self.num_heads:
            raise ValueError(f"token_dim {self.token_dim} must be a multiple of 8 and of num_heads {self.num_heads}")
        if self.image_channels % 16:
            raise ValueError(f"image_channels {self.image_channels} must be a multiple of 16")


class VadPlanner(nn.Module):
    """See ``planners.Planner`` for the contract."""

    def __init__(self, config: Config, image_size: tuple[int, int]) -> None:
        super().__init__()
        if image_size[0] % STRIDE or image_size[1] % STRIDE:
            raise ValueError(f"image size {image_size} must be a multiple of {STRIDE} in both directions")
        self.config, self.image_size = config, image_size
        self.token_dim, self.feature_dim, self.bev_shape = config.token_dim, config.feature_dim, config.bev_shape
        grid = BevGrid(config.bev_shape, config.range_m)
        self.num_bev_cells = grid.num_cells
        self.backbone = ImageBackbone(config.image_channels)
        self.lifting = SpatialLifting(grid, config.heights_m, image_size, config.image_channels, config.token_dim)
        self.fusion = TemporalFusion(grid, config.token_dim)
        self.bev_encoder = BevEncoder(grid, config.token_dim, config.num_bev_layers)
        self.agents = VectorDecoder(config, grid, config.num_agent_queries)
        self.map = VectorDecoder(config, grid, config.num_map_queries)
        self.agent_head = AgentHead(config.token_dim, self.agents.anchors)
        self.map_head = MapHead(config.token_dim, self.map.anchors)
        self.ego = EgoDecoder(config, grid)
        self.trajectory_head = TrajectoryHead(config.token_dim, config.feature_dim)

    def encode(self, batch: SceneBatch, memory: BevMemory) -> tuple[BeamTokens, BevMemory]:
        """Scene tokens and the next memory."""
        num_samples, num_cameras, *image_shape = batch.images.shape
        assert tuple(image_shape[:2]) == self.image_size, (image_shape, self.image_size)
        features = self.backbone(batch.images.flatten(0, 1)).unflatten(0, (num_samples, num_cameras))
        bev = self.lifting(features, batch.image_from_ego, batch.camera_valid)
        bev = self.fusion(bev, memory.bev, memory.is_valid, batch.prev_from_ego)
        bev = self.bev_encoder(bev)
        agent, map_ = self.agents(bev), self.map(bev)
        beam = BeamTokens(
            bev=bev,
            ego=self.ego(bev, agent, map_),
            agent=agent,
            map=map_,
            agent_valid=torch.ones_like(agent[..., 0], dtype=torch.bool),
            map_valid=torch.ones_like(map_[..., 0], dtype=torch.bool),
        )
        return beam, BevMemory(bev=bev, is_valid=torch.ones_like(memory.is_valid))

    def plan(self, beam: BeamTokens, batch: SceneBatch) -> Plan:
        """The trajectory for the command; the ego looks at agents and map again, so that an edited beam counts."""
        ego = self.ego.replan(beam)
        trajectory, features = self.trajectory_head(ego[:, 0], batch.command)
        return Plan(trajectory=trajectory, features=features)

    def losses(
        self, beam: BeamTokens, plan: Plan, batch: SceneBatch, targets: SceneTargets
    ) -> dict[str, Float[Tensor, ""]]:
        """VAD's terms, each of order one at the start."""
        return {
            "trajectory_l1": trajectory_l1(plan.trajectory, targets),
            "collision": collision(plan.trajectory, targets),
            **agent_losses(self.agent_head, beam.agent, targets),
            **map_losses(self.map_head, beam.map, targets),
        }


class VectorDecoder(nn.Module):
    """Queries anchored in the plane that read the BEV: agents or map elements."""

    def __init__(self, config: Config, grid: BevGrid, num_queries: int) -> None:
        super().__init__()
        dim = config.token_dim
        self.grid = grid
        self.anchors: Tensor
        self.position: Tensor
        self.bev_position: Tensor
        self.register_buffer("anchors", spread_points(num_queries, config.range_m), persistent=False)
        self.register_buffer("position", sinusoids(self.anchors, dim), persistent=False)
        self.register_buffer("bev_position", sinusoids(grid.centers(), dim), persistent=False)
        self.queries = nn.Parameter(torch.randn(num_queries, dim) * 0.02)
        self.layers = nn.ModuleList(DecoderLayer(dim, config.num_heads) for _ in range(config.num_decoder_layers))
        self.norm = nn.LayerNorm(dim)

    def forward(self, bev: Float[Tensor, "B Q D"]) -> Float[Tensor, "B N D"]:
        """Tokens; each query starts from the BEV at its anchor, which saves it the search for its own place."""
        tokens = self.queries + self.grid.sample(bev, self.anchors.expand(bev.shape[0], -1, -1))
        for layer in self.layers:
            tokens = layer(tokens, bev, position=self.position, context_position=self.bev_position)
        return self.norm(tokens)


class EgoDecoder(nn.Module):
    """The ego query: it attends to agents, then map, then BEV, and once more to an agent-map scene when planning."""

    def __init__(self, config: Config, grid: BevGrid) -> None:
        super().__init__()
        dim = config.token_dim
        self.grid = grid
        self.bev_position: Tensor
        self.register_buffer("bev_position", sinusoids(grid.centers(), dim), persistent=False)
        self.query = nn.Parameter(torch.randn(1, dim) * 0.02)
        self.summary = nn.Sequential(
            scaled(nn.Conv2d(dim, dim, 3, 2, 1)),
            nn.SiLU(),
            scaled(nn.Conv2d(dim, dim // 2, 3, 2, 1)),
            nn.SiLU(),
            nn.Flatten(),
        )
        cells = -(-grid.shape[0] // 4) * -(-grid.shape[1] // 4)
        self.seed = scaled(nn.Linear(cells * (dim // 2), dim))
        layers = [DecoderLayer(dim, config.num_heads, self_attention=False) for _ in range(4)]
        self.agent_layer, self.map_layer, self.bev_layer, self.plan_layer = layers
        self.norm = nn.LayerNorm(dim)

    def forward(
        self, bev: Float[Tensor, "B Q D"], agent: Float[Tensor, "B A D"], map_: Float[Tensor, "B M D"]
    ) -> Float[Tensor, "B 1 D"]:
        """The ego token.

        It starts from a summary of the whole grid that keeps places apart: attention alone starts as an average over
        all cells and needs many more steps to find the road.
        """
        ego = self.query + self.seed(self.summary(self.grid.as_image(bev)))[:, None]
        ego = self.agent_layer(ego, agent)
        ego = self.map_layer(ego, map_)
        ego = self.bev_layer(ego, bev, context_position=self.bev_position)
        return self.norm(ego)

    def replan(self, beam: BeamTokens) -> Float[Tensor, "B 1 D"]:
        """The ego token after a look at the (possibly edited) vectors; itself among them, so that none is no NaN."""
        context = torch.cat([beam.ego, beam.agent, beam.map], 1)
        is_there = torch.ones_like(beam.agent_valid[:, :1])
        valid = torch.cat([is_there, beam.agent_valid, beam.map_valid], 1)
        return self.plan_layer(beam.ego, context, valid=valid)


def build(config: Config, *, image_size: tuple[int, int], **_: Any) -> VadPlanner:
    """A freshly initialised planner for images of ``image_size`` = (height, width) pixels."""
    return VadPlanner(config, image_size)
