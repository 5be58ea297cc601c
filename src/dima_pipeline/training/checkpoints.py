"""Checkpoints that are either whole or refused: safetensors and JSON, a digest manifest written last, an atomic rename.

Nothing is ever unpickled. A damaged or stale checkpoint is named in a warning and the one before it is used. Each start
of a run is an attempt of its own: what an earlier one, still alive somewhere, goes on writing is never taken for it.
"""

import hashlib
import json
import logging
import math
import shutil
import uuid
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save, save_file

from dima_pipeline.plugins import unknown
from dima_pipeline.storage.disk import FULL, FullDiskError, full_disk_in_words
from dima_pipeline.storage.filesystem import DISK, FileSystem
from dima_pipeline.storage.manifest import MANIFEST, manifest_of, publish, restore, verify
from dima_pipeline.training.config import BestConfig

logger = logging.getLogger(__name__)

Tensors = dict[str, torch.Tensor]
ATTEMPT = "attempt.json"
"""Names the attempt that may write here."""
MODEL, OPTIMIZER, STATE = "model.safetensors", "optimizer.safetensors", "state.json"


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """The state of a run after ``step`` optimiser steps."""

    step: int
    model: Tensors
    """``trainable_state`` of the model."""
    optimizer: dict[str, Any]
    """``state_dict()`` of the optimiser."""
    facts: dict[str, Any]
    """JSON values: configuration digest, seed, cursor, number of skipped steps."""
    metrics: dict[str, float] = field(default_factory=dict)
    """What the best checkpoint is chosen by: terms of the step before."""


class CheckpointStore:
    """The last ``keep_last`` checkpoints of one run, below ``directory``, and the ``best`` ones where it says so."""

    def __init__(
        self, directory: Path, keep_last: int = 2, *, best: BestConfig | None = None, disk: FileSystem = DISK
    ) -> None:
        assert keep_last >= 1
        self.directory, self.keep_last, self.best, self.disk = directory, keep_last, best, disk
        self.attempt = uuid.uuid4().hex[:12]
        self._is_claimed = False
        self._refused: set[Path] = set()

    def claim(self) -> None:
        """From now on this attempt alone writes here; what dead ones left half done is removed or put back.

        Raises ``FullDiskError`` where there is no space.
        """
        with full_disk_in_words(self.directory):
            self.disk.make_directory(self.directory)
            for retired in sorted(self.directory.glob(".step_*.retired")):
                restore(self.directory / retired.name.removeprefix(".").removesuffix(".retired"), self.disk)
            for left in sorted([*self.directory.glob(".step_*.retired"), *self.directory.glob(".step_*.partial")]):
                self.disk.remove(left)
            for other in sorted(self.directory.glob(f".{ATTEMPT}.*")):
                other.unlink(missing_ok=True)
            staged = self.directory / f".{ATTEMPT}.{self.attempt}"
            self.disk.write(staged, json.dumps({"attempt": self.attempt}).encode())
            self.disk.rename(staged, self.directory / ATTEMPT)
            self.disk.sync_directory(self.directory)
        self._is_claimed = True

    def save(self, checkpoint: Checkpoint) -> Path:
        """Write a checkpoint durably, then remove the oldest ones.

        Raises ``FullDiskError``, a ``ValueError``, where there is no space, and ``ValueError`` where another attempt
        has claimed the folder. The checkpoints before are whole in any case.
        """
        if self.best is not None and self.best.metric not in checkpoint.metrics:
            raise ValueError(unknown("term", self.best.metric, sorted(checkpoint.metrics), where="best.metric"))
        contents = self._contents(checkpoint)
        target = self.directory / f"step_{checkpoint.step:08d}"
        staged = self.directory / f".{target.name}.{self.attempt}.partial"
        try:
            if not self._is_claimed:
                self.claim()
            self._write(staged, contents)
            self._require_claim()
            publish(staged, target, disk=self.disk)
        except OSError as error:
            free = shutil.disk_usage(self.directory.parent).free
            self._give_up(staged, target)
            if error.errno in FULL:
                needed = sum(len(content) for content in contents.values())
                raise FullDiskError(self._full(checkpoint.step, needed, free)) from error
            raise
        self._prune(target)
        return target

    def _contents(self, checkpoint: Checkpoint) -> dict[str, bytes]:
        """By file name; the manifest is the last. Digests are of what is to be written, not of what was."""
        tensors, described = flatten_optimizer(checkpoint.optimizer)
        state = {"step": checkpoint.step, "attempt": self.attempt, "optimizer": described}
        state |= {"facts": checkpoint.facts, "metrics": checkpoint.metrics}
        contents = {
            MODEL: save(_untied(checkpoint.model)),
            OPTIMIZER: save(_untied(tensors)),
            STATE: json.dumps(state, sort_keys=True).encode(),
        }
        files = {name: {"bytes": len(c), "sha256": hashlib.sha256(c).hexdigest()} for name, c in contents.items()}
        facts = {"kind": "checkpoint", "step": checkpoint.step, "attempt": self.attempt}
        return {**contents, MANIFEST: manifest_of(files, **facts)}

    def _write(self, staged: Path, contents: Mapping[str, bytes]) -> None:
        self.disk.remove(staged)
        self.disk.make_directory(staged)
        for name, content in contents.items():
            self.disk.write(staged / name, content)
        self.disk.sync_directory(staged)

    def _require_claim(self) -> None:
        with suppress(FileNotFoundError):
            owner = json.loads((self.directory / ATTEMPT).read_text())["attempt"]
            if owner != self.attempt:
                raise ValueError(
                    f"another start of this run ({owner}) has taken over {self.directory}: this one ({self.attempt}) "
                    "ends; what it has saved before is kept"
                )

    def _give_up(self, staged: Path, target: Path) -> None:
        """Leave things as they were before ``save``, as far as the disk lets us."""
        with suppress(OSError):
            restore(target, self.disk)
        with suppress(OSError):
            self.disk.remove(staged)

    def _full(self, step: int, needed: int, free: int) -> str:
        kept = [path.name for path in self.paths() if path not in self._refused]
        return (
            f"the disk of {self.directory} is full: the checkpoint of step {step} takes {needed / 1e6:.1f} MB, "
            f"{free / 1e6:.1f} MB were free when it failed. {kept[-1] if kept else 'No checkpoint before it'} is kept. "
            "Free some space, lower keep_last or choose another runtime.work_dir, and run again: it goes on from there"
        )

    def _prune(self, newest: Path) -> None:
        """Remove all but the last ones and the best ones; that this fails ends no run."""
        sound = [path for path in self.paths() if path not in self._refused or path == newest]
        kept = {newest, *sound[-self.keep_last :], *self._best_of(sound)}
        for path in self.paths():
            if path not in kept:
                try:
                    self.disk.remove(path)
                except OSError as error:
                    logger.warning("the old checkpoint %s cannot be removed: %s", path, error)
        self._refused.clear()

    def _best_of(self, paths: list[Path]) -> list[Path]:
        if self.best is None:
            return []
        found = {path: _metric(path, self.best.metric) for path in paths}
        sign = 1 if self.best.mode == "min" else -1
        finite = [path for path in reversed(paths) if math.isfinite(found[path])]
        return sorted(finite, key=lambda path: sign * found[path])[: self.best.keep]

    def paths(self) -> list[Path]:
        """Directories of all checkpoints, oldest first, sound or not."""
        return sorted(self.directory.glob("step_*"))

    def latest(self) -> Checkpoint | None:
        """The newest sound checkpoint, or None; a bad one is skipped with a warning that names what is wrong."""
        for path in reversed(self.paths()):
            try:
                return self.read(path)
            except (ValueError, OSError) as error:
                self._refused.add(path)
                logger.warning("checkpoint %s is refused, trying the one before it: %s", path.name, error)
        return None

    def read(self, path: Path) -> Checkpoint:
        """Load one checkpoint; raises ``ValueError`` that names what is damaged or stale."""
        return read_checkpoint(path)


