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


VARIANTS: dict[str, dict[str, Any]] = {
    "vad_of_vectors": {
        "name": "vad",
        "parts": "vad",
        "token_dim": 32,
        "feature_dim": 48,
        "image_channels": 32,
        "num_levels": 2,
        "bev_shape": (12, 6),
        "num_bev_layers": 2,
        "num_agent_queries": 6,
        "num_map_queries": 4,
        "num_modes": 3,
    }
}
"""Other configurations of a plug-in that must keep its contract too."""


def config_of(name: str) -> Any:
    """The default configuration of a plug-in, or a variant."""
    return PLANNERS.parse(VARIANTS.get(name, name))


def fresh_planner(name: str, seed: int = 0) -> Any:
    """An untrained planner for small images, by plug-in or variant."""
    torch.manual_seed(seed)
    return PLANNERS.build(config_of(name), image_size=IMAGE_SIZE)


@functools.cache
def exported(name: str) -> tuple[Any, Path]:
    """A planner and its bundle; tests that alter files do so on a copy."""
    planner = fresh_planner(name)
    provenance = Provenance(licence="Apache-2.0", training={"run": "untrained"})
    directory = Path(_home.name) / name
    export_planner(planner, config_of(name), directory, image_size=IMAGE_SIZE, provenance=provenance)
    return planner, directory
