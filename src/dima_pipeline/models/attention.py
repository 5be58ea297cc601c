"""Pre-norm transformer layers on ``scaled_dot_product_attention``: no dropout, so a forward pass is a function."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from dima_pipeline.models.initialization import BRANCH_SCALE, BranchScale, scaled


class Attention(nn.Module):
    """Multi-head attention of queries over keys, scaled for a residual connection."""

    def __init__(self, dim: int, num_heads: int, branch_scale: float = BRANCH_SCALE) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.query, self.key, self.value = (scaled(nn.Linear(dim, dim), gain=1.0) for _ in range(3))
        self.out = nn.Sequential(scaled(nn.Linear(dim, dim), gain=1.0), BranchScale(dim, branch_scale))

    def forward(
        self,
        queries: Float[Tensor, "B N D"],
        keys: Float[Tensor, "B S D"],
        values: Float[Tensor, "B S D"],
        valid: Bool[Tensor, "B S"] | None = None,
    ) -> Float[Tensor, "B N D"]:
        """Every row of ``valid`` must hold a true one: a softmax over nothing is NaN."""
        q, k, v = self._split(self.query(queries)), self._split(self.key(keys)), self._split(self.value(values))
        mask = None if valid is None else valid[:, None, None, :]
        y = nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        return self.out(y.transpose(1, 2).flatten(2))

    def _split(self, x: Float[Tensor, "B N D"]) -> Float[Tensor, "B h N d"]:
        return x.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)


class DecoderLayer(nn.Module):
    """Queries attend to each other (unless there is one only), then to the context, then pass an MLP."""

    def __init__(
        self, dim: int, num_heads: int, *, self_attention: bool = True, branch_scale: float = BRANCH_SCALE
    ) -> None:
        super().__init__()
        self.self_norm = nn.LayerNorm(dim) if self_attention else None
        self.self_attention = Attention(dim, num_heads, branch_scale) if self_attention else None
        self.cross_norm, self.mlp_norm = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.cross_attention = Attention(dim, num_heads, branch_scale)
        self.mlp = nn.Sequential(
            scaled(nn.Linear(dim, 2 * dim)), nn.GELU(), scaled(nn.Linear(2 * dim, dim)), BranchScale(dim, branch_scale)
        )

    def forward(
        self,
        x: Float[Tensor, "B N D"],
        context: Float[Tensor, "B S D"],
        *,
        position: Float[Tensor, "... N D"] | float = 0.0,
        context_position: Float[Tensor, "... S D"] | float = 0.0,
        valid: Bool[Tensor, "B S"] | None = None,
    ) -> Float[Tensor, "B N D"]:
        """Contextual queries; positions are added to what is compared, not to what is read (as in DETR)."""
        if self.self_norm is not None and self.self_attention is not None:
            y = self.self_norm(x)
            x = x + self.self_attention(y + position, y + position, y)
        y = self.cross_norm(x)
        x = x + self.cross_attention(y + position, context + context_position, context, valid)
        return x + self.mlp(self.mlp_norm(x))


def sinusoids(points_m: Float[Tensor, "... 2"], dim: int, longest_m: float = 120.0) -> Float[Tensor, "... dim"]:
    """Fixed encoding of points in the plane: sines and cosines of x and y, wavelengths 2 m ... ``longest_m``."""
    assert dim % 4 == 0, dim
    wavelengths = torch.logspace(0, 1, dim // 4, base=longest_m / 2.0, device=points_m.device) * 2.0
    angles = points_m[..., None] * (2 * torch.pi / wavelengths)
    return torch.cat([angles.sin(), angles.cos()], -1).flatten(-2)
