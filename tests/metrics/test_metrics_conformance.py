"""Every metric of the family, without being listed: best for the driven path, finite, per sample and step."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dima_pipeline.contracts.frames import AGENT_CATEGORIES, MAP_KINDS, NUM_FUTURE_STEPS, STEP_S
from dima_pipeline.metrics import METRICS, DrivenScenes
from dima_pipeline.scoring.horizons import HORIZON_RULES


def random_scenes(seed: int, num_samples: int = 6, num_agents: int = 5, num_lines: int = 8) -> DrivenScenes:
    """Bends along a road of one lane, which an ego of 3 to 9 m/s drives among parked and moving boxes, some of them on
    its way; recordings end and boxes are missing."""
    rng = np.random.default_rng(seed)
    shape = (num_samples, NUM_FUTURE_STEPS)
    speed, curvature = rng.uniform(3, 9, num_samples), rng.uniform(-0.03, 0.03, num_samples)
    times_s = STEP_S * np.arange(1, NUM_FUTURE_STEPS + 1)
    path = along_bend(curvature[:, None], speed[:, None] * times_s) + rng.normal(0, 0.02, (*shape, 3))
    boxes = np.zeros((*shape, num_agents, 5))
    moves = rng.normal(0, 3, (num_samples, 1, num_agents, 2)) * times_s[:, None, None]
    boxes[..., :2] = rng.uniform((-5, -8), (25, 8), (num_samples, 1, num_agents, 2)) + moves
    boxes[..., 2:] = rng.uniform((-3, 0.5, 0.5), (3, 6, 3), (num_samples, 1, num_agents, 3))
    kind = rng.integers(-1, len(MAP_KINDS), (num_samples, num_lines))
    kind[:, :3] = MAP_KINDS.index("centerline"), MAP_KINDS.index("boundary"), MAP_KINDS.index("boundary")
    aside = np.where(np.arange(num_lines) < 3, [0, -3.5, 3.5] + [9.0] * (num_lines - 3), 0)[:, None]
    lines = along_bend(curvature[:, None, None], np.linspace(-30, 30, 20))
    left = np.stack([-np.sin(lines[..., 2]), np.cos(lines[..., 2])], -1)
    return DrivenScenes(
        path=path,
        path_valid=np.arange(NUM_FUTURE_STEPS) < rng.integers(2, NUM_FUTURE_STEPS + 3, (num_samples, 1)),
        boxes=boxes,
        boxes_valid=rng.random((*shape, num_agents)) < 0.8,
        category=rng.integers(-1, len(AGENT_CATEGORIES), (num_samples, num_agents)),
        is_tracked=rng.random((num_samples, num_agents)) < 0.8,
        has_past=np.arange(num_samples) % 4 != 1,
        speed_mps=speed,
        map_points=lines[..., :2] + aside[..., None] * left,
        map_kind=kind,
    )


def along_bend(curvature: np.ndarray, way_m: np.ndarray) -> np.ndarray:
    """Poses x, y, yaw on circles through the origin."""
    yaw = curvature * way_m
    chord = way_m * np.sinc(yaw / 2 / np.pi)
    return np.stack([chord * np.cos(yaw / 2), chord * np.sin(yaw / 2), yaw], -1)


def mirrored(pose: np.ndarray) -> np.ndarray:
    """x, y, yaw (and what follows) with left and right exchanged."""
    return np.concatenate([pose[..., :1], -pose[..., 1:3], pose[..., 3:]], -1)


@pytest.mark.parametrize("name", METRICS.names())
@given(seed=st.integers(0, 10_000))
@settings(max_examples=25, deadline=None)
def test_the_driven_path_scores_best(name: str, seed: int):
    scenes = random_scenes(seed)
    values = METRICS.build(METRICS.parse(name)).compute(scenes.path, scenes)
    assert values.value.shape == values.valid.shape == scenes.path_valid.shape
    assert values.valid.dtype == bool and values.valid.any()
    np.testing.assert_allclose(values.value[values.valid], 0.0, atol=1e-9)


@pytest.mark.parametrize("name", METRICS.names())
@given(seed=st.integers(0, 10_000))
@settings(max_examples=25, deadline=None)
def test_a_wild_plan_scores_finite_and_worse_somewhere(name: str, seed: int):
    scenes = random_scenes(seed, num_samples=200, num_agents=12)
    plans = scenes.path + np.random.default_rng(seed + 1).normal(0, 3, scenes.path.shape)
    values = METRICS.build(METRICS.parse(name)).compute(plans, scenes)
    assert np.isfinite(values.value).all()
    assert (values.value[values.valid] >= 0).all() and values.value[values.valid].max() > 0
    assert (values.value[~values.valid] == 0).all()


@pytest.mark.parametrize("name", METRICS.names())
@given(seed=st.integers(0, 10_000))
@settings(max_examples=25, deadline=None)
def test_exchanging_left_and_right_changes_nothing(name: str, seed: int):
    scenes = random_scenes(seed)
    plans = scenes.path + np.random.default_rng(seed).normal(0, 1, scenes.path.shape)
    there = replace(
        scenes,
        path=mirrored(scenes.path),
        boxes=mirrored(scenes.boxes),
        map_points=scenes.map_points * [1, -1],
    )
    metric = METRICS.build(METRICS.parse(name))
    here_values, there_values = metric.compute(plans, scenes), metric.compute(mirrored(plans), there)
    np.testing.assert_array_equal(here_values.valid, there_values.valid)
    np.testing.assert_allclose(here_values.value, there_values.value, atol=1e-6)


@pytest.mark.parametrize("name", METRICS.names())
@given(seed=st.integers(0, 10_000))
@settings(max_examples=10, deadline=None)
def test_agents_and_lines_that_only_pad_change_nothing(name: str, seed: int):
    scenes = random_scenes(seed)
    plans = scenes.path + np.random.default_rng(seed).normal(0, 1, scenes.path.shape)
    padded = replace(
        scenes,
        boxes=np.pad(scenes.boxes, ((0, 0), (0, 0), (0, 2), (0, 0)), constant_values=1.0),
        boxes_valid=np.pad(scenes.boxes_valid, ((0, 0), (0, 0), (0, 2))),
        category=np.pad(scenes.category, ((0, 0), (0, 2)), constant_values=-1),
        is_tracked=np.pad(scenes.is_tracked, ((0, 0), (0, 2))),
        map_points=np.pad(scenes.map_points, ((0, 0), (0, 3), (0, 0), (0, 0))),
        map_kind=np.pad(scenes.map_kind, ((0, 0), (0, 3)), constant_values=-1),
    )
    metric = METRICS.build(METRICS.parse(name))
    values, with_padding = metric.compute(plans, scenes), metric.compute(plans, padded)
    np.testing.assert_array_equal(values.value, with_padding.value)
    np.testing.assert_array_equal(values.valid, with_padding.valid)


@pytest.mark.parametrize("name", METRICS.names())
def test_one_sample_alone_scores_as_in_a_batch(name: str):
    scenes = random_scenes(3)
    plans = scenes.path + 0.7
    metric = METRICS.build(METRICS.parse(name))
    together = metric.compute(plans, scenes).value
    for row in range(len(plans)):
        alone = DrivenScenes(**{field: array[row : row + 1] for field, array in vars(scenes).items()})
        np.testing.assert_array_equal(metric.compute(plans[row : row + 1], alone).value[0], together[row])


@pytest.mark.parametrize("name", METRICS.names())
def test_inputs_stay_as_they_were_and_the_protocol_is_named(name: str):
    scenes = random_scenes(4)
    plans = scenes.path + 0.5
    before = {name: array.copy() for name, array in vars(scenes).items()}
    metric = METRICS.build(METRICS.parse(name))
    metric.compute(plans, scenes)
    np.testing.assert_array_equal(plans, before["path"] + 0.5)
    for field, array in vars(scenes).items():
        np.testing.assert_array_equal(array, before[field])
    assert metric.protocol and metric.horizon_rule in HORIZON_RULES
