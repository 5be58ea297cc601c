"""Q-Former adapters (BLIP-2's idea): learned queries read a set of tokens of any length into a fixed number.

DiMA puts one between each component of the scene (BEV, agents, map) and the LLM; the single ego token needs only an
MLP. A learned "nothing here" key takes part in every attention, so a scene without one valid token has an answer too.
"""

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from dima_pipeline.models.attention import DecoderLayer, sinusoids


def index_encoding(length: int, dim: int, device: torch.device | None = None) -> Float[Tensor, "length dim"]:
    """Fixed sine and cosine encoding of 0 ... length - 1 with wavelengths from 2 pi to 10000 * 2 pi."""
    rate = torch.exp(torch.arange(0, dim, 2, device=device) * (-math.log(10_000.0) / dim))
    phase = torch.arange(length, device=device)[:, None] * rate
    return torch.stack([phase.sin(), phase.cos()], -1).flatten(1)[:, :dim]


class QFormer(nn.Module):
    """``num_queries`` tokens of ``output_dim`` out of any number of tokens of ``token_dim``.

    ``is_grid`` adds the index of each token to what is compared: a BEV cell that is masked still says where it lies.
    ``is_placed`` adds each token's centre to the token itself (a linear layer of its sines and cosines, cf. VAD).
    """

    def __init__(
        self,
        token_dim: int,
        output_dim: int,
        *,
        num_queries: int,
        dim: int,
        depth: int,
        num_heads: int,
        is_grid: bool,
        is_placed: bool = False,
    ) -> None:
        super().__init__()
        self.is_grid = is_grid
        # Small beside what they read, and so are the branches' scales left at 1: an output is about the scene from the
        # start. Otherwise all scenes look alike to the LLM, and it learns to answer without them.
        self.queries = nn.Parameter(0.1 * torch.randn(num_queries, dim))
        self.nothing = nn.Parameter(torch.randn(1, 1, dim))
        self.read = nn.Sequential(nn.Linear(token_dim, dim), nn.LayerNorm(dim))
        self.layers = nn.ModuleList(DecoderLayer(dim, num_heads, branch_scale=1.0) for _ in range(depth))
        self.write = nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, output_dim), nn.LayerNorm(output_dim))
        self.place = nn.Linear(dim, dim) if is_placed else None

    def forward(
        self,
        tokens: Float[Tensor, "B N token_dim"],
        valid: Bool[Tensor, "B N"] | None = None,
        centers: Float[Tensor, "B N 2"] | None = None,
    ) -> Float[Tensor, "B num_queries output_dim"]:
        """Tokens that are not ``valid`` have no influence; none valid gives finite outputs and gradients.

        ``centers`` in metres (ego frame), which an adapter that ``is_placed`` needs.
        """
        read = self.read(tokens)
        if self.place is not None:
            assert centers is not None, "is_placed"
            read = read + self.place(sinusoids(centers, read.shape[-1]).to(read.dtype))
        keys = torch.cat([self.nothing.expand(len(tokens), -1, -1), read], 1)
        position = index_encoding(keys.shape[1], keys.shape[2], keys.device) if self.is_grid else 0.0
        if valid is not None:
            valid = torch.cat([valid.new_ones(len(valid), 1), valid], 1)
        queries = self.queries.expand(len(tokens), -1, -1)
        for layer in self.layers:
            queries = layer(queries, keys, context_position=position, valid=valid)
        return self.write(queries)
