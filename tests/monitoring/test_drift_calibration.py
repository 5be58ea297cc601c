"""Distances and thresholds: the library's number, and a false alarm rate that is kept."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.stats import energy_distance

from dima_pipeline.monitoring.calibration import calibrate, energy_distances
from dima_pipeline.monitoring.config import DriftConfig

NUM_SCENES, NUM_KEYFRAMES, NUM_FEATURES = 24, 5, 6
SCENE = np.repeat(np.arange(NUM_SCENES), NUM_KEYFRAMES)
CONFIG = DriftConfig(num_splits=200)
HALF = np.arange(NUM_SCENES) < NUM_SCENES // 2

numbers = st.floats(-1e3, 1e3) | st.just(float("nan"))


def fleet(rng: np.random.Generator) -> np.ndarray:
    """Features (N, F) of scenes that differ, with keyframes that hardly do; every other one counts something rare."""
    values = rng.normal(size=(NUM_SCENES, NUM_FEATURES))
    values[:, ::2] = rng.poisson(0.2, size=values[:, ::2].shape)
    return values.repeat(NUM_KEYFRAMES, 0) + 0.05 * rng.normal(size=(len(SCENE), NUM_FEATURES))


def alarms(config: DriftConfig, num_windows: int, scene: np.ndarray = SCENE) -> float:
    """How often random halves of a fleet are called drift."""
    rng = np.random.default_rng(1)
    found = 0
    for _ in range(num_windows):
        inside = rng.permutation(HALF)[SCENE]
        _, first = np.unique(scene, return_index=True)
        value, threshold = calibrate(fleet(rng), scene, inside[first], config)
        found += (value > threshold).any()
    return found / num_windows


@settings(deadline=None, max_examples=60)
@given(hnp.arrays(float, st.tuples(st.integers(2, 30)), elements=numbers), st.integers(0, 2**31))
def test_the_distance_is_that_of_scipy_for_every_way_to_deal_the_scenes(values: np.ndarray, seed: int):
    rng = np.random.default_rng(seed)
    scene = rng.integers(0, 6, len(values))
    dealt = rng.random((4, 6)) < 0.5
    found = energy_distances(values, scene, dealt)
    for distance, is_current in zip(found, dealt, strict=True):
        known = np.isfinite(values)
        current, reference = values[known & is_current[scene]], values[known & ~is_current[scene]]
        if len(current) and len(reference):
            assert distance == pytest.approx(energy_distance(reference, current), rel=1e-6, abs=1e-6)


def test_distances_known_by_eye():
    scene = np.array([0, 0, 1, 1])
    dealt = np.array([[False, True], [True, False]])
    np.testing.assert_allclose(energy_distances(np.array([0.0, 0.0, 1.0, 1.0]), scene, dealt), np.sqrt(2.0))
    np.testing.assert_allclose(energy_distances(np.array([3.0, 5.0, 5.0, 3.0]), scene, dealt), 0.0)
    np.testing.assert_allclose(energy_distances(np.array([0.0, np.nan, 4.0, np.inf]), scene, dealt), np.sqrt(8.0))


@pytest.mark.parametrize(("rate", "low", "high"), [(0.02, 0.0, 0.05), (0.3, 0.2, 0.4)])
def test_windows_dealt_at_random_are_called_drift_as_often_as_stated(rate: float, low: float, high: float):
    assert low <= alarms(DriftConfig(num_splits=200, false_alarm_rate=rate), 100) <= high


def test_dealing_keyframes_instead_of_scenes_would_find_drift_everywhere():
    assert alarms(CONFIG, 10, scene=np.arange(len(SCENE))) > 0.8


def test_a_planted_shift_of_one_feature_is_found_and_named():
    rng = np.random.default_rng(2)
    for _ in range(10):
        values = fleet(rng)
        values[HALF[SCENE], 3] += 4.0
        value, threshold = calibrate(values, SCENE, HALF, CONFIG)
        assert np.flatnonzero(value > threshold).tolist() == [3]


def test_what_every_current_scene_has_and_no_reference_scene_is_drift():
    values = fleet(np.random.default_rng(3))
    values[:, 0] = np.where(HALF[SCENE], 1.0, 0.0)
    value, threshold = calibrate(values, SCENE, HALF, CONFIG)
    assert value[0] > threshold[0]


def test_a_feature_that_never_changes_does_not_drift_and_lifts_no_threshold():
    values = fleet(np.random.default_rng(4))
    _, without = calibrate(values[:, 1:], SCENE, HALF, CONFIG)
    values[:, 0] = 7.0
    value, threshold = calibrate(values, SCENE, HALF, CONFIG)
    assert value[0] <= threshold[0]
    np.testing.assert_array_equal(threshold[1:], without)


def test_a_difference_below_the_least_shift_is_no_drift_however_clear():
    values = np.tile(np.linspace(0, 1, NUM_KEYFRAMES), NUM_SCENES)[:, None]
    values = np.where(HALF[SCENE, None], values + 0.05 * values.std(), values)
    value, threshold = calibrate(values, SCENE, HALF, DriftConfig(num_splits=200, min_shift=0.1))
    assert value[0] <= threshold[0]
    value, threshold = calibrate(values, SCENE, HALF, DriftConfig(num_splits=200, min_shift=0.0))
    assert value[0] > threshold[0]


def test_the_same_seed_gives_the_same_thresholds():
    values = fleet(np.random.default_rng(6))
    first, again = (calibrate(values, SCENE, HALF, CONFIG)[1] for _ in range(2))
    other = calibrate(values, SCENE, HALF, DriftConfig(num_splits=200, seed=1))[1]
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
