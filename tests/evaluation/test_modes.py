"""Inference modes in evaluation: the planner alone, the teacher alone, both; in driving order, with their memory."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dima_pipeline.contracts.batch import empty_memory
from dima_pipeline.evaluation.config import EvaluationConfig
from dima_pipeline.evaluation.modes import ModePlanner
from dima_pipeline.models.inference_modes import plan_in_mode
from dima_pipeline.models.tensors import to_tensors
from dima_pipeline.pipelines.evaluation.nodes import _with_teacher
from dima_pipeline.planners import PLANNERS
from dima_pipeline.serving.bundle import PlannerBundle
from planner_bundles import IMAGE_SIZE, exported
from scene_batches import make_scene_batch
from teaching_cases import TINY_PLANNER, tiny_teacher


@pytest.mark.parametrize("mode", ["planner", "teacher", "dual"])
def test_each_keyframe_is_planned_in_the_mode_with_the_memory_of_those_before(mode: Any) -> None:
    torch.manual_seed(0)
    planner = PLANNERS.build(PLANNERS.parse(TINY_PLANNER), image_size=IMAGE_SIZE).eval()
    teacher = tiny_teacher().eval()
    runs = ModePlanner(planner, teacher, mode)
    rng, memory = np.random.default_rng(0), None
    known = to_tensors(empty_memory(2, planner.num_bev_cells, planner.token_dim))
    for _ in range(3):
        batch = make_scene_batch(rng, 2, IMAGE_SIZE)
        plan, memory = runs.plan(batch, memory)
        with torch.no_grad():
            beam, known = planner.encode(to_tensors(batch), known)
            expected = plan_in_mode(mode, planner, teacher, beam, to_tensors(batch))
        assert isinstance(plan.trajectory, np.ndarray) and isinstance(memory.bev, np.ndarray)
        assert np.array_equal(plan.trajectory, expected.trajectory) and np.array_equal(memory.bev, known.bev)


def test_the_planner_mode_plans_what_the_exported_planner_plans() -> None:
    planner, directory = exported("vad")
    bundle, runs = PlannerBundle.load(directory), ModePlanner(planner)
    rng, memories = np.random.default_rng(0), [None, None]
    for _ in range(3):
        batch = make_scene_batch(rng, 2, IMAGE_SIZE)
        (one, memories[0]), (other, memories[1]) = bundle.plan(batch, memories[0]), runs.plan(batch, memories[1])
        assert np.allclose(one.trajectory, other.trajectory, atol=1e-3)


def test_by_default_no_teacher_is_loaded_and_a_mode_that_needs_one_says_so(tmp_path: Path) -> None:
    nowhere = tmp_path / "joint_model"
    assert _with_teacher(nowhere, EvaluationConfig()) == {}
    with pytest.raises(ValueError, match=r"evaluation.inference_modes \['dual'\] need a teacher: .*joint_model"):
        _with_teacher(nowhere, EvaluationConfig(inference_modes=("planner", "dual")))


@pytest.mark.parametrize("modes", [["teacher"], ["planner", "dual", "dual"], []])
def test_the_planner_is_always_asked_and_each_mode_once(modes: Any) -> None:
    with pytest.raises(ValueError, match="asks for 'planner' and each mode once"):
        EvaluationConfig(inference_modes=modes)
