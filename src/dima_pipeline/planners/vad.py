"""A planner after VAD (Jiang et al., ICCV 2023): BEV -> agents and map as vectors -> ego query -> trajectory.

Here are its configuration and its small parts, which train in minutes; VAD's own are in ``_vad_vectors``. Dense camera
masking, explicit memory and heads that read tokens alone make both exportable as they are. Unless the configuration
asks for ego status, the motion since the last keyframe only aligns the memory: the car must see how it moves.
"""

from typing import Any, Literal

import torch
from jaxtyping import Float, Int
from pydantic import Field, model_validator
from torch import Tensor, nn

from dima_pipeline.contracts.batch import BeamTokens, BevMemory, Plan, SceneBatch, SceneTargets
from dima_pipeline.contracts.frames import PERCEPTION_RANGE_M
from dima_pipeline.models.attention import DecoderLayer, sinusoids
from dima_pipeline.models.backbone import STRIDE, ImageBackbone
from dima_pipeline.models.bev import BevEncoder, BevGrid, SpatialLifting, TemporalFusion
from dima_pipeline.models.heads import AgentHead, EgoStatus, MapHead, TrajectoryHead, spread_points
from dima_pipeline.models.initialization import scaled
from dima_pipeline.models.planning_losses import agent_losses, collision, map_losses, trajectory_l1
from dima_pipeline.models.recompute import recomputed
from dima_pipeline.planners._vad_sizes import fill
from dima_pipeline.planners._vad_vectors import VectorPlanner, check_stride
from dima_pipeline.plugins import config_dataclass


@config_dataclass
class Config:
    """``size`` fills in what is not said: ``tiny_cpu`` trains on two CPU cores, the others are VAD's.

    ``parts: small`` are the parts in this file; ``parts: vad`` are those of ``_vad_vectors``: BEVFormer's encoder,
    decoders that refine, ``num_modes`` futures of each agent, all of VAD's losses.
    """

    size: Literal["tiny_cpu", "vad_tiny", "vad_base"] = "tiny_cpu"
    parts: Literal["small", "vad"] = "small"
    token_dim: int = 64
    """Width D of all tokens; a multiple of 8 and of ``num_heads``."""
    feature_dim: int = 64
    """Width of the penultimate features that distillation compares."""
    bev_shape: tuple[int, int] = (24, 12)
    range_m: tuple[float, float, float, float] = PERCEPTION_RANGE_M
    heights_m: tuple[float, ...] = (0.0, 1.0, 2.5)
    image_channels: int = 64
    """Of the small backbone."""
    num_bev_layers: int = 2
    num_decoder_layers: int = 2
    num_heads: int = 4
    num_agent_queries: int = 20
    num_map_queries: int = 16
    num_modes: int = Field(default=6, ge=1)
    uses_ego_status: bool = False
    """Whether the trajectory head is told velocity and yaw rate (DiMA+)."""
    backbone: Literal["small", "resnet50"] = "small"
    num_stages: int = Field(default=1, ge=1, le=4)
    """How many of the last stages of a ``resnet50`` are read."""
    num_levels: int = Field(default=1, ge=1)
    """Of the feature pyramid; at least ``num_stages`` with a ``resnet50``."""
    backbone_weights: str | None = None
    """Local folder of a ResNet-50 in Hugging Face's format (safetensors); None starts from random weights."""
    backbone_norm: Literal["frozen", "batch"] = "frozen"
    """Batch normalisation of a ``resnet50``: as stored, like VAD, or trained."""
    num_frozen_stages: int = Field(default=0, ge=0, le=4)
    """Stages of a ``resnet50`` that do not train, its stem with them; VAD: 1, from weights of ImageNet."""

    @model_validator(mode="before")
    @classmethod
    def fill_size(cls, given: Any) -> Any:
        """Put the options of ``size`` below those that are given."""
        return fill(given)

    def __post_init__(self) -> None:
        """Refuse what does not fit together; pydantic reports it under the plug-in's name."""
        if self.token_dim % 8 or self.token_dim % self.num_heads:
            raise ValueError(f"token_dim {self.token_dim} must be a multiple of 8 and of num_heads {self.num_heads}")
        if self.image_channels % 16:
            raise ValueError(f"image_channels {self.image_channels} must be a multiple of 16")
        if self.parts == "small" and (self.backbone != "small" or self.num_levels > 1):
            raise ValueError(f"backbone {self.backbone} with num_levels {self.num_levels} needs parts: vad, got small")
        if self.backbone == "resnet50" and self.num_levels < self.num_stages:
            raise ValueError(f"num_levels {self.num_levels} must be num_stages {self.num_stages} or more")


class VadPlanner(nn.Module):
    """The small parts; see ``planners.Planner`` for the contract."""

    def __init__(self, config: Config, image_size: tuple[int, int]) -> None:
        super().__init__()
        check_stride(image_size, STRIDE)
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
        self.ego_status = EgoStatus(config.token_dim) if config.uses_ego_status else None
        self._computes_again = False

    def checkpoint_gradients(self) -> None:
        """From now on, activations of the image backbone are computed again in the backward pass instead of kept."""
        self._computes_again = True

    def encode(self, batch: SceneBatch, memory: BevMemory) -> tuple[BeamTokens, BevMemory]:
        """Scene tokens and the next memory."""
        num_samples, num_cameras, *image_shape = batch.images.shape
        assert tuple(image_shape[:2]) == self.image_size, (image_shape, self.image_size)
        images = batch.images.flatten(0, 1)
        features = recomputed(self.backbone, images) if self._computes_again else self.backbone(images)
        features = features.unflatten(0, (num_samples, num_cameras))
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
        ego = self.ego.replan(beam)[:, 0]
        if self.ego_status is not None:
            ego = self.ego_status(ego, batch.prev_from_ego)
        trajectory, features = self.trajectory_head(ego, batch.command)
        return Plan(trajectory=trajectory, features=features)

    def trajectory_of(self, features: Float[Tensor, "B F"], command: Int[Tensor, "B"]) -> Float[Tensor, "B T 2"]:
        """The trajectory that penultimate features mean, whoever they come from."""
        return self.trajectory_head.decode(features, command)

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


def build(config: Config, *, image_size: tuple[int, int], **_: Any) -> VadPlanner | VectorPlanner:
    """A freshly initialised planner for images of ``image_size`` = (height, width) pixels."""
    return VadPlanner(config, image_size) if config.parts == "small" else VectorPlanner(config, image_size)
