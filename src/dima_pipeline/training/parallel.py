"""A model as it trains: alone, or on several workers by DDP (``sharding`` has the third way, FSDP2).

Whatever the parallelism, checkpoints hold full tensors, named and numbered as those of the model alone: a run goes on
with another number of workers.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal

import torch
from torch import nn
from torch.nn.utils import clip_grad_norm_

from dima_pipeline.training.checkpoints import Tensors, load_trainable, trainable_state

Parallelism = Literal["ddp", "fsdp"]
Precision = Literal["fp32", "bf16"]


class Alone:
    """One worker: nothing to exchange. Base of the others, which say what they do differently."""

    can_repeat_backward = True
    """Whether one forward pass allows several backward passes."""

    def __init__(self, model: nn.Module, device: torch.device) -> None:
        self.model: Any = model.to(device)
        """The model that trains; ``ShardedTeacher`` trains a copy."""
        self.module: Any = self.model
        """What is called in its place."""

    def begin_step(self) -> None:
        """Make running statistics the same on all workers."""

    def no_sync(self) -> AbstractContextManager[None]:
        """Around all forward and backward passes of a step but the last: gradients only add up."""
        return nullcontext()

    def average_gradients(self) -> None:
        """After the last backward pass: what the passes themselves have not averaged over the workers."""

    def clip(self, parameters: Sequence[nn.Parameter], max_norm: float) -> float:
        """Shorten the gradient to ``max_norm``; its norm before, the same for all workers."""
        return float(clip_grad_norm_(parameters, max_norm))

    def state(self) -> Tensors:
        """``trainable_state`` of the model alone; all workers must call it, the first one gets it."""
        return trainable_state(self.model)

    def optimizer_state(self, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
        """``state_dict`` of the optimiser of the model alone; all workers must call it, the first one gets it."""
        return optimizer.state_dict()

    def load(self, tensors: Tensors, optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
        """Take up what ``state`` and ``optimizer_state`` gave; ``ValueError`` where another model gave it.

        Learning rates and decay are those of ``optimizer``: a run that is resumed with others is to use them.
        """
        load_trainable(self.model, tensors)
        settings = optimizer.state_dict()["param_groups"]
        require_same_groups([len(group["params"]) for group in settings], state)
        optimizer.load_state_dict({"state": state["state"], "param_groups": settings})

    def finish(self) -> None:
        """Bring what was trained into the model that was passed in (of the first worker); all workers must call it."""


class DataParallel(Alone):
    """Torch's DDP: each worker has everything, gradients are averaged while they are made."""

    def __init__(self, model: nn.Module, device: torch.device) -> None:
        super().__init__(model, device)
        # A loss weight of zero, or a batch without questions, leaves parameters unused: DDP must expect it.
        devices = [device] if device.type == "cuda" else None
        self.module = nn.parallel.DistributedDataParallel(self.model, devices, find_unused_parameters=True)

    def no_sync(self) -> AbstractContextManager[None]:
        """Gradients stay with the worker."""
        return self.module.no_sync()


def require_same_groups(sizes: list[int], state: Mapping[str, Any]) -> None:
    """``ValueError`` where the numbers in ``state`` cannot mean the parameters of groups of ``sizes``."""
    if (found := [len(group["params"]) for group in state["param_groups"]]) != sizes:
        raise ValueError(
            f"the checkpoint's optimiser has groups of {found} parameters, now they are {sizes}: learning_rates and "
            "weight_decay may take other values in a resumed run, but may not set other parts of the model apart"
        )


def save_activation_memory(model: nn.Module) -> None:
    """Let all parts that can do so forget activations and compute them again in the backward pass.

    Raises ``ValueError`` where no part of ``model`` has ``checkpoint_gradients``.
    """
    found: list[Callable[[], None]] = [
        module.checkpoint_gradients  # type: ignore[misc]
        for module in model.modules()
        if callable(getattr(module, "checkpoint_gradients", None))
    ]
    if not found:
        raise ValueError(
            "runtime.gradient_checkpointing is on, but neither planner nor teacher can compute activations again: "
            "turn it off"
        )
    for switch in found:
        switch()
