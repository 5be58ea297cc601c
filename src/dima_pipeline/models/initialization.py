"""Initial weights that keep a signal's size through the network (He et al., 2015).

torch's default for linear and convolution layers shrinks what differs between two samples about threefold a layer: on
short runs the planner then learns the mean trajectory and never looks at the images.
"""

from typing import TypeVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

L = TypeVar("L", nn.Linear, nn.Conv2d)

HE_GAIN = 1.4
BRANCH_SCALE = 0.1
OUTPUT_GAIN = 0.1
"""Last layer of a head: training starts at the anchors and the typical path, not at noise."""


def scaled(layer: L, gain: float = HE_GAIN) -> L:
    """``layer`` with weights of standard deviation ``gain`` / sqrt(fan in) and no bias."""
    nn.init.normal_(layer.weight, std=gain / layer.weight[0].numel() ** 0.5)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


class BranchScale(nn.Module):
    """A learned factor per channel at the end of a residual branch (LayerScale, Touvron et al., 2021).

    The network starts close to its skip connections. Small last weights would do that too, but Adam's first steps,
    of the same size for every weight, would blow them up and drown the signal on the skip connection.
    """

    def __init__(self, dim: int, start: float = BRANCH_SCALE) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.full((dim,), start))

    def forward(self, x: Float[Tensor, "... D"]) -> Float[Tensor, "... D"]:
        """The branch, scaled."""
        return x * self.scale
