"""Every metric of the family, without being listed: best for the driven path, finite, per sample and step."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dima_pipeline.contracts.frames import AGENT_CATEGORIES, NUM_FUTURE_STEPS
from dima_pipeline.geometry import from_frame, wrap_angle
from dima_pipeline.metrics import METRICS, DrivenScenes


def random_scenes(seed: int, num_samples: int = 6, num_agents: int = 5) -> DrivenScenes:
    """Curved drives among parked and moving boxes, some of them on the path; parts are unknown."""
    rng = np.random.default_rng(seed)
    shape = (num_samples, NUM_FUTURE_STEPS)
    path = np.cumsum(rng.normal((2, 0, 0), (1, 0.3, 0.1), (*shape, 3)), 1)
    boxes = np.concatenate(
        [rng.uniform((-5, -5, -3), (20, 5, 3), (*shape, num_agents, 3)), rng.uniform(0.5, 6, (*shape, num_agents, 2))],
        -1,
    )
    return DrivenScenes(
        path=path,
        path_valid=rng.random(shape) < 0.8,
        boxes=boxes,
        boxes_valid=rng.random((*shape, num_agents)) < 0.8,
        category=rng.integers(-1, len(AGENT_CATEGORIES), (num_samples, num_agents)),
    )


def moved(pose: np.ndarray, by: np.ndarray) -> np.ndarray:
    """Poses x, y, yaw (and what follows) after a rigid motion of the whole scene."""
    heading = wrap_angle(pose[..., 2:3] + by[2])
    return np.concatenate([from_frame(pose[..., :2], by), heading, pose[..., 3:]], -1)


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
    scenes = random_scenes(seed, num_samples=30, num_agents=12)
    plans = scenes.path + np.random.default_rng(seed + 1).normal(0, 3, scenes.path.shape)
    values = METRICS.build(METRICS.parse(name)).compute(plans, scenes)
    assert np.isfinite(values.value).all()
    assert (values.value[values.valid] >= 0).all() and values.value[values.valid].max() > 0
    assert (values.value[~values.valid] == 0).all()


@pytest.mark.parametrize("name", METRICS.names())
@given(
    seed=st.integers(0, 10_000),
    by=st.tuples(st.floats(-100, 100), st.floats(-100, 100), st.floats(-np.pi, np.pi)),
)
@settings(max_examples=25, deadline=None)
def test_moving_the_whole_scene_changes_nothing(name: str, seed: int, by: tuple[float, float, float]):
    scenes = random_scenes(seed)
    plans = scenes.path + np.random.default_rng(seed).normal(0, 1, scenes.path.shape)
    there = DrivenScenes(
        path=moved(scenes.path, np.array(by)),
        path_valid=scenes.path_valid,
        boxes=moved(scenes.boxes, np.array(by)),
        boxes_valid=scenes.boxes_valid,
        category=scenes.category,
    )
    metric = METRICS.build(METRICS.parse(name))
    here_values, there_values = metric.compute(plans, scenes), metric.compute(moved(plans, np.array(by)), there)
    np.testing.assert_allclose(here_values.value, there_values.value, atol=1e-6)


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
    before = plans.copy(), scenes.path.copy(), scenes.boxes.copy()
    metric = METRICS.build(METRICS.parse(name))
    metric.compute(plans, scenes)
    for array, old in zip((plans, scenes.path, scenes.boxes), before, strict=True):
        np.testing.assert_array_equal(array, old)
    assert metric.protocol
