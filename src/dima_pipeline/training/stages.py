"""The stages of distillation (DiMA, section 3.4), each from plain JSON facts to a finished model directory.

``pretraining``: the planner alone. ``joint``: planner and teacher together, from the pretrained planner. ``control``:
the same batches and as many steps as ``joint``, with planning losses alone, so that what the teacher adds can be told
from what more training adds. A stage is named by the digest of all that decides its result; a finished one is kept.
"""

import hashlib
import importlib.util
import json
import logging
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from safetensors.torch import load_file

import dima_pipeline
from dima_pipeline.planners import PLANNERS
from dima_pipeline.storage.image_shards import ImageShards
from dima_pipeline.storage.manifest import MANIFEST, digest, publish, verify, write_manifest
from dima_pipeline.storage.scene_reader import SceneReader
from dima_pipeline.surrogates import SURROGATES
from dima_pipeline.teachers import TEACHERS
from dima_pipeline.training.checkpoints import save_tensors
from dima_pipeline.training.config import (
    DistillationConfig,
    StageConfig,
    digest_of,
    dump_distillation,
    parse_distillation,
)
from dima_pipeline.training.loop import LOG, Run, fit, read_log
from dima_pipeline.training.objective import JointObjective
from dima_pipeline.training.runtime import Runtime
from dima_pipeline.training.windows import TrainingTables, WindowDataset, tables_digest

logger = logging.getLogger(__name__)

StageName = Literal["pretraining", "joint", "control"]
SOURCES = ("contracts", "geometry.py", "models", "planners", "storage", "surrogates", "teachers", "training")
"""Packages whose code decides what a stage results in."""


@dataclass(frozen=True, kw_only=True)
class StageSpec:
    """Everything a worker needs to do a stage: JSON values and absolute paths."""

    stage: StageName
    name: str
    """``run_name``."""
    config: dict[str, Any]
    """``dump_distillation``."""
    tables_dir: str
    shards_dir: str
    run_dir: str
    """Log, checkpoints and, at last, ``model``."""
    parent_dir: str | None
    """Model directory whose planner the stage starts from."""

    @property
    def model_dir(self) -> Path:
        """Where the result is published."""
        return Path(self.run_dir) / "model"

    @property
    def log_path(self) -> Path:
        """JSON lines, one a logged step."""
        return Path(self.run_dir) / LOG


def plan_stages(
    config: DistillationConfig, tables: TrainingTables, shards_dir: Path, work_dir: Path
) -> dict[StageName, StageSpec]:
    """The stages in the order of training; writes the tables into the work folder. Without a teacher there is only
    pretraining."""
    work_dir, shards_dir = work_dir.resolve(), shards_dir.resolve()
    staged = work_dir / "tables.partial"
    shutil.rmtree(staged, ignore_errors=True)
    tables.hold_out(config.num_development_scenes).write(staged)
    data_digest = digest_of({**tables_digest(staged), "shards": digest(shards_dir / MANIFEST)})
    tables_dir = work_dir / "tables" / data_digest[:16]
    write_manifest(staged, kind="training_tables")
    publish(staged, tables_dir)
    specs: dict[StageName, StageSpec] = {}
    stages: tuple[StageName, ...] = ("pretraining",) if config.teacher is None else ("pretraining", "joint", "control")
    for stage in stages:
        parent = None if stage == "pretraining" else specs["pretraining"]
        name = run_name(stage, config, data_digest, parent.name if parent else None)
        specs[stage] = StageSpec(
            stage=stage,
            name=name,
            config=dump_distillation(config),
            tables_dir=str(tables_dir),
            shards_dir=str(shards_dir),
            run_dir=str(work_dir / "runs" / name),
            parent_dir=str(parent.model_dir) if parent else None,
        )
    return specs


def run_name(stage: StageName, config: DistillationConfig, data_digest: str, parent: str | None) -> str:
    """``<stage>-<digest>`` of all that decides the result: what a stage does not use leaves its name alone."""
    facts = dump_distillation(config)
    used = {key: facts[key] for key in ("seed", "planner", "objective", "window")}
    used |= {key: facts[key] for key in ("teacher", "surrogates") if stage == "joint"}
    if stage != "joint":
        weights = facts["objective"]["weights"]
        used["objective"] = {name: weights[name] for name in weights if name.split("/")[0] == "planning"}
    settings = facts["pretraining" if stage == "pretraining" else "joint"]
    used["settings"] = {key: settings[key] for key in settings if key not in ("checkpoint_every", "keep_last")}
    content = {**used, "stage": stage, "data": data_digest, "parent": parent, "code": code_digest(config)}
    return f"{stage}-{digest_of(content)[:16]}"


def code_digest(config: DistillationConfig) -> str:
    """Digest of the source of the models and of training, plug-ins from elsewhere among them."""
    root = Path(dima_pipeline.__file__).parent
    paths = [path for name in SOURCES for path in [root / name, *(root / name).glob("*.py")] if path.is_file()]
    for plugin in (config.planner, config.teacher, *config.surrogates):
        if plugin is not None and (spec := importlib.util.find_spec(type(plugin).__module__)) and spec.origin:
            paths.append(Path(spec.origin))
    content = hashlib.sha256()
    for path in sorted(set(paths)):
        content.update(path.name.encode() + path.read_bytes())
    return content.hexdigest()


def stage_settings(spec_stage: StageName, config: DistillationConfig) -> StageConfig:
    """The optimisation of a stage; ``control`` has that of ``joint``."""
    return config.pretraining if spec_stage == "pretraining" else config.joint


