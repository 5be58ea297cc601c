"""VAD's agents and vectorised map (Jiang et al., ICCV 2023): queries that read the BEV, and what each layer says."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dima_pipeline.contracts.frames import AGENT_CATEGORIES, NUM_POLYLINE_POINTS
from dima_pipeline.models.bev import BevGrid
from dima_pipeline.models.heads import SPEED_SCALE_MPS, TYPICAL_LENGTH_M, TYPICAL_WIDTH_M, mlp, spread_points
from dima_pipeline.models.initialization import scaled
from dima_pipeline.models.refining_decoder import RefiningDecoder, from_metres
from dima_pipeline.models.vector_losses import AgentAnswers, MapAnswers

NUM_MAP_KINDS = 3
"""The first of ``frames.MAP_KINDS``: dividers, crossings, boundaries, as VAD has them."""
PRIOR = 0.01
"""Focal loss starts with all logits at this chance (Lin et al., ICCV 2017)."""
START_LENGTH_M = 5.0
"""Map elements start as lines along x so long."""
NUM_LANE_LAYERS = 3


@dataclass(frozen=True, kw_only=True)
class DecodedAgents:
    """Tokens of the last layer, and the answers of all."""

    tokens: Float[Tensor, "B A D"]
    answers: tuple[AgentAnswers, ...]


@dataclass(frozen=True, kw_only=True)
class DecodedMap:
    """Tokens of the last layer, one a point, and the answers of all."""

    tokens: Float[Tensor, "B M P D"]
    answers: tuple[MapAnswers, ...]


class AgentDecoder(nn.Module):
    """``num_queries`` agents: category, box and velocity after each layer."""

    def __init__(self, grid: BevGrid, dim: int, *, num_queries: int, num_heads: int, num_layers: int) -> None:
        super().__init__()
        self.queries = nn.Parameter(torch.randn(num_queries, dim) * 0.02)
        self.references = nn.Parameter(from_metres(spread_points(num_queries, grid.range_m), grid))
        self.decoder = RefiningDecoder(grid, dim, num_heads, num_layers)
        self.classify = nn.ModuleList(rare(mlp(dim, len(AGENT_CATEGORIES))) for _ in range(num_layers))
        self.shape = nn.ModuleList(mlp(dim, 6) for _ in range(num_layers))

    def forward(self, bev: Float[Tensor, "B Q D"]) -> DecodedAgents:
        """Agents of a scene."""
        found = self.decoder(self.queries, self.references, bev)
        answers = []
        for (tokens, centers), classify, shape in zip(found, self.classify, self.shape, strict=True):
            raw = shape(tokens)
            size = raw.new_tensor([TYPICAL_LENGTH_M, TYPICAL_WIDTH_M]).log()
            boxes = torch.cat([centers, raw[..., :2], size + raw[..., 2:4], SPEED_SCALE_MPS * raw[..., 4:]], -1)
            answers.append(AgentAnswers(logits=classify(tokens), boxes=boxes))
        return DecodedAgents(tokens=found[-1][0], answers=tuple(answers))


class MapDecoder(nn.Module):
    """``num_queries`` polylines: a query a point, made of one for its element and one for its place in it (MapTR)."""

    def __init__(self, grid: BevGrid, dim: int, *, num_queries: int, num_heads: int, num_layers: int) -> None:
        super().__init__()
        self.elements = nn.Parameter(torch.randn(num_queries, 1, dim) * 0.02)
        self.points = nn.Parameter(torch.randn(NUM_POLYLINE_POINTS, dim) * 0.02)
        # No torch.linspace: once transformers has read a checkpoint, it ignores torch.device("meta").
        along = (torch.arange(NUM_POLYLINE_POINTS) / (NUM_POLYLINE_POINTS - 1) - 0.5) * START_LENGTH_M
        line = torch.stack([along, torch.zeros_like(along)], -1)
        start = spread_points(num_queries, grid.range_m)[:, None] + line
        self.references = nn.Parameter(from_metres(start, grid))
        self.decoder = RefiningDecoder(grid, dim, num_heads, num_layers)
        self.classify = nn.ModuleList(rare(mlp(dim, NUM_MAP_KINDS)) for _ in range(num_layers))

    def forward(self, bev: Float[Tensor, "B Q D"]) -> DecodedMap:
        """Map elements of a scene; an element's kind is read from the mean of its points' tokens."""
        queries = (self.elements + self.points).flatten(0, 1)
        found = self.decoder(queries, self.references.flatten(0, 1), bev)
        by_element = (-1, NUM_POLYLINE_POINTS)
        tokens = [tokens.unflatten(1, by_element) for tokens, _ in found]
        answers = tuple(
            MapAnswers(logits=classify(own.mean(2)), points=points.unflatten(1, by_element))
            for own, (_, points), classify in zip(tokens, found, self.classify, strict=True)
        )
        return DecodedMap(tokens=tokens[-1], answers=answers)


class LaneEncoder(nn.Module):
    """One token for each polyline out of those of its points (VectorNet, Gao et al., CVPR 2020; VAD's LaneNet).

    Each layer gives every point the largest value of all points beside its own; the token is the largest of all.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            nn.Sequential(scaled(nn.Linear(dim, dim // 2)), nn.LayerNorm(dim // 2), nn.ReLU())
            for _ in range(NUM_LANE_LAYERS)
        )

    def forward(self, points: Float[Tensor, "B M P D"]) -> Float[Tensor, "B M D"]:
        """The order of the points does not matter."""
        for layer in self.layers:
            own = layer(points)
            points = torch.cat([own, own.amax(2, keepdim=True).expand_as(own)], -1)
        return points.amax(2)


def rare(head: nn.Sequential) -> nn.Sequential:
    """``head`` with a last layer that starts at the logit of ``PRIOR``."""
    last = head[-1]
    assert isinstance(last, nn.Linear)
    nn.init.constant_(last.bias, -math.log(1 / PRIOR - 1))
    return head
