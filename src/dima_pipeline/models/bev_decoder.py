"""From the few BEV features of a teacher back to one token for every BEV cell.

Positional queries, one a cell and frame, look at the features; a head writes the token.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dima_pipeline.models.attention import DecoderLayer
from dima_pipeline.models.task_heads import relu_head


class BevDecoder(nn.Module):
    """Rebuilds ``num_frames`` grids of ``bev_shape`` from teacher features of ``teacher_dim``.

    A cell's query is the sum of learned embeddings of its row, its column and its frame.
    """

    def __init__(
        self, teacher_dim: int, token_dim: int, bev_shape: tuple[int, int], *, num_frames: int = 1, num_heads: int = 4
    ) -> None:
        super().__init__()
        num_rows, num_columns = bev_shape
        self.rows = nn.Parameter(torch.randn(1, num_rows, 1, token_dim))
        self.columns = nn.Parameter(torch.randn(1, 1, num_columns, token_dim))
        self.frames = nn.Parameter(torch.randn(num_frames, 1, 1, token_dim))
        self.read = nn.Linear(teacher_dim, token_dim)
        self.layer = DecoderLayer(token_dim, num_heads, self_attention=False)
        self.head = relu_head(token_dim, 2 * token_dim, token_dim)

    def forward(self, features: Float[Tensor, "B K teacher_dim"]) -> Float[Tensor, "B num_frames Q token_dim"]:
        """Cells in the order of ``BeamTokens.bev``: row by row."""
        queries = (self.rows + self.columns + self.frames).flatten(0, 2).expand(len(features), -1, -1)
        cells = self.head(self.layer(queries, self.read(features)))
        return cells.unflatten(1, (len(self.frames), -1))
