"""VAD's perception losses against loops in float64, and the matching against brute force."""

import itertools
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dima_pipeline.contracts.batch import SceneTargets
from dima_pipeline.models.matching import Matches, match
from dima_pipeline.models.tensors import to_tensors
from dima_pipeline.models.vector_losses import (
    AgentAnswers,
    MapAnswers,
    MotionAnswers,
    agent_losses,
    best_mode,
    map_losses,
    motion_losses,
    orders,
)
from scene_batches import make_targets

RANGE_M = (-30.0, -15.0, 30.0, 15.0)
SEEDS = st.integers(0, 2**16)
NUM_POINTS = 5


def scene(seed: int, batch_size: int = 2) -> SceneTargets:
    """Three agents and three map elements, one of each padding; some futures end early, some elements are rings."""
    rng = np.random.default_rng(seed)
    targets = make_targets(rng, batch_size, 3, 3, NUM_POINTS)
    known = targets.agent_future_valid & (np.arange(6) < rng.integers(0, 7, (batch_size, 3, 1)))
    points = targets.map_points.copy()
    points[:, 0, -1] = points[:, 0, 0]
    kind = rng.integers(0, 3, targets.map_kind.shape) * targets.map_valid
    return replace(targets, agent_future_valid=known, map_points=points, map_kind=kind)


def wide(targets: SceneTargets) -> SceneTargets:
    """As tensors, floats in double precision."""
    tensors = to_tensors(targets)
    doubled = {key: value.double() for key, value in vars(tensors).items() if value.is_floating_point()}
    return replace(tensors, **doubled)


def focal(logit: float, is_positive: bool) -> float:
    chance = 1 / (1 + math.exp(-logit))
    if is_positive:
        return -0.25 * (1 - chance) ** 2 * math.log(chance)
    return -0.75 * chance**2 * math.log(1 - chance)


def cheapest(cost: np.ndarray) -> tuple[float, tuple[int, ...]]:
    """Brute force: the query for each target (columns) with the least sum."""
    num_queries, num_targets = cost.shape
    sums = {
        chosen: sum(cost[query, target] for target, query in enumerate(chosen))
        for chosen in itertools.permutations(range(num_queries), num_targets)
    }
    best = min(sums, key=lambda chosen: sums[chosen])
    return sums[best], best


@settings(max_examples=60, deadline=None)
@given(seed=SEEDS, num_queries=st.integers(1, 5), num_targets=st.integers(0, 4))
def test_the_assignment_costs_what_brute_force_finds(seed: int, num_queries: int, num_targets: int) -> None:
    rng = np.random.default_rng(seed)
    cost = rng.normal(size=(1, num_queries, num_targets))
    valid = rng.random((1, num_targets)) < 0.8
    found = match(torch.from_numpy(cost), torch.from_numpy(valid))
    there = cost[0][:, valid[0]]
    expected, _ = cheapest(there) if there.shape[1] <= there.shape[0] else cheapest(there.T)
    assert cost[0][found.query, found.target].sum() == pytest.approx(expected, abs=1e-6)
    assert len(set(found.query.tolist())) == len(found.query) == min(there.shape)
    assert set(found.target.tolist()) <= set(np.flatnonzero(valid[0]).tolist())


def class_cost(logits: np.ndarray, category: int) -> float:
    return 2 * (focal(logits[category], True) - focal(logits[category], False))


def set_focal(logits: np.ndarray, expected: dict[tuple[int, int], int]) -> float:
    """Sum over all samples, queries and classes, divided by the pairs."""
    total = 0.0
    for b, q, k in np.ndindex(logits.shape):
        total += focal(logits[b, q, k], expected.get((b, q)) == k)
    return total / max(len(expected), 1)


def boxes_of(row: np.ndarray) -> np.ndarray:
    x, y, yaw, length, width, vx, vy = row
    return np.array([x, y, math.sin(yaw), math.cos(yaw), math.log(length), math.log(width), vx, vy])


