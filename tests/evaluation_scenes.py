"""A small typed fleet for tests of evaluation and reporting: egos that drive straight past a standing car."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from dima_pipeline.contracts.frames import CAMERAS
from dima_pipeline.datasets import SceneTables
from dima_pipeline.storage.image_shards import ImageShards, ImageShardWriter
from hand_scenes import Actor, HandScene, make_tables, straight

SPEED_MPS = 4.0
CAR_AT = (30.0, 6.0, 0.0)
LINES = [
    ("boundary", [(-50, -6), (200, -6)]),
    ("divider", [(-50, 2), (200, 2)]),
    ("centerline", [(-50, 0), (200, 0)]),
    ("ped_crossing", [(20, -6), (20, 9)]),
    ("boundary", [(-50, 9), (200, 9)]),
]


def as_tables(*scenes: HandScene, num_train: int = 0) -> SceneTables:
    """The scenes as tables; the first ``num_train`` are training scenes, the others validation scenes."""
    found = SceneTables(**vars(make_tables(*scenes)))
    split = np.where(np.arange(len(scenes)) < num_train, "train", "val")
    return replace(found, scenes=found.scenes.assign(split=split))


def make_fleet(num_scenes: int = 3, num_samples: int = 10, num_train: int = 1) -> SceneTables:
    """Scene i (``scene-000i``) drives along x at ``SPEED_MPS`` + i m/s; a car stands at ``CAR_AT``."""
    scenes = []
    for scene in range(num_scenes):
        speed = SPEED_MPS + scene
        actors = {f"car-{scene}": Actor("car", CAR_AT)}
        drive = straight(num_samples, speed)
        texts = {"name": f"scene-000{scene}", "description": "a straight road, one car stands on the left"}
        scenes.append(HandScene(drive, actors, LINES, speeds=[speed] * num_samples, **texts))
    return as_tables(*scenes, num_train=num_train)


def make_images(samples: pd.DataFrame, image_size: tuple[int, int] = (24, 40)) -> dict[str, np.ndarray]:
    """Images (C, H, W, 3) by sample_token, all of one grey that is the row of the keyframe."""
    shape = (len(CAMERAS), *image_size, 3)
    return {token: np.full(shape, row, np.uint8) for row, token in enumerate(samples["sample_token"])}


def write_shards(directory: Path, samples: pd.DataFrame, image_size: tuple[int, int] = (24, 40)) -> ImageShards:
    """Finished shards of ``make_images``."""
    images = make_images(samples, image_size)
    writer = ImageShardWriter(directory, image_size)
    for scene, rows in samples.groupby("scene_token"):
        tokens = rows["sample_token"].tolist()
        writer.add_scene(str(scene), tokens, np.stack([images[token] for token in tokens]))
    writer.finish()
    return ImageShards(directory)
