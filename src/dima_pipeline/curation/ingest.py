"""From a recording to the project's tables and image shards: the only door into the project.

All scenes are audited before a picture is decoded, and each is converted by itself (``curation.conversion``), here or
in other processes. Splits that share scenes, logs or frames are refused here, so that nothing behind has to ask.
"""

import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from dima_pipeline.contracts.findings import BrokenRecording, Finding
from dima_pipeline.curation.audit import findings_table, raise_errors
from dima_pipeline.curation.config import IngestionConfig
from dima_pipeline.curation.conversion import (
    INFOS,
    TABLES,
    Conversion,
    ConvertedImages,
    ConvertedTables,
    Spread,
    one_by_one,
    read_tables,
    remove_partial,
)
from dima_pipeline.curation.geography import geographic_overlap
from dima_pipeline.curation.near_duplicates import check_near_duplicates, concatenate_hashes, find_near_duplicates
from dima_pipeline.curation.splits import check_leakage, configured_splits, split_version
from dima_pipeline.datasets import DATASETS, Dataset, SceneTables
from dima_pipeline.plugins import unknown
from dima_pipeline.storage.image_shards import ImageShardWriter
from dima_pipeline.storage.lock import exclusive
from dima_pipeline.storage.manifest import link_or_copy, write_manifest

SCENES, TABLE_PLACES, STAGING = "scenes", "table_places", "staging"
"""In the work folder: finished steps of scenes, where the records of a scene lie, results before they are published."""


Report = Callable[[int, int], None]
"""Called with (done, total) after each scene."""
Workers = Callable[[Conversion], AbstractContextManager[Spread]]
"""Where scenes are converted."""


@dataclass(frozen=True, kw_only=True)
class Ingested:
    """What ingestion makes; the directories are finished, in the staging folder, for the caller to publish."""

    tables: SceneTables
    shards: Path
    """``storage.image_shards``."""
    vad_infos: Path
    """A file a scene (``curation.vad_infos``); none where they are switched off."""
    overlap: pd.DataFrame
    """``contracts.tables.GeographicOverlap``."""


@contextmanager
def in_this_process(conversion: Conversion) -> Iterator[Spread]:
    """Scenes are converted one after the other."""
    try:
        yield one_by_one(conversion)
    finally:
        conversion.close()


def audit(
    config: IngestionConfig,
    dataroot: Path | None,
    work_dir: Path,
    *,
    workers: Workers = in_this_process,
    report: Report = lambda done, total: None,
) -> pd.DataFrame:
    """All that is wrong or odd in the configured scenes (``contracts.tables.AuditFindings``); no picture is decoded.

    The tables that are made on the way are kept in ``work_dir``, where ``ingest`` finds them. Raises ``ValueError`` for
    a wrong root, unknown scenes or another process that ingests in ``work_dir``; what is broken is a row.
    """
    with exclusive(work_dir, "ingests"):
        try:
            conversion, names = _open(config, dataroot, work_dir)
        except BrokenRecording as error:
            return findings_table(error.findings)
        with workers(conversion) as spread:
            made = _run(spread, "convert_tables", names, report)
            return findings_table(_findings(made))