@settings(max_examples=25, deadline=None)
@given(seed=SEEDS)
@example(seed=5797)
def test_agents_cost_what_loops_compute(seed: int) -> None:
    torch.manual_seed(seed)
    targets = scene(seed)
    answers = AgentAnswers(
        logits=torch.randn(2, 4, 10, dtype=torch.float64), boxes=5 * torch.randn(2, 4, 8, dtype=torch.float64)
    )
    logits, boxes = answers.logits.numpy(), answers.boxes.numpy()
    terms, found = agent_losses(answers, wide(targets))
    expected: dict[tuple[int, int], int] = {}
    error = 0.0
    for b in range(2):
        there = np.flatnonzero(targets.agent_valid[b])
        rows = [boxes_of(row) for row in targets.agent_box[b, there].astype(float)]
        category = targets.agent_category[b, there]
        cost = np.zeros((4, len(rows)))
        for q, g in np.ndindex(cost.shape):
            cost[q, g] = class_cost(logits[b, q], category[g]) + 0.25 * abs(boxes[b, q] - rows[g])[:6].sum()
        # Distances along an axis add up to the same when two queries swap: any of the cheapest assignments will do.
        target_of = found.target[found.sample == b].numpy()
        chosen = np.empty(len(rows), int)
        chosen[np.searchsorted(there, target_of)] = found.query[found.sample == b].numpy()
        assert sorted(target_of) == there.tolist()
        assert len(set(chosen)) == len(chosen)
        assert cost[chosen, np.arange(len(rows))].sum() == pytest.approx(cheapest(cost)[0], abs=1e-9)
        for row, k, q in zip(rows, category, chosen, strict=True):
            expected[b, q] = int(k)
            error += (abs(boxes[b, q] - row) * ([1] * 6 + [0.2] * 2)).sum()
    assert terms["agent_class"].item() == pytest.approx(set_focal(logits, expected), abs=1e-5)
    assert terms["agent_box"].item() == pytest.approx(error / len(expected), abs=1e-5)


@settings(max_examples=25, deadline=None)
@given(seed=SEEDS)
def test_motion_costs_what_loops_compute(seed: int) -> None:
    torch.manual_seed(seed)
    targets = scene(seed)
    answers = MotionAnswers(
        steps=torch.randn(2, 4, 3, 6, 2, dtype=torch.float64), logits=torch.randn(2, 4, 3, dtype=torch.float64)
    )
    found = Matches(sample=torch.tensor([0, 0, 1]), query=torch.tensor([2, 0, 3]), target=torch.tensor([0, 1, 1]))
    error, cost, num = 0.0, 0.0, 0
    for b, q, g in ((0, 2, 0), (0, 0, 1), (1, 3, 1)):
        known = targets.agent_future_valid[b, g]
        if not known.any():
            continue
        num += 1
        last = int(np.flatnonzero(known)[-1])
        start = targets.agent_box[b, g, :2].astype(float)
        path = np.concatenate([start[None], targets.agent_future[b, g].astype(float)])
        steps = answers.steps[b, q].numpy()
        ends = [np.linalg.norm(start + mode[: last + 1].sum(0) - path[last + 1]) for mode in steps]
        best = int(np.argmin(ends))
        cost += sum(focal(answers.logits[b, q, k].item(), k == best) for k in range(3))
        for t in range(6):
            if known[t] and (t == 0 or known[t - 1]):
                error += abs(steps[best, t] - (path[t + 1] - path[t])).sum()
    terms = motion_losses(answers, found, wide(targets))
    assert terms["agent_motion"].item() == pytest.approx(error / max(num, 1), abs=1e-5)
    assert terms["agent_mode"].item() == pytest.approx(cost / max(num, 1), abs=1e-5)


def test_the_best_mode_is_judged_where_the_agent_was_last_seen() -> None:
    steps = torch.zeros(1, 2, 6, 2)
    steps[0, 0, :, 0] = 1.0
    steps[0, 1, 3:, 0] = 5.0
    future = torch.zeros(1, 6, 2)
    future[0, 5, 0] = 6.0
    known = torch.ones(1, 6, dtype=torch.bool)
    assert best_mode(steps, future, known).item() == 0
    known[0, 3:] = False
    assert best_mode(steps, future, known).item() == 1


def all_orders(points: np.ndarray) -> list[np.ndarray]:
    ways = [points, points[::-1]]
    if np.linalg.norm(points[0] - points[-1]) < 0.01:
        for start in range(len(points) - 1):
            ring = np.concatenate([points[start:-1], points[: start + 1]])
            ways += [ring, ring[::-1]]
    return ways


def bend(own: np.ndarray, way: np.ndarray) -> float:
    a, b = np.diff(own, axis=0), np.diff(way, axis=0)
    return sum(1 - a[i] @ b[i] / (np.linalg.norm(a[i]) * np.linalg.norm(b[i])) for i in range(len(a)))


