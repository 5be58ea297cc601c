"""Decoder layers with reference points that each layer refines (Deformable DETR, Zhu et al., ICLR 2021).

A query is a place in the plane and a token. A layer lets the queries attend to each other, reads the BEV around each
place by deformable attention, and moves the place by what it read. Agents are one place, map elements twenty.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dima_pipeline.models.attention import Attention, sinusoids
from dima_pipeline.models.bev import BevGrid
from dima_pipeline.models.deformable import DeformableAttention
from dima_pipeline.models.heads import mlp
from dima_pipeline.models.initialization import BranchScale, scaled

NUM_POINTS = 4
EDGE = 1e-3
"""References stay so far inside the range, as a share of it: on its edge their logits would be infinite."""


class RefiningDecoder(nn.Module):
    """``num_layers`` layers over one BEV grid."""

    def __init__(self, grid: BevGrid, dim: int, num_heads: int, num_layers: int) -> None:
        super().__init__()
        self.grid, self.dim = grid, dim
        self.layers = nn.ModuleList(RefiningLayer(dim, num_heads) for _ in range(num_layers))
        self.shifts = nn.ModuleList(mlp(dim, 2) for _ in range(num_layers))
        self.norms = nn.ModuleList(nn.LayerNorm(dim) for _ in range(num_layers))

    def forward(
        self, tokens: Float[Tensor, "N D"], references: Float[Tensor, "N 2"], bev: Float[Tensor, "B Q D"]
    ) -> list[tuple[Float[Tensor, "B N D"], Float[Tensor, "B N 2"]]]:
        """Tokens and points (m) after each layer, from queries and their references (logits of ``to_metres``).

        A layer does not train the references of the layers before it.
        """
        batch_size = bev.shape[0]
        tokens, references = tokens.expand(batch_size, -1, -1), references.expand(batch_size, -1, -1)
        image = self.grid.as_image(bev)[:, None]
        answers = []
        for layer, shift, norm in zip(self.layers, self.shifts, self.norms, strict=True):
            points = to_metres(references, self.grid)
            places = self.grid.sampling_grid(points)[:, None, :, None]
            tokens = layer(tokens, sinusoids(points, self.dim), image, places)
            moved = references + shift(tokens)
            answers.append((norm(tokens), to_metres(moved, self.grid)))
            references = moved.detach()
        return answers


class RefiningLayer(nn.Module):
    """Self-attention, deformable attention into the BEV, MLP; pre-norm."""

    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        self.self_norm, self.cross_norm, self.mlp_norm = (nn.LayerNorm(dim) for _ in range(3))
        self.self_attention = Attention(dim, num_heads)
        self.cross_attention = DeformableAttention(dim, num_heads, num_points=NUM_POINTS)
        self.mlp = nn.Sequential(
            scaled(nn.Linear(dim, 2 * dim)), nn.GELU(), scaled(nn.Linear(2 * dim, dim)), BranchScale(dim)
        )

    def forward(
        self,
        tokens: Float[Tensor, "B N D"],
        position: Float[Tensor, "B N D"],
        image: Float[Tensor, "B 1 D rows columns"],
        places: Float[Tensor, "B 1 N 1 2"],
    ) -> Float[Tensor, "B N D"]:
        """Contextual tokens; positions are added to what is compared, not to what is read."""
        y = self.self_norm(tokens)
        tokens = tokens + self.self_attention(y + position, y + position, y)
        y = self.cross_norm(tokens) + position
        tokens = tokens + self.cross_attention(y, [image], places, torch.ones_like(places[..., 0]))
        return tokens + self.mlp(self.mlp_norm(tokens))


def to_metres(references: Float[Tensor, "... 2"], grid: BevGrid) -> Float[Tensor, "... 2"]:
    """Ego points of logits: a sigmoid over the range of the grid."""
    low, high = (references.new_tensor(corner) for corner in (grid.range_m[:2], grid.range_m[2:]))
    return low + references.sigmoid() * (high - low)


def from_metres(points_m: Float[Tensor, "... 2"], grid: BevGrid) -> Float[Tensor, "... 2"]:
    """The logits of ego points: ``to_metres`` the other way round."""
    low, high = (points_m.new_tensor(corner) for corner in (grid.range_m[:2], grid.range_m[2:]))
    return ((points_m - low) / (high - low)).clamp(EDGE, 1 - EDGE).logit()
