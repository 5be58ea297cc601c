"""Annotators: question-answer pairs about scenes. A new one is one file with ``Config`` and ``build``."""

from collections.abc import Iterable
from typing import Annotated, Any, Protocol

import numpy as np
from pydantic import BeforeValidator

from dima_pipeline.contracts.batch import VqaPair
from dima_pipeline.plugins import Family

ANNOTATORS = Family(__name__)
AnnotatorSpec = Annotated[Any, BeforeValidator(ANNOTATORS.parse)]


class Annotator(Protocol):
    """What annotation asks of an annotator. ``scene`` holds the tables of one scene (as ``datasets.SceneTables``)."""

    def pairs(self, scene: Any, rng: np.random.Generator) -> Iterable[VqaPair]:
        """Grounded pairs for every keyframe of a scene; the same generator state gives the same pairs."""
