"""Where the gradient of each loss of the teacher goes: into the planner's encoder, never into a frozen base."""

from pathlib import Path
from typing import Any

import pytest
import torch

from dima_pipeline.planners import PLANNERS
from dima_pipeline.surrogates import SURROGATES
from dima_pipeline.training.objective import JointObjective
from dima_pipeline.training.weights import GROUPS
from teaching_cases import BEV_SHAPE, IMAGE_SIZE, TINY_PLANNER, TOKEN_DIM, make_training_batch, tiny_teacher
from tiny_vision_models import save_tiny

TERMS = [
    "teacher/vqa",
    "teacher/trajectory_l1",
    "distillation/ego",
    "surrogate/agent_motion/agent_class",
    "surrogate/agent_motion/agent_box",
    "surrogate/agent_motion/agent_motion",
    "surrogate/masked_reconstruction/reconstruction",
    "surrogate/future_prediction/t_plus_1",
    "surrogate/future_prediction/t_plus_2",
    "surrogate/scene_editing/trajectory_l1",
    "surrogate/scene_editing/collision",
    "surrogate/scene_editing/language",
]


@pytest.fixture(scope="module", params=["llava", "llava, recomputed"])
def objective(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> JointObjective:
    """A planner and a frozen pretrained teacher with all tasks."""
    directory = tmp_path_factory.mktemp("llava")
    save_tiny("llava", directory)
    torch.manual_seed(0)
    planner = PLANNERS.build(PLANNERS.parse(TINY_PLANNER), image_size=IMAGE_SIZE)
    teacher = tiny_teacher(checkpoint=str(directory), ego_adapter="qformer")
    if "recomputed" in request.param:
        teacher.language_model.checkpoint_gradients()
    shape = {"token_dim": TOKEN_DIM, "teacher_dim": teacher.hidden_dim, "bev_shape": BEV_SHAPE}
    tasks = [SURROGATES.build(SURROGATES.parse(name), **shape) for name in SURROGATES.names()]
    return JointObjective(planner, teacher, tasks).train()


def strength(module: torch.nn.Module, part: str = "") -> float:
    """Sum of absolute gradients of the parameters whose name holds ``part``."""
    found = [p.grad for name, p in module.named_parameters() if part in name and p.grad is not None]
    return float(sum(grad.abs().sum() for grad in found))


@pytest.mark.parametrize("term", TERMS)
def test_a_loss_of_the_teacher_reaches_the_planners_encoder_and_no_frozen_weight(
    objective: JointObjective, term: str
) -> None:
    objective.zero_grad(set_to_none=True)
    batch, generator = make_training_batch(4), torch.Generator().manual_seed(1)
    terms = objective(batch, generator, {**dict.fromkeys(GROUPS, 0.0), term: 1.0})
    assert terms[term] > 0, "a loss of zero shows nothing"
    terms[term].backward()
    frozen = [p for name, p in objective.teacher.named_parameters() if "base_layer" in name or "embed_tokens" in name]
    assert frozen and all(p.grad is None and not p.requires_grad for p in frozen)
    for part in ("backbone", "bev_encoder"):
        assert strength(objective.planner, part) > 0, part
    assert not strength(objective.planner, "_head") or term == "distillation/ego", "the planner's heads have no part"
    if term == "distillation/ego":
        assert strength(objective.teacher) == 0, "the target is detached"
    else:
        assert strength(objective.teacher, "lora_B") > 0 and strength(objective.teacher, "adapters.bev") > 0


def test_the_frozen_base_is_bit_for_bit_what_it_was_after_steps_of_everything(objective: JointObjective) -> None:
    teacher: Any = objective.teacher
    before = {n: p.detach().clone() for n, p in teacher.named_parameters() if not p.requires_grad}
    optimizer = torch.optim.AdamW([p for p in objective.parameters() if p.requires_grad], 1e-2)
    for step in range(2):
        optimizer.zero_grad()
        objective(make_training_batch(4), torch.Generator().manual_seed(step))["total"].backward()
        optimizer.step()
    after = dict(teacher.named_parameters())
    assert before and all(torch.equal(weight, after[name]) for name, weight in before.items())


def test_a_checkpoint_that_is_not_frozen_would_be_seen(tmp_path: Path) -> None:
    save_tiny("llava", tmp_path)
    teacher = tiny_teacher(checkpoint=str(tmp_path), is_base_trained=True)
    assert all(p.requires_grad for p in teacher.parameters())
