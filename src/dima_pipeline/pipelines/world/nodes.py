"""Node of the ``world`` pipeline."""

import json
from functools import partial
from pathlib import Path

from dima_pipeline.pipelines.hints import Table
from dima_pipeline.storage.runtime import RuntimeConfig
from dima_pipeline.world.config import WorldConfig


def generate_world(config: WorldConfig, runtime: RuntimeConfig) -> tuple[Path, Table]:
    """A dataroot in the nuScenes format, and what truly happens in it."""
    import pandas as pd

    from dima_pipeline.curation.splits import synthetic_scene_names
    from dima_pipeline.distributed.world_workers import WorldWorkers
    from dima_pipeline.pipelines.progress import progress
    from dima_pipeline.world.publishing import make_world

    assert runtime.world_dir is not None
    stage, workers = partial(runtime.staging, "world"), WorldWorkers(runtime)
    with progress("Generating scenes") as report:
        target = Path(runtime.world_dir)
        root = make_world(config, synthetic_scene_names(), target, stage=stage, spread=workers, progress=report)
    return root, pd.DataFrame(json.loads((root / config.version / "world_truth.json").read_text()))
