"""Camera images at the model's resolution, decoded once: one memory-mapped uint8 array a scene.

Raw pixels rather than JPEG: a window is read without decoding, and one scene is one file that DVC can version.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from dima_pipeline.storage.manifest import read_manifest, write_manifest

INDEX = "index.json"


class ImageShardWriter:
    """Writes shards of images of ``image_size`` (height, width) into an empty staged directory."""

    def __init__(self, directory: Path, image_size: tuple[int, int]) -> None:
        self.directory = directory
        self.image_size = image_size
        self._rows: dict[str, tuple[str, int]] = {}
        directory.mkdir(parents=True, exist_ok=True)

    def add_scene(self, scene_token: str, sample_tokens: Sequence[str], images: UInt8[np.ndarray, "N C H W 3"]) -> None:
        """Store all images of one scene, keyframes in order."""
        assert images.dtype == np.uint8 and images.shape[2:] == (*self.image_size, 3), images.shape
        assert len(sample_tokens) == len(images)
        np.save(self.directory / f"{scene_token}.npy", images, allow_pickle=False)
        self._rows.update({token: (scene_token, row) for row, token in enumerate(sample_tokens)})

    def finish(self, **facts: Any) -> None:
        """Write the index and the manifest; without it the shards are unfinished."""
        index = {"image_size": list(self.image_size), "rows": self._rows}
        (self.directory / INDEX).write_text(json.dumps(index))
        write_manifest(self.directory, kind="image_shards", **facts)


class ImageShards:
    """Random access to finished shards by sample_token."""

    def __init__(self, directory: Path) -> None:
        self.manifest = read_manifest(directory)
        self.directory = directory
        index = json.loads((directory / INDEX).read_text())
        self.image_size: tuple[int, int] = tuple(index["image_size"])
        """Height and width in pixels."""
        self._rows: dict[str, tuple[str, int]] = index["rows"]
        self._scenes: dict[str, np.ndarray] = {}

    def read(self, sample_token: str) -> UInt8[np.ndarray, "C H W 3"]:
        """Images of one keyframe, read-only; raises ``ValueError`` for an unknown token."""
        if sample_token not in self._rows:
            raise ValueError(f"no images of sample_token {sample_token} in {self.directory}: run ingestion again")
        scene_token, row = self._rows[sample_token]
        if scene_token not in self._scenes:
            path = self.directory / f"{scene_token}.npy"
            self._scenes[scene_token] = np.load(path, mmap_mode="r", allow_pickle=False)
        return self._scenes[scene_token][row]
