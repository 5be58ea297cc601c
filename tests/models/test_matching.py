"""Matching and the losses on what is matched, on scenes with answers known by eye."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from dima_pipeline.contracts.batch import SceneTargets
from dima_pipeline.contracts.frames import AGENT_CATEGORIES, MAP_KINDS
from dima_pipeline.models.heads import AgentHead, MapHead, TrajectoryHead, spread_points
from dima_pipeline.models.matching import masked_mean, match, set_cross_entropy
from dima_pipeline.models.planning_losses import (
    agent_losses,
    collision,
    encode_boxes,
    map_losses,
    step_valid,
    steps_of,
    trajectory_l1,
)
from dima_pipeline.models.tensors import to_tensors
from scene_batches import make_targets

TIMES = torch.arange(1, 7) * 0.5


def targets(batch_size: int = 1, **changes: torch.Tensor) -> SceneTargets:
    return replace(to_tensors(make_targets(np.random.default_rng(0), batch_size, 1, 1)), **changes)


def straight(speed_mps: float) -> torch.Tensor:
    """A path along x, (1, 6, 3)."""
    return torch.stack([TIMES * speed_mps, 0 * TIMES, 0 * TIMES], -1)[None]


def parked(x: float, y: float, category: str = "car") -> SceneTargets:
    """One standing agent and an ego that drives straight on at 5 m/s."""
    return targets(
        ego_future=straight(5.0),
        agent_category=torch.tensor([[AGENT_CATEGORIES.index(category)]]),
        agent_future=torch.tensor([x, y]).expand(1, 1, 6, 2),
        agent_future_valid=torch.ones(1, 1, 6, dtype=torch.bool),
    )


def test_the_cheapest_pairs_are_chosen_and_padding_is_left_out() -> None:
    cost = torch.tensor([[[1.0, 9.0, -9.0], [0.0, 9.0, -9.0], [9.0, 2.0, -9.0]]])
    found = match(cost, torch.tensor([[True, True, False]]))
    assert sorted(zip(found.query.tolist(), found.target.tolist(), strict=True)) == [(1, 0), (2, 1)]


def test_more_targets_than_queries_leaves_the_dearest_unmatched() -> None:
    found = match(torch.tensor([[[5.0, 1.0, 3.0]]]), torch.ones(1, 3, dtype=torch.bool))
    assert (found.query.tolist(), found.target.tolist()) == ([0], [1])


def test_no_targets_match_nothing() -> None:
    assert match(torch.zeros(2, 3, 0), torch.zeros(2, 0, dtype=torch.bool)).query.shape == (0,)


def test_a_matched_query_should_say_its_category_and_the_others_none() -> None:
    found = match(torch.tensor([[[0.0], [1.0]]]), torch.ones(1, 1, dtype=torch.bool))
    category = torch.tensor([[2]])
    right = torch.full((1, 2, 4), -20.0)
    right[0, 0, 2] = right[0, 1, 3] = 20.0
    assert set_cross_entropy(right, category, found) < 1e-6
    assert set_cross_entropy(right.flip(1), category, found) > 10


def test_the_mean_over_nothing_is_a_zero_that_can_be_differentiated() -> None:
    values = torch.ones(3, requires_grad=True)
    mean = masked_mean(values, torch.zeros(3, dtype=torch.bool))
    mean.backward()
    assert mean == 0
    assert values.grad is not None and values.grad.abs().sum() == 0


def test_steps_are_the_differences_of_a_path() -> None:
    path = torch.tensor([[1.0, 0.0], [3.0, 0.0], [3.0, 2.0]])
    assert steps_of(path, 0.0).tolist() == [[1, 0], [2, 0], [0, 2]]
    assert step_valid(torch.tensor([True, False, True, True])).tolist() == [True, False, False, True]


def test_trajectory_l1_is_the_error_of_a_step() -> None:
    truth = targets(ego_future=straight(4.0))
    path = straight(4.0)[..., :2]
    assert trajectory_l1(path, truth) == 0
    assert trajectory_l1(straight(5.0)[..., :2], truth).item() == pytest.approx(0.25)  # 0.5 m in x, nothing in y


def test_trajectory_l1_ignores_unknown_steps() -> None:
    known = torch.tensor([[True, True, True, False, False, False]])
    truth = targets(ego_future=straight(4.0) * known[..., None], ego_future_valid=known)
    assert trajectory_l1(straight(4.0)[..., :2], truth) == 0


def test_a_path_through_a_parked_car_collides_and_one_around_it_does_not() -> None:
    truth = parked(10.0, 4.0)
    ahead = straight(5.0)[..., :2]
    into = ahead + torch.tensor([0.0, 4.0])
    assert collision(ahead, truth) == 0
    # At 2 s the ego is at (10, 4): 1.5 m to leave sideways; at 1.5 and 2.5 s it is 2.5 m off along x: 0.5 m to leave.
    assert collision(into, truth).item() == pytest.approx((0.5 + 1.5 + 0.5) / 6)


def test_what_the_driver_did_himself_is_not_held_against_the_planner() -> None:
    truth = parked(10.0, 1.0)
    assert collision(straight(5.0)[..., :2], truth) == 0
    # But at 1.5 s, where the driver was still 2.5 m short of it, standing inside is.
    assert collision(torch.tensor([10.0, 1.0]).expand(1, 6, 2), truth) > 0


def test_cones_are_no_traffic() -> None:
    into = straight(5.0)[..., :2] + torch.tensor([0.0, 4.0])
    assert collision(into, parked(10.0, 4.0, "traffic_cone")) == 0


def test_collision_pushes_the_path_away() -> None:
    path = (straight(5.0)[..., :2] + torch.tensor([0.0, 3.5])).requires_grad_()
    collision(path, parked(10.0, 4.0)).backward()
    assert path.grad is not None and path.grad[0, 3, 1] > 0  # less y is safer


def test_boxes_say_their_heading_as_sine_and_cosine() -> None:
    encoded = encode_boxes(torch.tensor([1.0, 2.0, np.pi / 2, 4.0, 2.0, 3.0, -1.0]))
    expected = torch.tensor([1.0, 2.0, 1.0, 0.0, np.log(4.0), np.log(2.0), 3.0, -1.0], dtype=torch.float32)
    torch.testing.assert_close(encoded, expected, atol=1e-6, rtol=1e-6)


def test_a_polyline_may_be_drawn_from_either_end() -> None:
    torch.manual_seed(0)
    head, tokens = MapHead(16, spread_points(4, (-30, -15, 30, 15))), torch.randn(1, 4, 16)
    truth = to_tensors(make_targets(np.random.default_rng(0), 1, 1, 3))
    turned = replace(truth, map_points=truth.map_points.flip(2))
    assert map_losses(head, tokens, truth)["map_points"] > 0
    torch.testing.assert_close(map_losses(head, tokens, turned), map_losses(head, tokens, truth))


def test_a_polyline_that_is_drawn_exactly_costs_nothing() -> None:
    torch.manual_seed(0)
    head, tokens = MapHead(16, spread_points(4, (-30, -15, 30, 15))), torch.randn(1, 4, 16)
    drawn = head.points(tokens).detach()[:, [2, 0]]
    truth = targets(
        map_points=drawn.flip(2),
        map_kind=torch.zeros(1, 2, dtype=torch.int64),
        map_valid=torch.ones(1, 2, dtype=torch.bool),
    )
    assert map_losses(head, tokens, truth)["map_points"] < 1e-5


def test_agents_in_any_order_cost_the_same() -> None:
    torch.manual_seed(0)
    head, tokens = AgentHead(16, spread_points(6, (-30, -15, 30, 15))), torch.randn(1, 6, 16)
    truth = to_tensors(make_targets(np.random.default_rng(0), 1, 5, 1))
    names = [name for name in vars(truth) if name.startswith("agent")]
    shuffled = replace(truth, **{name: getattr(truth, name)[:, [3, 0, 4, 2, 1]] for name in names})
    torch.testing.assert_close(agent_losses(head, tokens, shuffled), agent_losses(head, tokens, truth))


def test_agents_whose_future_is_unknown_do_not_train_motion() -> None:
    torch.manual_seed(0)
    head, tokens = AgentHead(16, spread_points(6, (-30, -15, 30, 15))), torch.randn(1, 6, 16)
    truth = to_tensors(make_targets(np.random.default_rng(0), 1, 5, 1))
    unknown = replace(truth, agent_future_valid=truth.agent_future_valid & False)
    losses = agent_losses(head, tokens, unknown)
    assert losses["agent_motion"] == 0
    assert losses["agent_box"] > 0


def test_heads_have_a_class_for_nothing() -> None:
    anchors = spread_points(2, (-30, -15, 30, 15))
    assert AgentHead(16, anchors).classify(torch.randn(1, 2, 16)).shape[-1] == len(AGENT_CATEGORIES) + 1
    assert MapHead(16, anchors).classify(torch.randn(1, 2, 16)).shape[-1] == len(MAP_KINDS) + 1


def test_anchors_lie_in_the_range_and_apart() -> None:
    points = spread_points(20, (-30, -15, 30, 15))
    assert (points.abs() <= torch.tensor([30.0, 15.0])).all()
    distance = torch.cdist(points, points) + 100 * torch.eye(20)
    assert distance.min() > 3


def test_an_untrained_trajectory_drives_ahead() -> None:
    torch.manual_seed(0)
    path, _ = TrajectoryHead(16, 16)(torch.randn(4, 16), torch.arange(4))
    assert (path[:, -1, 0] > 6).all()
    assert (path[:, -1, 1].abs() < 6).all()
