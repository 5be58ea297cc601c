"""A cached teacher: its features are written down before training, so that the LLM never stands beside the gradients.

What is distilled is then what the teacher made of the planner that the stage starts from; its own losses, which need
it at every step, are gone. For a GPU that holds the LLM alone or the training planner, not both.
"""

import json
import logging
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import nn

from dima_pipeline.models.tensors import to_tensors
from dima_pipeline.storage.manifest import make_once, verify
from dima_pipeline.surrogates import TeacherOutput
from dima_pipeline.training.checkpoints import save_tensors
from dima_pipeline.training.objective import remember
from dima_pipeline.training.runtime import Runtime
from dima_pipeline.training.windows import WindowDataset

logger = logging.getLogger(__name__)

FEATURES, TOKENS, TEACHER = "features.safetensors", "sample_tokens.json", "teacher"
POLL_S = 2.0


class RecalledTeacher(nn.Module):
    """The features in ``directory``, by keyframe; it has nothing to train and can answer nothing else."""

    def __init__(self, directory: Path) -> None:
        super().__init__()
        self._directory = directory
        self._row = {token: row for row, token in enumerate(json.loads((directory / TOKENS).read_text()))}
        self._features = load_file(directory / FEATURES)  # stays on the CPU: a training set may be large
        self.hidden_dim = self._features["agent"].shape[-1]

    def recall(self, sample_tokens: Sequence[str], device: torch.device) -> TeacherOutput:
        """``ego_features`` (B, F), and the means of agents and map as one token each (B, 1, H)."""
        rows = [self._row[token] for token in sample_tokens]
        ego, agent, map_ = (self._features[name][rows].to(device) for name in ("ego", "agent", "map"))
        nothing: Any = None
        return TeacherOutput(
            bev=nothing, ego=nothing, agent=agent, map=map_, trajectory=nothing, ego_features=ego, language_loss=None
        )

    def save_pretrained(self, directory: Path) -> None:
        """The teacher that the features are of."""
        shutil.copytree(self._directory / TEACHER, directory)


def recalled_teacher(
    directory: Path,
    build: Callable[[], tuple[Any, Any]],
    data: WindowDataset,
    runtime: Runtime,
    *,
    batch_size: int,
    is_bf16: bool = False,
) -> RecalledTeacher:
    """The teacher of ``directory``; the first worker fills it, the others wait.

    ``build`` gives planner and teacher, whose features of every keyframe of ``data`` are written down.
    """
    if runtime.rank == 0:

        def make(staged: Path) -> Mapping[str, Any]:
            return _write(staged, build, data, runtime, batch_size=batch_size, is_bf16=is_bf16)

        make_once(directory, make)
    while not _is_whole(directory):
        runtime.beat(None, "data")
        time.sleep(POLL_S)
    return RecalledTeacher(directory)


def _is_whole(directory: Path) -> bool:
    try:
        verify(directory)
    except ValueError:
        return False
    return True


@torch.no_grad()
def _write(
    staged: Path,
    build: Callable[[], tuple[Any, Any]],
    data: WindowDataset,
    runtime: Runtime,
    *,
    batch_size: int,
    is_bf16: bool,
) -> Mapping[str, Any]:
    """The first worker's part: features, in the order of ``data``, and the teacher itself."""
    planner, teacher = build()
    planner.to(runtime.device).eval()
    teacher.to(runtime.device).eval()
    found: dict[str, list[torch.Tensor]] = {"ego": [], "agent": [], "map": []}
    said = -1
    for first in range(0, len(data), batch_size):
        runtime.beat(None, "forward")
        if (tenth := 10 * first // len(data)) > said:
            said = tenth
            logger.info("features of the teacher: %d of %d keyframes", first, len(data))
        batch = to_tensors(data.batch(np.arange(first, min(first + batch_size, len(data)))), runtime.device)
        with torch.autocast(runtime.device.type, torch.bfloat16, enabled=is_bf16):
            beam, _ = planner.encode(batch.window.current, remember(planner, batch.window))
            answer = teacher(beam, None)
        for name, value in (("ego", answer.ego_features), ("agent", answer.agent), ("map", answer.map)):
            found[name].append((value if name == "ego" else value.mean(1, keepdim=True)).float().cpu())
    save_tensors({name: torch.cat(parts) for name, parts in found.items()}, staged / FEATURES)
    (staged / TOKENS).write_text(json.dumps(list(data.sample_tokens)))
    teacher.save_pretrained(staged / TEACHER)
    return {"kind": "teacher_features", "num_keyframes": len(data)}
