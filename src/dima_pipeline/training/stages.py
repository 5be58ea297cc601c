"""The stages of distillation (DiMA, section 3.4), each from plain JSON facts to a finished model directory.

``pretraining``: the planner alone. ``joint``: planner and teacher together, from the pretrained planner. ``control``:
the same batches and as many steps as ``joint``, with planning losses alone, so that what the teacher adds can be told
from what more training adds. A stage is named by the digest of all that decides its result; a finished one is kept.
"""

import json
import logging
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd
import torch
from safetensors.torch import load_file

from dima_pipeline.planners import PLANNERS
from dima_pipeline.storage.image_shards import ImageShards
from dima_pipeline.storage.manifest import (
    MANIFEST,
    digest,
    link_or_copy,
    make_once,
    publish,
    restore,
    verify,
    write_manifest,
)
from dima_pipeline.storage.scene_reader import SceneReader
from dima_pipeline.surrogates import SURROGATES
from dima_pipeline.teachers import TEACHERS
from dima_pipeline.training.augmentation import Augmentation
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
from dima_pipeline.training.recall import RecalledTeacher, recalled_teacher
from dima_pipeline.training.run_names import (
    StageName,
    code_digest,
    keep_contents,
    run_content,
    run_name,
    weights_digests,
)
from dima_pipeline.training.runtime import Runtime
from dima_pipeline.training.start import prepare_start, start_facts
from dima_pipeline.training.windows import TrainingTables, WindowDataset, tables_digest

logger = logging.getLogger(__name__)


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
    """Directory whose planner the stage starts from: a model, or what ``start.prepare_start`` made."""
    run: str | None = None
    """The user's own name of the run, with the stage: checkpoints are held to it in place of ``name``."""

    @property
    def identity(self) -> str:
        """What a checkpoint must say of itself to be resumed."""
        return self.run or self.name

    @property
    def model_dir(self) -> Path:
        """Where the result is published."""
        return Path(self.run_dir) / "model"

    @property
    def log_path(self) -> Path:
        """JSON lines, one a logged step."""
        return Path(self.run_dir) / LOG


def plan_stages(
    config: DistillationConfig,
    tables: TrainingTables,
    shards_dir: Path,
    work_dir: Path,
    *,
    run: str | None = None,
    resume_changed: bool = False,
) -> dict[StageName, StageSpec]:
    """The stages in the order of training; writes tables, start and the content of runs into the work folder.

    Without a teacher there is only pretraining, with ``start_from`` there is none. ``run`` is the user's own name for
    the runs. Raises ``ValueError`` for weights to start from that are not there or do not fit, and for a named run
    whose configuration, data or code changed, unless ``resume_changed``.
    """
    work_dir, shards_dir = work_dir.resolve(), shards_dir.resolve()
    tables_dir, data_digest = _publish_tables(config, tables, shards_dir, work_dir)
    start_dir = _start_dir(config, shards_dir, work_dir)
    specs: dict[StageName, StageSpec] = {}
    contents = {}
    for stage in _stages(config):
        parent, parent_dir = (start_dir.name, start_dir) if start_dir else (None, None)
        if pretrained := specs.get("pretraining"):
            parent, parent_dir = pretrained.name, pretrained.model_dir
        name = run_name(stage, config, data_digest, parent)
        run_dir = work_dir / "runs" / (f"{run}-{stage}" if run else name)
        contents[run_dir] = run_content(stage, config, data_digest, parent)
        specs[stage] = StageSpec(
            stage=stage,
            name=name,
            config=dump_distillation(config),
            tables_dir=str(tables_dir),
            shards_dir=str(shards_dir),
            run_dir=str(run_dir),
            parent_dir=str(parent_dir) if parent_dir else None,
            run=run_dir.name if run else None,
        )
    keep_contents(contents, is_change_allowed=resume_changed or run is None)
    return specs


def _stages(config: DistillationConfig) -> tuple[StageName, ...]:
    if config.teacher is None:
        return ("pretraining",)
    return ("pretraining", "joint", "control") if config.start_from is None else ("joint", "control")


def _start_dir(config: DistillationConfig, shards_dir: Path, work_dir: Path) -> Path | None:
    if config.start_from is None:
        return None
    if config.teacher is None:
        raise ValueError(
            "distillation.start_from is where stage 2 starts, which needs a teacher: name one, or take it out"
        )
    return prepare_start(config, ImageShards(shards_dir).image_size, work_dir)


def _publish_tables(
    config: DistillationConfig, tables: TrainingTables, shards_dir: Path, work_dir: Path
) -> tuple[Path, str]:
    """Directory of the tables that workers read, and the digest of tables and images."""
    work_dir.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=".tables.", dir=work_dir) as folder:  # another run may write its own meanwhile
        written = Path(folder)
        tables.hold_out(config.num_development_scenes).write(written)
        data_digest = digest_of({**tables_digest(written), "shards": digest(shards_dir / MANIFEST)})
        tables_dir = work_dir / "tables" / data_digest[:16]

        def make(staged: Path) -> dict[str, Any]:
            for path in written.iterdir():
                link_or_copy(path, staged / path.name)
            return {"kind": "training_tables"}

        make_once(tables_dir, make)
    return tables_dir, data_digest


