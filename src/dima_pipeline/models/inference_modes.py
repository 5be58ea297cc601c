"""Who plans: the planner alone, the teacher alone, or both (DiMA-Dual, arXiv 2501.09757).

Dual takes the larger of the two penultimate ego features, channel by channel, and shows it to both planning heads.
"""

from typing import Any, get_args

import torch

from dima_pipeline.contracts.batch import BeamTokens, Plan, SceneBatch
from dima_pipeline.contracts.frames import InferenceMode


def plan_in_mode(mode: InferenceMode, planner: Any, teacher: Any | None, beam: BeamTokens, batch: SceneBatch) -> Plan:
    """The plan of ``planner`` (no LLM runs), of ``teacher`` (it knows no command), or of both.

    ``planner`` and ``teacher`` are modules after ``planners.Planner`` and ``teachers.Teacher``; ``beam`` is what the
    planner encoded from ``batch``. How the paper merges the two trajectories of ``dual`` is not known: ours is that of
    the planner's head, which knows the command (``dual_plans`` gives both). Raises ``ValueError`` for an unknown mode
    and for one that needs a teacher where there is none.
    """
    if mode not in get_args(InferenceMode):
        raise ValueError(f"no inference mode '{mode}'; known: {list(get_args(InferenceMode))}")
    if mode == "planner":
        return planner.plan(beam, batch)
    if teacher is None:
        raise ValueError(f"inference mode '{mode}' needs a teacher, and this run has none: use 'planner'")
    if mode == "teacher":
        answer = teacher(beam, None)
        return Plan(trajectory=answer.trajectory, features=answer.ego_features)
    return dual_plans(planner, teacher, beam, batch)[0]


def dual_plans(planner: Any, teacher: Any, beam: BeamTokens, batch: SceneBatch) -> tuple[Plan, Plan]:
    """What the planner's and the teacher's head make of max(f_planner, f_teacher), both (B, F)."""
    features = torch.maximum(planner.plan(beam, batch).features, teacher(beam, None).ego_features)
    return (
        Plan(trajectory=planner.trajectory_of(features, batch.command), features=features),
        Plan(trajectory=teacher.trajectory_of(features), features=features),
    )
