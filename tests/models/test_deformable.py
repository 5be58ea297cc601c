"""Deformable attention against loops in float64, and BEVFormer's encoder around it."""

import math
from dataclasses import replace

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dima_pipeline.contracts.batch import BevMemory, SceneBatch
from dima_pipeline.models.bev import BevGrid
from dima_pipeline.models.bevformer import BevFormerEncoder
from dima_pipeline.models.deformable import DeformableAttention, star
from dima_pipeline.models.tensors import to_tensors
from scene_batches import make_scene_batch

GRID = BevGrid((6, 4), (-30.0, -15.0, 30.0, 15.0))
IMAGE_SIZE = (48, 80)


def pixel(image: np.ndarray, row: int, column: int) -> np.ndarray:
    height, width = image.shape[1:]
    return image[:, row, column] if 0 <= row < height and 0 <= column < width else np.zeros(len(image))


def bilinear(image: np.ndarray, place: np.ndarray) -> np.ndarray:
    """``image`` (D, h, w) at column, row in -1 ... 1 over its outer edges, zero outside."""
    column = (place[0] + 1) * image.shape[2] / 2 - 0.5
    row = (place[1] + 1) * image.shape[1] / 2 - 0.5
    left, top = math.floor(column), math.floor(row)
    total = np.zeros(len(image))
    for r in (top, top + 1):
        for c in (left, left + 1):
            total += (1 - abs(row - r)) * (1 - abs(column - c)) * pixel(image, r, c)
    return total


def looped(
    module: DeformableAttention, queries: np.ndarray, levels: list[np.ndarray], where: np.ndarray, seen: np.ndarray
) -> np.ndarray:
    """The definition, one query, view, head, level and point at a time."""
    w = {name: tensor.detach().numpy() for name, tensor in module.state_dict().items()}
    num_heads, num_points = module.num_heads, module.num_points
    batch_size, num_views, num_queries, num_references = seen.shape
    dim = levels[0].shape[2]
    part = dim // num_heads
    answer = np.zeros((batch_size, num_queries, dim))
    for b in range(batch_size):
        for q in range(num_queries):
            shape = (num_heads, len(levels), num_points)
            offsets = (w["offsets.weight"] @ queries[b, q] + w["offsets.bias"]).reshape(*shape, 2)
            logits = (w["weights.weight"] @ queries[b, q] + w["weights.bias"]).reshape(num_heads, -1)
            shares = (np.exp(logits) / np.exp(logits).sum(1, keepdims=True)).reshape(shape)
            read, num_seeing = np.zeros(dim), 0
            for v in range(num_views):
                num_seeing += bool(seen[b, v, q].any())
                for head in range(num_heads):
                    for index, level in enumerate(levels):
                        height, width = level.shape[-2:]
                        for p in range(num_points):
                            r = p % num_references
                            place = where[b, v, q, r] + 2 * offsets[head, index, p] / (width, height)
                            # Zero outside the image: the bias of the value layer does not reach there.
                            flat = level[b, v].reshape(dim, -1)
                            value = (w["value.weight"] @ flat + w["value.bias"][:, None]).reshape(level[b, v].shape)
                            own = slice(head * part, (head + 1) * part)
                            share = shares[head, index, p] * seen[b, v, q, r]
                            read[own] += share * bilinear(value[own], place)
            out = w["out.0.weight"] @ (read / max(num_seeing, 1)) + w["out.0.bias"]
            answer[b, q] = out * w["out.1.scale"]
    return answer


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**16),
    num_views=st.integers(1, 3),
    num_levels=st.integers(1, 2),
    num_references=st.integers(1, 2),
    num_heads=st.sampled_from([1, 2]),
)
def test_it_is_what_loops_in_float64_compute(
    seed: int, num_views: int, num_levels: int, num_references: int, num_heads: int
) -> None:
    torch.manual_seed(seed)
    module = DeformableAttention(4, num_heads, num_levels=num_levels, num_points=2 * num_references, query_dim=6)
    module = module.double()
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter)
    queries = torch.randn(2, 3, 6, dtype=torch.float64)
    levels = [torch.randn(2, num_views, 4, 3 + i, 5 - i, dtype=torch.float64) for i in range(num_levels)]
    where = torch.rand(2, num_views, 3, num_references, 2, dtype=torch.float64) * 3 - 1.5
    seen = (torch.rand(2, num_views, 3, num_references) < 0.6).double()
    found = module(queries, levels, where, seen).detach().numpy()
    expected = looped(module, queries.numpy(), [level.numpy() for level in levels], where.numpy(), seen.numpy())
    np.testing.assert_allclose(found, expected, atol=1e-9)
    single = module.float()(queries.float(), [level.float() for level in levels], where.float(), seen.float())
    np.testing.assert_allclose(single.detach().numpy(), expected, atol=1e-5 * max(1, abs(expected).max()))


