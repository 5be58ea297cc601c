"""Initial weights that keep a signal's size through the network (He et al., 2015).

torch's default for linear and convolution layers shrinks what differs between two samples about threefold a layer: on
short runs the planner then learns the mean trajectory and never looks at the images.
"""

from typing import TypeVar

from torch import nn

L = TypeVar("L", nn.Linear, nn.Conv2d)

HE_GAIN = 1.4
RESIDUAL_GAIN = 0.2
"""Last layer of a residual branch: the network starts close to its skip connections, hence shallow."""
OUTPUT_GAIN = 0.1
"""Last layer of a head: training starts at the anchors and the typical path, not at noise."""


def scaled(layer: L, gain: float = HE_GAIN) -> L:
    """``layer`` with weights of standard deviation ``gain`` / sqrt(fan in) and no bias."""
    nn.init.normal_(layer.weight, std=gain / layer.weight[0].numel() ** 0.5)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer
