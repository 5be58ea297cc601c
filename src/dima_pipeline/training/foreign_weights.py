"""Weights from a safetensors file into a module, with a clear account of what fits and what differs.

``dima import-weights`` makes such files of PyTorch checkpoints; nothing is unpickled here. All is compared before
anything is copied, so that a refused file leaves the module as it was.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

FACTS = "dima_import"
"""Key of the file's metadata under which ``dima import-weights`` leaves JSON: source, map, licence, counts."""
NUM_NAMED = 5


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """What a file did to a module; names are those of its ``state_dict``, sorted."""

    path: Path
    filled: tuple[str, ...]
    missing: tuple[str, ...]
    """Of the module, not in the file: as they were."""
    unexpected: tuple[str, ...]
    """In the file, not of the module."""
    differing: tuple[str, ...]
    """In both with another shape or kind of number, in words; as they were."""
    not_finite: Mapping[str, int]
    """Number of NaN or infinite values of a filled tensor, where there are any."""
    facts: Mapping[str, Any]
    """What ``dima import-weights`` recorded; empty for a file from elsewhere."""

    def summary(self) -> str:
        """One line: how much was filled, and the first names of what was not."""
        total = len(self.filled) + len(self.missing) + len(self.differing)
        parts = [f"{self.path} fills {len(self.filled)} of {total} tensors"]
        kinds = {"missing in the file": self.missing, "other shape or dtype": self.differing}
        kinds |= {"unknown to the module": self.unexpected, "not finite": tuple(self.not_finite)}
        parts += [f"{kind}: {first_names(names)}" for kind, names in kinds.items() if names]
        return "; ".join(parts)


def load_weights(module: nn.Module, path: Path, *, strict: bool) -> Loaded:
    """Copy the tensors of a safetensors file into ``module`` by name; floats are cast to the module's own dtype.

    Raises ``ValueError``, and leaves the module as it was, for a file that cannot be read, for one of which nothing
    fits, and with ``strict`` where a name, a shape or a kind of number differs.
    """
    tensors, facts = read_weights(path)
    own = {name: value for name, value in module.state_dict().items() if isinstance(value, Tensor)}
    common = sorted(own.keys() & tensors.keys())
    differing = {name: words for name in common if (words := difference(tensors[name], own[name]))}
    filled = tuple(name for name in common if name not in differing)
    loaded = Loaded(
        path=path,
        filled=filled,
        missing=tuple(sorted(own.keys() - tensors.keys())),
        unexpected=tuple(sorted(tensors.keys() - own.keys())),
        differing=tuple(f"{name} ({words})" for name, words in differing.items()),
        not_finite={name: count for name in filled if (count := num_not_finite(tensors[name]))},
        facts=facts,
    )
    if not filled:
        raise ValueError(f"nothing of it fits this model: {loaded.summary()}; rename with `dima import-weights --map`")
    if strict and (loaded.missing or loaded.unexpected or loaded.differing):
        raise ValueError(loaded.summary())
    module.load_state_dict({name: tensors[name] for name in filled}, strict=False)
    return loaded


def read_weights(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and recorded facts of a safetensors file; raises ``ValueError`` that names a missing or damaged one."""
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # it is no mapping
        facts = json.loads(metadata.get(FACTS, "{}"))
    except (OSError, SafetensorError, ValueError) as error:
        raise ValueError(
            f"{path} is no safetensors file, or a damaged one ({error}); "
            "`dima import-weights` makes one of a PyTorch checkpoint"
        ) from None
    return tensors, facts if isinstance(facts, dict) else {}


def difference(given: Tensor, own: Tensor) -> str:
    """In words why ``given`` cannot take the place of ``own``; empty where it can."""
    if given.shape != own.shape:
        return f"shape {list(given.shape)} for {list(own.shape)}"
    if given.dtype != own.dtype and not (given.is_floating_point() and own.is_floating_point()):
        return f"{given.dtype} for {own.dtype}"
    return ""


def num_not_finite(tensor: Tensor) -> int:
    """Values that are NaN or infinite."""
    return int((~torch.isfinite(tensor.float())).sum()) if tensor.is_floating_point() else 0


def first_names(names: Sequence[str]) -> str:
    """The first few, and how many more there are."""
    rest = len(names) - NUM_NAMED
    return ", ".join(names[:NUM_NAMED]) + (f" and {rest} more" if rest > 0 else "")
