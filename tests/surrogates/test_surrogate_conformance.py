"""What every surrogate task must do, whichever it is."""

from dataclasses import fields
from typing import Any

import pytest
import torch

from dima_pipeline.contracts.batch import BeamTokens
from dima_pipeline.surrogates import SURROGATES
from teaching_cases import (
    BEV_SHAPE,
    TEACHER_DIM,
    TOKEN_DIM,
    make_answer,
    make_beam,
    make_known,
    tiny_teacher,
)


def build(name: str) -> Any:
    torch.manual_seed(0)
    config = SURROGATES.parse(name)
    return SURROGATES.build(config, token_dim=TOKEN_DIM, teacher_dim=TEACHER_DIM, bev_shape=BEV_SHAPE)


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(7)


def copy(beam: BeamTokens) -> dict[str, torch.Tensor]:
    tensors = {field.name: getattr(beam, field.name) for field in fields(BeamTokens)}
    return {name: tensor.detach().clone() for name, tensor in tensors.items() if tensor is not None}


def test_the_three_tasks_of_the_paper_are_there() -> None:
    assert {"masked_reconstruction", "future_prediction", "scene_editing"} <= set(SURROGATES.names())


@pytest.mark.parametrize("name", SURROGATES.names())
class TestConformance:
    def test_the_beam_is_left_as_it_was(self, name: str) -> None:
        beam = make_beam()
        before = copy(beam)
        build(name).prepare(beam, make_known(), generator())
        assert all(torch.equal(before[key], value) for key, value in copy(beam).items())

    def test_the_same_generator_state_asks_the_same(self, name: str) -> None:
        task, beam = build(name), make_beam()
        first, second = (task.prepare(beam, make_known(), generator()) for _ in range(2))
        assert all(torch.equal(copy(first.beam)[key], value) for key, value in copy(second.beam).items())

    def test_every_term_is_a_finite_scalar_of_zero_or_more(self, name: str) -> None:
        task = build(name)
        terms = task.losses(make_answer(), task.prepare(make_beam(), make_known(), generator()))
        assert terms
        for value in terms.values():
            assert value.shape == () and value.isfinite() and value >= 0

    def test_targets_take_no_gradient_and_features_do(self, name: str) -> None:
        task, answer, known = build(name), make_answer(), make_known()
        known.future_bev.requires_grad_()
        asked = task.prepare(make_beam(), known, generator())
        sum(task.losses(answer, asked).values()).backward()
        assert known.future_bev.grad is None
        assert any(features.grad is not None for features in (answer.bev, answer.ego, answer.agent))

    def test_the_loss_falls_below_half_when_task_and_teacher_over_fit_one_batch(self, name: str) -> None:
        task, teacher, known = build(name), tiny_teacher(), make_known()
        beam = BeamTokens(**copy(make_beam()))
        optimizer = torch.optim.Adam([*task.parameters(), *teacher.parameters()], 5e-3)
        losses = []
        for _ in range(100):
            asked = task.prepare(beam, known, generator())
            text = None if asked.pairs is None else teacher.tokenize(asked.pairs)
            loss = sum(task.losses(teacher(asked.beam, text), asked).values())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
            if losses[-1] < losses[0] / 2:
                break
        assert losses[0] > 0 and losses[-1] < losses[0] / 2, losses[::10]
