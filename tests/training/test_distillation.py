"""Distillation beyond the ego: agents and map, and the average of the teacher's weights as the one that passes on."""

import copy
from dataclasses import replace
from typing import Any

import pytest
import torch
from test_objective import generator, make_planner, only
from torch import nn

from dima_pipeline.models.tensors import map_arrays
from dima_pipeline.surrogates import TeacherOutput
from dima_pipeline.training.checkpoints import load_trainable, trainable_state
from dima_pipeline.training.config import StageConfig
from dima_pipeline.training.distillation import WeightAverage, mean_token
from dima_pipeline.training.objective import JointObjective, remember
from dima_pipeline.training.optimizer import build_optimizer
from dima_pipeline.training.sharding import ShardedTeacher
from dima_pipeline.training.weights import ObjectiveConfig
from teaching_cases import make_training_batch, tiny_teacher

BATCH = make_training_batch(batch_size=3)


def make_objective(**config: Any) -> JointObjective:
    return JointObjective(make_planner(), tiny_teacher(), (), ObjectiveConfig(**config))


@pytest.mark.parametrize("name", ["agent", "map"])
@pytest.mark.parametrize("kind", ["kl", "smooth_l1", "cosine"])
def test_agents_and_map_teach_the_encoder_and_the_regressor_and_not_the_teacher(name: str, kind: Any) -> None:
    objective = make_objective(weights=only(f"distillation/{name}"), distillation=kind)
    terms = objective(BATCH, generator())
    assert terms[f"distillation/{name}"] > 0
    terms["total"].backward()
    assert all(parameter.grad is None for parameter in objective.teacher.parameters())
    assert all(p.grad.abs().sum() > 0 for p in objective.regressors.parameters())
    assert next(objective.planner.backbone.parameters()).grad.abs().sum() > 0


def test_without_a_weight_there_is_no_regressor_and_the_checkpoint_is_as_before() -> None:
    assert not any("regressors" in name or "average" in name for name in trainable_state(make_objective()))


def test_a_weight_that_comes_later_than_the_model_is_refused() -> None:
    with pytest.raises(ValueError, match="distillation/map has a weight now"):
        make_objective()(BATCH, generator(), only("distillation/map"))


def test_only_valid_tokens_count_and_samples_without_one_do_not() -> None:
    tokens = torch.arange(12.0).reshape(3, 2, 2)
    valid = torch.tensor([[True, True], [False, True], [False, False]])
    mean, has_any = mean_token(tokens, valid)
    assert mean.tolist() == [[1, 2], [6, 7], [0, 0]] and has_any.tolist() == [True, True, False]
    objective = make_objective(weights=only("distillation/agent"))
    beam, _ = objective.planner.encode(BATCH.window.current, memory(objective))
    answer = objective.teacher(beam, None)
    some = beam.agent_valid.clone()
    some[0] = False
    own = objective.regressors.term("agent", answer, replace(beam, agent_valid=some), objective.config)
    rest = [part(each, slice(1, None)) for each in (answer, replace(beam, agent_valid=some))]
    assert own.item() == pytest.approx(objective.regressors.term("agent", *rest, objective.config).item(), rel=1e-5)
    nobody = replace(beam, agent_valid=torch.zeros_like(some))
    nothing = objective.regressors.term("agent", answer, nobody, objective.config)
    assert nothing.item() == 0 and nothing.requires_grad


def test_the_average_is_that_of_the_weights_over_the_steps_and_is_what_passes_on() -> None:
    objective = make_objective(weights={**only("distillation/ego"), "teacher/vqa": 1.0}, teacher_ema=0.9)
    before = copy.deepcopy(objective.teacher)
    expected = {name: p.detach().clone() for name, p in before.named_parameters() if p.requires_grad}
    optimizer = build_optimizer(objective, StageConfig(learning_rate=0.01))
    for _ in range(3):
        objective(BATCH, generator())["total"].backward()
        optimizer.step()
        objective.after_step()
        for name, weight in objective.teacher.named_parameters():
            if name in expected:
                expected[name] = 0.9 * expected[name] + 0.1 * weight.detach()
    assert objective.average is not None
    found = dict(zip(objective.average.names, objective.average.buffers(), strict=True))
    assert found.keys() == expected.keys()
    assert all(torch.allclose(found[name], expected[name], atol=1e-6) for name in expected)
    before.load_state_dict(expected, strict=False)
    beam, _ = objective.planner.encode(BATCH.window.current, memory(objective))
    passed_on = objective.average.answer(objective.teacher, beam, None)
    assert torch.allclose(passed_on.ego_features, before.eval()(beam, None).ego_features, atol=1e-5)
    assert not torch.allclose(passed_on.ego_features, objective.teacher(beam, None).ego_features, atol=1e-3)
    assert objective.teacher.training and not passed_on.ego_features.requires_grad


def test_the_average_goes_on_from_a_checkpoint() -> None:
    objective = make_objective(teacher_ema=0.5)
    with torch.no_grad():
        for parameter in objective.teacher.parameters():
            parameter.add_(1.0)
    objective.after_step()
    again = make_objective(teacher_ema=0.5)
    load_trainable(again, trainable_state(objective))
    assert again.average is not None and objective.average is not None
    assert all(torch.equal(a, b) for a, b in zip(again.average.buffers(), objective.average.buffers(), strict=True))


def test_with_an_average_the_teacher_itself_is_not_asked_for_distillation_alone(monkeypatch: Any) -> None:
    objective = make_objective(weights=only("distillation/ego"), teacher_ema=0.9)
    seen = []
    forward = objective.teacher.forward
    monkeypatch.setattr(objective.teacher, "forward", lambda *a: seen.append(torch.is_grad_enabled()) or forward(*a))
    objective(BATCH, generator())
    assert seen == [False]


def test_dropout_does_not_touch_what_the_average_says() -> None:
    module = nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.5))
    average, rows = WeightAverage(module, 0.9), torch.randn(3, 4)
    assert torch.equal(average.answer(module, rows), module[0](rows)) and module.training


def test_a_sharded_teacher_has_no_average() -> None:
    with pytest.raises(ValueError, match=r"teacher_ema.*set it to 0, or runtime.parallel to ddp"):
        ShardedTeacher(make_objective(teacher_ema=0.9), torch.device("cpu"))


def memory(objective: JointObjective) -> Any:
    """None yet."""
    return remember(objective.planner, replace(BATCH.window, past=(), past_valid=BATCH.window.past_valid[:, :0]))


def part(value: Any, index: slice) -> Any:
    """Some samples of a beam or of a teacher's output."""
    kept = replace(value, language_loss=None, language_accuracy=None) if isinstance(value, TeacherOutput) else value
    return map_arrays(kept, lambda tensor: tensor[index])
