"""VAD's constraints on the plan against loops in float64, and on scenes with answers known by eye."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dima_pipeline.contracts.frames import AGENT_CATEGORIES, MAP_KINDS
from dima_pipeline.models.plan_constraints import (
    PredictedScene,
    boundary,
    collision,
    direction,
    has_crossed,
    plan_constraints,
    predicted_scene,
)
from dima_pipeline.models.planning_losses import trajectory_l1
from dima_pipeline.models.tensors import to_tensors
from dima_pipeline.models.vector_losses import AgentAnswers, MapAnswers, MotionAnswers
from scene_batches import make_targets

SEEDS = st.integers(0, 2**16)


def random_case(seed: int) -> tuple[torch.Tensor, PredictedScene]:
    """Two plans of four steps among three agents and three polylines of four points, all within a few metres."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int, scale: float = 1.0) -> torch.Tensor:
        return scale * torch.randn(*shape, generator=generator, dtype=torch.float64)

    scene = PredictedScene(
        vehicle_paths=draw(2, 3, 4, 2, scale=3),
        is_vehicle=draw(2, 3) > 0,
        map_points=draw(2, 3, 1, 2, scale=3) + draw(2, 3, 4, 2).cumsum(2),
        is_boundary=draw(2, 3) > 0,
        is_divider=draw(2, 3) > 0,
    )
    return draw(2, 4, 2, scale=1.5).cumsum(1), scene


def looped_collision(path: np.ndarray, scene: PredictedScene, b: int, t: int) -> list[float]:
    worst = [0.0, 0.0]
    for other, counts in zip(scene.vehicle_paths[b].numpy(), scene.is_vehicle[b].tolist(), strict=True):
        away = abs(path[t] - other[t])
        if counts and math.hypot(*away) <= 3.0:
            worst = [max(w, limit - a) for w, limit, a in zip(worst, (3.0, 1.5), away, strict=True)]
    return worst


def meet(a: np.ndarray, b: np.ndarray, c: np.ndarray, d: np.ndarray) -> bool:
    """Whether segments ab and cd cross: the ends of each lie on both sides of the other."""

    def side(p: np.ndarray, q: np.ndarray, r: np.ndarray) -> float:
        return (q[0] - p[0]) * (r[1] - p[1]) - (q[1] - p[1]) * (r[0] - p[0])

    return bool(side(a, b, c) * side(a, b, d) <= 0 and side(c, d, a) * side(c, d, b) <= 0)


def looped_boundary(path: np.ndarray, scene: PredictedScene, b: int, t: int) -> float:
    lines = scene.map_points[b][scene.is_boundary[b]].numpy()
    starts = np.concatenate([np.zeros((1, 2)), path])
    for step in range(t + 1):
        for line in lines:
            if any(meet(starts[step], starts[step + 1], line[p], line[p + 1]) for p in range(len(line) - 1)):
                return 0.0
    return max([0.0, *(1.0 - float(np.linalg.norm(point - path[t])) for line in lines for point in line)])


def looped_direction(path: np.ndarray, scene: PredictedScene, b: int, t: int) -> float:
    if np.linalg.norm(path[-1]) < 1.0:
        return 0.0
    near, lane = 2.0, None
    for line, counts in zip(scene.map_points[b].numpy(), scene.is_divider[b].tolist(), strict=True):
        for p, point in enumerate(line):
            if counts and np.linalg.norm(point - path[t]) <= near:
                near = float(np.linalg.norm(point - path[t]))
                first = min(p, len(line) - 2)
                lane = line[first + 1] - line[first]
    if lane is None:
        return 0.0
    step = path[t] - (path[t - 1] if t else 0)
    between = abs(math.atan2(step[1], step[0]) - math.atan2(lane[1], lane[0])) % math.pi
    return min(between, math.pi - between)


@settings(max_examples=60, deadline=None)
@given(seed=SEEDS)
def test_each_constraint_is_what_loops_compute(seed: int) -> None:
    path, scene = random_case(seed)
    found = (collision(path, scene), boundary(path, scene), direction(path, scene))
    for b, t in np.ndindex(2, 4):
        own = path[b].numpy()
        assert found[0][b, t].tolist() == pytest.approx(looped_collision(own, scene, b, t), abs=1e-5)
        assert found[1][b, t].item() == pytest.approx(looped_boundary(own, scene, b, t), abs=1e-5)
        assert found[2][b, t].item() == pytest.approx(looped_direction(own, scene, b, t), abs=1e-5)


@settings(max_examples=20, deadline=None)
@given(seed=SEEDS)
def test_the_terms_are_means_over_the_valid_steps_with_finite_gradients(seed: int) -> None:
    path, scene = random_case(seed)
    path.requires_grad_()
    valid = torch.rand(2, 4, generator=torch.Generator().manual_seed(seed)) < 0.7
    terms = plan_constraints(path, valid, scene)
    own = path.detach().numpy()
    steps = [(b, t) for b, t in np.ndindex(2, 4) if valid[b, t]]
    hit = sum(sum(looped_collision(own[b], scene, b, t)) for b, t in steps)
    assert terms["collision"].item() == pytest.approx(hit / max(2 * len(steps), 1), abs=1e-5)
    off = sum(looped_boundary(own[b], scene, b, t) for b, t in steps)
    assert terms["boundary"].item() == pytest.approx(off / max(len(steps), 1), abs=1e-5)
    sum(terms.values()).backward()
    assert path.grad is not None and path.grad.isfinite().all()


