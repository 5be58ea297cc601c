"""From a recording to the project's tables and image shards, scene by scene: the only door into the project.

Tables are made before pictures are opened, and with ``missing_images: error`` every file is looked for before either.
Splits that share scenes, logs or frames are refused here, so that nothing behind this door has to ask.
"""

import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Protocol

import numpy as np
import pandas as pd

from dima_pipeline.contracts.frames import CAMERAS, IMAGE_SOURCES
from dima_pipeline.curation.config import IngestionConfig
from dima_pipeline.curation.geography import geographic_overlap
from dima_pipeline.curation.near_duplicates import (
    FrameHashes,
    check_near_duplicates,
    concatenate_hashes,
    find_near_duplicates,
    hash_frames,
)
from dima_pipeline.curation.splits import check_leakage, configured_splits, split_version
from dima_pipeline.curation.vad_infos import vad_infos, write_infos
from dima_pipeline.datasets import DATASETS, Dataset, SceneTables
from dima_pipeline.plugins import unknown
from dima_pipeline.storage.image_shards import ImageShardWriter
from dima_pipeline.storage.manifest import write_manifest
from dima_pipeline.storage.scene_images import ImageSource, KeyframeImages

SHARDS, INFOS = "images", "vad_infos"


@dataclass(frozen=True)
class IngestionProgress:
    """Where ingestion stands after a scene."""

    scene_name: str
    num_done: int
    num_total: int
    image_sources: dict[str, int]
    """Images so far by source: recorded, rendered, missing."""


@dataclass(frozen=True, kw_only=True)
class Ingested:
    """What ingestion makes; the directories are finished, below its staging folder, for the caller to publish."""

    tables: SceneTables
    shards: Path
    """``storage.image_shards``."""
    vad_infos: Path
    """A file a scene (``curation.vad_infos``); none where they are switched off."""
    overlap: pd.DataFrame
    """``contracts.tables.GeographicOverlap``."""


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
) -> Ingested:
    """Read the configured scenes of ``dataroot``.

    Raises ``ValueError`` for a wrong root, a broken recording, missing images (unless ``missing_images`` allows them)
    or splits that share scenes, logs or frames. Nothing is left in ``staging`` on any error.
    """
    if dataroot is None:
        raise ValueError("no dataroot: set DIMA_DATAROOT to the folder where the recordings are unpacked")
    dataset: Dataset = DATASETS.build(config.dataset, dataroot=Path(dataroot))
    names = select_scenes(config, dataset.scene_names())
    splits = configured_splits(config, names, dataset.scene_names())
    if config.missing_images == "error":
        check_images(dataset, names)
    tables = {name: dataset.tables(name) for name in names}
    scenes = pd.concat([table.scenes for table in tables.values()], ignore_index=True)
    scenes = scenes.assign(split=scenes["name"].map(splits))
    check_leakage(scenes, split_version(config))
    shards, infos = staging / SHARDS, staging / INFOS
    for directory in (shards, infos):
        shutil.rmtree(directory, ignore_errors=True)
    try:
        tables, hashes = _write_shards(config, dataset, tables, (Path(dataroot), shards), progress)
        whole = replace(concatenate(list(tables.values())), scenes=scenes)
        found = find_near_duplicates(whole.samples, scenes, hashes)
        check_near_duplicates(found, split_version(config))
        write_vad_infos(config, dataset, Path(dataroot), infos, names)
    except BaseException:
        for directory in (shards, infos):
            shutil.rmtree(directory, ignore_errors=True)
        raise
    overlap = geographic_overlap(whole.samples, scenes, config.overlap_radius_m)
    return Ingested(tables=whole, shards=shards, vad_infos=infos, overlap=overlap)


def write_vad_infos(
    config: IngestionConfig, dataset: Dataset, dataroot: Path, directory: Path, names: Sequence[str]
) -> None:
    """A finished directory with the infos of VAD's converter for each scene, or with none where they are switched off.

    Raises ``ValueError`` where the data set has no records in the nuScenes format, or a scene no LIDAR_TOP.
    """
    directory.mkdir(parents=True)
    if config.vad_infos != "skip":
        records = getattr(dataset, "records", None)
        if records is None:
            raise ValueError("only recordings in the nuScenes format have VAD's infos: set vad_infos to 'skip'")
        for name in names:
            write_infos(vad_infos(records(name), name, dataroot, compat=config.vad_infos), directory / f"{name}.npz")
    write_manifest(directory, kind="vad_infos", compat=config.vad_infos)


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


def _write_shards(
    config: IngestionConfig,
    dataset: Dataset,
    tables: dict[str, SceneTables],
    folders: tuple[Path, Path],
    progress: Callable[[IngestionProgress], None],
) -> tuple[dict[str, SceneTables], FrameHashes]:
    """Tables with the source of each image, and the hashes of all images in the order of their keyframes; ``folders``
    are the dataroot and where the shards go."""
    dataroot, directory = folders
    renderer = _renderer(config, dataset)
    writer = ImageShardWriter(directory, config.image_size, config.image_encoding, config.jpeg_quality)
    finished: dict[str, SceneTables] = {}
    hashes = []
    sources: Counter[str] = Counter(dict.fromkeys(IMAGE_SOURCES, 0))
    try:
        for name, scene in tables.items():
            images, samples = scene_images(dataset, scene, config.image_size, renderer)
            keyframes = map(KeyframeImages, images, image_files(samples, dataroot))
            writer.add_scene(scene.scenes["scene_token"].iloc[0], list(samples["sample_token"]), keyframes)
            finished[name] = replace(scene, samples=samples)
            hashes.append(hash_frames(images))
            sources.update(image_sources(samples))
            progress(IngestionProgress(name, len(finished), len(tables), dict(sources)))
    finally:
        if renderer is not None:
            renderer.close()
    writer.finish(image_sources=dict(sources), unmapped_categories=dict(sorted(dataset.unmapped.items())))
    return finished, concatenate_hashes(hashes)


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


def image_files(samples: pd.DataFrame, dataroot: Path) -> Iterator[list[ImageSource | None]]:
    """The files of each keyframe's images in the order of ``CAMERAS``, with their digests; None where not recorded."""
    names = [camera.lower() for camera in CAMERAS]
    for _, sample in samples.iterrows():
        yield [
            ImageSource.of(dataroot, sample[f"{name}_file"]) if sample[f"{name}_source"] == "recorded" else None
            for name in names
        ]


def image_sources(samples: pd.DataFrame) -> Counter[str]:
    """Number of images of a ``samples`` table by source."""
    columns = [samples[f"{camera.lower()}_source"] for camera in CAMERAS]
    return Counter(value for column in columns for value in column)


def concatenate(scenes: Sequence[SceneTables]) -> SceneTables:
    """The tables of several scenes as one, rows in the order of the scenes."""
    parts = {field.name: [getattr(scene, field.name) for scene in scenes] for field in fields(SceneTables)}
    return SceneTables(**{name: pd.concat(frames, ignore_index=True) for name, frames in parts.items()})
