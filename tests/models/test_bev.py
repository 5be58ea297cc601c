"""Geometry of the BEV grid: where cells lie, what they see, and how they move along."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dima_pipeline.geometry import from_frame, project
from dima_pipeline.models.bev import BevGrid, SpatialLifting, TemporalFusion
from scene_batches import make_projections

GRID = BevGrid((6, 4), (-30.0, -15.0, 30.0, 15.0))
IMAGE_SIZE = (96, 160)


def lifting(heights_m: tuple[float, ...] = (0.0, 1.0)) -> SpatialLifting:
    return SpatialLifting(GRID, heights_m, IMAGE_SIZE, channels=2, dim=8)


def projections() -> torch.Tensor:
    return torch.from_numpy(make_projections(IMAGE_SIZE)).float()[None]


def test_the_first_cell_is_ahead_on_the_left_and_the_last_behind_on_the_right() -> None:
    centers = GRID.centers()
    assert centers[0].tolist() == [25.0, 11.25]
    assert centers[3].tolist() == [25.0, -11.25]
    assert centers[-1].tolist() == [-25.0, -11.25]


def test_sampling_at_the_centres_returns_the_cells() -> None:
    tokens = torch.randn(2, GRID.num_cells, 3)
    torch.testing.assert_close(GRID.sample(tokens, GRID.centers().expand(2, -1, -1)), tokens)


def test_sampling_outside_the_range_returns_nothing() -> None:
    tokens = torch.ones(1, GRID.num_cells, 3)
    assert GRID.sample(tokens, torch.tensor([[[50.0, 0.0], [0.0, -40.0]]])).abs().max() == 0


def test_reference_points_land_where_numpy_projects_them() -> None:
    module = lifting()
    where, seen = module.project(projections(), torch.ones(1, 6, dtype=torch.bool))
    for camera, matrix in enumerate(make_projections(IMAGE_SIZE)):
        pixels, depth = project(matrix, module.points[:, :3].numpy())
        inside = (depth > 0.2) & (pixels > 0).all(1) & (pixels < (160, 96)).all(1)
        np.testing.assert_array_equal(seen[0, camera].numpy() > 0, inside)
        expected = pixels[inside] / (160, 96) * 2 - 1
        np.testing.assert_allclose(where[0, camera].numpy()[inside], expected, atol=1e-4)


def test_the_front_camera_informs_cells_ahead_and_no_others() -> None:
    module = lifting()
    features = torch.zeros(1, 6, 2, 12, 20)
    other = features.clone()
    other[:, 0] = 1.0
    valid = torch.ones(1, 6, dtype=torch.bool)
    with torch.no_grad():
        changed = (module(other, projections(), valid) - module(features, projections(), valid)).abs().sum(-1)[0] > 1e-6
    x = GRID.centers()[:, 0]
    assert changed[x > 20].all()
    assert not changed[x < 0].any()


def test_a_cell_seen_by_two_cameras_takes_their_mean() -> None:
    module = lifting(heights_m=(1.0,))
    _, seen = module.project(projections(), torch.ones(1, 6, dtype=torch.bool))
    shared = int(seen[0].sum(0).argmax())
    first, second = seen[0, :, shared].nonzero()[:, 0].tolist()
    lifted = []
    for values in ((0.0, 2.0), (1.0, 1.0), (2.0, 2.0)):
        features = torch.zeros(1, 6, 2, 12, 20)
        features[:, first], features[:, second] = values
        with torch.no_grad():
            lifted.append(module(features, projections(), torch.ones(1, 6, dtype=torch.bool))[0, shared])
    torch.testing.assert_close(lifted[0], lifted[1], atol=1e-5, rtol=1e-4)
    assert not torch.allclose(lifted[1], lifted[2], atol=1e-3)


def test_memory_does_not_move_when_the_car_stands() -> None:
    memory = torch.randn(1, GRID.num_cells, 3)
    warped = TemporalFusion(GRID, 4).warp(memory, torch.zeros(1, 3))
    torch.testing.assert_close(warped, memory)


def test_driving_one_cell_ahead_moves_the_memory_one_row_back() -> None:
    memory = torch.randn(1, GRID.num_cells, 3)
    warped = TemporalFusion(GRID, 4).warp(memory, torch.tensor([[10.0, 0.0, 0.0]]))
    before, after = memory.unflatten(1, GRID.shape), warped.unflatten(1, GRID.shape)
    torch.testing.assert_close(after[:, 1:], before[:, :-1])
    assert after[:, 0].abs().max() < 1e-5


@settings(max_examples=30, deadline=None)
@given(st.floats(-4, 4), st.floats(-2, 2), st.floats(-0.5, 0.5), st.floats(-8, 8), st.floats(-5, 5))
def test_a_static_landmark_keeps_its_place_in_the_world(x: float, y: float, yaw: float, px: float, py: float) -> None:
    grid = BevGrid((60, 30), (-30.0, -15.0, 30.0, 15.0))
    pose = np.array([x, y, yaw])
    there = from_frame(np.array([px, py]), pose)
    # The memory holds, at each cell, where it lies in the previous ego frame.
    memory = grid.centers()[None]
    warped = TemporalFusion(grid, 4).warp(memory, torch.tensor([[x, y, yaw]]))
    here = torch.tensor([[[px, py]]])
    found = grid.sample(warped, here)[0, 0].numpy()
    assert found == pytest.approx(there, abs=1e-2)
