"""What every planner plug-in must do; a new file in ``planners/`` is checked here by itself."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from dima_pipeline.contracts.batch import BevMemory, Plan, SceneBatch, empty_memory, take
from dima_pipeline.contracts.frames import NUM_FUTURE_STEPS
from dima_pipeline.export.bundle import check_parity
from dima_pipeline.models.tensors import to_tensors
from dima_pipeline.planners import PLANNERS
from planner_bundles import IMAGE_SIZE, VARIANTS, exported, fresh_planner
from scene_batches import make_scene_batch, make_targets

pytestmark = pytest.mark.parametrize("name", [*PLANNERS.names(), *VARIANTS])
BATCH = 3


def scenes(seed: int = 0, batch_size: int = BATCH) -> SceneBatch:
    return make_scene_batch(np.random.default_rng(seed), batch_size, IMAGE_SIZE)


def no_memory(planner: Any, batch_size: int = BATCH) -> BevMemory:
    return to_tensors(empty_memory(batch_size, planner.num_bev_cells, planner.token_dim))


def step(planner: Any, batch: SceneBatch, memory: BevMemory | None = None) -> tuple[Plan, BevMemory]:
    tensors = to_tensors(batch)
    with torch.no_grad():
        beam, memory = planner.encode(tensors, no_memory(planner, len(batch.images)) if memory is None else memory)
        return planner.plan(beam, tensors), memory


def close(first: torch.Tensor, second: torch.Tensor) -> None:
    torch.testing.assert_close(first, second, atol=2e-4, rtol=1e-4)


def test_tokens_plan_and_memory_have_the_shapes_of_the_contract(name: str) -> None:
    planner = fresh_planner(name)
    batch = to_tensors(scenes())
    beam, memory = planner.encode(batch, no_memory(planner))
    plan = planner.plan(beam, batch)
    dim = planner.token_dim
    assert planner.bev_shape[0] * planner.bev_shape[1] == planner.num_bev_cells
    assert beam.bev.shape == memory.bev.shape == (BATCH, planner.num_bev_cells, dim)
    assert beam.ego.shape == (BATCH, 1, dim)
    assert beam.agent.shape == (*beam.agent_valid.shape, dim)
    assert beam.map.shape == (*beam.map_valid.shape, dim)
    assert beam.agent_valid.dtype == beam.map_valid.dtype == memory.is_valid.dtype == torch.bool
    assert memory.is_valid.all()
    assert plan.trajectory.shape == (BATCH, NUM_FUTURE_STEPS, 2)
    assert plan.features.shape == (BATCH, planner.feature_dim)


def test_penultimate_features_mean_the_planned_trajectory(name: str) -> None:
    planner = fresh_planner(name)
    batch = scenes()
    plan, _ = step(planner, batch)
    with torch.no_grad():
        close(planner.trajectory_of(plan.features, to_tensors(batch).command), plan.trajectory)


@pytest.mark.parametrize("scene", ["full", "empty"])
def test_losses_are_finite_and_not_negative_with_finite_gradients(name: str, scene: str) -> None:
    planner = fresh_planner(name)
    batch = to_tensors(scenes())
    targets = make_targets(np.random.default_rng(1), BATCH)
    if scene == "empty":
        nobody = np.zeros_like(targets.agent_valid)
        unknown = np.zeros_like(targets.ego_future_valid)
        targets = replace(targets, agent_valid=nobody, map_valid=targets.map_valid & False, ego_future_valid=unknown)
    beam, _ = planner.encode(batch, no_memory(planner))
    losses = planner.losses(beam, planner.plan(beam, batch), batch, to_tensors(targets))
    assert all(loss.ndim == 0 and loss.isfinite() and loss >= 0 for loss in losses.values()), losses
    sum(losses.values()).backward()
    gradients = [p.grad for p in planner.parameters() if p.grad is not None]
    assert gradients
    assert all(gradient.isfinite().all() for gradient in gradients)


def test_a_full_scene_trains_every_parameter(name: str) -> None:
    planner = fresh_planner(name)
    batch = to_tensors(scenes())
    beam, memory = planner.encode(batch, no_memory(planner))
    beam, _ = planner.encode(batch, memory)
    targets = to_tensors(make_targets(np.random.default_rng(1), BATCH))
    sum(planner.losses(beam, planner.plan(beam, batch), batch, targets).values()).backward()
    idle = [key for key, parameter in planner.named_parameters() if parameter.grad is None]
    assert not idle


def test_a_sample_in_a_batch_is_planned_as_alone(name: str) -> None:
    planner = fresh_planner(name)
    batch = scenes()
    together, _ = step(planner, batch)
    for index in range(BATCH):
        alone, _ = step(planner, take(batch, slice(index, index + 1)))
        close(alone.trajectory[0], together.trajectory[index])
        close(alone.features[0], together.features[index])


def test_scenes_side_by_side_evolve_as_each_on_its_own(name: str) -> None:
    planner = fresh_planner(name)
    frames = [scenes(seed) for seed in range(3)]
    memory, alone_memory = None, None
    for frame in frames:
        plan, memory = step(planner, frame, memory)
        alone, alone_memory = step(planner, take(frame, slice(1, 2)), alone_memory)
        close(alone.trajectory[0], plan.trajectory[1])
    assert memory is not None


def test_memory_counts_where_it_is_valid_and_only_there(name: str) -> None:
    planner = fresh_planner(name)
    batch = scenes()
    noise = torch.randn(BATCH, planner.num_bev_cells, planner.token_dim)
    reset, _ = step(planner, batch)
    used, _ = step(planner, batch, BevMemory(bev=noise, is_valid=torch.tensor([True, False, False])))
    assert not torch.allclose(used.features[0], reset.features[0], atol=1e-4)
    close(used.trajectory[1:], reset.trajectory[1:])
    broken = BevMemory(bev=noise * torch.nan, is_valid=torch.zeros(BATCH, dtype=torch.bool))
    close(step(planner, batch, broken)[0].trajectory, reset.trajectory)


def test_the_reset_flag_makes_the_ego_motion_meaningless(name: str) -> None:
    planner = fresh_planner(name)
    batch = scenes()
    moved = replace(batch, prev_from_ego=batch.prev_from_ego * np.nan)
    close(step(planner, moved)[0].trajectory, step(planner, batch)[0].trajectory)


def test_an_invalid_camera_may_show_anything(name: str) -> None:
    planner = fresh_planner(name)
    batch = scenes()
    valid = batch.camera_valid.copy()
    valid[:, 3] = False
    images, matrices = batch.images.copy(), batch.image_from_ego.copy()
    images[:, 3], matrices[:, 3] = 255 - images[:, 3], np.nan
    blind = replace(batch, camera_valid=valid)
    other = replace(blind, images=images, image_from_ego=matrices)
    close(step(planner, other)[0].trajectory, step(planner, blind)[0].trajectory)
    seen, _ = step(planner, batch)
    assert not torch.equal(seen.features, step(planner, blind)[0].features)


def test_no_camera_at_all_still_gives_a_finite_plan(name: str) -> None:
    planner = fresh_planner(name)
    batch = scenes()
    dark = replace(batch, camera_valid=batch.camera_valid & False)
    assert step(planner, dark)[0].trajectory.isfinite().all()


def test_the_command_chooses_the_trajectory(name: str) -> None:
    planner = fresh_planner(name)
    batch = scenes()
    left, right = (replace(batch, command=np.full(BATCH, command)) for command in (0, 1))
    assert not torch.allclose(step(planner, left)[0].trajectory, step(planner, right)[0].trajectory, atol=1e-4)


def test_an_edited_beam_changes_the_plan(name: str) -> None:
    planner = fresh_planner(name)
    batch = to_tensors(scenes())
    with torch.no_grad():
        beam, _ = planner.encode(batch, no_memory(planner))
        agent = torch.cat([beam.agent, torch.randn_like(beam.agent[:, :1])], 1)
        valid = torch.cat([beam.agent_valid, beam.agent_valid[:, :1] | True], 1)
        added = replace(beam, agent=agent, agent_valid=valid)
        hidden = replace(added, agent_valid=torch.cat([beam.agent_valid, valid[:, -1:] & False], 1))
        plan = planner.plan(beam, batch)
        close(planner.plan(hidden, batch).trajectory, plan.trajectory)
        assert not torch.allclose(planner.plan(added, batch).features, plan.features, atol=1e-5)


@pytest.mark.slow
def test_the_exported_planner_agrees_over_twenty_keyframes(name: str) -> None:
    planner, directory = exported(name)
    # Not the batch that the export was traced with.
    frames = [scenes(seed, batch_size=3) for seed in range(20)]
    assert check_parity(planner, directory, frames) < 1e-3
