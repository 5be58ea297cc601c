"""The conversion of single scenes in a work folder: what is there and whole is never made again.

Each scene has two steps, tables and images. A finished step is a directory named after all that it was made from:
records, files, options and code. So nothing is brought up to date in place, and a run that was killed is taken up where
it ended.
"""

import hashlib
import importlib.metadata
import inspect
import json
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

import dima_pipeline
from dima_pipeline.contracts.findings import BrokenRecording, Finding
from dima_pipeline.contracts.frames import CAMERAS, IMAGE_SOURCES
from dima_pipeline.curation.audit import audit_scene
from dima_pipeline.curation.config import IngestionConfig
from dima_pipeline.curation.near_duplicates import FrameHashes, hash_frames
from dima_pipeline.curation.vad_infos import vad_infos, write_infos
from dima_pipeline.datasets import Dataset, SceneTables
from dima_pipeline.storage.manifest import digest, make_once
from dima_pipeline.storage.scene_images import SIDECAR, ImageSource, KeyframeImages, ShardFormat, write_scene

CODE = ("contracts", "curation", "datasets", "geometry.py", "storage", "world")
LIBRARIES = ("numpy", "pandas", "pillow", "pyarrow", "scipy", "shapely")
"""A scene is converted again by another version of these."""
TABLES = tuple(field.name for field in fields(SceneTables))
INFOS, HASHES = "vad_infos.npz", "hashes.npz"


class Renderer(Protocol):
    """Draws a camera image from the tables of a scene (``curation.replay``)."""

    def render(self, tables: SceneTables, sample: pd.Series, camera: str) -> np.ndarray:
        """uint8 (H, W, 3) image of ``camera`` at a row of ``tables.samples``."""

    def close(self) -> None:
        """Free what drawing took."""


@dataclass(frozen=True)
class ConvertedTables:
    """A scene after its first step."""

    scene_name: str
    directory: Path | None
    """Finished: a parquet file a table, and ``INFOS`` where they are switched on; None for a scene that is broken."""
    findings: tuple[Finding, ...]
    unmapped: dict[str, int]
    """Boxes left out of ``agents``, by category name."""


@dataclass(frozen=True)
class ConvertedImages:
    """A scene after its second step."""

    scene_name: str
    directory: Path
    """Finished: the images (``storage.scene_images``), the table ``samples`` with their sources, and ``HASHES``."""
    image_sources: dict[str, int]

    @property
    def sidecar(self) -> Path:
        """What ``ImageShardWriter.adopt_scene`` takes."""
        return next(self.directory.glob(f"*{SIDECAR}"))

    def hashes(self) -> FrameHashes:
        """Of all images, in the order of the keyframes."""
        with np.load(self.directory / HASHES, allow_pickle=False) as stored:
            return FrameHashes(stored["bits"], stored["is_known"])


