"""Tables of a generated world without pictures, for tests and benchmarks of scene edits."""

from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import numpy as np
import pandas as pd

from dima_pipeline.curation.splits import synthetic_scene_names
from dima_pipeline.datasets import SceneTables
from dima_pipeline.datasets.nuscenes import Config, NuScenesDataset
from dima_pipeline.storage.keyframes import Keyframe, keyframes
from dima_pipeline.world.config import WorldConfig
from dima_pipeline.world.generate import scene_jobs, write_root


def make_world(directory: Path, num_scenes: int, seed: int = 0) -> NuScenesDataset:
    """Play a world into an empty directory; the pictures are black."""
    config = WorldConfig(seed=seed, num_scenes=num_scenes, image_width=16, image_height=9)
    write_root(config, directory, scene_jobs(config, synthetic_scene_names()), with_images=False)
    return NuScenesDataset(Config(version=config.version), dataroot=directory)


def all_tables(dataset: NuScenesDataset) -> SceneTables:
    """The tables of all scenes."""
    parts = [dataset.tables(name) for name in dataset.scene_names()]
    joined = {
        field.name: pd.concat([getattr(part, field.name) for part in parts], ignore_index=True)
        for field in fields(SceneTables)
    }
    return SceneTables(**joined)


def scenes_of(tables: SceneTables) -> Iterator[list[Keyframe]]:
    """The keyframes of each scene."""
    frames: dict[str, list[Keyframe]] = {}
    for frame in keyframes(tables):
        frames.setdefault(frame.sample.scene_token, []).append(frame)
    yield from frames.values()


def generator(seed: int, scene: int) -> np.random.Generator:
    """Random numbers for the edits of a scene."""
    return np.random.default_rng([seed, scene])