def lone(
    points: list[list[float]], *, kind: str = "boundary", vehicle: tuple[float, float] = (99.0, 99.0)
) -> PredictedScene:
    """One polyline and one standing vehicle."""
    return PredictedScene(
        vehicle_paths=torch.tensor(vehicle).expand(1, 1, 6, 2),
        is_vehicle=torch.ones(1, 1, dtype=torch.bool),
        map_points=torch.tensor([[points]]),
        is_boundary=torch.tensor([[kind == "boundary"]]),
        is_divider=torch.tensor([[kind == "divider"]]),
    )


def straight(metres_a_step: float, y: float = 0.0) -> torch.Tensor:
    return torch.stack([metres_a_step * torch.arange(1.0, 7.0), torch.full((6,), y)], -1)[None]


def test_a_car_a_metre_beside_the_third_step_is_too_near_there_alone() -> None:
    scene = lone([[50.0, 50.0], [51.0, 50.0]], vehicle=(12.0, 1.0))
    found = collision(straight(4.0), scene)[0]
    assert found[2].tolist() == [3.0, 0.5]
    assert found[[0, 1, 3, 4, 5]].abs().sum() == 0


def test_a_kerb_along_the_way_counts_from_one_metre_on() -> None:
    kerb = [[float(x), 0.4] for x in range(0, 27, 3)]
    found = boundary(straight(3.0), lone(kerb))[0]
    torch.testing.assert_close(found, torch.full((6,), 0.6))
    assert boundary(straight(3.0, y=-0.7), lone(kerb)).sum() == 0


def test_nothing_is_asked_behind_a_boundary_that_the_plan_crosses() -> None:
    wall = lone([[7.0, -5.0], [7.0, 0.0], [7.0, 5.0]])
    path = straight(2.0)
    crossed = has_crossed(path, wall.map_points, wall.is_boundary)[0]
    assert crossed.tolist() == [False, False, False, True, True, True]
    found = boundary(torch.cat([path[:, :3] + torch.tensor([0.5, 0.0]), path[:, 3:]], 1), wall)[0]
    assert found.tolist() == [0, 0, 0.5, 0, 0, 0]


@pytest.mark.parametrize("reverse", [False, True])
def test_a_plan_along_a_divider_is_straight_whichever_way_it_is_written(reverse: bool) -> None:
    divider = [[float(x), 1.0] for x in range(0, 30, 2)]
    scene = lone(divider[::-1] if reverse else divider, kind="divider")
    assert direction(straight(3.0), scene).abs().max() < 1e-6
    aslant = torch.stack([torch.arange(1.0, 7.0), 0.1 * torch.arange(1.0, 7.0)], -1)[None]
    torch.testing.assert_close(direction(aslant, scene), torch.full((1, 6), math.atan(0.1)))


def test_a_standing_ego_has_no_direction() -> None:
    scene = lone([[0.0, -1.0], [0.0, 1.0]], kind="divider")
    path = straight(0.1).requires_grad_()
    angle = direction(path, scene)
    assert angle.sum() == 0
    angle.sum().backward()
    assert path.grad is not None and path.grad.isfinite().all()


def test_only_what_is_believed_counts_and_the_likeliest_mode_moves() -> None:
    logits = torch.full((1, 4, len(AGENT_CATEGORIES)), -9.0)
    for index, (name, logit) in enumerate([("car", 2.0), ("pedestrian", 2.0), ("bus", -0.1), ("truck", 0.1)]):
        logits[0, index, AGENT_CATEGORIES.index(name)] = logit
    boxes = torch.zeros(1, 4, 8)
    boxes[..., 0] = 10.0
    steps = torch.zeros(1, 4, 2, 6, 2)
    steps[:, :, 1, :, 0] = 2.0
    modes = torch.tensor([0.0, 1.0]).expand(1, 4, 2)
    kinds = torch.full((1, 3, 3), -9.0)
    kinds[0, 0, MAP_KINDS.index("boundary")] = kinds[0, 1, MAP_KINDS.index("divider")] = 1.0
    scene = predicted_scene(
        AgentAnswers(logits=logits, boxes=boxes.requires_grad_()),
        MotionAnswers(steps=steps, logits=modes),
        MapAnswers(logits=kinds, points=torch.zeros(1, 3, 4, 2)),
    )
    assert scene.is_vehicle.tolist() == [[True, False, False, True]]
    assert scene.vehicle_paths[0, 0, :, 0].tolist() == [12.0, 14.0, 16.0, 18.0, 20.0, 22.0]
    assert not scene.vehicle_paths.requires_grad
    assert scene.is_boundary.tolist() == [[True, False, False]]
    assert scene.is_divider.tolist() == [[False, True, False]]


@settings(max_examples=20, deadline=None)
@given(seed=SEEDS)
def test_the_plan_costs_the_error_of_its_steps(seed: int) -> None:
    rng = np.random.default_rng(seed)
    targets = make_targets(rng, 2, 1, 1)
    targets.ego_future_valid[:] = rng.random((2, 6)) < 0.7
    path = rng.normal(size=(2, 6, 2)).cumsum(1)
    errors = []
    for b, t in np.ndindex(2, 6):
        known = targets.ego_future_valid[b]
        if known[t] and (t == 0 or known[t - 1]):
            driven = targets.ego_future[b, :, :2].astype(float)
            step, true = (p[t] - (p[t - 1] if t else 0) for p in (path[b], driven))
            errors += abs(step - true).tolist()
    found = trajectory_l1(torch.from_numpy(path), to_tensors(targets))
    assert found.item() == pytest.approx(np.mean(errors) if errors else 0.0, abs=1e-5)
