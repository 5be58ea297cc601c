"""The arms of the proof: what is trained from one pretrained planner, seed by seed, as stages of the project itself.

``full`` and ``control`` are the project's own stages; ``zeroed_teacher`` is shown no scene; ``shuffled_qa`` learns its
answers from questions about other scenes; ``vectors_only`` is a control whose planner is another one, from the start.
A finished stage is kept, and one that was killed goes on.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from dima_pipeline.evaluation.shuffling import other_scenes
from dima_pipeline.training.config import DistillationConfig, dump_distillation, parse_distillation
from dima_pipeline.training.runtime import LocalRuntime
from dima_pipeline.training.stages import StageSpec, plan_stages, stage_settings, train_stage
from dima_pipeline.training.windows import TrainingTables

ARMS = ("full", "control", "zeroed_teacher", "shuffled_qa", "vectors_only")
SHOWN = 5
"""Lines of progress a stage."""


@dataclass(frozen=True, kw_only=True)
class World:
    """What an arm is trained on."""

    tables: TrainingTables
    shards_dir: Path
    config: DistillationConfig
    work_dir: Path


class ShownRuntime(LocalRuntime):
    """This process, telling how far it is and how long the rest will take."""

    def __init__(self, what: str, num_steps: int) -> None:
        super().__init__()
        self._what, self._num_steps, self._begun = what, num_steps, time.monotonic()
        self._first: int | None = None

    def observe(self, line: Mapping[str, Any]) -> None:
        """A line for every fifth part of the stage."""
        step = line["step"] + 1
        self._first = step - 1 if self._first is None else self._first
        if step % max(self._num_steps // SHOWN, 1) == 0:
            left_s = (time.monotonic() - self._begun) / (step - self._first) * (self._num_steps - step)
            loss = line["terms"].get("total", float("nan"))
            print(f"{self._what}: step {step} of {self._num_steps}, loss {loss:.3f}, {left_s:.0f} s left", flush=True)


def train_arms(world: World, seed: int, arms: tuple[str, ...]) -> dict[str, Path]:
    """Model directories by arm, and of the planner that they all started from as ``pretrained``."""
    config = replace(world.config, seed=seed)
    specs = plan_stages(config, world.tables, world.shards_dir, world.work_dir)
    found = {"pretrained": _train(specs["pretraining"], config, f"seed {seed}, pretrained")}
    for arm in arms:
        what = f"seed {seed}, {arm}"
        spec = specs["joint" if arm == "full" else "control"]
        if arm not in ("full", "control"):
            tables = shuffle_answers(world.tables, seed) if arm == "shuffled_qa" else world.tables
            changed = changed_config(config, arm, found["pretrained"])
            stages = plan_stages(changed, tables, world.shards_dir, world.work_dir)
            if arm == "vectors_only":
                _train(stages["pretraining"], config, f"{what}, pretrained")
            spec = stages["control" if arm == "vectors_only" else "joint"]
        found[arm] = _train(spec, config, what)
    return found


def _train(spec: StageSpec, config: DistillationConfig, what: str) -> Path:
    return train_stage(spec, ShownRuntime(what, stage_settings(spec.stage, config).num_steps))


def changed_config(config: DistillationConfig, arm: str, pretrained: Path) -> DistillationConfig:
    """The configuration of an arm that is none of the project's own stages."""
    plain = dump_distillation(config)
    if arm == "vectors_only":
        plain["planner"] = {**plain["planner"], "name": "proof.vectors_only"}
        return parse_distillation(plain)
    plain["start_from"] = str(pretrained)
    if arm == "zeroed_teacher":
        plain["teacher"] = {**plain["teacher"], "name": "proof.zeroed_teacher"}
    return parse_distillation(plain)


def shuffle_answers(tables: TrainingTables, seed: int) -> TrainingTables:
    """Every question about a training scene, also about an edit, with an answer that was given of another one.

    It is the answer to the same question where that was asked elsewhere, else to another one of its category: what
    language alone can learn stays.
    """
    rng = np.random.default_rng(seed)
    scene_of = tables.samples.set_index("sample_token")["scene_token"]
    is_train = tables.scenes.set_index("scene_token")["split"] == "train"

    def shuffled(pairs: pd.DataFrame, category: str) -> pd.DataFrame:
        scene = pairs["sample_token"].map(scene_of)
        answers = pairs["answer"].to_numpy(object).copy()
        left = scene.map(is_train).to_numpy(bool).copy()
        for keys in ([category, "question"], [category]):
            for _, rows in pairs[left].groupby(keys, sort=True):
                places = pairs.index.get_indexer(rows.index)
                if scene.iloc[places].nunique() > 1:
                    own = scene.iloc[places].tolist()
                    answers[places] = pairs["answer"].to_numpy(object)[places[other_scenes(own, rng)]]
                    left[places] = False
        return pairs.assign(answer=answers)

    return replace(
        tables, vqa_pairs=shuffled(tables.vqa_pairs, "category"), scene_edits=shuffled(tables.scene_edits, "kind")
    )
