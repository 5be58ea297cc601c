"""Writes a generated nuScenes-format root: towns, scenes spread over processes, tables put together at the end."""

import multiprocessing
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from dima_pipeline.contracts.frames import CAMERAS
from dima_pipeline.world.config import WorldConfig
from dima_pipeline.world.drama import Drama, play
from dima_pipeline.world.map_layers import write_maps
from dima_pipeline.world.recording import Row, SceneJob, record
from dima_pipeline.world.renderer import Renderer
from dima_pipeline.world.scripts import recipe_name
from dima_pipeline.world.tables import write_tables
from dima_pipeline.world.towns import build_towns

Progress = Callable[[int, int], None]


def generate(
    config: WorldConfig,
    directory: Path,
    train_names: Sequence[str],
    val_names: Sequence[str],
    num_workers: int = 1,
    *,
    progress: Progress | None = None,
) -> None:
    """Write a complete root into the empty ``directory``; equal configurations and names give equal bytes.

    ``train_names`` and ``val_names``: official scene names, as many as asked for are used in their order.
    ``num_workers`` processes record scenes (1: this one). ``progress(done, total)`` is called as scenes come in.
    Raises ``ValueError`` for a directory that is not empty, too few names, or a seed without a good scene.
    """
    write_root(
        config, directory, scene_jobs(config, train_names, val_names), num_workers=num_workers, progress=progress
    )


def write_root(
    config: WorldConfig,
    directory: Path,
    jobs: list[SceneJob],
    *,
    num_workers: int = 1,
    progress: Progress | None = None,
    with_images: bool = True,
) -> None:
    """``generate`` for given jobs; without images the JPEG files are black."""
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    if any(directory.iterdir()):
        raise ValueError(f"{directory} is not empty: a world is written into an empty directory")
    for folder in ("can_bus", "maps/expansion", "samples/LIDAR_TOP", *(f"samples/{camera}" for camera in CAMERAS)):
        (directory / folder).mkdir(parents=True)
    towns = list(build_towns(config.seed).values())
    write_maps(directory, towns)
    work = partial(record_scene, config, str(directory), with_images=with_images)
    scenes = []
    for rows in _spread(work, jobs, num_workers):
        scenes.append(rows)
        if progress is not None:
            progress(len(scenes), len(jobs))
    write_tables(directory, config.version, scenes, towns)


def scene_jobs(config: WorldConfig, train_names: Sequence[str], val_names: Sequence[str]) -> list[SceneJob]:
    """The scenes of a world, train first; raises ``ValueError`` where names do not suffice."""
    jobs: list[SceneJob] = []
    wanted = (("train", config.num_train_scenes, train_names), ("val", config.num_val_scenes, val_names))
    for split, num, names in wanted:
        if len(names) < num:
            raise ValueError(f"num_{split}_scenes is {num}, but there are only {len(names)} official {split} names")
        jobs += [SceneJob(name, split, index, len(jobs) + index) for index, name in enumerate(names[:num])]
    repeated = sorted({job.name for job in jobs if [other.name for other in jobs].count(job.name) > 1})
    if repeated:
        raise ValueError(f"scene names must differ, got {repeated} more than once")
    return jobs


def play_scene(config: WorldConfig, job: SceneJob) -> Drama:
    """Simulate the scene of a job; a pure function of its arguments."""
    towns = [town for town in build_towns(config.seed).values() if town.split == job.split]
    rng = np.random.default_rng([config.seed, job.split == "train", job.index])
    return play(recipe_name(job.split, job.index), towns, rng, config.num_keyframes)


def record_scene(
    config: WorldConfig, directory: str, job: SceneJob, *, with_images: bool = True
) -> dict[str, list[Row]]:
    """Simulate and record one scene; runs in a worker."""
    renderer = _renderer(config.image_width, config.image_height) if with_images else None
    return record(config, job, play_scene(config, job), Path(directory), renderer)


@lru_cache(maxsize=1)
def _renderer(width: int, height: int) -> Renderer:
    return Renderer(width, height)


def _spread(
    work: Callable[[SceneJob], dict[str, Any]], jobs: list[SceneJob], num_workers: int
) -> Iterator[dict[str, Any]] | Iterable[dict[str, Any]]:
    """Results in the order of ``jobs``."""
    if num_workers <= 1 or len(jobs) <= 1:
        yield from map(work, jobs)
        return
    # Spawned: a forked child would share the renderer's threads and locks.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(num_workers, len(jobs)), mp_context=context) as pool:
        yield from pool.map(work, jobs)
