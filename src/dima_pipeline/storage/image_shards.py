"""Camera images at the model's resolution: a file for every scene, an index with offsets, random access by keyframe.

Finished scenes (``storage.scene_images``) are put together without reading an image again.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from jaxtyping import UInt8

from dima_pipeline.contracts.frames import CAMERAS, CONTRACT_VERSION
from dima_pipeline.storage.manifest import MANIFEST, digest, link_or_copy, read_manifest, write_durably
from dima_pipeline.storage.scene_images import (
    JPEG_QUALITY,
    SCHEMA,
    SUFFIXES,
    Images,
    KeyframeImages,
    SceneShard,
    ShardFormat,
    check_size,
    file_stem,
    parquet_bytes,
    read_scene,
    read_table,
    write_scene,
)

INDEX = "index.parquet"
MAX_OPEN_SCENES = 64
"""Files mapped at a time: each takes a file descriptor, of which a process often has 1,024."""


class ImageShardWriter:
    """Collects scenes in an empty staged directory, in the order in which they are added or adopted.

    ``encoding`` and ``jpeg_quality`` as in ``ShardFormat.choose``.
    """

    def __init__(
        self,
        directory: Path,
        image_size: tuple[int, int],
        encoding: Literal["auto", "raw", "jpeg"] = "auto",
        jpeg_quality: int = JPEG_QUALITY,
    ) -> None:
        self.directory = directory
        self.format = ShardFormat.choose(image_size, encoding, jpeg_quality)
        self._scenes: dict[str, SceneShard] = {}
        directory.mkdir(parents=True, exist_ok=True)

    def add_scene(
        self, scene_token: str, sample_tokens: Sequence[str], images: Iterable[Images | KeyframeImages]
    ) -> None:
        """Store all images of one scene, keyframes in order: an array (N, C, H, W, 3) or one keyframe after another,
        with the files that they were made from or without."""
        keyframes = (one if isinstance(one, KeyframeImages) else KeyframeImages(one) for one in images)
        sidecar = write_scene(self.directory, self.format, scene_token, sample_tokens, keyframes)
        self._keep(read_scene(sidecar))
        sidecar.unlink()

    def adopt_scene(self, sidecar: Path) -> None:
        """Take a scene that ``write_scene`` finished elsewhere: a hard link, or a copy on another filesystem.

        Raises ``ValueError`` as ``read_scene`` does, and for another format.
        """
        shard = read_scene(sidecar)
        if shard.format != self.format:
            raise ValueError(f"{shard.path} is stored as {shard.format}, wanted is {self.format}: write it again")
        self._keep(shard)
        link_or_copy(shard.path, self.directory / shard.path.name)

    def _keep(self, shard: SceneShard) -> None:
        if shard.scene_token in self._scenes:
            raise ValueError(f"scene_token {shard.scene_token} is there twice")
        self._scenes[shard.scene_token] = shard

    def finish(self, **facts: Any) -> None:
        """Write the index and the manifest, reading no image; without them the shards are unfinished.

        Raises ``ValueError`` for a sample_token that is there twice.
        """
        images = pa.concat_tables([SCHEMA.empty_table(), *(scene.images for scene in self._scenes.values())])
        tokens = images["sample_token"].to_numpy()[:: len(CAMERAS)]
        values, counts = np.unique(tokens.astype(str), return_counts=True)
        if len(values) < len(tokens):
            raise ValueError(f"sample_token {values[counts > 1][0]} is there twice")
        write_durably(self.directory / INDEX, parquet_bytes(images))
        index = {"bytes": (self.directory / INDEX).stat().st_size, "sha256": digest(self.directory / INDEX)}
        files = {INDEX: index, **{scene.path.name: scene.entry for scene in self._scenes.values()}}
        stored = {"kind": "image_shards", **asdict(self.format), "num_images": len(images)}
        content = {"contract_version": CONTRACT_VERSION, **facts, **stored, "files": files}
        write_durably(self.directory / MANIFEST, json.dumps(content, indent=1, sort_keys=True).encode())


class ImageShards:
    """Random access to finished shards by sample_token.

    Opening compares index, files and manifest without reading an image; ``manifest.verify`` compares every byte.
    Raises ``ValueError`` that names the file for shards that are missing, unfinished, cut short or damaged.
    """

    def __init__(self, directory: Path) -> None:
        self.manifest = read_manifest(directory)
        self.directory = directory
        self.format = _stored_format(directory, self.manifest)
        columns = self._columns()
        scenes, self._scene = np.unique(columns["scene_token"][:, 0].astype(str), return_inverse=True)
        self._paths = [directory / f"{file_stem(scene)}{SUFFIXES[self.format.encoding]}" for scene in scenes]
        self._offset, self._length = columns["offset"], columns["length"]
        self._rows = {token: row for row, token in enumerate(columns["sample_token"][:, 0])}
        self._maps: dict[Path, np.ndarray] = {}
        self._check_files()

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.format.image_size

    def read(self, sample_token: str) -> Images:
        """Images of one keyframe, read-only; raises ``ValueError`` for an unknown token or a damaged JPEG."""
        if sample_token not in self._rows:
            raise ValueError(f"no images of sample_token {sample_token} in {self.directory}: run ingestion again")
        row = self._rows[sample_token]
        begins, lengths = self._offset[row], self._length[row]
        path = self._paths[self._scene[row]]
        shape = (len(CAMERAS), *self.image_size, 3)
        if self.format.encoding == "raw":
            return self._bytes(path, begins[0], lengths.sum()).reshape(shape)
        images = np.zeros(shape, np.uint8)
        for camera in np.flatnonzero(lengths):
            content = self._bytes(path, begins[camera], lengths[camera]).tobytes()
            try:
                images[camera] = self.format.decode(content)
            except ValueError as error:
                where = f"{path}: {CAMERAS[camera]} of sample_token {sample_token}"
                raise ValueError(f"{where} is damaged ({error}); run ingestion again") from None
        images.flags.writeable = False
        return images

    def __getstate__(self) -> dict[str, Any]:
        """Without the mapped files, which would travel to another process as whole arrays."""
        return {**self.__dict__, "_maps": {}}

    def _bytes(self, path: Path, begin: int, length: int) -> UInt8[np.ndarray, "length"]:
        mapped = self._maps.get(path)
        if mapped is None:
            # Several threads read: each keeps hold of its map, and nobody minds one that another has let go.
            for oldest in list(self._maps)[: len(self._maps) - MAX_OPEN_SCENES + 1]:
                self._maps.pop(oldest, None)
            mapped = self._maps[path] = np.asarray(np.memmap(path, np.uint8, mode="r"))  # a plain array slices faster
        return mapped[begin : begin + length]

    def _columns(self) -> dict[str, np.ndarray]:
        """Columns of the index, (N, C) each; raises ``ValueError`` where its rows are not the cameras of keyframes."""
        path = self.directory / INDEX
        index = read_table(path, ["scene_token", "sample_token", "camera", "offset", "length"])
        if len(index) % len(CAMERAS) or len(index) != self.manifest.get("num_images"):
            raise ValueError(f"{path} has {len(index)} rows instead of {self.manifest.get('num_images')}")
        columns = {name: index[name].to_numpy().reshape(-1, len(CAMERAS)) for name in index.column_names}
        is_keyframe = all((columns[name] == columns[name][:, :1]).all() for name in ("scene_token", "sample_token"))
        if not (is_keyframe and (columns["camera"] == np.array(CAMERAS, object)).all()):
            raise ValueError(f"{path} is damaged: its rows are not keyframes of {len(CAMERAS)} cameras")
        return columns

    def _check_files(self) -> None:
        """Whether every file has the size that the manifest says, and every image lies within its file."""
        for path in self._paths:
            if path.name not in self.manifest["files"]:
                raise ValueError(f"{self.directory / MANIFEST} does not list {path.name}, which {INDEX} names")
            check_size(path, self.manifest["files"][path.name]["bytes"])
        sizes = np.array([self.manifest["files"][path.name]["bytes"] for path in self._paths], np.int64)
        begin, length, size = self._offset, self._length, sizes[self._scene][:, None]
        # A difference of two lengths cannot overflow, a sum could.
        is_inside = (begin >= 0) & (length >= 0) & (begin <= size - length)
        if self.format.encoding == "raw":
            places = begin[:, :1] + np.arange(len(CAMERAS)) * self.format.image_bytes
            is_inside &= (length == self.format.image_bytes) & (begin == places)
        if not is_inside.all():
            raise ValueError(f"{self.directory / INDEX} is damaged: it names bytes that are no image of their file")


def _stored_format(directory: Path, manifest: dict[str, Any]) -> ShardFormat:
    """Of a manifest; raises ``ValueError`` for anything but image shards of this format."""
    try:
        height, width = manifest["image_size"]
        form = ShardFormat((int(height), int(width)), manifest["encoding"], manifest["jpeg_quality"])
        is_known = manifest["kind"] == "image_shards" and form.encoding in SUFFIXES and min(form.image_size) > 0
    except (KeyError, TypeError, ValueError):
        is_known = False
    if not is_known:
        raise ValueError(f"{directory / MANIFEST} does not describe image shards of this version: run ingestion again")
    return form