def test_its_gradients_are_those_of_finite_differences() -> None:
    torch.manual_seed(0)
    module = DeformableAttention(2, 1, num_points=2, branch_scale=1.0).double()
    where, seen = torch.rand(1, 2, 2, 1, 2, dtype=torch.float64) - 0.5, torch.ones(1, 2, 2, 1, dtype=torch.float64)
    queries = torch.randn(1, 2, 2, dtype=torch.float64, requires_grad=True)
    level = torch.randn(1, 2, 2, 4, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda q, x: module(q, [x], where, seen), (queries, level))


def test_each_head_starts_by_looking_into_a_direction_of_its_own() -> None:
    start = star(4, 2, 3)
    torch.testing.assert_close(start[0, 0, 0], torch.tensor([1.0, 0.0]))
    torch.testing.assert_close(start[1, 1, 2], torch.tensor([0.0, 3.0]), atol=1e-6, rtol=0)
    torch.testing.assert_close(start[2, 0, 1], torch.tensor([-2.0, 0.0]), atol=1e-6, rtol=0)


def encoder(num_layers: int = 2, num_levels: int = 1) -> BevFormerEncoder:
    torch.manual_seed(0)
    return BevFormerEncoder(
        GRID,
        8,
        heights_m=(0.0, 1.5),
        image_size=IMAGE_SIZE,
        num_layers=num_layers,
        num_heads=2,
        num_levels=num_levels,
    )


def scene(batch_size: int = 1) -> SceneBatch:
    return to_tensors(make_scene_batch(np.random.default_rng(0), batch_size, IMAGE_SIZE))


def nothing(batch_size: int = 1) -> BevMemory:
    return BevMemory(
        bev=torch.full((batch_size, GRID.num_cells, 8), torch.nan), is_valid=torch.zeros(batch_size, dtype=torch.bool)
    )


def test_the_front_camera_informs_cells_ahead_and_no_cell_far_behind() -> None:
    module = encoder(num_layers=1)
    dark = torch.zeros(1, 6, 8, 6, 10)
    lit = dark.clone()
    lit[:, 0] = torch.randn(8, 6, 10)
    with torch.no_grad():
        changed = (module([lit], scene(), nothing()) - module([dark], scene(), nothing())).abs().amax(-1)[0] > 1e-6
    x = GRID.centers()[:, 0]
    assert changed[(x > 20)].all()
    assert not changed[x < 0].any()


def test_a_camera_that_is_not_valid_may_show_anything() -> None:
    module, batch = encoder(), scene()
    valid, matrices = batch.camera_valid.clone(), batch.image_from_ego.clone()
    valid[:, 2], matrices[:, 2] = False, torch.nan
    features = torch.randn(1, 6, 8, 6, 10)
    other = features.clone()
    other[:, 2] = 9.0
    blind = replace(batch, camera_valid=valid, image_from_ego=matrices)
    with torch.no_grad():
        first, second = (module([x], blind, nothing()) for x in (features, other))
        assert torch.equal(first, second)
        assert not torch.allclose(first, module([features], batch, nothing()), atol=1e-5)


def test_the_past_is_read_where_the_cell_lay_then() -> None:
    module = encoder()
    tokens = torch.randn(1, GRID.num_cells, 8)
    memory = BevMemory(bev=tokens, is_valid=torch.tensor([True]))
    ahead_one_cell = module.recall(memory, torch.tensor([[10.0, 0.0, 0.0]])).unflatten(1, GRID.shape)
    torch.testing.assert_close(ahead_one_cell[:, 1:], tokens.unflatten(1, GRID.shape)[:, :-1])
    torch.testing.assert_close(module.recall(memory, torch.zeros(1, 3)), tokens)


def test_a_memory_that_is_not_valid_changes_nothing_and_a_valid_one_does() -> None:
    module, batch, features = encoder(), scene(2), [torch.randn(2, 6, 8, 6, 10)]
    noise = torch.randn(2, GRID.num_cells, 8)
    with torch.no_grad():
        reset = module(features, replace(batch, prev_from_ego=batch.prev_from_ego * torch.nan), nothing(2))
        used = module(features, batch, BevMemory(bev=noise, is_valid=torch.tensor([True, False])))
    assert not module.recall(nothing(2), batch.prev_from_ego * torch.nan).any()
    assert torch.equal(used[1], reset[1])
    assert not torch.allclose(used[0], reset[0], atol=1e-4)


def test_without_a_past_the_present_stands_in_for_it() -> None:
    module = encoder()
    layer, present = module.layers[0], torch.randn(1, GRID.num_cells, 8)
    with torch.no_grad():
        first = layer.look_back(present, module.position, 0 * present, torch.tensor([False]))
        same = layer.look_back(present, module.position, present, torch.tensor([True]))
        other = layer.look_back(present, module.position, 0 * present, torch.tensor([True]))
    assert torch.equal(first, same)
    assert not torch.allclose(first, other, atol=1e-4)


def test_every_level_of_the_pyramid_is_read() -> None:
    module, batch = encoder(num_levels=2), scene()
    levels = [torch.randn(1, 6, 8, 6, 10, requires_grad=True), torch.randn(1, 6, 8, 3, 5, requires_grad=True)]
    module(levels, batch, nothing())[..., 0].sum().backward()
    assert all(level.grad is not None and level.grad.abs().sum() > 0 for level in levels)
