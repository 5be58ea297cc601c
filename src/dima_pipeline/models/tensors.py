"""Contracts as torch tensors and back: the same dataclass, leaf by leaf. The one door between numpy and torch."""

from collections.abc import Callable
from dataclasses import fields, is_dataclass
from typing import Any, TypeVar

import numpy as np
import torch

D = TypeVar("D")


def to_tensors(obj: D, device: torch.device | str = "cpu") -> D:
    """``obj`` (a contracts dataclass, tuple or array) with every array as a tensor on ``device``.

    Floats become float32 and integers int64; uint8 images and booleans keep their type. Tensors are moved, whatever
    is no array (strings, None) stays as it is.
    """
    return map_arrays(obj, lambda array: _tensor(array, torch.device(device)))


def to_arrays(obj: D) -> D:
    """``obj`` with every tensor as a numpy array, detached and on the CPU."""
    return map_arrays(obj, lambda leaf: leaf.detach().cpu().numpy() if isinstance(leaf, torch.Tensor) else leaf)


def map_arrays(obj: Any, change: Callable[[Any], Any]) -> Any:
    """A copy of ``obj`` with ``change`` applied to each array and tensor in its dataclasses, tuples and lists."""
    if isinstance(obj, np.ndarray | torch.Tensor):
        return change(obj)
    if is_dataclass(obj) and not isinstance(obj, type):
        return type(obj)(**{field.name: map_arrays(getattr(obj, field.name), change) for field in fields(obj)})
    if type(obj) in (tuple, list):
        return type(obj)(map_arrays(item, change) for item in obj)
    return obj


def _tensor(array: np.ndarray | torch.Tensor, device: torch.device) -> torch.Tensor:
    if isinstance(array, torch.Tensor):
        return array.to(device)
    if array.dtype.kind == "f":
        array = array.astype(np.float32, copy=False)
    elif array.dtype.kind in "iu" and array.dtype != np.uint8:
        array = array.astype(np.int64, copy=False)
    # Tables and memory maps hand out read-only arrays, which torch would alias under a warning.
    return torch.from_numpy(array if array.flags.writeable else array.copy()).to(device)
