"""Node of the ``tuning`` pipeline."""

from pathlib import Path

from dima_pipeline.distributed.sweep_config import TuningConfig
from dima_pipeline.pipelines.hints import Table
from dima_pipeline.storage.runtime import RuntimeConfig
from dima_pipeline.training.config import DistillationConfig


def tune_distillation(
    tuning: TuningConfig, config: DistillationConfig, runtime: RuntimeConfig, image_shards: Path, **tables: Table
) -> tuple[Table, Path]:
    """Trials of a sweep, and its plots with the best configuration as a parameters file."""
    from dima_pipeline.distributed.sweep import sweep
    from dima_pipeline.training.windows import TrainingTables

    directory = runtime.staging("sweep")
    return sweep(tuning, config, runtime, (TrainingTables(**tables), image_shards), directory), directory
