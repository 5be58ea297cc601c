"""Distillation as one call: tables and image shards in, trained planner, control and teacher out."""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from dima_pipeline.distributed.progress import EachLine, Follow
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
    *,
    show: Follow | None = None,
    each_line: EachLine | None = None,
) -> DistillationResult:
    """Train all stages on Ray, or what is left of them after an interruption.

    Finished stages whose configuration, data and code did not change are used as they are. Raises ``ValueError`` as
    ``plan_stages``, ``training.loop.fit`` and ``training.windows.WindowDataset`` do.
    """
    work_dir, resume_changed = Path(runtime.work_dir), runtime.resume_changed
    specs = plan_stages(config, tables, shards_dir, work_dir, run=runtime.run_name, resume_changed=resume_changed)
    directories = dict(zip(specs, launch(list(specs.values()), runtime, show, each_line), strict=True))
    joint_dir = directories.get("joint")
    return DistillationResult(
        planner_dir=joint_dir or directories["pretraining"],
        control_dir=directories.get("control"),
        teacher_dir=joint_dir,
        log=training_log(list(specs.values())),
    )
