"""DriveLM's human answers (v1_0_train_nus.json) as pairs: joined by sample token, tags resolved to our agents.

DriveLM (ECCV 2024), section 3. A tag that means no agent stays in the text and is flagged; an empty answer stays in the
file; ``dima drivelm check`` tells what of a file is used, docs/drivelm.md how it comes back.
"""

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from dima_pipeline.annotations._drivelm_file import Fault, Tell, frames_of, open_file
from dima_pipeline.annotations._drivelm_pairs import EMPTY, frame_pairs
from dima_pipeline.annotations._drivelm_tags import boxes_of
from dima_pipeline.contracts.batch import VqaPair
from dima_pipeline.plugins import config_dataclass

MAX_TOLD = 3
NONE = np.array([], int)
logger = logging.getLogger(__name__)


@config_dataclass
class Config:
    """Where the answers are."""

    qa_file: str
    """A file of DriveLM's form, relative to the project. Its name ends in ``_file``: DVC tracks what it says."""


class DriveLm:
    """The annotator; see the module."""

    def __init__(self, config: Config) -> None:
        self.config = config

    def pairs(self, scene: Any, rng: np.random.Generator) -> Iterator[VqaPair]:
        """Pairs of the keyframes that the file knows, in its order; nothing is drawn.

        Raises ``ValueError`` for a file that is no JSON.
        """
        told: list[Fault] = []
        yield from scene_pairs(Path(self.config.qa_file), scene, told.append)
        odd = [fault for fault in told if fault.kind != EMPTY]
        for fault in odd[:MAX_TOLD]:
            logger.warning("%s: %s", self.config.qa_file, fault)
        if len(odd) > MAX_TOLD:
            logger.warning(
                "%s: %d more of this scene: see dima drivelm check", self.config.qa_file, len(odd) - MAX_TOLD
            )


def scene_pairs(path: Path, scene: Any, tell: Tell) -> Iterator[VqaPair]:
    """The pairs of a file about the keyframes of ``scene`` (fields of ``datasets.SceneTables``)."""
    samples = {row.sample_token: row for row in scene.samples.itertuples(index=False)}
    rows_of = scene.agents.groupby("sample_token", sort=False).indices
    for scene_token, content in open_file(path).scenes(set(samples)):
        for sample_token, frame in frames_of(scene_token, content, tell):
            place = (scene_token, "key_frames", sample_token)
            if sample_token not in samples:
                tell(Fault("a frame whose sample token is not in the tables of its scene", place))
                continue
            boxes = boxes_of(samples[sample_token], scene.agents.take(rows_of.get(sample_token, NONE)))
            yield from frame_pairs(sample_token, place, frame, boxes, tell)


build = DriveLm
