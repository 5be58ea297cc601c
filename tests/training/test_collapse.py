"""The guards against collapse tell a scene encoder that uses its width from one that does not."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dima_pipeline.surrogates.masked_reconstruction import Config, MaskedReconstruction
from dima_pipeline.training.collapse import effective_rank
from teaching_cases import BEV_SHAPE, TEACHER_DIM, TOKEN_DIM, make_answer, make_beam, make_known

DIM = 12


@given(st.integers(1, DIM), st.floats(0.01, 100), st.integers(0, 2**31))
def test_it_counts_the_directions_that_are_used_alike_however_turned_and_scaled(number, scale, seed):
    generator = torch.Generator().manual_seed(seed)
    turn, _ = torch.linalg.qr(torch.randn(DIM, DIM, generator=generator))
    both_ways = torch.cat([torch.eye(DIM)[:number], -torch.eye(DIM)[:number]])
    tokens = scale * (both_ways @ turn + torch.randn(DIM, generator=generator))
    assert effective_rank(tokens.reshape(2, number, DIM)).item() == pytest.approx(number, rel=0.02)


def test_a_direction_that_is_used_little_counts_little():
    tokens = torch.tensor([[[1.0, 0.0], [-1.0, 0.0], [0.0, 0.01], [0.0, -0.01]]])
    assert 1 < effective_rank(tokens).item() < 1.1


@given(st.floats(-100, 100), st.integers(0, 2**31))
def test_tokens_that_are_all_alike_but_for_rounding_have_none(offset, seed):
    generator = torch.Generator().manual_seed(seed)
    token = offset + torch.randn(DIM, generator=generator)
    noise = 1e-7 * token * torch.randn(2, 300, DIM, generator=generator)
    assert effective_rank(token.expand(2, 300, DIM)).item() == 0
    assert effective_rank(token + noise).item() == 0


def test_one_direction_is_one_among_many_channels():
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randn(2, 500, 1, generator=generator) * torch.randn(256, generator=generator)
    assert effective_rank(tokens).item() == pytest.approx(1, abs=0.001)


def test_numbers_that_are_not_finite_raise_nothing():
    tokens = torch.randn(2, 5, 3)
    tokens[0, 0, 0], tokens[1, 2, 1] = float("nan"), float("inf")
    assert effective_rank(tokens).isfinite()


def test_masked_reconstruction_tells_how_much_is_masked_and_whether_it_answers_every_cell_alike():
    torch.manual_seed(0)
    task = MaskedReconstruction(Config(), token_dim=TOKEN_DIM, teacher_dim=TEACHER_DIM, bev_shape=BEV_SHAPE)
    asked = task.prepare(make_beam(), make_known(), torch.Generator().manual_seed(0))
    found = task.metrics(make_answer(), asked)
    assert found["masked_share"].item() == pytest.approx(asked.valid.float().mean().item())
    shown = asked.beam.bev[~asked.valid].norm(dim=-1).mean()
    assert found["mask_norm"].item() == pytest.approx((task.mask_vector.norm() / shown).item(), rel=1e-5)
    assert found["spread"] > 0.01
    for parameter in task.decoder.parameters():
        torch.nn.init.zeros_(parameter)
    assert task.metrics(make_answer(), asked)["spread"] < 1e-6
    alike = replace(asked, target=torch.zeros_like(asked.target))
    assert task.metrics(make_answer(), alike)["spread"].isfinite()
