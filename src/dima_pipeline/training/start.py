"""What stage 2 starts from in place of stage 1: somebody's weights, made into a directory of the work folder.

The planner is built and filled before Ray starts, so that what does not fit is said at once, and what happens to the
file later changes nothing. Where the weights come from, and under which licence, travels on with the model.
"""

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from dima_pipeline.planners import PLANNERS
from dima_pipeline.storage.manifest import MANIFEST, digest, make_once, verify
from dima_pipeline.training.checkpoints import MODEL, save_tensors
from dima_pipeline.training.config import DistillationConfig, digest_of
from dima_pipeline.training.foreign_weights import difference, first_names, load_weights, read_weights
from dima_pipeline.training.run_names import code_digest

logger = logging.getLogger(__name__)

PLANNER = "planner.safetensors"
START = "start.json"
"""Beside the weights: where they come from (JSON)."""
ALLOWED = (
    "give the directory of a model (.../model) or of a checkpoint (.../checkpoints/step_...), or a safetensors file, "
    "which `dima import-weights` makes of a PyTorch checkpoint"
)


def prepare_start(config: DistillationConfig, image_size: tuple[int, int], work_dir: Path) -> Path:
    """The directory with the planner's weights that ``config.start_from`` names; its name is their digest.

    ``image_size`` is (height, width) in pixels. Raises ``ValueError`` for a path that is missing, damaged or of
    something else, and for weights of another planner. Of a foreign file what fits is taken and the rest named.
    """
    assert config.start_from is not None
    path = Path(config.start_from).expanduser().resolve()
    weights, facts = _find(path)
    sha256 = digest(weights)
    key = {"weights": sha256, "planner": PLANNERS.dump(config.planner), "seed": config.seed}
    key |= {"image_size": list(image_size), "code": code_digest(config), "kind": facts["kind"]}

    def make(staged: Path) -> Mapping[str, Any]:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            planner = PLANNERS.build(config.planner, image_size=image_size)
        told = {"path": config.start_from, "sha256": sha256, **facts, **_fill(planner, weights, facts["kind"])}
        save_tensors(planner.state_dict(), staged / PLANNER)
        (staged / START).write_text(json.dumps(told, indent=1, sort_keys=True))
        return {"kind": "start", "sha256": sha256}

    directory = work_dir / "starts" / f"start-{digest_of(key)[:16]}"
    make_once(directory, make)
    return directory


def start_facts(parent_dir: Path) -> dict[str, Any]:
    """Where the weights of a parent come from: ``{"start": ...}``; empty for a parent that was trained here."""
    path = parent_dir / START
    return {"start": json.loads(path.read_text())} if path.is_file() else {}


def _find(path: Path) -> tuple[Path, dict[str, Any]]:
    """The file of the weights, and what is known of it."""
    if not path.exists():
        raise ValueError(f"distillation.start_from: {path} does not exist; {ALLOWED}")
    if path.is_file():
        return path, {"kind": "file"}
    if not (path / MANIFEST).is_file():
        raise ValueError(f"distillation.start_from: {path} has no {MANIFEST}; {ALLOWED}")
    manifest = verify(path)
    if manifest.get("kind") == "model" and PLANNER in manifest["files"]:
        facts = json.loads((path / "config.json").read_text())
        before = {"start": facts["start"]} if "start" in facts else {}
        return path / PLANNER, {"kind": "model", "stage": facts["stage"], "name": facts["name"], **before}
    if manifest.get("kind") == "checkpoint" and MODEL in manifest["files"]:
        return path / MODEL, {"kind": "checkpoint", "step": manifest["step"]}
    raise ValueError(f"distillation.start_from: {path} holds a {manifest.get('kind', 'thing')}, no planner; {ALLOWED}")


def _fill(planner: torch.nn.Module, path: Path, kind: str) -> dict[str, Any]:
    """Copy the weights into ``planner``; what the file says of its source."""
    if kind == "file":
        loaded = load_weights(planner, path, strict=False)
        is_whole = not (loaded.missing or loaded.unexpected or loaded.differing or loaded.not_finite)
        logger.log(logging.INFO if is_whole else logging.WARNING, "stage 2 starts from weights: %s", loaded.summary())
        return {"summary": loaded.summary().replace(str(path), path.name), "imported": dict(loaded.facts)}
    tensors, _ = read_weights(path)
    if kind == "checkpoint":  # of the whole objective, without what is frozen
        prefix = "planner."
        tensors = {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
    own = planner.state_dict()
    frozen = {name for name, parameter in planner.named_parameters() if not parameter.requires_grad}
    optional = frozen if kind == "checkpoint" else set()
    wrong = sorted((own.keys() - optional) ^ (tensors.keys() - optional))
    wrong += [f"{name} ({text})" for name in tensors if name in own and (text := difference(tensors[name], own[name]))]
    if wrong:
        raise ValueError(
            f"distillation.start_from: {path.parent} was trained with another configuration of the planner: "
            f"{first_names(wrong)}"
        )
    planner.load_state_dict(tensors, strict=False)
    return {}
