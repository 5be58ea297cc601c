"""Annotators: question-answer pairs about scenes. A new one is one file with ``Config`` and ``build``."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Any, Protocol

from pydantic import BeforeValidator

from dima_pipeline.plugins import Family

if TYPE_CHECKING:
    import numpy as np

    from dima_pipeline.contracts.batch import VqaPair

ANNOTATORS = Family(__name__)
AnnotatorSpec = Annotated[Any, BeforeValidator(ANNOTATORS.parse)]


class Annotator(Protocol):
    """What annotation asks of an annotator. ``scene`` holds the tables of one scene (as ``datasets.SceneTables``)."""

    def pairs(self, scene: Any, rng: np.random.Generator) -> Iterable[VqaPair]:
        """Grounded pairs for every keyframe of a scene; the same generator state gives the same pairs."""
