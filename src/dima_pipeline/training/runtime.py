"""Where a training loop runs: the loop knows this protocol and nothing of Ray."""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import torch
import torch.distributed as dist

from dima_pipeline.training.loading import Reading
from dima_pipeline.training.parallel import Alone, DataParallel, Parallelism, Precision, save_activation_memory

GATHER_BYTES = 8192


class Runtime(Protocol):
    """One worker among ``world_size``."""

    device: torch.device
    rank: int
    world_size: int
    reading: Reading
    """How samples are read; nothing there changes a result."""

    def wrap(self, model: torch.nn.Module, precision: Precision = "fp32") -> Alone:
        """``model`` on the device, with gradients averaged over workers; the caller sees to ``autocast``."""

    def gather(self, values: Mapping[str, float]) -> Sequence[Mapping[str, float]]:
        """What every worker passed, in the order of ranks; all of them must call it."""

    def beat(self, step: int | None, phase: str) -> None:
        """Say what begins now: a worker that falls silent hangs. Cheap; None: still the step before."""

    def observe(self, line: Mapping[str, Any]) -> None:
        """Show a line of the log, with the measurements of this worker, to whoever watches; cheap and no barrier."""

    def report(self, metrics: Mapping[str, float]) -> None:
        """Tell the outside of the state of the run; all workers must call it equally often."""


class LocalRuntime:
    """This process alone."""

    rank = 0
    world_size = 1

    def __init__(
        self,
        device: str | torch.device = "cpu",
        *,
        gradient_checkpointing: bool = False,
        reading: Reading = Reading(),  # noqa: B008  # frozen
    ) -> None:
        self.device, self.reading = torch.device(device), reading
        self._gradient_checkpointing = gradient_checkpointing

    def wrap(self, model: torch.nn.Module, precision: Precision = "fp32") -> Alone:
        """``model`` on the device."""
        if self._gradient_checkpointing:
            save_activation_memory(model)
        return Alone(model, self.device)

    def gather(self, values: Mapping[str, float]) -> Sequence[Mapping[str, float]]:
        """The values of the only worker."""
        return [values]

    def beat(self, step: int | None, phase: str) -> None:
        """Nobody waits for this process."""

    def observe(self, line: Mapping[str, Any]) -> None:
        """Nobody watches: the log is in the run's folder."""

    def report(self, metrics: Mapping[str, float]) -> None:
        """Nobody listens."""


class GroupRuntime(LocalRuntime):
    """One process of torch's default process group, however it came about."""

    def __init__(self, device: str | torch.device, *, parallel: Parallelism = "ddp", **options: Any) -> None:
        super().__init__(device, **options)
        if self.device.type == "cuda" and self.device.index is not None:
            torch.cuda.set_device(self.device)  # where NCCL and FSDP2 allocate what names no device
        has_group = dist.is_initialized()
        self.rank = dist.get_rank() if has_group else 0
        self.world_size = dist.get_world_size() if has_group else 1
        self._parallel = parallel

    def wrap(self, model: torch.nn.Module, precision: Precision = "fp32") -> Alone:
        """DDP among several workers; ``fsdp`` shards the teacher, and is DDP for a stage without one or its weights."""
        if self.world_size == 1:
            return super().wrap(model, precision)
        if self._gradient_checkpointing:
            save_activation_memory(model)
        teacher = getattr(model, "teacher", None)
        if self._parallel == "fsdp" and teacher is not None and next(teacher.parameters(), None) is not None:
            from dima_pipeline.training.sharding import ShardedTeacher

            return ShardedTeacher(model, self.device, precision)
        return DataParallel(model, self.device)

    def gather(self, values: Mapping[str, float]) -> Sequence[Mapping[str, float]]:
        """JSON in a tensor of fixed size: torch's own exchange of objects would unpickle."""
        if self.world_size == 1:
            return [values]
        text = json.dumps(dict(values)).encode()
        assert len(text) <= GATHER_BYTES, f"{len(values)} terms are too many to gather"
        mine = torch.tensor(list(text.ljust(GATHER_BYTES)), dtype=torch.uint8, device=self.device)
        everyones = [torch.empty_like(mine) for _ in range(self.world_size)]
        dist.all_gather(everyones, mine)
        return [json.loads(bytes(tensor.tolist())) for tensor in everyones]


def mean_terms(gathered: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Mean of every term over the workers that have it; not finite as soon as one of them is not."""
    names = dict.fromkeys(name for values in gathered for name in values)
    found = {name: [values[name] for values in gathered if name in values] for name in names}
    return {name: math.fsum(values) / len(values) if _finite(values) else math.nan for name, values in found.items()}


def _finite(values: Sequence[float]) -> bool:
    return all(math.isfinite(value) for value in values)
