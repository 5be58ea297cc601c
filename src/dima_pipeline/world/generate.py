"""Writes a generated nuScenes-format root: towns, scenes spread over workers, tables put together at the end.

A worker leaves the files of a scene and a file of its rows, so memory does not grow with the number of scenes. The
tables come last and by one rename: a root that was cut short has none, and no reader takes it for a whole one.
"""

import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import lru_cache, partial
from pathlib import Path

import numpy as np

from dima_pipeline.contracts.frames import CAMERAS
from dima_pipeline.storage.disk import full_disk_in_words
from dima_pipeline.world.config import WorldConfig
from dima_pipeline.world.drama import Drama, play
from dima_pipeline.world.events import recipe_name
from dima_pipeline.world.map_layers import write_maps
from dima_pipeline.world.recording import Row, SceneJob, record
from dima_pipeline.world.renderer import Renderer
from dima_pipeline.world.roads import Town
from dima_pipeline.world.spreading import Spread, over_processes
from dima_pipeline.world.tables import write_tables
from dima_pipeline.world.towns import build_towns

Progress = Callable[[int, int], None]
Names = Mapping[str, Sequence[str]]
"""Official scene names by split."""
ROWS = ".rows"
"""Folder of the rows of single scenes; gone when the root is finished."""


def generate(
    config: WorldConfig,
    directory: Path,
    names: Names,
    num_workers: int = 1,
    *,
    spread: Spread | None = None,
    progress: Progress | None = None,
) -> None:
    """Write a complete root into the empty ``directory``; equal configurations and names give equal bytes.

    ``names``: official scene names by split, as many as asked for are used in their order.
    ``spread`` calls a function for every scene, here by default in ``num_workers`` processes (1: this one).
    ``progress(done, total)`` is called as scenes come in. Raises ``ValueError`` for a directory that is not empty, too
    few names, a seed without a good scene, or a full disk.
    """
    jobs = scene_jobs(config, names)
    write_root(config, directory, jobs, spread=spread or over_processes(num_workers), progress=progress)


def write_root(
    config: WorldConfig,
    directory: Path,
    jobs: list[SceneJob],
    *,
    num_workers: int = 1,
    spread: Spread | None = None,
    progress: Progress | None = None,
    with_images: bool = True,
) -> None:
    """``generate`` for given jobs; without images the JPEG files are black."""
    directory = Path(directory)
    with full_disk_in_words(directory):
        directory.mkdir(parents=True, exist_ok=True)
        if any(directory.iterdir()):
            raise ValueError(f"{directory} is not empty: a world is written into an empty directory")
        _make_folders(directory)
        towns = list(build_towns(config.seed).values())
        write_maps(directory, towns)
        work = partial(write_scene, config, str(directory), with_images=with_images)
        for done, _ in enumerate((spread or over_processes(num_workers))(work, jobs), start=1):
            if progress is not None:
                progress(done, len(jobs))
        write_tables(directory, config.version, _rows_in_order(directory, jobs), towns)
        shutil.rmtree(directory / ROWS)


def _make_folders(directory: Path) -> None:
    cameras = (f"samples/{camera}" for camera in CAMERAS)
    for folder in (ROWS, "can_bus", "maps/expansion", "samples/LIDAR_TOP", *cameras):
        (directory / folder).mkdir(parents=True)


def _rows_path(directory: Path, job_number: int) -> Path:
    return directory / ROWS / f"{job_number:06d}.json"


def _rows_in_order(directory: Path, jobs: Sequence[SceneJob]) -> Iterator[dict[str, list[Row]]]:
    for job in jobs:
        yield json.loads(_rows_path(directory, job.number).read_text())


def scene_jobs(config: WorldConfig, names: Names) -> list[SceneJob]:
    """The scenes of a world, train first; raises ``ValueError`` where names do not suffice."""
    jobs: list[SceneJob] = []
    for split, num in config.num_scenes_by_split().items():
        official = names.get(split, ())
        if len(official) < num:
            raise ValueError(f"num_{split}_scenes is {num}, but there are only {len(official)} official {split} names")
        begin = len(jobs)
        jobs += [SceneJob(name, split, index, begin + index) for index, name in enumerate(official[:num])]
    repeated = sorted({job.name for job in jobs if [other.name for other in jobs].count(job.name) > 1})
    if repeated:
        raise ValueError(f"scene names must differ, got {repeated} more than once")
    return jobs


def towns_of(config: WorldConfig, split: str) -> list[Town]:
    """The towns in which scenes of a split play; at least one."""
    num = {"train": config.num_train_towns, "val": config.num_val_towns, "test": config.num_test_towns}[split]
    return [town for town in build_towns(config.seed).values() if town.split == split][:num]


def play_scene(config: WorldConfig, job: SceneJob) -> Drama:
    """Simulate the scene of a job; a pure function of its arguments."""
    rng = np.random.default_rng([config.seed, ("val", "train", "test").index(job.split), job.index])
    recipe = recipe_name(job.split, job.index, held_out=config.held_out_events, events=config.events)
    lights, weathers = asdict(config.light), asdict(config.weather)
    return play(recipe, towns_of(config, job.split), rng, config.num_keyframes, lights=lights, weathers=weathers)


def write_scene(config: WorldConfig, directory: str, job: SceneJob, *, with_images: bool = True) -> int:
    """Simulate and record one scene, leave its rows in a file, and return its number; runs in a worker."""
    renderer = _renderer(config.image_width, config.image_height) if with_images else None
    rows = record(config, job, play_scene(config, job), Path(directory), renderer)
    _rows_path(Path(directory), job.number).write_text(json.dumps(rows))
    return job.number


@lru_cache(maxsize=1)
def _renderer(width: int, height: int) -> Renderer:
    return Renderer(width, height)
