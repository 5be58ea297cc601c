"""A small generated root, made once: every recipe plays, the pictures are tiny."""

from pathlib import Path

import pytest
from nuscenes.utils import splits

from dima_pipeline.world.config import WorldConfig
from dima_pipeline.world.drama import Drama
from dima_pipeline.world.generate import generate, play_scene, scene_jobs

NO_CAN = {*range(161, 169), *range(170, 177), *range(309, 315)}
NAMES = {
    split: [name for name in getattr(splits, split) if int(name[-4:]) not in NO_CAN and not 60 < int(name[-4:]) < 120]
    for split in ("train", "val")
}


@pytest.fixture(scope="session")
def world_config() -> WorldConfig:
    return WorldConfig(num_train_scenes=9, num_val_scenes=9, num_keyframes=28, image_width=48, image_height=27)


@pytest.fixture(scope="session")
def world_root(world_config: WorldConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("world") / "root"
    generate(world_config, root, NAMES, num_workers=2)
    return root


@pytest.fixture(scope="session")
def dramas(world_config: WorldConfig) -> dict[str, Drama]:
    """The simulated scenes of the root by name."""
    jobs = scene_jobs(world_config, NAMES)
    return {job.name: play_scene(world_config, job) for job in jobs}
