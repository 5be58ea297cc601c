"""AdamW with groups of its own for each learning rate and decay, and the schedule."""

import math
from typing import Any

import torch
from torch import nn

from dima_pipeline.training.config import StageConfig


def build_optimizer(model: nn.Module, stage: StageConfig) -> torch.optim.AdamW:
    """AdamW over all trainable parameters; biases, norms and other vectors do not decay.

    Each group has a ``peak_lr``: that of the part of the model its parameters belong to, else ``learning_rate``.
    """
    rates = {str(part): rate for part, rate in stage.learning_rates.items()}
    groups: dict[tuple[float, float, bool], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            decay = stage.weight_decay if parameter.ndim >= 2 else 0.0
            rate = rates.get(name.partition(".")[0], stage.learning_rate)
            # On a GPU a group is updated in one operation, which shards and whole tensors do not share.
            groups.setdefault((rate, decay, is_sharded(parameter)), []).append(parameter)
    return torch.optim.AdamW(
        [
            {"params": parameters, "lr": rate, "peak_lr": rate, "weight_decay": decay}
            for (rate, decay, _), parameters in groups.items()
        ]
    )


def schedule(step: int, stage: StageConfig) -> float:
    """Share of the peak learning rate: linear warm-up, then a cosine down to zero after the last step."""
    if step < stage.warmup_steps:
        return (step + 1) / stage.warmup_steps
    done = (step - stage.warmup_steps) / max(stage.num_steps - stage.warmup_steps, 1)
    return 0.5 * (1 + math.cos(math.pi * done))


def is_sharded(tensor: Any) -> bool:
    """Whether this worker holds a part of the tensor only."""
    return hasattr(tensor, "full_tensor")  # a DTensor, whose import takes a second


def plain_groups(model: nn.Module, optimizer: torch.optim.Optimizer) -> list[tuple[dict[str, Any], list[nn.Parameter]]]:
    """Settings and parameters of the groups that ``build_optimizer`` makes where nothing is sharded, in that order."""
    group_of = {id(parameter): group for group in optimizer.param_groups for parameter in group["params"]}
    merged: dict[tuple[float, float], tuple[dict[str, Any], list[nn.Parameter]]] = {}
    for parameter in model.parameters():
        if parameter.requires_grad:
            group = group_of[id(parameter)]
            settings = {key: value for key, value in group.items() if key != "params"}
            merged.setdefault((group["peak_lr"], group["weight_decay"]), (settings, []))[1].append(parameter)
    return list(merged.values())