class Conversion:
    """The two steps of every scene of a data set; cheap to send to another process of the same filesystem."""

    def __init__(self, config: IngestionConfig, dataset: Dataset, dataroot: Path, directory: Path) -> None:
        self.config, self.dataset, self.dataroot, self.directory = config, dataset, dataroot, directory
        self._renderer: Renderer | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Without the renderer, which belongs to its process."""
        return {**self.__dict__, "_renderer": None}

    def convert_tables(self, scene_name: str) -> ConvertedTables:
        """Tables, VAD's infos and findings of a scene, made where they are not there yet.

        A broken scene has findings and no directory. Raises ``ValueError`` for infos that cannot be had.
        """
        try:
            directory = self._tables_directory(scene_name)
            manifest = make_once(directory, lambda staged: self._make_tables(scene_name, staged))
        except BrokenRecording as error:
            return ConvertedTables(scene_name, None, error.findings, {})
        findings = tuple(Finding(**finding) for finding in manifest["findings"])
        return ConvertedTables(scene_name, directory, findings, manifest["unmapped"])

    def convert_images(self, scene_name: str) -> ConvertedImages:
        """Images of a scene whose tables are there, made where they are not; older conversions of it are deleted.

        Raises ``ValueError`` that names a file that cannot be decoded.
        """
        tables = self._tables_directory(scene_name)
        config = self.config
        form = ShardFormat.choose(config.image_size, config.image_encoding, config.jpeg_quality)
        key = _digest([tables.name, asdict(form), config.missing_images])
        directory = tables.with_name(f"images-{key}")
        manifest = make_once(directory, lambda staged: self._make_images(tables, form, staged))
        for other in directory.parent.iterdir():
            if other not in (tables, directory):
                shutil.rmtree(other)
        return ConvertedImages(scene_name, directory, manifest["image_sources"])

    def close(self) -> None:
        """Free the renderer."""
        if self._renderer is not None:
            self._renderer.close()
            self._renderer = None

    def _tables_directory(self, scene_name: str) -> Path:
        facts = [
            [scene_name, self.dataset.fingerprint(scene_name), _stamps(self.dataset.camera_files(scene_name))],
            [type(self.config.dataset).__module__, repr(self.config.dataset)],
            [self.config.missing_images, self.config.vad_infos],
            [code_digest(inspect.getsourcefile(type(self.dataset))), library_versions()],
        ]
        return self.directory / _digest(scene_name) / f"tables-{_digest(facts)}"

    def _make_tables(self, scene_name: str, directory: Path) -> dict[str, Any]:
        seen = Counter(self.dataset.unmapped)
        tables = self.dataset.tables(scene_name)
        unmapped = dict(sorted((Counter(self.dataset.unmapped) - seen).items()))
        findings = audit_scene(
            self.dataset, scene_name, tables, missing_images=self.config.missing_images, unmapped=unmapped
        )
        for name in TABLES:
            pq.write_table(pa.Table.from_pandas(getattr(tables, name), preserve_index=False), _parquet(directory, name))
        self._write_infos(scene_name, directory / INFOS)
        return {"kind": "scene_tables", "findings": [asdict(finding) for finding in findings], "unmapped": unmapped}

    def _write_infos(self, scene_name: str, path: Path) -> None:
        compat = self.config.vad_infos
        if compat == "skip":
            return
        dataset: Any = self.dataset
        if not hasattr(dataset, "records"):
            raise ValueError("only recordings in the nuScenes format have VAD's infos: set vad_infos to 'skip'")
        records, sweeps = dataset.records(scene_name), dataset.sweeps(scene_name)
        write_infos(vad_infos(records, scene_name, self.dataroot, compat=compat, sweeps=sweeps), path)

    def _make_images(self, tables_directory: Path, form: ShardFormat, directory: Path) -> dict[str, Any]:
        tables = SceneTables(**{name: read_tables(name, [tables_directory]) for name in TABLES})
        images, samples = scene_images(self.dataset, tables, self.config.image_size, self._drawing())
        keyframes = map(KeyframeImages, images, image_files(samples, self.dataroot))
        scene_token = tables.scenes["scene_token"].iloc[0]
        write_scene(directory, form, scene_token, list(samples["sample_token"]), keyframes)
        pq.write_table(pa.Table.from_pandas(samples, preserve_index=False), _parquet(directory, "samples"))
        hashes = hash_frames(images)
        np.savez(directory / HASHES, allow_pickle=False, bits=hashes.bits, is_known=hashes.is_known)
        return {"kind": "scene_images", "image_sources": image_sources(samples)}

    def _drawing(self) -> Renderer | None:
        if self.config.missing_images == "render" and self._renderer is None:
            # The renderer is heavy and optional: recordings with all their images need none.
            from dima_pipeline.curation.replay import ReplayRenderer

            self._renderer = ReplayRenderer(self.dataset.ground, self.config.image_size)
        return self._renderer


Spread = Callable[[str, Sequence[str]], Iterator[Any]]
"""``spread(step, scene_names)``: what a step of a conversion gives for each scene, in whatever order they are done."""


def one_by_one(conversion: Conversion) -> Spread:
    """Scene after scene in this process."""
    return lambda step, scene_names: map(getattr(conversion, step), scene_names)


def remove_partial(directory: Path) -> None:
    """Delete what killed processes left in a work folder that nobody else works in."""
    for path in directory.glob("*/.*.partial"):
        shutil.rmtree(path)


def read_tables(name: str, directories: Iterable[Path]) -> pd.DataFrame:
    """A table of several scenes as one, rows in the order of ``directories``."""
    tables = [_with_codes(pq.read_table(_parquet(directory, name))) for directory in directories]
    # A table without rows and a column without any value in a scene have no types there.
    whole = pa.concat_tables([table for table in tables if len(table)] or tables[:1], promote_options="permissive")
    del tables
    frame = whole.unify_dictionaries().to_pandas(split_blocks=True, self_destruct=True)
    frame = frame.astype(dict.fromkeys(frame.select_dtypes("category").columns, object))
    pa.default_memory_pool().release_unused()
    return frame


def _with_codes(table: pa.Table) -> pa.Table:
    """Every text once and its number in each row: nine million futures of trainval name their keyframe and agent."""
    for index, field in enumerate(table.schema):
        if pa.types.is_string(field.type) or pa.types.is_large_string(field.type):
            table = table.set_column(index, field.name, table.column(index).dictionary_encode())
    return table


def _parquet(directory: Path, name: str) -> Path:
    return directory / f"{name}.parquet"


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


def image_sources(samples: pd.DataFrame) -> dict[str, int]:
    """Number of images of a ``samples`` table by source, every source of ``IMAGE_SOURCES``."""
    columns = [samples[f"{camera.lower()}_source"] for camera in CAMERAS]
    found = Counter(value for column in columns for value in column)
    return {source: found[source] for source in IMAGE_SOURCES}


def _digest(facts: Any) -> str:
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:24]


def _stamps(paths: Iterable[Path]) -> list[Any]:
    """Name, size and time of the last change of files, there or not."""

    def stamp(path: Path) -> list[Any]:
        try:
            status = path.stat()
        except OSError:
            return [path.name]
        return [path.name, status.st_size, status.st_mtime_ns]

    return [stamp(path) for path in paths]


@lru_cache
def code_digest(plugin_file: str | None = None) -> str:
    """Of the sources that convert, and of a data set plug-in that may lie elsewhere."""
    package = Path(dima_pipeline.__file__).parent
    roots = [package / name for name in CODE]
    paths = [path for root in roots for path in ([root] if root.is_file() else sorted(root.rglob("*.py")))]
    content = {path.relative_to(package).as_posix(): digest(path) for path in paths}
    return _digest([content, digest(Path(plugin_file)) if plugin_file else None])


@lru_cache
def library_versions() -> list[str]:
    """Of what reads, resizes and writes."""
    return [f"{name} {importlib.metadata.version(name)}" for name in LIBRARIES]
