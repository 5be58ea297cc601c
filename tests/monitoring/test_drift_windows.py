"""Windows: whose keyframes they hold, and that no scene stands in both."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
import pytest
from pydantic import TypeAdapter, ValidationError

from dima_pipeline.monitoring.config import DriftConfig
from dima_pipeline.monitoring.windows import components, cut_windows, feature_groups
from drift_tables import FEATURES, NUM_KEYFRAMES, make_drift_tables

TABLES = make_drift_tables(num_train=6, num_val=3, num_night=2)


def cut(**settings: object) -> pd.DataFrame:
    config = TypeAdapter(DriftConfig).validate_python(settings)
    return cut_windows(TABLES.features, TABLES.scenes, TABLES.slice_members, config)


def scenes_of(windows: pd.DataFrame, is_current: bool) -> list[str]:
    rows = windows[windows["is_current"] == is_current]
    return sorted({token.removeprefix("token-scene-") for token in rows["scene_token"]})


@pytest.mark.parametrize(
    ("settings", "reference", "current"),
    [
        ({}, ["000", "001", "002", "003", "004", "005"], ["006", "007", "008"]),
        ({"current": {"split": "train", "slice": "night"}}, ["002", "003", "004", "005"], ["000", "001"]),
        ({"current": {"split": "train", "scenes": ["scene-004"]}}, ["000", "001", "002", "003", "005"], ["004"]),
        ({"reference": {"split": "train", "slice": "night"}}, ["000", "001"], ["006", "007", "008"]),
    ],
    ids=["splits", "slice", "scenes", "reference slice"],
)
def test_a_scene_stands_in_one_window_and_current_takes_it_first(
    settings: Mapping[str, object], reference: list[str], current: list[str]
):
    windows = cut(**settings)
    assert scenes_of(windows, False) == reference
    assert scenes_of(windows, True) == current


def test_a_slice_leaves_its_keyframes_alone():
    windows = cut(current={"split": "val", "slice": "start"})
    assert windows["is_current"].sum() == 3 * 3
    assert (~windows["is_current"]).sum() == 6 * NUM_KEYFRAMES


def test_the_two_parts_are_halves_of_the_scenes_and_always_the_same():
    even, odd = (scenes_of(cut(current={"split": "train", "part": part}), True) for part in ("even", "odd"))
    assert len(even) == len(odd) == 3
    assert sorted(even + odd) == ["000", "001", "002", "003", "004", "005"]
    assert even == ["000", "004", "005"], "the digest of a name is not the order of the names"
    assert scenes_of(cut(current={"split": "train", "part": "odd"}), False) == even


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"current": {"split": "val", "slice": "nigth"}}, r"drift.current.slice: .*did you mean 'night'"),
        ({"current": {"split": "val", "slice": "night"}}, r"drift.current has no keyframe"),
        ({"reference": {"split": "test"}}, r"drift.reference has no keyframe"),
        ({"reference": {"split": "train", "scenes": ["scene-01"]}}, r"drift.reference.scenes: no scene 'scene-01'"),
        ({"current": {"split": "train"}}, r"drift.current takes every scene of drift.reference"),
    ],
    ids=["misspelt slice", "empty slice", "empty split", "unknown scene", "nothing left"],
)
def test_a_window_without_keyframes_is_named(settings: Mapping[str, object], message: str):
    with pytest.raises(ValueError, match=message):
        cut(**settings)


@pytest.mark.parametrize(
    "settings",
    [{"max_drifted_share": 1.0}, {"false_alarm_rate": 0.0}, {"on_drift": "stop"}, {"current": {"split": "night"}}],
)
def test_settings_that_make_no_sense_are_refused(settings: Mapping[str, object]):
    with pytest.raises(ValidationError):
        cut(**settings)


def test_components_stand_for_the_embedding_and_have_the_group_of_it():
    windows = cut(num_components=2)
    groups = feature_groups(windows)
    assert list(groups) == [*FEATURES, "embedding_1", "embedding_2"]
    assert groups["embedding_2"] == "embedding"
    assert groups["brightness"] == "scene"
    assert "embedding" not in windows


def test_components_are_the_directions_that_vary_most_with_a_fixed_sign():
    along, across = np.array([3.0, 4.0]) / 5, np.array([-4.0, 3.0]) / 5
    steps = np.array([[-2, 1], [0, -1], [2, 1], [0, -1]])
    found = components(7.0 + steps @ np.stack([along, across]), 2)
    np.testing.assert_allclose(found[:, 0], [-2, 0, 2, 0], atol=1e-12)
    np.testing.assert_allclose(found[:, 1], [-1, 1, -1, 1], atol=1e-12)
    assert components(np.eye(3), 0).shape == (3, 0)
