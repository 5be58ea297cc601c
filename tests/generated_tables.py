"""Tables of a small generated world, without pictures."""

import json
from dataclasses import fields
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
from nuscenes.utils import splits

from dima_pipeline.datasets import DATASETS, SceneTables
from dima_pipeline.world.config import WorldConfig
from dima_pipeline.world.generate import scene_jobs, write_root


def generated_tables(folder: Path, num_train: int = 3, num_val: int = 3, num_keyframes: int = 16) -> SimpleNamespace:
    """The fields of ``datasets.SceneTables`` and ``world_truth`` of a world written into ``folder``."""
    config = WorldConfig(
        num_train_scenes=num_train,
        num_val_scenes=num_val,
        num_keyframes=num_keyframes,
        image_width=48,
        image_height=27,
    )
    names = {split: [name for name in getattr(splits, split) if name > "scene-0320"] for split in ("train", "val")}
    write_root(config, folder, scene_jobs(config, names), with_images=False)
    dataset = DATASETS.build(DATASETS.parse({"name": "nuscenes", "version": config.version}), dataroot=folder)
    parts = [dataset.tables(name) for name in dataset.scene_names()]
    tables = {
        field.name: pd.concat([getattr(part, field.name) for part in parts], ignore_index=True)
        for field in fields(SceneTables)
    }
    truth = json.loads((folder / config.version / "world_truth.json").read_text())
    return SimpleNamespace(**tables, world_truth=pd.DataFrame(truth))
