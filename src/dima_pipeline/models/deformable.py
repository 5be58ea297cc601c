"""Multi-scale deformable attention (Zhu et al., ICLR 2021) in plain torch: a query reads a few places that it chooses.

Sampling is 4-D ``grid_sample`` alone, and every query looks into every view, masked where it cannot see (BEVFormer
gathers instead): fixed shapes and no ``nonzero``, so that the exported graph is the trained one.
"""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dima_pipeline.models.initialization import BRANCH_SCALE, BranchScale, scaled


class DeformableAttention(nn.Module):
    """Attention of N queries over V views of L feature images each, at ``num_points`` places a head and level.

    A query has R ``references`` in each view; point p starts from reference p mod R, as BEVFormer shares its points
    among the heights of a pillar. Offsets are in cells of the level; the weights of a head sum to 1 over all its
    levels and points. ``query_dim`` is the width of what chooses the places, where it is not ``dim``.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        *,
        num_levels: int = 1,
        num_points: int = 4,
        query_dim: int | None = None,
        branch_scale: float = BRANCH_SCALE,
    ) -> None:
        super().__init__()
        self.num_heads, self.num_levels, self.num_points = num_heads, num_levels, num_points
        num_places = num_heads * num_levels * num_points
        self.offsets = nn.Linear(query_dim or dim, 2 * num_places)
        self.weights = nn.Linear(query_dim or dim, num_places)
        self.value = scaled(nn.Linear(dim, dim), gain=1.0)
        self.out = nn.Sequential(scaled(nn.Linear(dim, dim), gain=1.0), BranchScale(dim, branch_scale))
        with torch.no_grad():
            for layer in (self.offsets, self.weights):
                layer.weight.zero_()
            self.weights.bias.zero_()
            self.offsets.bias.copy_(star(num_heads, num_levels, num_points).flatten())

    def forward(
        self,
        queries: Float[Tensor, "B N query_dim"],
        levels: Sequence[Float[Tensor, "B V D h w"]],
        references: Float[Tensor, "B V N R 2"],
        seen: Float[Tensor, "B V N R"],
    ) -> Float[Tensor, "B N D"]:
        """The mean over the views that see a query (zero before ``out`` where none does).

        ``references`` are column and row, -1 ... 1 over the outer edges of an image; ``seen`` is 1 or 0. What lies
        outside an image is zero, what is sampled around an unseen reference counts nothing.
        """
        assert len(levels) == self.num_levels, (len(levels), self.num_levels)
        assert self.num_points % references.shape[3] == 0, (self.num_points, references.shape)
        offsets = self.offsets(queries).unflatten(-1, (self.num_heads, self.num_levels, self.num_points, 2))
        weights = self.weights(queries).unflatten(-1, (self.num_heads, -1)).softmax(-1)
        weights = weights.unflatten(-1, (self.num_levels, self.num_points))
        repeats = self.num_points // references.shape[3]
        references, seen_points = references.repeat(1, 1, 1, repeats, 1), seen.repeat(1, 1, 1, repeats)
        reads = []
        for index, level in enumerate(levels):
            value = self.value(level.movedim(2, -1)).movedim(-1, 2)
            size = level.new_tensor([level.shape[-1], level.shape[-2]])
            places = references[:, :, :, None] + 2 / size * offsets[:, None, :, :, index]
            reads.append(sample(value, places, weights[:, None, :, :, index] * seen_points[:, :, :, None]))
        read = sum(reads[1:], reads[0])
        views = seen.amax(-1).sum(1).clamp(min=1)
        return self.out(read.sum(1) / views[..., None])


def sample(
    value: Float[Tensor, "B V D h w"], places: Float[Tensor, "B V N H P 2"], weight: Float[Tensor, "B V N H P"]
) -> Float[Tensor, "B V N D"]:
    """Weighted sums of bilinear samples; head k reads the k-th of H equal parts of the channels."""
    num_views, num_heads = value.shape[1], places.shape[3]
    images = value.unflatten(2, (num_heads, -1)).flatten(0, 2)
    grid = places.movedim(3, 2).flatten(0, 2)
    # In the precision of the places: half of it could not tell neighbouring cells apart.
    sampled = nn.functional.grid_sample(images.to(grid.dtype), grid, align_corners=False)
    read = (sampled * weight.movedim(3, 2).flatten(0, 2)[:, None]).sum(-1)
    return read.unflatten(0, (-1, num_views, num_heads)).flatten(2, 3).transpose(2, 3)


def star(num_heads: int, num_levels: int, num_points: int) -> Float[Tensor, "H L P 2"]:
    """Offsets (cells) to start from: each head looks into a direction of its own, point p is p + 1 cells away."""
    angle = torch.arange(num_heads) * (2 * math.pi / num_heads)
    direction = torch.stack([angle.cos(), angle.sin()], -1)
    direction = direction / direction.abs().amax(-1, keepdim=True)
    distance = torch.arange(1, num_points + 1)
    return (direction[:, None, None] * distance[:, None]).expand(-1, num_levels, -1, -1)