def stage_settings(spec_stage: StageName, config: DistillationConfig) -> StageConfig:
    """The optimisation of a stage; ``control`` has that of ``joint``."""
    return config.pretraining if spec_stage == "pretraining" else config.joint


def is_finished(spec: StageSpec) -> bool:
    """Whether the result is there and whole; a damaged one is named in a warning and made again."""
    restore(spec.model_dir)
    if not spec.model_dir.exists():
        return False
    try:
        made = verify(spec.model_dir).get("name")
    except ValueError as error:
        logger.warning("stage %s is done again: %s", spec.name, error)
        return False
    if made != spec.name:  # a named run that goes on with a changed configuration
        logger.warning("stage %s goes on: its model was made by %s", spec.name, made)
    return made == spec.name


def train_stage(spec: StageSpec, runtime: Runtime) -> Path:
    """Do a stage, or what is left of it; the model directory. Raises ``ValueError`` as ``loop.fit`` does."""
    if is_finished(spec):
        return spec.model_dir
    config = parse_distillation(spec.config)
    settings = stage_settings(spec.stage, config)
    tables = TrainingTables.read(Path(spec.tables_dir))
    shards = ImageShards(Path(spec.shards_dir))
    reader = SceneReader(tables.samples, shards, command=config.window.command)
    recalled = _recalled(spec, config, tables, reader, runtime)
    model = build_model(spec, config, tables, shards.image_size, recalled)
    # Joint and control draw the same batches; pretraining draws others.
    seed = int(np.random.SeedSequence([config.seed, spec.stage == "pretraining"]).generate_state(1)[0])
    ranges = config.window.augmentation
    augmentation = None if ranges is None else Augmentation(ranges, seed)
    num_future = 2 if any(surrogate.needs_future for surrogate in model.surrogates) else 0
    data = _windows(config, tables, reader, num_future=num_future, augmentation=augmentation)
    run = Run(stage=settings, seed=seed, digest=spec.identity, directory=Path(spec.run_dir))
    fit(model, data, run, runtime)
    if runtime.rank == 0:
        save_model(spec, config, model, shards.image_size)
    runtime.gather({})  # nobody begins the next stage before the model is there
    return spec.model_dir


def _windows(
    config: DistillationConfig, tables: TrainingTables, reader: SceneReader, *, num_future: int, augmentation: Any
) -> WindowDataset:
    """The training split as windows."""
    window = config.window
    return WindowDataset(
        tables,
        reader,
        split="train",
        num_past=window.num_past_frames,
        num_future=num_future,
        num_agents=window.num_agents,
        num_map=window.num_map_elements,
        augmentation=augmentation,
    )


def _recalled(
    spec: StageSpec, config: DistillationConfig, tables: TrainingTables, reader: SceneReader, runtime: Runtime
) -> RecalledTeacher | None:
    """The cached teacher of a joint stage that asks for one."""
    if spec.stage != "joint" or not config.is_teacher_cached:
        return None
    assert spec.parent_dir is not None
    facts: dict[str, Any] = {key: spec.config[key] for key in ("planner", "teacher", "window")}
    facts |= {
        "start": digest(Path(spec.parent_dir) / "planner.safetensors"),
        "weights": weights_digests(config.teacher),
        "data": Path(spec.tables_dir).name,
        "precision": config.joint.precision,
        "code": code_digest(config),
    }

    def build() -> tuple[Any, Any]:
        model = build_model(spec, config, tables, reader.shards.image_size)
        return model.planner, model.teacher

    return recalled_teacher(
        Path(spec.run_dir).parents[1] / "features" / digest_of(facts)[:16],
        build,
        _windows(config, tables, reader, num_future=0, augmentation=None),
        runtime,
        batch_size=config.joint.batch_size,
        is_bf16=config.joint.precision == "bf16",
    )


def build_model(
    spec: StageSpec,
    config: DistillationConfig,
    tables: TrainingTables,
    image_size: tuple[int, int],
    recalled: RecalledTeacher | None = None,
) -> JointObjective:
    """Planner, and for ``joint`` teacher and surrogates; the planner continues from the parent where there is one.

    ``recalled`` takes the place of the teacher.
    """
    torch.manual_seed(config.seed)
    planner = PLANNERS.build(config.planner, image_size=image_size)
    if spec.parent_dir is not None:
        planner.load_state_dict(load_file(Path(spec.parent_dir) / "planner.safetensors"))
    teacher: Any = recalled
    surrogates = []
    if spec.stage == "joint" and recalled is None:
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
    if spec.parent_dir is not None:
        facts |= start_facts(Path(spec.parent_dir))
    (staged / "config.json").write_text(json.dumps(facts, indent=1, sort_keys=True))
    write_manifest(staged, kind="model", stage=spec.stage, name=spec.name)
    publish(staged, spec.model_dir, is_durable=True)


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
