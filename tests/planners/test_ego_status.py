"""The switch of DiMA+: velocity and yaw rate reach the plan where it is on, and nothing changes where it is off."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from dima_pipeline.contracts.batch import empty_memory
from dima_pipeline.contracts.frames import STEP_S
from dima_pipeline.export.bundle import Provenance, export_planner
from dima_pipeline.models.heads import SPEED_SCALE_MPS, EgoStatus
from dima_pipeline.models.tensors import to_tensors
from dima_pipeline.planners import PLANNERS
from dima_pipeline.serving.bundle import PlannerBundle
from planner_bundles import IMAGE_SIZE, VARIANTS
from scene_batches import make_scene_batch

PARTS: dict[str, dict[str, Any]] = {"small": {"name": "vad"}, "vad": VARIANTS["vad_of_vectors"]}


def build(parts: str, **options: Any) -> Any:
    torch.manual_seed(0)
    return PLANNERS.build(PLANNERS.parse({**PARTS[parts], **options}), image_size=IMAGE_SIZE).eval()


def plans(planner: Any, *motions: tuple[float, float, float]) -> list[torch.Tensor]:
    """Plans of one scene's first keyframe, where nothing is aligned, if the car had moved so before."""
    batch = to_tensors(make_scene_batch(np.random.default_rng(0), 1, IMAGE_SIZE))
    memory = to_tensors(empty_memory(1, planner.num_bev_cells, planner.token_dim))
    found = []
    for motion in motions:
        moved = replace(batch, prev_from_ego=torch.tensor([motion]))
        with torch.no_grad():
            beam, _ = planner.encode(moved, memory)
            found.append(planner.plan(beam, moved).trajectory)
    return found


@pytest.mark.parametrize("parts", PARTS)
def test_how_the_car_moves_reaches_the_plan_only_where_it_is_switched_on(parts: str) -> None:
    still, fast, turning = (0.0, 0.0, 0.0), (5.0, 0.0, 0.0), (0.0, 0.0, 0.3)
    blind = plans(build(parts), still, fast, turning)
    assert torch.equal(blind[0], blind[1]) and torch.equal(blind[0], blind[2])
    told = plans(build(parts, uses_ego_status=True), still, fast, turning)
    assert not torch.allclose(told[0], told[1], atol=1e-3) and not torch.allclose(told[0], told[2], atol=1e-3)


@pytest.mark.parametrize("parts", PARTS)
def test_a_planner_without_the_switch_has_the_weights_it_always_had(parts: str) -> None:
    plain, told = build(parts).state_dict(), build(parts, uses_ego_status=True).state_dict()
    assert told.keys() - plain.keys() == {"ego_status.embed.weight", "ego_status.embed.bias"}
    assert all(torch.equal(plain[name], told[name]) for name in plain)


def test_the_status_is_velocity_and_yaw_rate() -> None:
    status = EgoStatus(3)
    with torch.no_grad():
        status.embed.weight.copy_(torch.eye(3))
        status.embed.bias.zero_()
        found = status(torch.zeros(1, 3), torch.tensor([[4.0, -0.5, 0.1]]))
    expected = [4.0 / STEP_S / SPEED_SCALE_MPS, -0.5 / STEP_S / SPEED_SCALE_MPS, 0.1 / STEP_S]
    assert found[0].tolist() == pytest.approx(expected)


def test_the_exported_planner_is_told_as_well(tmp_path: Any) -> None:
    options = {**PARTS["small"], "uses_ego_status": True}
    planner, config = build("small", uses_ego_status=True), PLANNERS.parse(options)
    provenance = Provenance(licence="Apache-2.0", training={})
    export_planner(planner, config, tmp_path / "bundle", image_size=IMAGE_SIZE, provenance=provenance)
    bundle = PlannerBundle.load(tmp_path / "bundle")
    batch = make_scene_batch(np.random.default_rng(0), 1, IMAGE_SIZE)
    for motion in ((0.0, 0.0, 0.0), (5.0, 0.0, 0.0)):
        moved = replace(batch, prev_from_ego=np.array([motion], np.float32))
        [expected] = plans(planner, motion)
        assert np.allclose(bundle.plan(moved, None)[0].trajectory, expected, atol=1e-3)
