"""Where a training loop runs: the loop knows this protocol and nothing of Ray."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import torch


class Runtime(Protocol):
    """One worker among ``world_size``."""

    device: torch.device
    rank: int
    world_size: int

    def wrap(self, model: torch.nn.Module) -> torch.nn.Module:
        """``model`` on the device, with gradients averaged over workers."""

    def gather(self, values: Mapping[str, float]) -> Sequence[Mapping[str, float]]:
        """What every worker passed, in the order of ranks; all of them must call it."""

    def observe(self, line: Mapping[str, Any]) -> None:
        """Show a line of the log, with the measurements of this worker, to whoever watches; cheap and no barrier."""

    def report(self, metrics: Mapping[str, float]) -> None:
        """Tell the outside of the state of the run; all workers must call it equally often."""


class LocalRuntime:
    """This process alone."""

    rank = 0
    world_size = 1

    def __init__(self, device: str | torch.device = "cpu") -> None:
        self.device = torch.device(device)

    def wrap(self, model: torch.nn.Module) -> torch.nn.Module:
        """``model`` on the device."""
        return model.to(self.device)

    def gather(self, values: Mapping[str, float]) -> Sequence[Mapping[str, float]]:
        """The values of the only worker."""
        return [values]

    def observe(self, line: Mapping[str, Any]) -> None:
        """Nobody watches: the log is in the run's folder."""

    def report(self, metrics: Mapping[str, float]) -> None:
        """Nobody listens."""


def mean_terms(gathered: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Mean of every term over the workers that have it; not finite as soon as one of them is not."""
    names = dict.fromkeys(name for values in gathered for name in values)
    found = {name: [values[name] for values in gathered if name in values] for name in names}
    return {name: math.fsum(values) / len(values) if _finite(values) else math.nan for name, values in found.items()}


def _finite(values: Sequence[float]) -> bool:
    return all(math.isfinite(value) for value in values)