def ingest(
    config: IngestionConfig,
    dataroot: Path | None,
    work_dir: Path,
    *,
    workers: Workers = in_this_process,
    report: Report = lambda done, total: None,
) -> Ingested:
    """Convert the configured scenes of ``dataroot``; those that ``work_dir`` holds already are taken from there.

    Raises ``ValueError`` for a wrong root, a broken recording, missing images (unless ``missing_images`` allows them)
    or splits that share scenes, logs or frames. Nothing is left in the staging folder on any error.
    """
    with exclusive(work_dir, "ingests"):
        conversion, names = _open(config, dataroot, work_dir)
        splits = configured_splits(config, names, conversion.dataset.scene_names())
        with workers(conversion) as spread:
            made = _run(spread, "convert_tables", names)
            raise_errors(findings_table(_findings(made)))
            folders = [one.directory for one in made if one.directory]
            scenes = read_tables("scenes", folders)
            scenes = scenes.assign(split=scenes["name"].map(splits))
            check_leakage(scenes, split_version(config))
            images = _run(spread, "convert_images", names, report)
        tables = SceneTables(
            scenes=scenes,
            samples=read_tables("samples", [one.directory for one in images]),
            **{name: read_tables(name, folders) for name in TABLES if name not in ("scenes", "samples")},
        )
        check_near_duplicates(
            find_near_duplicates(tables.samples, scenes, concatenate_hashes([one.hashes() for one in images])),
            split_version(config),
        )
        return Ingested(
            tables=tables,
            overlap=geographic_overlap(tables.samples, scenes, config.overlap_radius_m),
            **_stage(config, made, images, work_dir / STAGING),
        )


def _open(config: IngestionConfig, dataroot: Path | None, work_dir: Path) -> tuple[Conversion, list[str]]:
    """The conversion and the scenes to convert; what killed runs left half-written is deleted."""
    if dataroot is None:
        raise ValueError("no dataroot: set DIMA_DATAROOT to the folder where the recordings are unpacked")
    dataset: Dataset = DATASETS.build(config.dataset, dataroot=Path(dataroot), cache_dir=work_dir / TABLE_PLACES)
    names = select_scenes(config, dataset.scene_names())
    remove_partial(work_dir / SCENES)
    shutil.rmtree(work_dir / STAGING, ignore_errors=True)
    return Conversion(config, dataset, Path(dataroot), work_dir / SCENES), names


def _run(spread: Spread, step: str, names: Sequence[str], report: Report = lambda done, total: None) -> list[Any]:
    """What ``step`` gives for ``names``, in their order."""
    made: dict[str, Any] = {}
    for one in spread(step, names):
        made[one.scene_name] = one
        report(len(made), len(names))
    return [made[name] for name in names]


def _findings(made: Sequence[ConvertedTables]) -> list[Finding]:
    # What concerns no scene alone, as a broken map, is found in each of its scenes.
    return list(dict.fromkeys(finding for one in made for finding in one.findings))


def _stage(
    config: IngestionConfig, made: Sequence[ConvertedTables], images: Sequence[ConvertedImages], staging: Path
) -> dict[str, Path]:
    """Finished directories ``shards`` and ``vad_infos``, made of links to what the scenes have."""
    shards, infos = staging / "images", staging / "vad_infos"
    writer = ImageShardWriter(shards, config.image_size, config.image_encoding, config.jpeg_quality)
    for one in images:
        writer.adopt_scene(one.sidecar)
    sources: Counter[str] = Counter()
    unmapped: Counter[str] = Counter()
    for drawn, scene in zip(images, made, strict=True):
        sources.update(drawn.image_sources)
        unmapped.update(scene.unmapped)
    writer.finish(image_sources=dict(sources), unmapped_categories=dict(sorted(unmapped.items())))
    infos.mkdir(parents=True)
    if config.vad_infos != "skip":
        for scene in made:
            assert scene.directory is not None
            link_or_copy(scene.directory / INFOS, infos / f"{scene.scene_name}.npz")
    write_manifest(infos, kind="vad_infos", compat=config.vad_infos)
    return {"shards": shards, "vad_infos": infos}


def select_scenes(config: IngestionConfig, names: Sequence[str]) -> list[str]:
    """The scenes to read, in the data set's order; raises ``ValueError`` with the nearest match for an unknown one."""
    for wanted in (*config.scenes, *config.val_scenes):
        if wanted not in names:
            raise ValueError(unknown("scene", wanted, list(names), where="the recordings"))
    chosen = [name for name in names if not config.scenes or name in config.scenes]
    if not chosen:
        raise ValueError("the recordings hold no scene: scene.json is empty")
    return chosen[: config.max_scenes]