def read_checkpoint(path: Path) -> Checkpoint:
    """The checkpoint in a directory; raises ``ValueError`` that names what is damaged or stale."""
    manifest = verify(path)
    if missing := {MODEL, OPTIMIZER, STATE} - set(manifest["files"]):
        raise ValueError(f"{path} is no checkpoint: it lacks {', '.join(sorted(missing))}")
    try:
        state = json.loads((path / STATE).read_text())
        checkpoint = Checkpoint(
            step=state["step"],
            model=load_file(path / MODEL),
            optimizer=unflatten_optimizer(load_file(path / OPTIMIZER), state["optimizer"]),
            facts=state["facts"],
            metrics=state["metrics"],
        )
        attempt = state["attempt"]
    except (KeyError, TypeError, ValueError, SafetensorError) as error:
        raise ValueError(f"{path} is no checkpoint that this code wrote ({error})") from None
    told = [manifest.get("kind"), manifest.get("step"), manifest.get("attempt"), path.name]
    expected = ["checkpoint", checkpoint.step, attempt, f"step_{checkpoint.step:08d}"]
    if told != expected:
        raise ValueError(f"{path} is stale: it holds {expected}, {MANIFEST} and its name say {told}")
    return checkpoint


def _metric(path: Path, name: str) -> float:
    """NaN where it cannot be told."""
    try:
        return float(json.loads((path / STATE).read_text())["metrics"][name])
    except (OSError, ValueError, KeyError, TypeError):
        return math.nan


def _untied(tensors: Mapping[str, torch.Tensor]) -> Tensors:
    """On the CPU, dense, none of them sharing memory: the format refuses tied tensors."""
    seen: set[int] = set()
    own = {}
    for name, tensor in tensors.items():
        plain = tensor.detach().cpu().contiguous()
        pointer = plain.untyped_storage().data_ptr()
        own[name] = plain.clone() if pointer in seen else plain
        seen.add(pointer)
    return own


def save_tensors(tensors: Mapping[str, torch.Tensor], path: Path) -> None:
    """Write tensors as safetensors; tied ones, which the format refuses, are written once for each name."""
    save_file(_untied(tensors), path)


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
