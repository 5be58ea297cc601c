"""The objective of a sweep: how far a planner's plans are from what was driven in the development scenes.

``planning_l2`` (m) by the standardised protocol, averaged over 1, 2 and 3 s; each scene is planned keyframe by keyframe
with the planner's own memory, as evaluation does it with the exported planner.
"""

from functools import cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from dima_pipeline.contracts.batch import BevMemory, Plan, SceneBatch
from dima_pipeline.datasets import SceneTables
from dima_pipeline.evaluation.driven import driven_scenes
from dima_pipeline.evaluation.planners import plan_scenes
from dima_pipeline.evaluation.plans import plan_array, split_samples
from dima_pipeline.metrics import METRICS
from dima_pipeline.models.tensors import to_arrays, to_tensors
from dima_pipeline.scoring.horizons import AVERAGED_STEPS
from dima_pipeline.storage.image_shards import ImageShards
from dima_pipeline.storage.scene_reader import SceneReader
from dima_pipeline.training.windows import DEVELOPMENT, TrainingTables

METRIC = "planning_l2"


class DevelopmentScore:
    """Scores planners on the development scenes of ``tables``; raises ``ValueError`` where none can be scored."""

    def __init__(self, tables: TrainingTables, shards: ImageShards, command: Literal["route", "driven"]) -> None:
        names = ("scenes", "samples", "agents", "ego_paths", "agent_futures", "map_elements")
        scenes = SceneTables(*(getattr(tables, name) for name in names))
        self._reader = SceneReader(tables.samples, shards, command=command)
        self._samples = split_samples(scenes, DEVELOPMENT)
        self._tokens = self._samples["sample_token"].tolist()
        self._driven = driven_scenes(scenes, self._tokens)
        # The first keyframe of a scene is planned without memory: as in evaluation, it does not count.
        if not (self._driven.path_valid & self._driven.has_past[:, None])[:, AVERAGED_STEPS].any(0).all():
            raise ValueError("no keyframe of the development scenes has a driven path of 3 s: hold out longer scenes")

    def __call__(self, planner: Any) -> float:
        """The objective (m), the planner left in evaluation mode; raises ``ValueError`` where a plan is not finite."""
        plans = plan_scenes(_TorchPlans(planner.eval()), self._reader, self._samples, planner="trial")
        array = plan_array(plans, "trial", self._tokens)
        found = METRICS.build(METRICS.parse(METRIC)).compute(array, self._driven)
        return float(np.mean([found.value[found.valid[:, at], at].mean() for at in AVERAGED_STEPS]))


@cache
def development_score(tables_dir: str, shards_dir: str, command: Literal["route", "driven"]) -> DevelopmentScore:
    """The scorer of staged training tables; read once in a process, which does several trials."""
    return DevelopmentScore(TrainingTables.read(Path(tables_dir)), ImageShards(Path(shards_dir)), command)


class _TorchPlans:
    """A planner of torch as ``evaluation.planners`` runs bundles."""

    def __init__(self, planner: Any) -> None:
        self._planner = planner
        self._device = next(planner.parameters()).device

    @torch.no_grad()
    def plan(self, batch: SceneBatch, memory: BevMemory | None) -> tuple[Plan, BevMemory]:
        """Plans as numpy arrays, and the memory as tensors."""
        present = to_tensors(batch, self._device)
        if memory is None:
            shape = (len(batch.command), self._planner.num_bev_cells, self._planner.token_dim)
            is_valid = torch.zeros(shape[0], dtype=torch.bool, device=self._device)
            memory = BevMemory(bev=torch.zeros(shape, device=self._device), is_valid=is_valid)
        beam, memory = self._planner.encode(present, memory)
        return to_arrays(self._planner.plan(beam, present)), memory
