"""A planner bundle as a car runs it: ONNX, a card and a digest manifest; numpy and onnxruntime, no torch, no LLM."""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dima_pipeline.contracts.batch import BevMemory, Plan, SceneBatch, empty_memory
from dima_pipeline.contracts.frames import CAMERAS, COMMANDS, CONTRACT_VERSION, NUM_FUTURE_STEPS
from dima_pipeline.storage.manifest import MANIFEST, verify

MODEL, WEIGHTS, CARD = "planner.onnx", "planner.safetensors", "card.json"
KIND = "planner_bundle"
INPUTS = (
    "images",
    "image_from_ego",
    "camera_valid",
    "command",
    "prev_from_ego",
    "memory_bev",
    "memory_valid",
)
OUTPUTS = ("trajectory", "features", "bev", "bev_valid")


@dataclass(frozen=True, kw_only=True)
class Card:
    """What one must know to feed a bundle: the fields of ``card.json`` that this code relies on."""

    image_size: tuple[int, int]
    """Height and width, pixels."""
    bev_shape: tuple[int, int]
    token_dim: int
    feature_dim: int
    facts: dict[str, Any]
    """The whole card."""

    @property
    def num_bev_cells(self) -> int:
        """Q."""
        return self.bev_shape[0] * self.bev_shape[1]


class PlannerBundle:
    """Plans trajectories from a bundle directory."""

    def __init__(self, card: Card, session: Any) -> None:
        self.card = card
        self.session = session

    @classmethod
    def load(cls, directory: Path, *, num_threads: int = 1) -> "PlannerBundle":
        """Load a bundle onto ``num_threads`` CPU threads.

        Raises ``ValueError`` for a directory that is missing, unfinished, altered, or made for other conventions.
        """
        card = read_card(directory)
        session = open_session(directory / MODEL, num_threads)
        _expect(directory / MODEL, "inputs", sorted(node.name for node in session.get_inputs()), sorted(INPUTS))
        _expect(directory / MODEL, "outputs", sorted(node.name for node in session.get_outputs()), sorted(OUTPUTS))
        return cls(card, session)

    def reset(self, batch_size: int) -> BevMemory:
        """The memory at the start of ``batch_size`` scenes."""
        return empty_memory(batch_size, self.card.num_bev_cells, self.card.token_dim)

    def plan(self, batch: SceneBatch, memory: BevMemory | None = None) -> tuple[Plan, BevMemory]:
        """Plans and the memory to pass in at the next keyframe; ``memory`` None starts scenes anew.

        Raises ``ValueError`` where images or memory do not fit the bundle.
        """
        batch_size = len(batch.images)
        memory = self.reset(batch_size) if memory is None else memory
        self._check(batch, memory)
        feeds = {
            "images": np.asarray(batch.images, np.uint8),
            "image_from_ego": np.asarray(batch.image_from_ego, np.float32),
            "camera_valid": np.asarray(batch.camera_valid, bool),
            "command": np.asarray(batch.command, np.int64),
            "prev_from_ego": np.asarray(batch.prev_from_ego, np.float32),
            "memory_bev": np.asarray(memory.bev, np.float32),
            "memory_valid": np.asarray(memory.is_valid, bool),
        }
        trajectory, features, bev, bev_valid = self.session.run(list(OUTPUTS), feeds)
        assert trajectory.shape == (batch_size, NUM_FUTURE_STEPS, 2), trajectory.shape
        return Plan(trajectory=trajectory, features=features), BevMemory(bev=bev, is_valid=bev_valid)

    def _check(self, batch: SceneBatch, memory: BevMemory) -> None:
        batch_size = len(batch.images)
        images = (batch_size, len(CAMERAS), *self.card.image_size, 3)
        if batch.images.shape != images:
            raise ValueError(f"the bundle wants images of shape {images}, got {batch.images.shape}")
        bev = (batch_size, self.card.num_bev_cells, self.card.token_dim)
        if memory.bev.shape != bev:
            raise ValueError(f"the bundle wants a memory of shape {bev}, got {memory.bev.shape}: of another batch?")
        unknown = set(np.unique(batch.command)) - set(range(len(COMMANDS)))
        if unknown:
            raise ValueError(f"no command {sorted(unknown)}: use an index into {COMMANDS}")


def open_session(model: Path, num_threads: int) -> Any:
    """An ``onnxruntime.InferenceSession`` of ``model`` on the CPU."""
    # From its import on, onnxruntime reports to its maker (1.31 on Linux, too); it reads this variable then, and
    # switching telemetry off later comes too late.
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = num_threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def read_card(directory: Path) -> Card:
    """The card of a bundle whose files are all as written; raises ``ValueError`` as ``PlannerBundle.load``."""
    manifest = verify(directory)
    _expect(directory / MANIFEST, "kind", manifest.get("kind"), KIND)
    missing = {MODEL, WEIGHTS, CARD} - set(manifest["files"])
    if missing:
        raise ValueError(f"{directory} is no planner bundle: it lacks {', '.join(sorted(missing))}; export it again")
    facts = json.loads((directory / CARD).read_text())
    _expect(directory / CARD, "contract_version", facts.get("contract_version"), CONTRACT_VERSION)
    _expect(directory / CARD, "cameras", facts.get("cameras"), list(CAMERAS))
    _expect(directory / CARD, "commands", facts.get("commands"), list(COMMANDS))
    return Card(
        image_size=tuple(facts["image_size"]),
        bev_shape=tuple(facts["bev_shape"]),
        token_dim=facts["token_dim"],
        feature_dim=facts["feature_dim"],
        facts=facts,
    )


def _expect(path: Path, what: str, found: object, wanted: object) -> None:
    if found != wanted:
        raise ValueError(f"{path}: {what} is {found!r}, this code reads {wanted!r}; export the planner again")
