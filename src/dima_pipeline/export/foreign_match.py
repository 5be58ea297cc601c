"""What of a foreign checkpoint fits a model, name by name and with the reason: only names and shapes are compared."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from dima_pipeline.export.foreign_map import KeyMap
from dima_pipeline.planners import PLANNERS

Status = Literal["filled", "cast", "written", "missing", "shape", "dtype", "unknown", "skipped"]
TAKEN: tuple[Status, ...] = ("filled", "cast", "written")
MEANING: dict[Status, str] = {
    "filled": "fills a tensor of the model",
    "cast": "fills a tensor of the model in the model's dtype",
    "written": "written as it is; no model was named",
    "missing": "of the model, not in the file",
    "shape": "of the model, with another shape",
    "dtype": "of the model, with another kind of number",
    "unknown": "in the file, not of the model",
    "skipped": "in the file, no weight or left out",
}


@dataclass(frozen=True)
class Spec:
    """Shape and dtype (``float32``) of a tensor."""

    shape: tuple[int, ...]
    dtype: str

    @classmethod
    def of(cls, tensor: Tensor) -> "Spec":
        """Those of a tensor, on the meta device, too."""
        return cls(tuple(tensor.shape), str(tensor.dtype).removeprefix("torch."))


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of the account."""

    status: Status
    source: str | None
    """Name in the file, after its wrapper (``module.``); None for what only the model has."""
    target: str | None
    """Name in the model, None for what is left out."""
    reason: str = ""
    source_spec: Spec | None = None
    target_spec: Spec | None = None
    not_finite: int = 0
    """NaN and infinite values of a tensor that is taken."""


def planner_specs(config: Any, image_size: tuple[int, int]) -> dict[str, Spec]:
    """Names, shapes and dtypes of a planner's ``state_dict``, for images of (height, width) pixels; takes no memory.

    Raises ``ValueError`` for a planner that cannot be built without values.
    """
    try:
        with torch.device("meta"):
            state = PLANNERS.build(config, image_size=image_size).state_dict()
    except (RuntimeError, NotImplementedError) as error:
        name = PLANNERS.dump(config)["name"]
        raise ValueError(f"planner '{name}' cannot be built on torch's meta device ({error}): make it so") from error
    return {name: Spec.of(value) for name, value in state.items() if isinstance(value, Tensor)}


def match(source: Mapping[str, Spec], model: Mapping[str, Spec] | None, prefix: str, key_map: KeyMap) -> list[Row]:
    """A row for each tensor of the file in its order, then one for each of the model that the file does not name.

    Only names below ``prefix`` count, which is taken off before the map. Raises ``ValueError`` as ``rename_all`` does.
    """
    below = {name: name.removeprefix(prefix) for name in source if name.startswith(prefix) and name != prefix}
    renamed = key_map.rename_all(list(below.values()))
    rows = []
    for name, spec in source.items():
        if name not in below:
            reason = f"not below the prefix '{prefix}'"
            rows.append(Row(status="skipped", source=name, target=None, reason=reason, source_spec=spec))
        elif (target := renamed[below[name]]) is None:
            reason = f"left out by map {key_map.name}"
            rows.append(Row(status="skipped", source=name, target=None, reason=reason, source_spec=spec))
        else:
            rows.append(compare(name, target, spec, model))
    named = {row.target for row in rows}
    missing = [(name, spec) for name, spec in (model or {}).items() if name not in named]
    return rows + [
        Row(status="missing", source=None, target=name, reason="no tensor of the file has this name", target_spec=spec)
        for name, spec in missing
    ]


def compare(source: str, target: str, spec: Spec, model: Mapping[str, Spec] | None) -> Row:
    """The row of a tensor that is to become ``target``."""
    if model is None:
        return Row(status="written", source=source, target=target, source_spec=spec, target_spec=spec)
    if (wanted := model.get(target)) is None:
        return Row(status="unknown", source=source, target=target, reason="not of the model", source_spec=spec)
    status: Status = "filled"
    reason = ""
    if spec.shape != wanted.shape:
        status, reason = "shape", f"{list(spec.shape)} in the file, {list(wanted.shape)} in the model"
    elif spec.dtype != wanted.dtype:
        status = "cast" if can_cast(spec.dtype, wanted.dtype) else "dtype"
        reason = f"{spec.dtype} in the file, {wanted.dtype} in the model"
    return Row(status=status, source=source, target=target, reason=reason, source_spec=spec, target_spec=wanted)


def can_cast(given: str, wanted: str) -> bool:
    """Floats become other floats; whole numbers only a type that holds them all."""
    one, other = getattr(torch, given), getattr(torch, wanted)
    if one.is_floating_point or other.is_floating_point:
        return bool(one.is_floating_point and other.is_floating_point)
    return torch.bool not in (one, other) and torch.promote_types(one, other) == other


def counts(rows: Sequence[Row]) -> dict[str, int]:
    """Number of rows by status, in the order of ``MEANING``; those of none are left out."""
    found = Counter(row.status for row in rows)
    return {status: found[status] for status in MEANING if found[status]}


def unfilled(rows: Sequence[Row]) -> list[str]:
    """Names of the model that get no value, sorted."""
    return sorted(row.target for row in rows if row.target and row.status in ("missing", "shape", "dtype"))
