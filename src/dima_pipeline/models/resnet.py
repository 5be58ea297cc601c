"""ResNet image features (He et al., CVPR 2016) by transformers, and a feature pyramid on top (Lin et al., CVPR 2017).

transformers' ``ResNetBackbone`` is the kept library that can be had (torchvision cannot: see the design, section 2); it
reads a local folder in Hugging Face's format (``config.json``, ``model.safetensors``). No language model comes with it.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from transformers import ResNetBackbone, ResNetConfig

STRIDE = 32
RESNET50_DEPTHS = (3, 4, 6, 3)
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of ImageNet's pixels, RGB in 0 ... 1."""
Norm = Literal["frozen", "batch"]


class ResNet(nn.Module):
    """RGB images to the outputs of the last ``num_stages`` stages; each halves the resolution, the last is 1/32.

    ``norm``: ``frozen`` keeps batch normalisation at its stored statistics and weights, as VAD does, so that a sample
    does not depend on its batch; ``batch`` trains it. ``num_frozen_stages`` (0 ... 4): the stem and so many stages do
    not train (VAD: 1, with weights of ImageNet).
    """

    def __init__(
        self,
        *,
        num_stages: int = 1,
        norm: Norm = "frozen",
        num_frozen_stages: int = 0,
        weights: str | None = None,
        width: int = 64,
        depths: tuple[int, ...] = RESNET50_DEPTHS,
    ) -> None:
        super().__init__()
        out_features = [f"stage{index}" for index in range(len(depths) - num_stages + 1, len(depths) + 1)]
        config = ResNetConfig(
            embedding_size=width,
            hidden_sizes=[4 * width * 2**index for index in range(len(depths))],
            depths=list(depths),
        )
        config.out_features = out_features
        self.is_frozen = norm == "frozen"
        self.body = ResNetBackbone(config) if weights is None else read_backbone(weights, out_features)
        self.channels = tuple(self.body.channels)
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("mean", 255 * torch.tensor(MEAN)[:, None, None], persistent=False)
        self.register_buffer("std", 255 * torch.tensor(STD)[:, None, None], persistent=False)
        self._freeze(num_frozen_stages)

    def forward(self, images: UInt8[Tensor, "N H W 3"]) -> tuple[Float[Tensor, "N channels h w"], ...]:
        """Features, finest first."""
        x = images.to(torch.float32).permute(0, 3, 1, 2)
        return tuple(self.body((x - self.mean) / self.std).feature_maps)

    def train(self, mode: bool = True) -> "ResNet":
        """Frozen statistics stay frozen while the rest trains."""
        super().train(mode)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d) and self.is_frozen:
                module.eval()
        return self

    def _freeze(self, num_stages: int) -> None:
        frozen: list[nn.Module] = [*self.body.encoder.stages[:num_stages]]
        if num_stages:
            frozen.append(self.body.embedder)
        if self.is_frozen:
            frozen += [module for module in self.modules() if isinstance(module, nn.BatchNorm2d)]
        for module in frozen:
            module.requires_grad_(False)
        self.train(self.training)


def read_backbone(folder: str, out_features: Sequence[str]) -> ResNetBackbone:
    """The ResNet of a local folder in Hugging Face's format; safetensors only, nothing is fetched.

    Raises ``ValueError`` where there is none.
    """
    if not (Path(folder) / "config.json").is_file():
        raise ValueError(
            f"backbone_weights: '{folder}' is no folder with config.json and model.safetensors; save a ResNet with "
            "save_pretrained, or download one in Hugging Face's format"
        )
    config = ResNetConfig.from_pretrained(folder)
    if config.layer_type != "bottleneck" or tuple(config.depths or ()) != RESNET50_DEPTHS:
        found = f"a {config.layer_type} ResNet of {config.depths}"
        raise ValueError(f"backbone_weights: '{folder}' holds {found}, no ResNet-50")
    return ResNetBackbone.from_pretrained(folder, out_features=list(out_features), use_safetensors=True)
