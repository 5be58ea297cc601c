"""Inference modes: the planner alone, the teacher alone, and both over the larger of their features."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from dima_pipeline.contracts.batch import Plan
from dima_pipeline.models.inference_modes import dual_plans, plan_in_mode
from dima_pipeline.planners import PLANNERS
from teaching_cases import IMAGE_SIZE, TINY_PLANNER, make_training_batch, tiny_teacher

SEES, KNOWS = torch.tensor([[1.0, -2.0]]), torch.tensor([[0.5, 3.0]])


class HandPlanner:
    """Its features are ``SEES``; a trajectory is twice its features, in x, for command 1."""

    def plan(self, beam: Any, batch: Any) -> Plan:
        return Plan(trajectory=self.trajectory_of(SEES, batch.command), features=SEES)

    def trajectory_of(self, features: torch.Tensor, command: torch.Tensor) -> torch.Tensor:
        return 2 * torch.stack([features, command[:, None].expand(features.shape)], -1)


class HandTeacher:
    """Its features are ``KNOWS``; a trajectory is its features, in x and y."""

    def __call__(self, beam: Any, text: None) -> Any:
        return SimpleNamespace(ego_features=KNOWS, trajectory=self.trajectory_of(KNOWS))

    def trajectory_of(self, features: torch.Tensor) -> torch.Tensor:
        return torch.stack([features, features], -1)


BATCH: Any = SimpleNamespace(command=torch.tensor([1]))
BEAM: Any = None


def test_the_planner_plans_without_a_teacher() -> None:
    plan = plan_in_mode("planner", HandPlanner(), None, BEAM, BATCH)
    assert plan.trajectory.tolist() == [[[2, 2], [-4, 2]]]


def test_the_teacher_plans_by_itself() -> None:
    plan = plan_in_mode("teacher", HandPlanner(), HandTeacher(), BEAM, BATCH)
    assert plan.trajectory.tolist() == [[[0.5, 0.5], [3, 3]]] and plan.features is KNOWS


def test_both_heads_see_the_larger_feature_of_each_channel() -> None:
    seen, known = dual_plans(HandPlanner(), HandTeacher(), BEAM, BATCH)
    assert seen.features.tolist() == [[1, 3]] == known.features.tolist()
    assert seen.trajectory.tolist() == [[[2, 2], [6, 2]]] and known.trajectory.tolist() == [[[1, 1], [3, 3]]]
    assert torch.equal(plan_in_mode("dual", HandPlanner(), HandTeacher(), BEAM, BATCH).trajectory, seen.trajectory)


def test_a_mode_that_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match=r"no inference mode 'duel'; known: \['planner', 'teacher', 'dual'\]"):
        plan_in_mode("duel", HandPlanner(), HandTeacher(), BEAM, BATCH)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="'dual' needs a teacher"):
        plan_in_mode("dual", HandPlanner(), None, BEAM, BATCH)


@torch.no_grad()
def test_the_real_parts_fit_and_each_mode_plans_its_own_way() -> None:
    torch.manual_seed(0)
    planner = PLANNERS.build(PLANNERS.parse(TINY_PLANNER), image_size=IMAGE_SIZE).eval()
    teacher, frame = tiny_teacher().eval(), make_training_batch(batch_size=2).window.current
    memory = SimpleNamespace(
        bev=torch.zeros(2, planner.num_bev_cells, planner.token_dim), is_valid=torch.zeros(2, dtype=torch.bool)
    )
    beam, _ = planner.encode(frame, memory)
    plans = {mode: plan_in_mode(mode, planner, teacher, beam, frame) for mode in ("planner", "teacher", "dual")}
    assert {plan.trajectory.shape for plan in plans.values()} == {(2, 6, 2)}
    larger = torch.maximum(plans["planner"].features, plans["teacher"].features)
    assert torch.equal(plans["dual"].features, larger)
    assert not torch.allclose(plans["dual"].trajectory, plans["planner"].trajectory, atol=1e-3)
    for mode, own in (("planner", planner.trajectory_of(plans["planner"].features, frame.command)),):
        assert torch.allclose(plans[mode].trajectory, own, atol=1e-6)
