"""A small convolutional image backbone with stride 8, made for training from nothing on a CPU.

GroupNorm only: a sample's features must not depend on which other samples share its batch.
"""

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from dima_pipeline.models.initialization import scaled

STRIDE = 8
GROUPS = 8


class ConvBlock(nn.Module):
    """3x3 convolution, GroupNorm, SiLU; residual where the shape allows it."""

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1) -> None:
        super().__init__()
        self.conv = scaled(nn.Conv2d(in_channels, out_channels, 3, stride, 1, bias=False))
        self.norm = nn.GroupNorm(GROUPS, out_channels)
        self.is_residual = stride == 1 and in_channels == out_channels

    def forward(self, x: Float[Tensor, "N I H W"]) -> Float[Tensor, "N O h w"]:
        """The features, ``stride`` times smaller."""
        y = nn.functional.silu(self.norm(self.conv(x)))
        return x + y if self.is_residual else y


class ImageBackbone(nn.Module):
    """RGB images to features of ``channels`` channels at an eighth of the resolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        stem_channels = channels // 2
        self.stem = nn.Sequential(
            scaled(nn.Conv2d(3, stem_channels, 6, 4, 1, bias=False)),
            nn.GroupNorm(GROUPS, stem_channels),
            nn.SiLU(),
        )
        self.blocks = nn.Sequential(
            ConvBlock(stem_channels, stem_channels),
            ConvBlock(stem_channels, channels, stride=2),
            ConvBlock(channels, channels),
            ConvBlock(channels, channels),
        )

    def forward(self, images: UInt8[Tensor, "N H W 3"]) -> Float[Tensor, "N D h w"]:
        """Features of N images; h and w are H and W divided by ``STRIDE``."""
        # Interleaved RGB read as N 3 H W is already in channels-last order, which convolutions prefer on a CPU.
        x = images.to(torch.float32).permute(0, 3, 1, 2)
        return self.blocks(self.stem(x / 64 - 2))
