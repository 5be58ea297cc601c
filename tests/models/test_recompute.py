"""Activations that are computed again: the same outputs, gradients and running statistics as kept ones."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from dima_pipeline.models.recompute import recomputed


def after_a_step(part: nn.Module, run: Callable[..., Any]) -> list[torch.Tensor]:
    """Output, gradients and buffers after one forward and backward pass."""
    images = torch.randn(4, 3, 5, 5, generator=torch.Generator().manual_seed(0))
    out = run(part, images)
    out.square().sum().backward()
    return [out, *(p.grad for p in part.parameters()), *part.buffers()]


@pytest.mark.parametrize("momentum", [0.1, None])
def test_each_batch_counts_once_in_the_running_statistics(momentum: float | None) -> None:
    torch.manual_seed(0)
    part = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, momentum=momentum), nn.ReLU(), nn.BatchNorm2d(4))
    again = copy.deepcopy(part)
    plain, found = after_a_step(part, lambda p, x: p(x)), after_a_step(again, recomputed)
    assert all(torch.equal(a, b) for a, b in zip(plain, found, strict=True))
    assert again[1].momentum == momentum and again[1].num_batches_tracked == 1


def test_a_norm_without_statistics_has_none_to_keep() -> None:
    part = nn.Sequential(nn.BatchNorm2d(3, track_running_stats=False))
    again = copy.deepcopy(part)
    plain, found = after_a_step(part, lambda p, x: p(x)), after_a_step(again, recomputed)
    assert all(torch.equal(a, b) for a, b in zip(plain, found, strict=True))
