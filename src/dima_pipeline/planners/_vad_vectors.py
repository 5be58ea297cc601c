"""VAD as the paper has it (Jiang et al., ICCV 2023): deformable BEV, refined vectors, interaction, six futures.

The parts that ``vad`` is made of where its configuration says ``parts: vad``; the contract is ``planners.Planner``.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from dima_pipeline.contracts.batch import BeamTokens, BevMemory, Plan, SceneBatch, SceneTargets
from dima_pipeline.models.backbone import STRIDE, ImageBackbone
from dima_pipeline.models.bev import BevGrid
from dima_pipeline.models.bevformer import BevFormerEncoder
from dima_pipeline.models.feature_pyramid import FeaturePyramid
from dima_pipeline.models.heads import POSITION_SCALE_M, EgoStatus, TrajectoryHead
from dima_pipeline.models.interaction import EgoInteraction, MotionDecoder
from dima_pipeline.models.plan_constraints import plan_constraints, predicted_scene
from dima_pipeline.models.planning_losses import trajectory_l1
from dima_pipeline.models.recompute import recomputed
from dima_pipeline.models.tensors import map_arrays
from dima_pipeline.models.vector_decoders import AgentDecoder, LaneEncoder, MapDecoder
from dima_pipeline.models.vector_losses import (
    AgentAnswers,
    MapAnswers,
    MotionAnswers,
    agent_losses,
    map_losses,
    motion_losses,
)

if TYPE_CHECKING:
    from dima_pipeline.planners.vad import Config

LOSS_WEIGHTS = {
    "trajectory_l1": 1.0,
    "collision": 1.0,
    "boundary": 1.0,
    "direction": 0.5,
    "agent_class": 0.8,
    "agent_box": 0.1,
    "agent_motion": 0.2,
    "agent_mode": 0.2,
    "map_class": 0.8,
    "map_points": 0.4,
    "map_direction": 0.005,
}
"""VAD's in its second stage. Its first has 2.0, 0.25, 2.0 and 1.0 for classes, boxes and points, and 0 for the plan."""


@dataclass(frozen=True, kw_only=True)
class Decoded:
    """What the decoders said on the way to the tokens: what the losses ask for."""

    agents: tuple[AgentAnswers, ...]
    motion: MotionAnswers
    map: tuple[MapAnswers, ...]


@dataclass(frozen=True, kw_only=True)
class VadTokens(BeamTokens):
    """BEAM tokens of VAD, and which tensor each is: the one place that says what a teacher gets to see.

    ``bev``: output of the BEVFormer encoder. ``agent``: after the motion decoder, its modes fused (``agent_fus_mlp``).
    ``map``: one token an element (``lane_encoder``). Agents and elements carry a linear encoding of their centre, as
    VAD gives it to the ego query. ``ego``: the ego query after it has attended to agents and map. These are the stages
    that the notes on DiMA recommend, which the paper does not name.
    """

    decoded: Decoded


