"""From a recording to the project's tables and image shards, scene by scene: the only door into the project.

Tables are made before pictures are opened, and with ``missing_images: error`` every file is looked for before either.
"""

import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Protocol

import numpy as np
import pandas as pd

from dima_pipeline.contracts.frames import CAMERAS, IMAGE_SOURCES
from dima_pipeline.curation.config import IngestionConfig
from dima_pipeline.curation.splits import assign_splits, check_leakage
from dima_pipeline.datasets import DATASETS, Dataset, SceneTables
from dima_pipeline.plugins import unknown
from dima_pipeline.storage.image_shards import ImageShardWriter

SHARDS = "images"


@dataclass(frozen=True)
class IngestionProgress:
    """Where ingestion stands after a scene."""

    scene_name: str
    num_done: int
    num_total: int
    image_sources: dict[str, int]
    """Images so far by source: recorded, rendered, missing."""


class Renderer(Protocol):
    """Draws a camera image from the tables of a scene (``curation.replay``)."""

    def render(self, tables: SceneTables, sample: pd.Series, camera: str) -> np.ndarray:
        """uint8 (H, W, 3) image of ``camera`` at a row of ``tables.samples``."""

    def close(self) -> None:
        """Free what drawing took."""


def ingest(
    config: IngestionConfig,
    dataroot: Path | None,
    staging: Path,
    progress: Callable[[IngestionProgress], None] = lambda _: None,
) -> tuple[SceneTables, Path]:
    """Read the configured scenes of ``dataroot``; returns their tables and the finished shard directory below
    ``staging``, which the caller publishes.

    Raises ``ValueError`` for a wrong root, a broken recording, missing images (unless ``missing_images`` allows them)
    or a leaking split. The shard directory is removed again on any error.
    """
    if dataroot is None:
        raise ValueError("no dataroot: set DIMA_DATAROOT to the folder where the recordings are unpacked")
    dataset: Dataset = DATASETS.build(config.dataset, dataroot=Path(dataroot))
    names = select_scenes(config, dataset.scene_names())
    if config.missing_images == "error":
        check_images(dataset, names)
    tables = {name: dataset.tables(name) for name in names}
    scenes = _with_splits(pd.concat([table.scenes for table in tables.values()], ignore_index=True), config)
    directory = staging / SHARDS
    shutil.rmtree(directory, ignore_errors=True)
    try:
        tables = _write_shards(config, dataset, tables, directory, progress)
    except BaseException:
        shutil.rmtree(directory, ignore_errors=True)
        raise
    return replace(concatenate(list(tables.values())), scenes=scenes), directory


def select_scenes(config: IngestionConfig, names: Sequence[str]) -> list[str]:
    """The scenes to read, in the data set's order; raises ``ValueError`` with the nearest match for an unknown one."""
    for wanted in (*config.scenes, *config.val_scenes):
        if wanted not in names:
            raise ValueError(unknown("scene", wanted, list(names), where="the recordings"))
    chosen = [name for name in names if not config.scenes or name in config.scenes]
    if not chosen:
        raise ValueError("the recordings hold no scene: scene.json is empty")
    return chosen[: config.max_scenes]


def check_images(dataset: Dataset, names: Sequence[str]) -> None:
    """Look for every camera file; raises ``ValueError`` that names the first missing one and counts them."""
    files = [path for name in names for path in dataset.camera_files(name)]
    missing = [path for path in files if not path.is_file()]
    if missing:
        raise ValueError(
            f"{missing[0]} is missing, and with it {len(missing):,} of {len(files):,} camera images: complete the "
            "download, or set missing_images to 'drop' (black, marked not valid) or 'render' (drawn from the log)"
        )


def _with_splits(scenes: pd.DataFrame, config: IngestionConfig) -> pd.DataFrame:
    version = getattr(config.dataset, "version", "")
    splits = assign_splits(list(scenes["name"]), version, config.val_scenes)
    scenes = scenes.assign(split=scenes["name"].map(splits))
    check_leakage(scenes, version if not config.val_scenes else "")
    return scenes


def _write_shards(
    config: IngestionConfig,
    dataset: Dataset,
    tables: dict[str, SceneTables],
    directory: Path,
    progress: Callable[[IngestionProgress], None],
) -> dict[str, SceneTables]:
    renderer = _renderer(config, dataset)
    writer = ImageShardWriter(directory, image_size=config.image_size)
    finished: dict[str, SceneTables] = {}
    sources: Counter[str] = Counter(dict.fromkeys(IMAGE_SOURCES, 0))
    try:
        for name, scene in tables.items():
            images, samples = scene_images(dataset, scene, config.image_size, renderer)
            writer.add_scene(scene.scenes["scene_token"].iloc[0], list(samples["sample_token"]), images)
            finished[name] = replace(scene, samples=samples)
            sources.update(image_sources(samples))
            progress(IngestionProgress(name, len(finished), len(tables), dict(sources)))
    finally:
        if renderer is not None:
            renderer.close()
    writer.finish(image_sources=dict(sources), unmapped_categories=dict(sorted(dataset.unmapped.items())))
    return finished


def _renderer(config: IngestionConfig, dataset: Dataset) -> Renderer | None:
    if config.missing_images != "render":
        return None
    # The renderer is heavy and optional: recordings with all their images need none.
    from dima_pipeline.curation.replay import ReplayRenderer

    return ReplayRenderer(dataset.ground, config.image_size)


def scene_images(
    dataset: Dataset, tables: SceneTables, image_size: tuple[int, int], renderer: Renderer | None = None
) -> tuple[np.ndarray, pd.DataFrame]:
    """Images of one scene, uint8 (N, C, H, W, 3) in the order of ``CAMERAS``, and its ``samples`` with the source of
    each image: what is missing is drawn by ``renderer``, or black."""
    height, width = image_size
    images = np.zeros((len(tables.samples), len(CAMERAS), height, width, 3), np.uint8)
    sources: dict[str, list[str]] = {camera: [] for camera in CAMERAS}
    for row, (_, sample) in enumerate(tables.samples.iterrows()):
        recorded = dataset.images(sample, image_size)
        for column, camera in enumerate(CAMERAS):
            image, source = recorded[camera], "recorded"
            if image is None and renderer is not None:
                image, source = renderer.render(tables, sample, camera), "rendered"
            if image is None:
                source = "missing"
            else:
                images[row, column] = image
            sources[camera].append(source)
    return images, tables.samples.assign(**{f"{camera.lower()}_source": found for camera, found in sources.items()})


def image_sources(samples: pd.DataFrame) -> Counter[str]:
    """Number of images of a ``samples`` table by source."""
    columns = [samples[f"{camera.lower()}_source"] for camera in CAMERAS]
    return Counter(value for column in columns for value in column)


def concatenate(scenes: Sequence[SceneTables]) -> SceneTables:
    """The tables of several scenes as one, rows in the order of the scenes."""
    parts = {field.name: [getattr(scene, field.name) for scene in scenes] for field in fields(SceneTables)}
    return SceneTables(**{name: pd.concat(frames, ignore_index=True) for name, frames in parts.items()})
