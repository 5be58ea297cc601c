"""Feature pyramid (Lin et al., CVPR 2017): features of several resolutions, all of one width, coarse informing fine.

Levels beyond the backbone's are made from the coarsest one by convolutions of stride 2, as VAD-Base has its fourth.
"""

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor, nn

from dima_pipeline.models.initialization import scaled


class FeaturePyramid(nn.Module):
    """``num_levels`` levels of ``dim`` channels from features of ``channels`` channels, finest first."""

    def __init__(self, channels: Sequence[int], dim: int, num_levels: int) -> None:
        super().__init__()
        assert len(channels) <= num_levels, (channels, num_levels)
        self.lateral = nn.ModuleList(scaled(nn.Conv2d(own, dim, 1), gain=1.0) for own in channels)
        self.out = nn.ModuleList(scaled(nn.Conv2d(dim, dim, 3, padding=1), gain=1.0) for _ in channels)
        num_extra = num_levels - len(channels)
        self.extra = nn.ModuleList(scaled(nn.Conv2d(dim, dim, 3, 2, padding=1)) for _ in range(num_extra))

    def forward(self, features: Sequence[Float[Tensor, "N channels h w"]]) -> list[Float[Tensor, "N D h w"]]:
        """The levels, finest first."""
        levels = [lateral(own) for lateral, own in zip(self.lateral, features, strict=True)]
        for index in range(len(levels) - 1, 0, -1):
            size = levels[index - 1].shape[-2:]
            levels[index - 1] = levels[index - 1] + nn.functional.interpolate(levels[index], size=size)
        levels = [out(level) for out, level in zip(self.out, levels, strict=True)]
        for extra in self.extra:
            levels.append(extra(nn.functional.relu(levels[-1])))
        return levels