class VectorPlanner(nn.Module):
    """See ``planners.Planner`` for the contract."""

    def __init__(self, config: "Config", image_size: tuple[int, int]) -> None:
        super().__init__()
        self.config, self.image_size = config, image_size
        self.token_dim, self.feature_dim, self.bev_shape = config.token_dim, config.feature_dim, config.bev_shape
        dim, num_heads, num_layers = config.token_dim, config.num_heads, config.num_decoder_layers
        grid = BevGrid(config.bev_shape, config.range_m)
        self.num_bev_cells = grid.num_cells
        self.backbone, channels = build_backbone(config, image_size)
        self.neck = FeaturePyramid(channels, dim, config.num_levels)
        self.bev_encoder = BevFormerEncoder(
            grid,
            dim,
            heights_m=config.heights_m,
            image_size=image_size,
            num_layers=config.num_bev_layers,
            num_heads=num_heads,
            num_levels=config.num_levels,
        )
        self.agents = AgentDecoder(
            grid, dim, num_queries=config.num_agent_queries, num_heads=num_heads, num_layers=num_layers
        )
        self.map = MapDecoder(grid, dim, num_queries=config.num_map_queries, num_heads=num_heads, num_layers=num_layers)
        self.lane_encoder = LaneEncoder(dim)
        self.motion = MotionDecoder(dim, num_modes=config.num_modes, num_heads=num_heads)
        self.agent_position, self.map_position = nn.Linear(2, dim), nn.Linear(2, dim)
        self.agent_norm, self.map_norm = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.ego = EgoInteraction(dim, num_heads)
        self.trajectory_head = TrajectoryHead(2 * dim, config.feature_dim)
        self.ego_status = EgoStatus(2 * dim) if config.uses_ego_status else None
        self._computes_again = False

    def checkpoint_gradients(self) -> None:
        """From now on, activations of backbone and BEV encoder are computed again in the backward pass, not kept."""
        self._computes_again = True

    def _kept_or_not(self, part: nn.Module, *inputs: Any) -> Any:
        return recomputed(part, *inputs) if self._computes_again else part(*inputs)

    def encode(self, batch: SceneBatch, memory: BevMemory) -> tuple[VadTokens, BevMemory]:
        """Scene tokens and the next memory."""
        num_samples, num_cameras, *image_shape = batch.images.shape
        assert tuple(image_shape[:2]) == self.image_size, (image_shape, self.image_size)
        features = self.neck(self._kept_or_not(self.backbone, batch.images.flatten(0, 1)))
        levels = [level.unflatten(0, (num_samples, num_cameras)) for level in features]
        bev = self._kept_or_not(self.bev_encoder, levels, batch, memory)
        return self.decode(bev), BevMemory(bev=bev, is_valid=torch.ones_like(memory.is_valid))

    def decode(self, bev: Float[Tensor, "B Q D"]) -> VadTokens:
        """Agents, map and ego out of the BEV."""
        agents, map_ = self.agents(bev), self.map(bev)
        lanes = self.lane_encoder(map_.tokens)
        centers = agents.answers[-1].boxes[..., :2].detach()
        lane_centers = map_.answers[-1].points.mean(2).detach()
        fused, motion = self.motion(agents.tokens, centers, lanes, lane_centers)
        agent = self.agent_norm(fused + self.agent_position(centers / POSITION_SCALE_M))
        lane = self.map_norm(lanes + self.map_position(lane_centers / POSITION_SCALE_M))
        agent_valid, map_valid = (torch.ones_like(x[..., 0], dtype=torch.bool) for x in (agent, lane))
        ego, _ = self.ego(agent, lane, agent_valid, map_valid)
        return VadTokens(
            bev=bev,
            ego=ego,
            agent=agent,
            map=lane,
            agent_valid=agent_valid,
            map_valid=map_valid,
            agent_center=centers,
            map_center=lane_centers,
            decoded=Decoded(agents=agents.answers, motion=motion, map=map_.answers),
        )

    def plan(self, beam: BeamTokens, batch: SceneBatch) -> Plan:
        """The trajectory for the command; the ego looks at agents and map anew, so that an edited beam counts."""
        _, ego = self.ego(beam.agent, beam.map, beam.agent_valid, beam.map_valid)
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
        """VAD's terms times ``LOSS_WEIGHTS``; those of agents and map are sums over the layers of their decoders."""
        assert isinstance(beam, VadTokens), type(beam)
        decoded: Decoded = map_arrays(beam.decoded, lambda answer: answer.float())
        path = plan.trajectory.float()
        by_layer = [agent_losses(answers, targets) for answers in decoded.agents]
        layers = [terms for terms, _ in by_layer]
        layers += [map_losses(answers, targets, self.config.range_m) for answers in decoded.map]
        scene = predicted_scene(decoded.agents[-1], decoded.motion, decoded.map[-1])
        terms = {
            "trajectory_l1": trajectory_l1(path, targets),
            **plan_constraints(path, targets.ego_future_valid, scene),
            **motion_losses(decoded.motion, by_layer[-1][1], targets),
            **add_up(layers),
        }
        return {name: LOSS_WEIGHTS[name] * value for name, value in terms.items()}


def add_up(layers: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Sums by name."""
    names = dict.fromkeys(name for terms in layers for name in terms)
    return {name: torch.stack([terms[name] for terms in layers if name in terms]).sum() for name in names}


def build_backbone(config: "Config", image_size: tuple[int, int]) -> tuple[nn.Module, tuple[int, ...]]:
    """The image backbone and the channels of its outputs; ``ValueError`` for images that its stride does not divide."""
    if config.backbone == "small":
        check_stride(image_size, STRIDE)
        return _Single(config.image_channels), (config.image_channels,)
    from dima_pipeline.models import resnet  # transformers takes a second to import: only for who asks for it

    check_stride(image_size, resnet.STRIDE)
    backbone = resnet.ResNet(
        num_stages=config.num_stages,
        norm=config.backbone_norm,
        num_frozen_stages=config.num_frozen_stages,
        weights=config.backbone_weights,
    )
    return backbone, backbone.channels


def check_stride(image_size: tuple[int, int], stride: int) -> None:
    """Refuse images that are no whole number of feature cells."""
    if image_size[0] % stride or image_size[1] % stride:
        raise ValueError(f"image size {image_size} must be a multiple of {stride} in both directions")


class _Single(ImageBackbone):
    """The small backbone, with its one output as a level."""

    def forward(self, images: Tensor) -> tuple[Float[Tensor, "N D h w"]]:  # type: ignore[override]
        """A tuple of one."""
        return (super().forward(images),)