@settings(max_examples=25, deadline=None)
@given(seed=SEEDS)
def test_the_map_costs_what_loops_compute(seed: int) -> None:
    torch.manual_seed(seed)
    targets = scene(seed)
    answers = MapAnswers(
        logits=torch.randn(2, 4, 3, dtype=torch.float64),
        points=10 * torch.randn(2, 4, NUM_POINTS, 2, dtype=torch.float64),
    )
    logits, points = answers.logits.numpy(), answers.points.numpy()
    expected: dict[tuple[int, int], int] = {}
    error = turned = 0.0
    for b in range(2):
        there = np.flatnonzero(targets.map_valid[b])
        ways = [all_orders(targets.map_points[b, g].astype(float)) for g in there]
        far = [[[(abs(points[b, q] - way) / (60, 30)).sum() for way in own] for own in ways] for q in range(4)]
        kinds = targets.map_kind[b, there]
        cost = [[class_cost(logits[b, q], k) + min(far[q][g]) for g, k in enumerate(kinds)] for q in range(4)]
        for g, q in enumerate(cheapest(np.array(cost))[1]):
            expected[b, q] = int(kinds[g])
            bends = [bend(points[b, q], way) for way in ways[g]]
            chosen = int(np.argmin(np.array(far[q][g]) + 1e-3 * np.array(bends)))
            error += far[q][g][chosen]
            turned += bends[chosen]
    terms = map_losses(answers, wide(targets), RANGE_M)
    assert terms["map_class"].item() == pytest.approx(set_focal(logits, expected), abs=1e-5)
    assert terms["map_points"].item() == pytest.approx(error / len(expected), abs=1e-5)
    assert terms["map_direction"].item() == pytest.approx(turned / len(expected), abs=1e-5)


def perfect(points: torch.Tensor) -> dict[str, torch.Tensor]:
    """Losses of a map whose answers are one element's ``points`` and nothing else."""
    square = torch.tensor([[0.0, 0.0], [4.0, 0.0], [4.0, 4.0], [0.0, 4.0], [0.0, 0.0]])
    targets = replace(
        to_tensors(make_targets(np.random.default_rng(0), 1, 1, 1)),
        map_points=square[None, None],
        map_kind=torch.tensor([[1]]),
    )
    return map_losses(
        MapAnswers(logits=torch.tensor([[[-20.0, 20.0, -20.0]]]), points=points[None, None]), targets, RANGE_M
    )


@pytest.mark.parametrize("start", range(4))
@pytest.mark.parametrize("turn", [1, -1])
def test_a_ring_may_start_anywhere_and_run_either_way(start: int, turn: int) -> None:
    corners = torch.tensor([[0.0, 0.0], [4.0, 0.0], [4.0, 4.0], [0.0, 4.0]]).roll(start, 0)
    ring = torch.cat([corners, corners[:1]])
    losses = perfect(ring if turn > 0 else ring.flip(0))
    assert all(loss < 1e-5 for loss in losses.values()), losses


def test_a_line_keeps_its_ends() -> None:
    line = torch.tensor([[0.0, 0.0], [1.0, 0.0], [3.0, 0.0]])[None, None]
    assert len({tuple(way.flatten().tolist()) for way in orders(line)[0, 0]}) == 2


def test_elements_of_a_kind_without_a_logit_are_not_asked_for() -> None:
    targets = to_tensors(make_targets(np.random.default_rng(0), 1, 1, 1))
    answers = MapAnswers(logits=torch.full((1, 2, 3), -20.0), points=torch.zeros(1, 2, 20, 2))
    centerline = map_losses(answers, replace(targets, map_kind=torch.tensor([[3]])), RANGE_M)
    assert centerline["map_points"] == 0
    assert centerline["map_class"] < 1e-6
    assert map_losses(answers, replace(targets, map_kind=torch.tensor([[2]])), RANGE_M)["map_class"] > 1


@pytest.mark.parametrize("name", ["agent", "motion", "map"])
def test_an_empty_scene_costs_a_finite_number_with_finite_gradients(name: str) -> None:
    full = to_tensors(make_targets(np.random.default_rng(0), 1, 2, 2))
    targets = replace(full, agent_valid=full.agent_valid & False, map_valid=full.map_valid & False)
    leaves: dict[str, Any] = {
        "agent": (torch.randn(1, 3, 10), torch.randn(1, 3, 8)),
        "motion": (torch.randn(1, 3, 2, 6, 2), torch.randn(1, 3, 2)),
        "map": (torch.randn(1, 3, 3), torch.randn(1, 3, 20, 2)),
    }
    first, second = (leaf.requires_grad_() for leaf in leaves[name])
    if name == "agent":
        terms, found = agent_losses(AgentAnswers(logits=first, boxes=second), targets)
        assert len(found.query) == 0
    elif name == "motion":
        empty = torch.zeros(0, dtype=torch.int64)
        nobody = Matches(sample=empty, query=empty, target=empty)
        terms = motion_losses(MotionAnswers(steps=first, logits=second), nobody, targets)
    else:
        terms = map_losses(MapAnswers(logits=first, points=second), targets, RANGE_M)
    total = sum(terms.values(), torch.zeros(()))
    total.backward()
    assert total.isfinite()
    assert all(leaf.grad is None or leaf.grad.isfinite().all() for leaf in (first, second))
