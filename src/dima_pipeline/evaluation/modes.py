"""A planner in torch, alone or with the teacher that it was trained with, as evaluation asks for it."""

from typing import Any

import torch

from dima_pipeline.contracts.batch import BevMemory, Plan, SceneBatch, empty_memory
from dima_pipeline.contracts.frames import InferenceMode
from dima_pipeline.models.inference_modes import plan_in_mode
from dima_pipeline.models.tensors import map_arrays, to_tensors


class ModePlanner:
    """``planner`` and ``teacher`` (``planners.Planner``, ``teachers.Teacher``) in ``mode``; for ``plan_scenes``."""

    def __init__(self, planner: Any, teacher: Any | None = None, mode: InferenceMode = "planner") -> None:
        self.planner, self.teacher = planner, teacher
        self.mode: InferenceMode = mode
        planner.eval()
        if teacher is not None:
            teacher.eval()

    @torch.no_grad()
    def plan(self, batch: SceneBatch, memory: BevMemory | None) -> tuple[Plan, BevMemory]:
        """See ``evaluation.planners.RunsPlans``; ``ValueError`` for a mode that needs a teacher where there is none."""
        device = str(next(self.planner.parameters()).device)
        if memory is None:
            memory = empty_memory(len(batch.command), self.planner.num_bev_cells, self.planner.token_dim)
        tensors, known = to_tensors((batch, memory), device)
        beam, known = self.planner.encode(tensors, known)
        plan = plan_in_mode(self.mode, self.planner, self.teacher, beam, tensors)
        return map_arrays((plan, known), lambda values: values.numpy(force=True))
