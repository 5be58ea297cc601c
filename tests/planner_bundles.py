"""One exported bundle per planner plug-in and test session: exporting is the slow part of the tests about it."""

import functools
import tempfile
from pathlib import Path
from typing import Any

import torch

from dima_pipeline.export.bundle import Provenance, export_planner
from dima_pipeline.planners import PLANNERS

IMAGE_SIZE = (32, 48)
_home = tempfile.TemporaryDirectory(prefix="planner_bundles_")


def fresh_planner(name: str, seed: int = 0) -> Any:
    """An untrained planner with its default configuration, for small images."""
    torch.manual_seed(seed)
    return PLANNERS.build(PLANNERS.parse(name), image_size=IMAGE_SIZE)


@functools.cache
def exported(name: str) -> tuple[Any, Path]:
    """A planner and its bundle; tests that alter files do so on a copy."""
    planner = fresh_planner(name)
    provenance = Provenance(licence="Apache-2.0", training={"run": "untrained"})
    directory = Path(_home.name) / name
    export_planner(planner, PLANNERS.parse(name), directory, image_size=IMAGE_SIZE, provenance=provenance)
    return planner, directory
