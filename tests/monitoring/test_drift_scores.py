"""The test itself on generated windows: a planted shift fails, a split of the reference passes, and who says so."""

import numpy as np
import pandas as pd
import pytest

from dima_pipeline.contracts import result_tables
from dima_pipeline.monitoring.config import DriftConfig, WindowConfig
from dima_pipeline.monitoring.drift import check, drifted_features, judge, num_tolerated, score_drift
from dima_pipeline.monitoring.windows import cut_windows
from drift_tables import FEATURES, DriftTables, make_drift_tables

TABLES = make_drift_tables()
NIGHT = DriftConfig(current=WindowConfig(split="train", slice="night"), num_splits=200, min_samples=10, on_drift="fail")
PARTS = DriftConfig(current=WindowConfig(split="train", part="odd"), num_splits=200, min_samples=10, on_drift="fail")


def run(config: DriftConfig, tables: DriftTables = TABLES) -> tuple[pd.DataFrame, dict]:
    windows = cut_windows(tables.features, tables.scenes, tables.slice_members, config)
    scores = score_drift(windows, tables.slice_members, config)
    return scores, judge(windows, scores, config)


def test_night_alone_fails_by_brightness_and_the_run_ends():
    scores, verdict = run(NIGHT)
    of_all = scores[scores["slice"] == "all"].set_index("feature")
    assert of_all.index[of_all["drifted"]].tolist() == ["brightness"]
    assert not verdict["passed"]
    with pytest.raises(ValueError, match=r"drifted: 1 of \d+ features, .*: brightness \(\d.\d x its threshold\); 48"):
        check(verdict, scores, NIGHT)


def test_a_half_of_the_reference_passes_and_the_run_goes_on():
    scores, verdict = run(PARTS)
    assert verdict["passed"] and verdict["num_drifted"] == 0
    check(verdict, scores, PARTS)


def test_halves_of_many_references_pass():
    passed = [run(PARTS, make_drift_tables(num_val=0, seed=seed))[1]["passed"] for seed in range(1, 21)]
    assert np.mean(passed) >= 0.95


def test_drift_only_reports_where_nothing_else_is_asked_for():
    scores, verdict = run(DriftConfig(current=NIGHT.current, num_splits=200))
    assert not verdict["passed"]
    check(verdict, scores, DriftConfig())


def test_the_verdict_counts_windows_features_and_slices():
    verdict = run(NIGHT)[1]
    num_features = len(FEATURES) + 3
    assert verdict == {
        "passed": False,
        "num_features": num_features,
        "num_drifted": 1,
        "share_drifted": 1 / num_features,
        "max_drifted_share": 0.0,
        "num_reference": 72,
        "num_current": 48,
        "num_reference_scenes": 12,
        "num_current_scenes": 8,
        "share_by_slice": {"start": 1 / num_features},
    }
    assert type(verdict["passed"]) is bool


def test_some_features_may_drift_where_that_is_allowed():
    lenient = DriftConfig(current=NIGHT.current, max_drifted_share=0.1, num_splits=200, on_drift="fail")
    scores, verdict = run(lenient)
    assert verdict["num_drifted"] == 1 and verdict["passed"]
    check(verdict, scores, lenient)


@pytest.mark.parametrize(("num", "share", "tolerated"), [(10, 0.0, 0), (10, 0.3, 3), (100, 0.29, 29), (3, 0.99, 2)])
def test_the_share_that_may_drift_counts_whole_features(num: int, share: float, tolerated: int):
    assert num_tolerated(num, DriftConfig(max_drifted_share=share)) == tolerated


def test_slices_and_features_with_too_little_behind_them_are_kept_and_not_judged():
    features = TABLES.features.copy()
    unknown = [f"token-scene-{scene:03d}" for scene in range(4, 8)]
    features.loc[features["scene_token"].isin(unknown), "steering_rad"] = np.nan
    scores, _ = run(NIGHT, DriftTables(features, TABLES.scenes, TABLES.slice_members))
    result_tables.DriftScores.validate(scores)
    assert scores["slice"].unique().tolist() == ["all", "night", "rare", "start"]
    is_too_few = scores.groupby("slice")["too_few"].all().to_dict()
    assert is_too_few == {"all": False, "night": True, "rare": True, "start": False}
    steering = scores[scores["feature"] == "steering_rad"].set_index("slice").loc["all"]
    assert steering["too_few"] and not steering["drifted"] and np.isnan(steering["value"])
    assert (steering["num_reference"], steering["num_current"]) == (72, 24), "4 scenes are too few"


def test_windows_that_are_too_small_did_not_pass_and_the_message_says_why():
    config = DriftConfig(current=WindowConfig(split="val", scenes=["scene-020", "scene-021"]), on_drift="fail")
    scores, verdict = run(config)
    assert scores["too_few"].all() and not scores["drifted"].any()
    assert not verdict["passed"] and verdict["num_features"] == 0
    with pytest.raises(ValueError, match=r"cannot be judged: 12 keyframes of 2 scenes .*drift.min_scenes 5"):
        check(verdict, scores, config)


def test_scores_are_the_same_every_time():
    pd.testing.assert_frame_equal(run(NIGHT)[0], run(NIGHT)[0])


def test_drifted_features_are_named_with_the_farthest_first():
    scores = pd.DataFrame({"feature": ["a", "b", "c"], "value": [2.0, 9.0, 1.0], "threshold": [1.0, 3.0, 5.0]})
    assert drifted_features(scores.assign(drifted=[True, True, False])) == (
        "b (3.0 x its threshold), a (2.0 x its threshold)"
    )
