"""Checkpoints that are either whole or refused: safetensors and JSON, a digest manifest written last, an atomic rename.

Nothing is ever unpickled. A damaged checkpoint is named in a warning and the one before it is used.
"""

import json
import logging
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from dima_pipeline.storage.manifest import publish, verify, write_manifest

logger = logging.getLogger(__name__)

Tensors = dict[str, torch.Tensor]


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """The state of a run after ``step`` optimiser steps."""

    step: int
    model: Tensors
    """``trainable_state`` of the model."""
    optimizer: dict[str, Any]
    """``state_dict()`` of the optimiser."""
    facts: dict[str, Any]
    """JSON values: configuration digest, seed, number of skipped steps."""


class CheckpointStore:
    """The last ``keep_last`` checkpoints of one run, below ``directory``."""

    def __init__(self, directory: Path, keep_last: int = 2) -> None:
        assert keep_last >= 1
        self.directory = directory
        self.keep_last = keep_last

    def save(self, checkpoint: Checkpoint) -> Path:
        """Write a checkpoint durably, then remove the oldest ones."""
        target = self.directory / f"step_{checkpoint.step:08d}"
        staged = self.directory / f".{target.name}.partial"
        shutil.rmtree(staged, ignore_errors=True)
        staged.mkdir(parents=True)
        tensors, described = flatten_optimizer(checkpoint.optimizer)
        save_tensors(checkpoint.model, staged / "model.safetensors")
        save_tensors(tensors, staged / "optimizer.safetensors")
        state = {"step": checkpoint.step, "facts": checkpoint.facts, "optimizer": described}
        (staged / "state.json").write_text(json.dumps(state, sort_keys=True))
        write_manifest(staged, kind="checkpoint", step=checkpoint.step)
        publish(staged, target)
        for old in self.paths()[: -self.keep_last]:
            shutil.rmtree(old)
        return target

    def paths(self) -> list[Path]:
        """Directories of all checkpoints, oldest first, sound or not."""
        return sorted(self.directory.glob("step_*"))

    def latest(self) -> Checkpoint | None:
        """The newest sound checkpoint, or None; a damaged one is skipped with a warning that names the bad file."""
        for path in reversed(self.paths()):
            try:
                return self.read(path)
            except ValueError as error:
                logger.warning("checkpoint %s is refused, trying the one before it: %s", path.name, error)
        return None

    def read(self, path: Path) -> Checkpoint:
        """Load one checkpoint; raises ``ValueError`` that names what is damaged."""
        manifest = verify(path)
        if missing := {"model.safetensors", "optimizer.safetensors", "state.json"} - set(manifest["files"]):
            raise ValueError(f"{path} is no checkpoint: it lacks {', '.join(sorted(missing))}")
        state = json.loads((path / "state.json").read_text())
        return Checkpoint(
            step=state["step"],
            model=load_file(path / "model.safetensors"),
            optimizer=unflatten_optimizer(load_file(path / "optimizer.safetensors"), state["optimizer"]),
            facts=state["facts"],
        )


def save_tensors(tensors: Mapping[str, torch.Tensor], path: Path) -> None:
    """Write tensors as safetensors; tied ones, which the format refuses, are written once for each name."""
    seen: set[int] = set()
    own = {}
    for name, tensor in tensors.items():
        plain = tensor.detach().cpu().contiguous()
        pointer = plain.untyped_storage().data_ptr()
        own[name] = plain.clone() if pointer in seen else plain
        seen.add(pointer)
    save_file(own, path)


def trainable_state(model: torch.nn.Module) -> Tensors:
    """What training changes: parameters that require gradients, and buffers.

    Frozen weights are rebuilt from the configuration, so that a checkpoint beside a large LLM stays small.
    """
    frozen = {name for name, parameter in model.named_parameters(remove_duplicate=False) if not parameter.requires_grad}
    return {name: tensor for name, tensor in model.state_dict().items() if name not in frozen}


def load_trainable(model: torch.nn.Module, tensors: Tensors) -> None:
    """Inverse of ``trainable_state``; raises ``ValueError`` where names differ."""
    expected = set(trainable_state(model))
    if wrong := expected.symmetric_difference(tensors):
        raise ValueError(f"the checkpoint was made by another model: {len(wrong)} tensors differ, e.g. {min(wrong)}")
    model.load_state_dict(tensors, strict=False)


def flatten_optimizer(state: Mapping[str, Any]) -> tuple[Tensors, dict[str, Any]]:
    """Tensors of an optimiser's ``state_dict``, named ``<parameter>.<name>``, and everything else as JSON values."""
    tensors: Tensors = {}
    values: dict[str, dict[str, Any]] = {}
    for index, entries in state["state"].items():
        for name, value in entries.items():
            if isinstance(value, torch.Tensor):
                tensors[f"{index}.{name}"] = value
            else:
                values.setdefault(str(index), {})[name] = value
    return tensors, {"values": values, "param_groups": state["param_groups"]}


def unflatten_optimizer(tensors: Tensors, described: Mapping[str, Any]) -> dict[str, Any]:
    """The ``state_dict`` that ``flatten_optimizer`` took apart."""
    state: dict[int, dict[str, Any]] = {}
    for key, tensor in tensors.items():
        index, name = key.split(".", 1)
        state.setdefault(int(index), {})[name] = tensor
    for index, values in described["values"].items():
        state.setdefault(int(index), {}).update(values)
    groups = [{k: tuple(v) if k == "betas" else v for k, v in group.items()} for group in described["param_groups"]]
    return {"state": state, "param_groups": groups}
