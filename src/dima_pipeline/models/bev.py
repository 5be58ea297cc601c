"""Bird's-eye-view grid: lifting image features onto it, encoding it, and carrying it along as the car moves.

Lifting follows BEVFormer's and Simple-BEV's geometry, made dense: every cell looks into every camera and masks what it
cannot see, so that the exported graph has fixed shapes and no ``nonzero``.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from dima_pipeline.models.backbone import ConvBlock
from dima_pipeline.models.initialization import BranchScale, scaled

MIN_DEPTH_M = 0.2


@dataclass(frozen=True)
class BevGrid:
    """Cells over ``range_m`` (x_min, y_min, x_max, y_max): seen as an image, forward is up and left is left."""

    shape: tuple[int, int]
    range_m: tuple[float, float, float, float]

    @property
    def num_cells(self) -> int:
        """Q."""
        return self.shape[0] * self.shape[1]

    def centers(self) -> Float[Tensor, "Q 2"]:
        """x, y (m) of the cell centres, row by row from x_max to x_min, each row from y_max to y_min."""
        x_min, y_min, x_max, y_max = self.range_m
        rows, columns = self.shape
        x = x_max - (torch.arange(rows) + 0.5) * (x_max - x_min) / rows
        y = y_max - (torch.arange(columns) + 0.5) * (y_max - y_min) / columns
        return torch.stack(torch.meshgrid(x, y, indexing="ij"), -1).flatten(0, 1)

    def sampling_grid(self, xy_m: Float[Tensor, "... 2"]) -> Float[Tensor, "... 2"]:
        """Ego points as ``grid_sample`` wants them: column, row in -1 ... 1 over the outer edges of the grid."""
        x_min, y_min, x_max, y_max = self.range_m
        column = (y_max - xy_m[..., 1]) / (y_max - y_min) * 2 - 1
        row = (x_max - xy_m[..., 0]) / (x_max - x_min) * 2 - 1
        return torch.stack([column, row], -1)

    def as_image(self, tokens: Float[Tensor, "B Q D"]) -> Float[Tensor, "B D rows columns"]:
        """BEV tokens as a feature image."""
        return tokens.transpose(1, 2).unflatten(2, self.shape)

    def sample(self, tokens: Float[Tensor, "B Q D"], xy_m: Float[Tensor, "B N 2"]) -> Float[Tensor, "B N D"]:
        """Bilinear tokens at ego points; zero outside."""
        grid = self.sampling_grid(xy_m)[:, :, None]
        sampled = nn.functional.grid_sample(self.as_image(tokens), grid, align_corners=False)
        return sampled.squeeze(3).transpose(1, 2)


def pillar_points(grid: BevGrid, heights_m: tuple[float, ...]) -> Float[Tensor, "N 4"]:
    """Homogeneous ego points (m), cell by cell, one for each height above its centre."""
    xy = grid.centers()[:, None].expand(-1, len(heights_m), -1)
    z = torch.tensor(heights_m).expand(grid.num_cells, -1)[..., None]
    return torch.cat([xy, z, torch.ones_like(z)], -1).flatten(0, 1)


def project_points(
    points: Float[Tensor, "N 4"],
    image_from_ego: Float[Tensor, "B C 3 4"],
    camera_valid: Bool[Tensor, "B C"],
    image_size: tuple[int, int],
) -> tuple[Float[Tensor, "B C N 2"], Float[Tensor, "B C N"]]:
    """Homogeneous ego points in each image (-1 ... 1 over its edges) and whether they are seen there (1 or 0)."""
    valid = camera_valid[..., None]
    # A missing camera may carry any matrix; a zero one sees nothing, for its depths are zero.
    matrix = torch.where(valid[..., None], image_from_ego, 0.0)
    u, v, depth = (matrix @ points.T).unbind(2)
    height, width = image_size
    safe = depth.clamp(min=MIN_DEPTH_M)
    where = torch.stack([u / safe / width, v / safe / height], -1) * 2 - 1
    inside = (where.abs() < 1).all(-1) & (depth > MIN_DEPTH_M)
    return where.clamp(-2, 2), inside.to(where.dtype)


def in_previous_frame(xy_m: Float[Tensor, "N 2"], prev_from_ego: Float[Tensor, "B 3"]) -> Float[Tensor, "B N 2"]:
    """Where points of the present ego frame lay in the previous one."""
    cos, sin = prev_from_ego[:, 2:].cos(), prev_from_ego[:, 2:].sin()
    x, y = xy_m.unbind(-1)
    return torch.stack([cos * x - sin * y, sin * x + cos * y], -1) + prev_from_ego[:, None, :2]


class SpatialLifting(nn.Module):
    """Image features gathered at the reference points of each BEV cell, one per height."""

    def __init__(
        self, grid: BevGrid, heights_m: tuple[float, ...], image_size: tuple[int, int], channels: int, dim: int
    ) -> None:
        super().__init__()
        self.image_size = image_size
        self.num_heights = len(heights_m)
        self.points: Tensor
        self.register_buffer("points", pillar_points(grid, heights_m), persistent=False)
        self.queries = nn.Parameter(torch.randn(grid.num_cells, dim) * 0.02)
        self.mix = scaled(nn.Linear(self.num_heights * (channels + 1), dim))
        self.mlp = nn.Sequential(
            nn.LayerNorm(dim), scaled(nn.Linear(dim, dim)), nn.SiLU(), scaled(nn.Linear(dim, dim)), BranchScale(dim)
        )

    def forward(
        self,
        features: Float[Tensor, "B C D h w"],
        image_from_ego: Float[Tensor, "B C 3 4"],
        camera_valid: Bool[Tensor, "B C"],
    ) -> Float[Tensor, "B Q D"]:
        """BEV tokens before any exchange between cells."""
        num_cameras = features.shape[1]
        where, seen = self.project(image_from_ego, camera_valid)
        grid = where.flatten(0, 1).unflatten(1, (-1, self.num_heights))
        sampled = nn.functional.grid_sample(features.flatten(0, 1), grid, align_corners=False)
        weight = (seen / seen.sum(1, keepdim=True).clamp(min=1)).unflatten(2, (-1, self.num_heights))
        lifted = (sampled.unflatten(0, (-1, num_cameras)) * weight[:, :, None]).sum(1)
        lifted = torch.cat([lifted, weight.sum(1)[:, None]], 1)
        tokens = self.queries + self.mix(lifted.permute(0, 2, 3, 1).flatten(2))
        return tokens + self.mlp(tokens)

    def project(
        self, image_from_ego: Float[Tensor, "B C 3 4"], camera_valid: Bool[Tensor, "B C"]
    ) -> tuple[Float[Tensor, "B C N 2"], Float[Tensor, "B C N"]]:
        """Reference points in each image (-1 ... 1 over its edges) and whether they are seen there (1 or 0)."""
        return project_points(self.points, image_from_ego, camera_valid, self.image_size)


class TemporalFusion(nn.Module):
    """The previous BEV, moved into the present ego frame and mixed in."""

    def __init__(self, grid: BevGrid, dim: int) -> None:
        super().__init__()
        self.grid = grid
        self.centers: Tensor
        self.register_buffer("centers", grid.centers(), persistent=False)
        self.mix = nn.Sequential(
            scaled(nn.Linear(2 * dim, dim)), nn.SiLU(), scaled(nn.Linear(dim, dim)), BranchScale(dim)
        )

    def forward(
        self,
        tokens: Float[Tensor, "B Q D"],
        memory: Float[Tensor, "B Q D"],
        is_valid: Bool[Tensor, "B"],
        prev_from_ego: Float[Tensor, "B 3"],
    ) -> Float[Tensor, "B Q D"]:
        """Where ``is_valid`` is false, memory and motion may hold anything: both are replaced by zeros first."""
        keep = is_valid[:, None]
        warped = self.warp(torch.where(keep[..., None], memory, 0.0), torch.where(keep, prev_from_ego, 0.0))
        return tokens + self.mix(torch.cat([tokens, warped], -1))

    def warp(self, memory: Float[Tensor, "B Q D"], prev_from_ego: Float[Tensor, "B 3"]) -> Float[Tensor, "B Q D"]:
        """``memory`` read at where the present cells lay in the previous ego frame; zero outside it."""
        return self.grid.sample(memory, in_previous_frame(self.centers, prev_from_ego))


class BevEncoder(nn.Module):
    """Convolutions over the grid: cells exchange what they see."""

    def __init__(self, grid: BevGrid, dim: int, num_layers: int) -> None:
        super().__init__()
        self.grid = grid
        self.blocks = nn.Sequential(*[ConvBlock(dim, dim) for _ in range(num_layers)])
        self.norm = nn.LayerNorm(dim)

    def forward(self, tokens: Float[Tensor, "B Q D"]) -> Float[Tensor, "B Q D"]:
        """Normalised tokens: a memory that is fed back for a whole scene must not grow."""
        return self.norm(self.blocks(self.grid.as_image(tokens)).flatten(2).transpose(1, 2))
