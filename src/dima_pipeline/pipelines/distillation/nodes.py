"""Node of the ``distillation`` pipeline."""

import shutil
from pathlib import Path

from dima_pipeline.pipelines.hints import Table
from dima_pipeline.storage.runtime import RuntimeConfig
from dima_pipeline.training.config import DistillationConfig


def distill_planner(
    config: DistillationConfig, runtime: RuntimeConfig, image_shards: Path, **tables: Table
) -> tuple[Path, Path, Table]:
    """The jointly trained planner with its teacher, the control, and the log of every loss term."""
    from dima_pipeline.distributed.distill import distill
    from dima_pipeline.pipelines.distillation.live import live_metrics
    from dima_pipeline.training.windows import TrainingTables

    if config.teacher is None:
        raise ValueError("distillation.teacher is null: name one, or there is nothing to distil and nothing to compare")
    with live_metrics(runtime.kept("live"), runtime.use_dvclive) as each_line:
        result = distill(config, runtime, TrainingTables(**tables), image_shards, each_line=each_line)
    assert result.control_dir is not None
    return _copy(result.planner_dir, runtime, "joint"), _copy(result.control_dir, runtime, "control"), result.log


def _copy(model_dir: Path, runtime: RuntimeConfig, name: str) -> Path:
    # The original stays in the work folder: a run with the same configuration and data finds it there.
    return Path(shutil.copytree(model_dir, runtime.staging(name), dirs_exist_ok=True))
