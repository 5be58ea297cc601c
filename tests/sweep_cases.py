"""A tiny sweep for tests: a small planner and teacher that really train on hand-made scenes. Run as a program it does
the sweep in the folder that its arguments name, so that a test can kill it."""

import sys
from pathlib import Path
from typing import Any

import pandas as pd
from pydantic import TypeAdapter

from dima_pipeline.distributed.sweep_config import TuningConfig
from dima_pipeline.storage.runtime import RuntimeConfig
from dima_pipeline.training.config import DistillationConfig, parse_distillation
from dima_pipeline.training.stages import StageSpec, plan_stages
from dima_pipeline.training.windows import TrainingTables
from training_cases import make_training_tables, write_shards

PRETRAINING = {"num_steps": 4, "batch_size": 4, "learning_rate": 0.01, "warmup_steps": 1}
JOINT = {"num_steps": 40, "batch_size": 4, "learning_rate": 0.01, "warmup_steps": 10}
DISTILLATION: dict[str, Any] = {
    "num_development_scenes": 1,
    "planner": {"name": "doubles.fake_planner"},
    "teacher": {"name": "doubles.fake_teacher"},
    "surrogates": ["masked_reconstruction", "scene_editing"],
    "objective": {"weights": {"distillation/ego": 1.0}},
    "pretraining": PRETRAINING,
    "joint": JOINT,
}
SPACE: dict[str, Any] = {
    "joint.learning_rate": {"kind": "loguniform", "low": 1e-4, "high": 0.1},
    "objective.weights.distillation/ego": {"kind": "uniform", "low": 0.5, "high": 3.0},
    "surrogates.masked_reconstruction.max_ratio": {"kind": "uniform", "low": 0.3, "high": 0.8},
    "teacher.num_bev_queries": {"kind": "integer", "low": 1, "high": 4},
    "objective.distillation": {"kind": "choice", "values": ["kl", "smooth_l1", "cosine"]},
}
TUNING: dict[str, Any] = {
    **{"num_trials": 5, "num_steps": 12, "report_every": 4, "grace_period": 4, "num_random": 2},
    "space": SPACE,
}
NUM_KEYFRAMES = 12
"""The last ones have no driven path of 3 s."""


def make_tuning(**changes: Any) -> TuningConfig:
    return TypeAdapter(TuningConfig).validate_python({**TUNING, **changes})


def make_distillation(**changes: Any) -> DistillationConfig:
    return parse_distillation({**DISTILLATION, **changes})


def make_data(directory: Path) -> tuple[TrainingTables, Path]:
    """Two train scenes, of which one is for development, and their images."""
    tables = make_training_tables(NUM_KEYFRAMES)
    if not (directory / "shards").exists():
        write_shards(tables, directory / "shards")
    return tables, directory / "shards"


def make_joint(directory: Path, config: DistillationConfig | None = None) -> StageSpec:
    """The joint stage of distillation in ``directory / "work"``, its pretrained planner finished."""
    from dima_pipeline.training.runtime import LocalRuntime
    from dima_pipeline.training.stages import train_stage

    stages = plan_stages(config or make_distillation(), *make_data(directory), directory / "work")
    train_stage(stages["pretraining"], LocalRuntime())
    return stages["joint"]


def run_sweep(directory: Path, tuning: TuningConfig, config: DistillationConfig, **runtime: Any) -> pd.DataFrame:
    """Trials; the rest lies in ``directory / "out"``."""
    from dima_pipeline.distributed.sweep import sweep

    settings = RuntimeConfig(work_dir=str(directory / "work"), num_cpus=3, **runtime)
    (directory / "out").mkdir(exist_ok=True)
    return sweep(tuning, config, settings, make_data(directory), directory / "out")


if __name__ == "__main__":
    slow = {"planner": {"name": "doubles.fake_planner", "pause_s": float(sys.argv[2])}}
    run_sweep(Path(sys.argv[1]), make_tuning(), make_distillation(**slow))
