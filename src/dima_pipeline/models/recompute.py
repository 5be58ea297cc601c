"""Activations that are computed again in the backward pass instead of kept (gradient checkpointing)."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint


def recomputed(part: nn.Module, *inputs: Any) -> Any:
    """What ``part`` makes of ``inputs``; its running statistics see each batch once, as without."""
    if not torch.is_grad_enabled():
        return part(*inputs)
    return checkpoint(part, *inputs, use_reentrant=False, context_fn=lambda: (nullcontext(), _keeping_statistics(part)))


@contextmanager
def _keeping_statistics(part: nn.Module) -> Iterator[None]:
    """Batch normalisation normalises by the batch inside, and leaves no trace of it."""
    norms = [module for module in part.modules() if isinstance(module, _BatchNorm)]
    kept = [(norm, norm.momentum, norm.num_batches_tracked) for norm in norms]
    for norm, _, count in kept:
        norm.momentum, norm.num_batches_tracked = 0.0, None if count is None else count.clone()
    try:
        yield
    finally:
        for norm, momentum, count in kept:
            norm.momentum, norm.num_batches_tracked = momentum, count
