"""ResNet features through transformers, their weights, and the feature pyramid."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional
from transformers import ResNetConfig, ResNetForImageClassification

from dima_pipeline.models import resnet
from dima_pipeline.models.feature_pyramid import FeaturePyramid
from dima_pipeline.models.resnet import ResNet


def tiny(**options: Any) -> ResNet:
    torch.manual_seed(0)
    return ResNet(**{"width": 4, "depths": (1, 1, 1, 1), **options})


def images(batch_size: int = 2) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, (batch_size, 64, 96, 3), dtype=np.uint8))


def test_the_last_three_stages_halve_the_resolution_one_after_the_other() -> None:
    module = tiny(num_stages=3)
    assert module.channels == (32, 64, 128)
    assert [feature.shape for feature in module(images())] == [(2, 32, 8, 12), (2, 64, 4, 6), (2, 128, 2, 3)]


def test_frozen_normalisation_neither_trains_nor_looks_at_the_batch() -> None:
    module = tiny().train()
    together = module(images())[0]
    torch.testing.assert_close(module(images()[:1])[0], together[:1])
    norms = [m for m in module.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert norms
    assert not any(norm.training or norm.weight.requires_grad for norm in norms)
    assert all(norm.running_mean.abs().sum() == 0 for norm in norms)


def test_normalisation_by_batch_trains() -> None:
    module = tiny(norm="batch").train()
    module(images())[0].sum().backward()
    norm = module.body.embedder.embedder.normalization
    assert norm.running_mean.abs().sum() > 0
    assert norm.weight.grad is not None


def test_frozen_stages_and_the_stem_keep_their_weights() -> None:
    module = tiny(num_frozen_stages=1)
    module(images())[0].square().sum().backward()
    assert not any(
        p.requires_grad for p in [*module.body.embedder.parameters(), *module.body.encoder.stages[0].parameters()]
    )
    trained = [p for p in module.body.encoder.stages[1].parameters() if p.requires_grad]
    assert trained
    assert all(p.grad is not None for p in trained)


def test_a_folder_that_transformers_saved_gives_its_own_features(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resnet, "RESNET50_DEPTHS", (1, 1, 1, 1))
    config = ResNetConfig(embedding_size=4, hidden_sizes=[16, 32, 64, 128], depths=[1, 1, 1, 1])
    classifier = ResNetForImageClassification(config).eval()
    for norm in (m for m in classifier.modules() if isinstance(m, torch.nn.BatchNorm2d)):
        norm.running_mean.normal_()
    classifier.save_pretrained(tmp_path)
    assert (tmp_path / "model.safetensors").is_file()
    module = ResNet(weights=str(tmp_path))
    pixels = (images().permute(0, 3, 1, 2) / 255 - torch.tensor(resnet.MEAN)[:, None, None]) / torch.tensor(resnet.STD)[
        :, None, None
    ]
    with torch.no_grad():
        expected = classifier.resnet(pixels).last_hidden_state
        torch.testing.assert_close(module(images())[0], expected, atol=1e-5, rtol=1e-4)


def test_a_folder_without_a_resnet50_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no folder with config"):
        ResNet(weights=str(tmp_path))
    ResNetForImageClassification(ResNetConfig(embedding_size=4, hidden_sizes=[4, 4], depths=[1, 1])).save_pretrained(
        tmp_path
    )
    with pytest.raises(ValueError, match="no ResNet-50"):
        ResNet(weights=str(tmp_path))


def test_the_pyramid_adds_the_coarse_to_the_fine_and_halves_once_more() -> None:
    module = FeaturePyramid((3, 5), 4, 3)
    fine, coarse = torch.randn(1, 3, 8, 12), torch.randn(1, 5, 4, 6)
    levels = module([fine, coarse])
    assert [level.shape for level in levels] == [(1, 4, 8, 12), (1, 4, 4, 6), (1, 4, 2, 3)]
    low = module.lateral[1](coarse)
    sharp = module.lateral[0](fine) + low.repeat_interleave(2, 2).repeat_interleave(2, 3)
    torch.testing.assert_close(levels[0], functional.conv2d(sharp, module.out[0].weight, module.out[0].bias, padding=1))
    torch.testing.assert_close(levels[1], module.out[1](low))
    torch.testing.assert_close(levels[2], module.extra[0](levels[1].relu()))
