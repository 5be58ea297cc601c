"""The VAD-like planner learns: each term by itself, and from what the images show."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from dima_pipeline.contracts.batch import BevMemory, SceneBatch, SceneTargets, empty_memory
from dima_pipeline.geometry import project
from dima_pipeline.models.tensors import to_tensors
from dima_pipeline.planners import PLANNERS
from dima_pipeline.planners.vad import Config, VadPlanner, build
from scene_batches import make_projections, make_scene_batch, make_targets

IMAGE_SIZE = (48, 80)
SMALL = Config(token_dim=32, feature_dim=32, image_channels=32, bev_shape=(12, 6), num_decoder_layers=1)
TERMS = (
    "trajectory_l1",
    "agent_class",
    "agent_box",
    "agent_motion",
    "map_class",
    "map_points",
    "collision",
)


def small_planner() -> VadPlanner:
    torch.manual_seed(0)
    return build(SMALL, image_size=IMAGE_SIZE)


def losses(planner: VadPlanner, batch: SceneBatch, targets: SceneTargets) -> dict[str, torch.Tensor]:
    memory = to_tensors(empty_memory(len(batch.images), planner.num_bev_cells, planner.token_dim))
    beam, _ = planner.encode(batch, memory)
    return planner.losses(beam, planner.plan(beam, batch), batch, targets)


def optimizer(planner: VadPlanner) -> torch.optim.Optimizer:
    return torch.optim.AdamW(planner.parameters(), 1e-3, weight_decay=0.01)


def with_a_car_in_the_way(targets: SceneTargets) -> SceneTargets:
    """The driver turned off to the left; a car stands where an untrained planner goes."""
    path, future = targets.ego_future.copy(), targets.agent_future.copy()
    path[..., 0], path[..., 1] = 0.5, np.linspace(2, 12, 6)
    future[:, 0] = [7.0, 0.5]
    category = targets.agent_category.copy()
    category[:, 0] = 0
    return replace(targets, ego_future=path, agent_future=future, agent_category=category)


@pytest.mark.parametrize("term", TERMS)
def test_each_term_alone_over_fits_eight_samples(term: str) -> None:
    rng = np.random.default_rng(0)
    planner, batch = small_planner(), to_tensors(make_scene_batch(rng, 8, IMAGE_SIZE))
    targets = to_tensors(with_a_car_in_the_way(make_targets(rng, 8, 3, 3)))
    optimise = optimizer(planner)
    start = None
    for _ in range(150):
        loss = losses(planner, batch, targets)[term]
        start = loss.item() if start is None else start
        if loss < 0.45 * start:
            return
        optimise.zero_grad()
        loss.backward()
        optimise.step()
    pytest.fail(f"{term} only fell from {start} to {loss.item()}")


def red_posts(rng: np.random.Generator, batch_size: int) -> tuple[SceneBatch, SceneTargets]:
    """A red post stands ahead at a random place, and the driver went there: only the images tell where."""
    batch, targets = make_scene_batch(rng, batch_size, IMAGE_SIZE), make_targets(rng, batch_size, 1, 1)
    height, width = IMAGE_SIZE
    v, u = np.mgrid[0:height, 0:width] + 0.5
    images = rng.normal(90, 8, batch.images.shape)
    post = np.stack([rng.uniform(6, 25, batch_size), rng.uniform(-4, 4, batch_size), np.full(batch_size, 0.8)], -1)
    for camera, matrix in enumerate(make_projections(IMAGE_SIZE)):
        pixels, depth = project(matrix, post)
        for sample in np.flatnonzero(depth > 0.5):
            radius = width / 2 / depth[sample]
            near = (np.abs(u - pixels[sample, 0]) < radius) & (np.abs(v - pixels[sample, 1]) < radius)
            images[sample, camera][near] = (220, 40, 40)
    progress = np.arange(1, 7) / 6
    path = np.zeros_like(targets.ego_future)
    path[..., 0], path[..., 1] = 0.8 * post[:, :1] * progress, 0.8 * post[:, 1:2] * progress**2
    batch = replace(batch, images=images.clip(0, 255).astype(np.uint8))
    return to_tensors(batch), to_tensors(replace(targets, ego_future=path))


def l2(planner: VadPlanner, batch: SceneBatch, targets: SceneTargets) -> float:
    memory = to_tensors(empty_memory(len(batch.images), planner.num_bev_cells, planner.token_dim))
    with torch.no_grad():
        plan = planner.plan(planner.encode(batch, memory)[0], batch)
    return float((plan.trajectory - targets.ego_future[..., :2]).norm(dim=-1).mean())


def test_it_learns_to_look_where_unseen_images_lead() -> None:
    rng = np.random.default_rng(0)
    train, (batch, targets) = [red_posts(rng, 8) for _ in range(30)], red_posts(rng, 40)
    planner = small_planner()
    optimise = optimizer(planner)
    for step in range(150):
        loss = losses(planner, *train[step % len(train)])["trajectory_l1"]
        optimise.zero_grad()
        loss.backward()
        optimise.step()
    own = l2(planner, batch, targets)
    shuffled = l2(planner, replace(batch, images=batch.images.roll(1, 0)), targets)
    assert own < 1.5
    assert shuffled > 1.5 * own


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"token_dim": 20}, "token_dim 20 must be a multiple of 8"),
        ({"image_channels": 20}, "image_channels 20 must be a multiple of 16"),
        ({"tokendim": 64}, "did you mean 'token_dim'"),
    ],
)
def test_a_width_that_does_not_divide_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PLANNERS.parse({"name": "vad", **options})


def test_an_image_size_that_the_stride_does_not_divide_is_refused() -> None:
    with pytest.raises(ValueError, match="multiple of 8"):
        build(SMALL, image_size=(90, 160))


def test_ego_motion_enters_through_the_warp_alone() -> None:
    planner = small_planner()
    batch = to_tensors(make_scene_batch(np.random.default_rng(0), 2, IMAGE_SIZE))
    faster = replace(batch, prev_from_ego=batch.prev_from_ego * 3)
    seen, is_valid = torch.randn(2, planner.num_bev_cells, planner.token_dim), torch.ones(2, dtype=torch.bool)
    with torch.no_grad():
        for bev, same in ((0 * seen, True), (seen, False)):
            memory = BevMemory(bev=bev, is_valid=is_valid)
            slow_beam, fast_beam = planner.encode(batch, memory)[0], planner.encode(faster, memory)[0]
            assert torch.allclose(slow_beam.bev, fast_beam.bev, atol=1e-5) == same
