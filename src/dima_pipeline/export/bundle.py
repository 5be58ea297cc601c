"""Planner -> bundle: ONNX, weights, a card and a digest manifest, published whole; and the proof that both agree."""

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_model, save_model

from dima_pipeline.contracts.batch import BevMemory, SceneBatch
from dima_pipeline.contracts.frames import (
    CAMERAS,
    COMMANDS,
    CONTRACT_VERSION,
    NUM_FUTURE_STEPS,
    STEP_S,
)
from dima_pipeline.export.graph import check_size, refuse_teacher, write_onnx
from dima_pipeline.models.tensors import to_arrays, to_tensors
from dima_pipeline.planners import PLANNERS, Planner
from dima_pipeline.serving.bundle import CARD, INPUTS, KIND, MODEL, OUTPUTS, WEIGHTS, PlannerBundle, read_card
from dima_pipeline.storage.manifest import digest, publish, write_manifest

FRAME = "ego at the keyframe: x forward, y left, z up, yaw counter-clockwise; metres, radians, seconds"


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """Where a planner comes from, written on its card."""

    licence: str
    """Of the weights: non-commercial where the training data was."""
    training: Mapping[str, Any]
    """JSON values: run name, configuration digest, steps, data sets."""


def export_planner(
    planner: Planner, config: Any, directory: Path, *, image_size: tuple[int, int], provenance: Provenance
) -> Path:
    """Write the bundle of ``planner``, built from the plug-in ``config``, and put it in place of ``directory``.

    Deterministic: no dates, no machine. Raises ``ValueError`` for a planner that contains a teacher.
    """
    refuse_teacher(planner)
    assert isinstance(planner, torch.nn.Module)
    staged = directory.with_name(f".{directory.name}.partial")
    shutil.rmtree(staged, ignore_errors=True)
    staged.mkdir(parents=True)
    opset = write_onnx(planner, staged / MODEL, image_size)
    check_size(planner, staged / MODEL)
    save_model(planner, str(staged / WEIGHTS))
    card = {
        "planner": PLANNERS.dump(config),
        "image_size": list(image_size),
        **_conventions(planner),
        "opset": opset,
        "num_parameters": sum(parameter.numel() for parameter in planner.parameters()),
        "sha256": {name: digest(staged / name) for name in (MODEL, WEIGHTS)},
        "licence": provenance.licence,
        "training": dict(provenance.training),
    }
    (staged / CARD).write_text(json.dumps(card, indent=1, sort_keys=True))
    write_manifest(staged, kind=KIND, licence=provenance.licence)
    publish(staged, directory)
    return directory


def load_planner(directory: Path) -> tuple[Planner, Any]:
    """The torch planner of a bundle, in evaluation mode, and its plug-in config; raises ``ValueError`` as
    ``serving.bundle.read_card``."""
    card = read_card(directory)
    config = PLANNERS.parse(card.facts["planner"])
    planner = PLANNERS.build(config, image_size=card.image_size)
    load_model(planner, str(directory / WEIGHTS))
    return planner.eval(), config


def check_parity(planner: Planner, directory: Path, batches: Sequence[SceneBatch]) -> float:
    """Largest distance (m) between trajectories of ``planner`` and of its bundle over a sequence of keyframes.

    Each carries its own memory along, so that errors may add up as they would in the car.
    """
    assert isinstance(planner, torch.nn.Module)
    bundle = PlannerBundle.load(directory)
    was_training = planner.training
    planner.eval()
    own: BevMemory | None = None
    exported: BevMemory | None = None
    worst = 0.0
    for batch in batches:
        expected, own = plan_step(planner, batch, own)
        plan, exported = bundle.plan(batch, exported)
        worst = max(worst, float(np.linalg.norm(plan.trajectory - expected, axis=-1).max()))
    planner.train(was_training)
    return worst


@torch.inference_mode()
def plan_step(planner: Planner, batch: SceneBatch, memory: BevMemory | None) -> tuple[np.ndarray, BevMemory]:
    """The trajectory (B, T, 2) of the torch planner for a numpy batch, and its next memory (tensors)."""
    if memory is None:
        bev = torch.zeros(len(batch.images), planner.num_bev_cells, planner.token_dim)
        memory = BevMemory(bev=bev, is_valid=torch.zeros(len(bev), dtype=torch.bool))
    tensors = to_tensors(batch)
    beam, memory = planner.encode(tensors, memory)
    return to_arrays(planner.plan(beam, tensors)).trajectory, memory


def _conventions(planner: Planner) -> dict[str, Any]:
    """What a user of the bundle must keep to."""
    return {
        "contract_version": CONTRACT_VERSION,
        "cameras": list(CAMERAS),
        "commands": list(COMMANDS),
        "frame": FRAME,
        "num_future_steps": NUM_FUTURE_STEPS,
        "step_s": STEP_S,
        "bev_shape": list(planner.bev_shape),
        "token_dim": planner.token_dim,
        "feature_dim": planner.feature_dim,
        "inputs": list(INPUTS),
        "outputs": list(OUTPUTS),
    }
