"""Pictures for a review: six cameras and the view from above of every keyframe, the agents of the pair marked in it.

Recorded files are taken as they are where the recordings are at hand; else images come from the shards.
"""

import hashlib
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from dima_pipeline.contracts.frames import CAMERAS
from dima_pipeline.curation.review_tasks import ABOVE
from dima_pipeline.evaluation.drawing import Keyframe, draw_above
from dima_pipeline.storage.image_shards import ImageShards
from dima_pipeline.storage.scene_images import file_stem

VIEW_M = (-31.0, 31.0, -16.5, 16.5)
"""All of the perception range: whatever a pair speaks of can be seen."""
JPEG_QUALITY = 92
MISSING = "missing.png"
MISSING_SIZE = (320, 180)


class ReviewPictures:
    """Writes pictures into ``directory``, each once.

    ``dataroot``: folder of the recordings; None where only the shards are there.
    """

    def __init__(
        self, directory: Path, tables: Mapping[str, pd.DataFrame], shards: ImageShards, dataroot: Path | None
    ) -> None:
        self.directory = directory
        self._samples = tables["samples"].set_index("sample_token", drop=False)
        self._groups = {
            name: tables[name].groupby("sample_token", sort=False)
            for name in ("agents", "agent_futures", "map_elements", "ego_paths")
        }
        self._empty = {name: tables[name].iloc[:0] for name in self._groups}
        self._shards = shards
        self._dataroot = dataroot
        self._written: dict[tuple[str, ...], str] = {}

    def of_pair(self, pair: Mapping[Any, Any]) -> dict[str, str]:
        """File names, by the keys of ``review_tasks.PICTURES``, of a row of ``vqa_pairs``.

        Raises ``ValueError`` for a sample_token that is not in ``samples`` or cannot name a file.
        """
        token = pair["sample_token"]
        if token not in self._samples.index:
            raise ValueError(f"vqa_pairs: sample_token '{token}' is not in samples: run annotation again")
        names = {camera.lower(): self._camera(token, camera) for camera in CAMERAS}
        return {**names, ABOVE: self._above(token, tuple(sorted(pair["objects"])))}

    def _camera(self, token: str, camera: str) -> str:
        if (token, camera) not in self._written:
            self._written[token, camera] = self._write_camera(token, camera)
        return self._written[token, camera]

    def _write_camera(self, token: str, camera: str) -> str:
        sample = self._samples.loc[token]
        if sample[f"{camera.lower()}_source"] == "missing":
            Image.new("RGB", MISSING_SIZE, "#2a3139").save(self.directory / MISSING)
            return MISSING
        stem = f"{file_stem(token)}_{camera.lower()}"
        recorded = None if self._dataroot is None else self._dataroot / sample[f"{camera.lower()}_file"]
        if recorded is not None and recorded.suffix.lower() in (".jpg", ".jpeg", ".png") and recorded.is_file():
            shutil.copyfile(recorded, self.directory / f"{stem}{recorded.suffix.lower()}")
            return f"{stem}{recorded.suffix.lower()}"
        pixels = self._shards.read(token)[CAMERAS.index(camera)]
        Image.fromarray(np.asarray(pixels)).save(self.directory / f"{stem}.jpg", quality=JPEG_QUALITY)
        return f"{stem}.jpg"

    def _above(self, token: str, objects: tuple[str, ...]) -> str:
        if (token, ABOVE, *objects) not in self._written:
            of_objects = hashlib.sha256("\x1f".join(objects).encode()).hexdigest()[:8]
            name = f"{file_stem(token)}_{ABOVE}_{of_objects}.png"
            draw_above(self._keyframe(token, objects)).save(self.directory / name)
            self._written[(token, ABOVE, *objects)] = name
        return self._written[(token, ABOVE, *objects)]

    def _keyframe(self, token: str, objects: tuple[str, ...]) -> Keyframe:
        rows = {
            name: groups.get_group(token) if token in groups.indices else self._empty[name]
            for name, groups in self._groups.items()
        }
        path = rows["ego_paths"]
        path = path[(path["step"] > 0) & path["valid"].astype(bool)].sort_values("step")
        return Keyframe(
            images={},
            sources={},
            front_from_ego=np.zeros((3, 4)),
            agents=rows["agents"],
            agent_futures=rows["agent_futures"],
            map_elements=rows["map_elements"],
            driven=path[["x_m", "y_m"]].to_numpy(float),
            plans={},
            marked=frozenset(objects),
            view_m=VIEW_M,
        )
