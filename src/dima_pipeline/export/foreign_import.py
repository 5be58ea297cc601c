"""A foreign checkpoint becomes safetensors under a model's names, with an account of every tensor.

Reading is isolated (``foreign_process``), renaming is a map (``foreign_map``), comparing is pure (``foreign_match``);
here they are put together and written, whole or not at all.
"""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from dima_pipeline.export.foreign_map import BUILT_IN, KeyMap
from dima_pipeline.export.foreign_match import TAKEN, Row, Spec, counts, match, unfilled
from dima_pipeline.export.foreign_process import Foreign, Limits, read_foreign
from dima_pipeline.storage.disk import full_disk_in_words
from dima_pipeline.storage.manifest import durably_open, write_durably

FACTS = "dima_import"
"""One key of metadata for all: safetensors writes several in an order that changes from run to run."""
COLUMNS = ("status", "source", "target", "reason", "source_shape", "target_shape", "source_dtype", "target_dtype")


@dataclass(frozen=True, kw_only=True)
class Target:
    """The model that weights are for."""

    name: str
    specs: Mapping[str, Spec]


@dataclass(frozen=True, kw_only=True)
class Imported:
    """Weights under a model's names, not written yet."""

    rows: list[Row]
    tensors: Mapping[str, Tensor]
    facts: dict[str, Any]
    """JSON values, the same for the same input: what the file and the report record."""
    unused_rules: list[str]

    def problem(self, strict: bool) -> str | None:
        """Why the weights are not worth writing, or None; ``strict``: where the model is not filled."""
        if not self.tensors:
            return "nothing of it fits: see the table, and name or write a --map"
        left = unfilled(self.rows)
        if strict and left:
            first = ", ".join(left[:5]) + (" ..." if len(left) > 5 else "")
            return f"--strict: {len(left)} tensors of {self.facts['model']} are not filled: {first}"
        return None


def import_weights(
    path: Path, key_map: KeyMap, target: Target | None, *, prefix: str = "", limits: Limits | None = None
) -> Imported:
    """Read, rename and compare; ``target`` None takes every tensor. Raises ``ValueError`` naming file and key."""
    foreign = read_foreign(path, limits or Limits())
    specs = {name: Spec.of(tensor) for name, tensor in foreign.tensors.items()}
    try:
        rows = match(specs, None if target is None else target.specs, prefix, key_map)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    tensors = {row.target: cast(foreign, row) for row in rows if row.status in TAKEN and row.target is not None}
    rows = [replace(row, not_finite=num_not_finite(tensors.get(row.target or ""))) for row in rows]
    rows += [Row(status="skipped", source=name, target=None, reason=why) for name, why in foreign.skipped]
    names = [name.removeprefix(prefix) for name in specs if name.startswith(prefix)]
    # A built-in map is about all variants of a model; of a user's own, every rule is meant.
    unused = [] if key_map.name in BUILT_IN else key_map.unused(names)
    facts = {
        "source": path.name,
        "source_sha256": foreign.sha256,
        "source_path": foreign.path,
        "wrapper": foreign.wrapper,
        "prefix": prefix,
        "map": Path(key_map.name).name,
        "map_sha256": key_map.sha256,
        "model": None if target is None else target.name,
        "counts": counts(rows),
        "not_finite": sum(row.not_finite for row in rows),
        "licence": None,
    }
    return Imported(rows=rows, tensors=tensors, facts=facts, unused_rules=unused)


def cast(foreign: Foreign, row: Row) -> Tensor:
    """The tensor of a row in the dtype that it is to have."""
    assert row.source is not None and row.target_spec is not None, row
    return foreign.tensors[row.source].to(getattr(torch, row.target_spec.dtype))


def num_not_finite(tensor: Tensor | None) -> int:
    """Values that are NaN or infinite, after the cast, which may overflow."""
    if tensor is None or not tensor.is_floating_point():
        return 0
    return int((~torch.isfinite(tensor if tensor.itemsize > 1 else tensor.float())).sum())


def write_weights(imported: Imported, path: Path) -> None:
    """Write the safetensors file, the whole new one or none; raises ``ValueError`` where it cannot be."""
    content = safetensors.torch.save(
        dict(imported.tensors), metadata={FACTS: json.dumps(imported.facts, sort_keys=True)}
    )
    try:
        with full_disk_in_words(path.parent), durably_open(path) as file:
            file.write(content)
    except OSError as error:
        raise ValueError(f"{path} cannot be written: {error.strerror}") from None


def write_report(imported: Imported, path: Path) -> None:
    """Write all rows as ``.csv`` or, with the facts, as ``.json``; raises ``ValueError`` where it cannot be."""
    rows = [row_values(row) for row in imported.rows]
    content = {**imported.facts, "unused_rules": imported.unused_rules, "rows": rows}
    text = as_csv(rows) if path.suffix == ".csv" else json.dumps(content, indent=1, allow_nan=False) + "\n"
    try:
        with full_disk_in_words(path.parent):
            write_durably(path, text.encode())
    except OSError as error:
        raise ValueError(f"{path} cannot be written: {error.strerror}") from None


def row_values(row: Row) -> dict[str, Any]:
    """A row as JSON values; shapes as ``64x3x7x7``, that of a scalar empty."""
    values: dict[str, Any] = {name: getattr(row, name) for name in COLUMNS[:4]}
    for side, spec in (("source", row.source_spec), ("target", row.target_spec)):
        values[f"{side}_shape"] = None if spec is None else "x".join(map(str, spec.shape))
        values[f"{side}_dtype"] = None if spec is None else spec.dtype
    return {**{name: values[name] for name in COLUMNS}, "not_finite": row.not_finite}


def as_csv(rows: Sequence[Mapping[str, Any]]) -> str:
    """A table with a head; None is empty."""
    text = io.StringIO()
    writer = csv.DictWriter(text, [*COLUMNS, "not_finite"], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
