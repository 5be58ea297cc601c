"""BEVFormer's encoder (Li et al., ECCV 2022): BEV queries that look back in time and out into the cameras.

A layer is temporal self-attention over the present BEV and the previous one, moved by the ego motion, then spatial
cross-attention around the pillar points of each cell, then an MLP: all deformable, all dense.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from dima_pipeline.contracts.batch import BevMemory, SceneBatch
from dima_pipeline.contracts.frames import CAMERAS
from dima_pipeline.models.attention import sinusoids
from dima_pipeline.models.bev import BevGrid, in_previous_frame, pillar_points, project_points
from dima_pipeline.models.deformable import DeformableAttention
from dima_pipeline.models.initialization import BranchScale, scaled

POINTS_PER_HEIGHT = 2
"""Places that a head samples around each pillar point: 8 for four heights, as in BEVFormer."""
TEMPORAL_POINTS = 4


@dataclass(frozen=True, kw_only=True)
class Views:
    """What the cameras show, and where each BEV cell looks in them."""

    levels: Sequence[Float[Tensor, "B C D h w"]]
    where: Float[Tensor, "B C Q R 2"]
    seen: Float[Tensor, "B C Q R"]


class BevFormerEncoder(nn.Module):
    """BEV tokens out of image features and memory; the tokens are the next memory."""

    def __init__(
        self,
        grid: BevGrid,
        dim: int,
        *,
        heights_m: tuple[float, ...],
        image_size: tuple[int, int],
        num_layers: int,
        num_heads: int,
        num_levels: int = 1,
    ) -> None:
        super().__init__()
        self.grid, self.image_size, self.num_heights = grid, image_size, len(heights_m)
        self.points: Tensor
        self.position: Tensor
        self.centers: Tensor
        self.register_buffer("points", pillar_points(grid, heights_m), persistent=False)
        self.register_buffer("centers", grid.centers(), persistent=False)
        self.register_buffer("position", sinusoids(self.centers, dim), persistent=False)
        self.queries = nn.Parameter(torch.randn(grid.num_cells, dim) * 0.02)
        self.camera_embedding = nn.Parameter(torch.randn(len(CAMERAS), dim) * 0.02)
        self.level_embedding = nn.Parameter(torch.randn(num_levels, dim) * 0.02)
        self.layers = nn.ModuleList(
            BevFormerLayer(grid, dim, num_heads, num_levels=num_levels, num_heights=len(heights_m))
            for _ in range(num_layers)
        )
        self.norm = nn.LayerNorm(dim)

    def forward(
        self, features: Sequence[Float[Tensor, "B C D h w"]], batch: SceneBatch, memory: BevMemory
    ) -> Float[Tensor, "B Q D"]:
        """Normalised tokens. Where the memory is not valid, it and the ego motion may hold anything."""
        named = self.camera_embedding[:, :, None, None]
        levels = [level + named + own[:, None, None] for level, own in zip(features, self.level_embedding, strict=True)]
        where, seen = project_points(self.points, batch.image_from_ego, batch.camera_valid, self.image_size)
        by_cell = (-1, self.num_heights)
        views = Views(levels=levels, where=where.unflatten(2, by_cell), seen=seen.unflatten(2, by_cell))
        previous = self.recall(memory, batch.prev_from_ego)
        tokens = self.queries.expand(previous.shape[0], -1, -1)
        for layer in self.layers:
            tokens = layer(tokens, self.position, previous, memory.is_valid, views)
        return self.norm(tokens)

    def recall(self, memory: BevMemory, prev_from_ego: Float[Tensor, "B 3"]) -> Float[Tensor, "B Q D"]:
        """The memory as seen from the present ego frame; zeros where it is not valid or the cell was not covered."""
        keep = memory.is_valid[:, None]
        there = in_previous_frame(self.centers, torch.where(keep, prev_from_ego, 0.0))
        return self.grid.sample(torch.where(keep[..., None], memory.bev, 0.0), there)


class BevFormerLayer(nn.Module):
    """See the module; pre-norm, as all transformer layers here."""

    def __init__(self, grid: BevGrid, dim: int, num_heads: int, *, num_levels: int, num_heights: int) -> None:
        super().__init__()
        self.grid = grid
        self.cells: Tensor
        self.register_buffer("cells", grid.sampling_grid(grid.centers())[None, None, :, None], persistent=False)
        self.temporal_norm, self.spatial_norm, self.mlp_norm = (nn.LayerNorm(dim) for _ in range(3))
        self.temporal = DeformableAttention(dim, num_heads, num_levels=2, num_points=TEMPORAL_POINTS, query_dim=2 * dim)
        num_points = POINTS_PER_HEIGHT * num_heights
        self.spatial = DeformableAttention(dim, num_heads, num_levels=num_levels, num_points=num_points)
        self.mlp = nn.Sequential(
            scaled(nn.Linear(dim, 2 * dim)), nn.GELU(), scaled(nn.Linear(2 * dim, dim)), BranchScale(dim)
        )

    def forward(
        self,
        tokens: Float[Tensor, "B Q D"],
        position: Float[Tensor, "Q D"],
        previous: Float[Tensor, "B Q D"],
        is_valid: Bool[Tensor, "B"],
        views: Views,
    ) -> Float[Tensor, "B Q D"]:
        """The tokens after one look back and one look out; without a past, the present stands in for it."""
        tokens = tokens + self.look_back(self.temporal_norm(tokens), position, previous, is_valid)
        asking = self.spatial_norm(tokens) + position
        tokens = tokens + self.spatial(asking, views.levels, views.where, views.seen)
        return tokens + self.mlp(self.mlp_norm(tokens))

    def look_back(
        self,
        present: Float[Tensor, "B Q D"],
        position: Float[Tensor, "Q D"],
        previous: Float[Tensor, "B Q D"],
        is_valid: Bool[Tensor, "B"],
    ) -> Float[Tensor, "B Q D"]:
        """Self-attention over two images, the previous BEV and the present one.

        BEVFormer takes the mean of a softmax for each; here one softmax spans both, so that a cell can turn from a
        past that does not help.
        """
        past = torch.where(is_valid[:, None, None], previous, present)
        levels = [self.grid.as_image(tokens)[:, None] for tokens in (past, present)]
        cells = self.cells.expand(present.shape[0], -1, -1, -1, -1)
        return self.temporal(torch.cat([past, present + position], -1), levels, cells, torch.ones_like(cells[..., 0]))