def is_finished(spec: StageSpec) -> bool:
    """Whether the result is there and whole; a damaged one is named in a warning and made again."""
    if not spec.model_dir.exists():
        return False
    try:
        verify(spec.model_dir)
    except ValueError as error:
        logger.warning("stage %s is done again: %s", spec.name, error)
        return False
    return True


def train_stage(spec: StageSpec, runtime: Runtime) -> Path:
    """Do a stage, or what is left of it; the model directory. Raises ``ValueError`` as ``loop.fit`` does."""
    if is_finished(spec):
        return spec.model_dir
    config = parse_distillation(spec.config)
    settings = stage_settings(spec.stage, config)
    tables = TrainingTables.read(Path(spec.tables_dir))
    shards = ImageShards(Path(spec.shards_dir))
    model = build_model(spec, config, tables, shards.image_size)
    data = WindowDataset(
        tables,
        SceneReader(tables.samples, shards, command=config.window.command),
        split="train",
        num_past=config.window.num_past_frames,
        num_future=2 if any(surrogate.needs_future for surrogate in model.surrogates) else 0,
        num_agents=config.window.num_agents,
        num_map=config.window.num_map_elements,
    )
    # Joint and control draw the same batches; pretraining draws others.
    seed = int(np.random.SeedSequence([config.seed, spec.stage == "pretraining"]).generate_state(1)[0])
    run = Run(stage=settings, seed=seed, digest=spec.name, directory=Path(spec.run_dir))
    fit(model, data, run, runtime)
    if runtime.rank == 0:
        save_model(spec, config, model, shards.image_size)
    return spec.model_dir


def build_model(
    spec: StageSpec, config: DistillationConfig, tables: TrainingTables, image_size: tuple[int, int]
) -> JointObjective:
    """Planner, and for ``joint`` teacher and surrogates; the planner continues from the parent where there is one."""
    torch.manual_seed(config.seed)
    planner = PLANNERS.build(config.planner, image_size=image_size)
    if spec.parent_dir is not None:
        planner.load_state_dict(load_file(Path(spec.parent_dir) / "planner.safetensors"))
    teacher, surrogates = None, []
    if spec.stage == "joint":
        dims = {"token_dim": planner.token_dim, "feature_dim": planner.feature_dim}
        teacher = TEACHERS.build(config.teacher, **dims, texts=training_texts(tables))
        for surrogate in config.surrogates:
            shape = {"token_dim": planner.token_dim, "bev_shape": planner.bev_shape}
            surrogates.append(SURROGATES.build(surrogate, teacher_dim=teacher.hidden_dim, **shape))
    return JointObjective(planner, teacher, surrogates, config.objective)


def training_texts(tables: TrainingTables) -> list[str]:
    """Questions and answers of the train split: what a tokenizer may be trained on."""
    scenes = set(tables.scenes.loc[tables.scenes["split"] == "train", "scene_token"])
    tokens = set(tables.samples.loc[tables.samples["scene_token"].isin(scenes), "sample_token"])
    texts: list[str] = []
    for table in (tables.vqa_pairs, tables.scene_edits):
        rows = table[table["sample_token"].isin(tokens)]
        texts += [*rows["question"].tolist(), *rows["answer"].tolist()]
    return texts


def save_model(spec: StageSpec, config: DistillationConfig, model: JointObjective, image_size: tuple[int, int]) -> None:
    """Publish weights, configuration and manifest as the model directory of the stage."""
    staged = Path(spec.run_dir) / "model.partial"
    shutil.rmtree(staged, ignore_errors=True)
    staged.mkdir(parents=True)
    save_tensors(model.planner.state_dict(), staged / "planner.safetensors")
    if model.teacher is not None:
        model.teacher.save_pretrained(staged / "teacher")
        if len(model.surrogates):
            save_tensors(model.surrogates.state_dict(), staged / "surrogates.safetensors")
    facts = {"stage": spec.stage, "name": spec.name, "image_size": list(image_size), "config": spec.config}
    (staged / "config.json").write_text(json.dumps(facts, indent=1, sort_keys=True))
    write_manifest(staged, kind="model", stage=spec.stage, name=spec.name)
    publish(staged, spec.model_dir)


def load_planner(model_dir: Path) -> tuple[Any, DistillationConfig]:
    """The trained planner in evaluation mode, and the configuration it was trained with.

    Raises ``ValueError`` where the directory is not whole.
    """
    facts = _read_facts(model_dir)
    config = parse_distillation(facts["config"])
    planner = PLANNERS.build(config.planner, image_size=tuple(facts["image_size"]))
    planner.load_state_dict(load_file(model_dir / "planner.safetensors"))
    return planner.eval(), config


def load_teacher(model_dir: Path) -> Any:
    """The trained teacher of a joint stage in evaluation mode; raises ``ValueError`` where there is none."""
    facts = _read_facts(model_dir)
    if not (model_dir / "teacher").is_dir():
        raise ValueError(f"{model_dir} holds no teacher: it is the result of stage '{facts['stage']}', not of 'joint'")
    return TEACHERS.module(facts["config"]["teacher"]["name"]).load(model_dir / "teacher")


def _read_facts(model_dir: Path) -> dict[str, Any]:
    verify(model_dir)
    return json.loads((model_dir / "config.json").read_text())


def training_log(specs: Sequence[StageSpec]) -> pd.DataFrame:
    """``result_tables.TrainingLog`` of finished stages; terms of skipped steps that are not finite are left out."""
    rows = [
        (spec.stage, line["step"], term, value)
        for spec in specs
        for line in read_log(spec.log_path)
        for term, value in line["terms"].items()
        if np.isfinite(value)
    ]
    return pd.DataFrame(rows, columns=["stage", "step", "term", "value"])
