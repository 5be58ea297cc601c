"""Q-Former adapters and the BEV decoder."""

import pytest
import torch

from dima_pipeline.models.bev_decoder import BevDecoder
from dima_pipeline.models.qformer import QFormer, index_encoding
from dima_pipeline.models.task_heads import PathHead


def make_qformer(is_grid: bool = False, is_placed: bool = False) -> QFormer:
    torch.manual_seed(0)
    return QFormer(8, 12, num_queries=5, dim=16, depth=2, num_heads=2, is_grid=is_grid, is_placed=is_placed)


@pytest.mark.parametrize("num_tokens", [1, 7, 40])
def test_any_number_of_tokens_becomes_the_same_number_of_queries(num_tokens: int) -> None:
    assert make_qformer()(torch.randn(3, num_tokens, 8)).shape == (3, 5, 12)


def test_tokens_that_are_not_valid_have_no_influence_and_valid_ones_have() -> None:
    qformer, tokens = make_qformer(), torch.randn(2, 6, 8)
    valid = torch.tensor([True, True, True, False, False, True]).expand(2, -1)
    changed_padding, changed_token = tokens.clone(), tokens.clone()
    changed_padding[:, 3:5] = 1e3
    changed_token[:, 0] += 1
    before = qformer(tokens, valid)
    assert torch.equal(before, qformer(changed_padding, valid))
    assert not torch.allclose(before, qformer(changed_token, valid), atol=1e-3)


@pytest.mark.parametrize("num_tokens", [4, 0])
def test_a_sample_without_valid_tokens_has_finite_outputs_and_gradients(num_tokens: int) -> None:
    qformer = make_qformer()
    tokens = torch.randn(2, num_tokens, 8, requires_grad=True)
    valid = torch.zeros(2, num_tokens, dtype=torch.bool)
    out = qformer(tokens, valid)
    out.square().sum().backward()
    assert out.isfinite().all()
    assert all(p.grad is None or p.grad.isfinite().all() for p in qformer.parameters())
    assert tokens.grad is not None and tokens.grad.isfinite().all()


def test_a_set_has_no_order_and_a_grid_has_one() -> None:
    tokens = torch.randn(1, 6, 8)
    plain, grid = make_qformer(is_grid=False), make_qformer(is_grid=True)
    assert torch.allclose(plain(tokens), plain(tokens.flip(1)), atol=1e-5)
    assert not torch.allclose(grid(tokens), grid(tokens.flip(1)), atol=1e-3)


def test_where_a_token_is_counts_where_it_is_valid_and_only_for_its_own_token() -> None:
    qformer, token, other = make_qformer(is_placed=True), torch.randn(1, 1, 8), torch.randn(1, 1, 8)
    tokens, centers = torch.cat([token, token, other], 1), torch.tensor([[[5.0, 1.0], [5.0, 1.0], [-9.0, 2.0]]])
    valid = torch.tensor([[True, True, False]])
    before = qformer(tokens, valid, centers)
    moved, hidden = centers.clone(), centers.clone()
    moved[0, 0, 0], hidden[0, 2] = 12.0, 7.0
    assert not torch.allclose(before, qformer(tokens, valid, moved), atol=1e-3)
    assert torch.equal(before, qformer(tokens, valid, hidden))
    swapped = moved[:, [1, 0, 2]]
    assert torch.allclose(qformer(tokens, valid, moved), qformer(tokens, valid, swapped), atol=1e-5), "equal tokens"


def test_no_two_indices_share_an_encoding() -> None:
    code = index_encoding(300, 16)
    distance = torch.cdist(code, code) + 10 * torch.eye(300)
    assert code.shape == (300, 16) and distance.min() > 0.1


def test_the_decoder_writes_one_token_for_each_cell_of_each_frame_and_they_differ() -> None:
    torch.manual_seed(0)
    decoder = BevDecoder(12, 8, (6, 4), num_frames=2)
    cells = decoder(torch.randn(3, 5, 12))
    assert cells.shape == (3, 2, 24, 8)
    flat = cells[0].flatten(0, 1)
    assert (torch.cdist(flat, flat) + 10 * torch.eye(48)).min() > 1e-4


def test_the_decoder_can_learn_a_grid_from_the_features() -> None:
    torch.manual_seed(0)
    decoder, features, goal = BevDecoder(12, 8, (6, 4)), torch.randn(2, 5, 12), torch.randn(2, 1, 24, 8)
    optimizer = torch.optim.Adam(decoder.parameters(), 5e-3)
    losses = []
    for _ in range(150):
        loss = (decoder(features) - goal).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 3


def test_a_path_starts_training_ahead_at_four_metres_a_second() -> None:
    path = PathHead(8, 8, 6)(torch.zeros(1, 8))
    x_m = path[0, :, 0].detach()
    assert x_m[-1] == pytest.approx(12, abs=6) and (x_m.diff() > 0).all()
    assert path[0, :, 1].abs().max() < 6
