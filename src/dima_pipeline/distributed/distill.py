"""Distillation as one call: tables and image shards in, trained planner, control and teacher out."""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from dima_pipeline.distributed.progress import Follow
from dima_pipeline.distributed.ray_runtime import launch
from dima_pipeline.storage.runtime import RuntimeConfig
from dima_pipeline.training.config import DistillationConfig
from dima_pipeline.training.stages import plan_stages, training_log
from dima_pipeline.training.windows import TrainingTables


@dataclass(frozen=True, kw_only=True)
class DistillationResult:
    """Model directories in the work folder: the caller publishes copies."""

    planner_dir: Path
    """The distilled planner; the pretrained one where the configuration names no teacher."""
    control_dir: Path | None
    """As many steps on the same batches, without a teacher."""
    teacher_dir: Path | None
    log: pd.DataFrame
    """``contracts.result_tables.TrainingLog``."""


def distill(
    config: DistillationConfig,
    runtime: RuntimeConfig,
    tables: TrainingTables,
    shards_dir: Path,
    show: Follow | None = None,
) -> DistillationResult:
    """Train all stages on Ray, or what is left of them after an interruption.

    Finished stages whose configuration, data and code did not change are used as they are. Raises ``ValueError`` as
    ``training.loop.fit`` and ``training.windows.WindowDataset`` do.
    """
    specs = plan_stages(config, tables, shards_dir, Path(runtime.work_dir))
    directories = dict(zip(specs, launch(list(specs.values()), runtime, show), strict=True))
    joint_dir = directories.get("joint")
    return DistillationResult(
        planner_dir=joint_dir or directories["pretraining"],
        control_dir=directories.get("control"),
        teacher_dir=joint_dir,
        log=training_log(list(specs.values())),
    )
