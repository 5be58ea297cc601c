"""Node of the ``world`` pipeline."""

import json
from pathlib import Path

from dima_pipeline.pipelines.hints import Table
from dima_pipeline.storage.manifest import write_manifest
from dima_pipeline.storage.runtime import RuntimeConfig
from dima_pipeline.world.config import WorldConfig


def generate_world(config: WorldConfig, runtime: RuntimeConfig) -> tuple[Path, Table]:
    """A dataroot in the nuScenes format, and what truly happens in it."""
    import pandas as pd

    from dima_pipeline.curation.splits import synthetic_scene_names
    from dima_pipeline.pipelines.progress import progress
    from dima_pipeline.world.generate import generate

    staged = runtime.staging("world")
    train_names, val_names = synthetic_scene_names()
    with progress("Generating scenes") as report:
        generate(config, staged, train_names, val_names, num_workers=runtime.num_processes, progress=report)
    write_manifest(staged, kind="dataroot")
    return staged, pd.DataFrame(json.loads((staged / config.version / "world_truth.json").read_text()))
