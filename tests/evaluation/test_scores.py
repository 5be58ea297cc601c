"""From plans to means: numbers that can be worked out by hand."""

import numpy as np
import pandas as pd
import pytest

from dima_pipeline.contracts import result_tables
from dima_pipeline.contracts.frames import LIDAR_AHEAD_OF_EGO_M
from dima_pipeline.evaluation.baselines import constant_velocity, go_straight
from dima_pipeline.evaluation.config import EvaluationConfig
from dima_pipeline.evaluation.driven import driven_scenes
from dima_pipeline.evaluation.plans import plan_rows, split_samples
from dima_pipeline.evaluation.scores import compare, headline, score, summarise
from dima_pipeline.metrics import METRICS
from dima_pipeline.scoring.protocols import PROTOCOLS
from evaluation_scenes import as_tables, make_fleet
from hand_scenes import Actor, HandScene, straight

CONFIG = EvaluationConfig(min_scenes=2, num_bootstrap=200)
NO_SLICES = pd.DataFrame({"sample_token": [], "slice": [], "event_id": []})


def offset_plans(tables: object, offset_m: float, planner: str = "off") -> pd.DataFrame:
    """The driven path (straight, at the speed of the scene) moved sideways."""
    plans = constant_velocity(tables, "val")
    return plans.assign(planner=planner, y_m=plans["y_m"] + offset_m)


def mean_of(
    summaries: pd.DataFrame, planner: str, horizon: str, metric: str = "planning_l2", **where: str
) -> pd.Series:
    """The one row of a summary."""
    subset = where.get("subset", "all")
    chosen = (summaries["planner"] == planner) & (summaries["metric"] == metric) & (summaries["slice"] == subset)
    rows = summaries[chosen & (summaries["horizon"] == horizon)]
    assert len(rows) == 1
    return rows.iloc[0]


def test_scores_pass_their_contract_and_leave_out_first_keyframes_and_unknown_futures():
    tables = make_fleet(num_scenes=3, num_samples=10, num_train=1)
    scores = result_tables.PlanningScores.validate(score(offset_plans(tables, 1.0), tables, CONFIG.metrics))
    l2 = scores[scores["metric"] == "planning_l2"]
    assert len(l2) == 2 * 10 * 6
    first = l2["sample_token"].str.endswith("-000")
    assert not l2.loc[first, "valid"].any()
    # Of the nine other keyframes of a scene of ten, 9 - k + ... have a future of k steps: 8, 7, ..., 3.
    assert l2[l2["valid"]].groupby("horizon_s").size().tolist() == [2 * n for n in (8, 7, 6, 5, 4, 3)]
    np.testing.assert_allclose(l2.loc[l2["valid"], "value"], 1.0)
    assert set(scores["protocol"]) == {"standardised"}


def test_the_driven_path_is_reported_beside_and_its_collisions_are_forgiven():
    # The ego drives through a parked car: the annotation is wrong, not the driver.
    scene = HandScene(straight(10, 4.0), {"ghost": Actor("car", (12.0, 0.0, 0.0))}, speeds=[4.0] * 10)
    tables = as_tables(scene, HandScene(straight(10, 4.0), name="scene-0002"))
    summaries = summarise(score(offset_plans(tables, 0.0), tables, CONFIG.metrics), tables.samples, NO_SLICES, CONFIG)
    assert mean_of(summaries, "driven", "1.0", "box_collision_raw")["mean"] > 0
    assert mean_of(summaries, "off", "avg", "box_collision")["mean"] == 0


def test_the_mean_at_a_horizon_is_that_of_its_step_and_weighs_every_keyframe_alike():
    tables = make_fleet(num_scenes=3, num_samples=10, num_train=1)
    # Validation scenes drive 5 and 6 m/s, go_straight plans 4 m/s: 1 and 2 m off after each second.
    summaries = summarise(score(go_straight(tables, "val"), tables, CONFIG.metrics), tables.samples, NO_SLICES, CONFIG)
    result_tables.ScoreSummaries.validate(summaries)
    for second in (1, 2, 3):
        row = mean_of(summaries, "go_straight", f"{second}.0")
        np.testing.assert_allclose(row["mean"], 1.5 * second)
        assert row["num_scenes"] == 2
    np.testing.assert_allclose(mean_of(summaries, "go_straight", "avg")["mean"], 3.0)
    np.testing.assert_allclose(mean_of(summaries, "go_straight", "avg_all")["mean"], 1.5 * 1.75)
    assert headline(summaries)["go_straight.planning_l2.standardised.avg"] == pytest.approx(3.0)


def test_the_interval_resamples_scenes_and_one_scene_has_none():
    many, one = make_fleet(num_scenes=9, num_train=1), make_fleet(num_scenes=2, num_train=1)
    rows = []
    for tables in (many, one):
        scores = score(go_straight(tables, "val"), tables, CONFIG.metrics)
        rows.append(mean_of(summarise(scores, tables.samples, NO_SLICES, CONFIG), "go_straight", "3.0"))
    # Eight scenes are 3, 6, ... 24 m off: their mean is 13.5 m, and its standard error 2.6 m.
    assert rows[0]["mean"] == pytest.approx(13.5)
    assert 13.5 - 4 * 2.6 < rows[0]["low"] < 13.5 - 2.6 and 13.5 + 2.6 < rows[0]["high"] < 13.5 + 4 * 2.6
    assert np.isnan(rows[1]["low"]) and np.isnan(rows[1]["high"])


def test_the_same_plans_have_other_numbers_by_other_protocols():
    tables = make_fleet(num_scenes=2, num_samples=10, num_train=1)
    # One validation scene drives 5 m/s, go_straight plans 4 m/s: 0.5 m more at each step.
    metrics = [METRICS.parse({"name": "planning_l2", "protocol": name}) for name in PROTOCOLS]
    scores = result_tables.PlanningScores.validate(score(go_straight(tables, "val"), tables, metrics))
    summaries = summarise(scores, tables.samples, NO_SLICES, CONFIG)

    def at_3_s(protocol: str) -> pd.Series:
        return mean_of(summaries[summaries["protocol"] == protocol], "go_straight", "3.0")

    # Of ten keyframes four have a complete future; without the first one three are left.
    assert {name: at_3_s(name)["num_samples"] for name in PROTOCOLS} == {
        **{"vad": 4, "uniad": 10, "bev_planner": 4, "standardised": 3}
    }
    np.testing.assert_allclose(at_3_s("standardised")["mean"], 3.0)
    np.testing.assert_allclose(at_3_s("uniad")["mean"], 3.0 * 4 / 10)
    np.testing.assert_allclose(at_3_s("vad")["mean"], 0.5 * (1 + 2 + 3 + 4 + 5 + 6) / 6)


def test_a_collision_at_1_s_still_counts_at_3_s_where_the_protocol_says_any():
    # A parked car stands where the plan swerves to at 1 s, and only then.
    scene = HandScene(straight(10, 4.0), {"car": Actor("car", (6.0, 4.0, 0.0))}, speeds=[4.0] * 10)
    tables = as_tables(scene, HandScene(straight(10, 4.0), name="scene-0002"))
    path = np.zeros((1, 6, 2))
    path[0, 1] = 4.0, 4.0
    plans = pd.concat(
        [
            plan_rows("swerve", [token], path if token == "scene-0001-001" else np.zeros((1, 6, 2)))
            for token in split_samples(tables, "val")["sample_token"]
        ]
    )
    metrics = [METRICS.parse({"name": "box_collision", "protocol": name}) for name in ("bev_planner", "uniad")]
    scores = score(plans, tables, metrics)
    hits = scores[(scores["sample_token"] == "scene-0001-001") & (scores["planner"] == "swerve")]
    for _, rows in hits.groupby("protocol"):
        assert rows.sort_values("horizon_s")["value"].tolist()[:2] == [0.0, 1.0]
        assert rows.sort_values("horizon_s")["value"].iloc[-1] == 0.0
    summaries = summarise(scores, tables.samples, NO_SLICES, CONFIG)
    at_3_s = {
        name: mean_of(summaries[summaries["protocol"] == name], "swerve", "3.0", "box_collision")["mean"]
        for name in ("bev_planner", "uniad")
    }
    assert at_3_s["bev_planner"] > 0 and at_3_s["uniad"] == 0


def test_a_slice_counts_its_own_keyframes_scenes_and_events():
    tables = make_fleet(num_scenes=3, num_samples=20, num_train=1)
    in_slice = [("scene-0001-004", "a"), ("scene-0001-005", "a"), ("scene-0002-006", "b"), ("scene-0000-003", "train")]
    members = pd.DataFrame(in_slice, columns=["sample_token", "event_id"]).assign(slice="night")
    scores = score(go_straight(tables, "val"), tables, CONFIG.metrics)
    summaries = result_tables.ScoreSummaries.validate(summarise(scores, tables.samples, members, CONFIG))
    row = mean_of(summaries, "go_straight", "1.0", subset="night")
    assert (row["num_samples"], row["num_scenes"], row["num_events"], row["too_few"]) == (3, 2, 2.0, True)
    np.testing.assert_allclose(row["mean"], (1 + 1 + 2) / 3)
    enough = EvaluationConfig(min_samples=3, min_events=2, min_scenes=2, num_bootstrap=200)
    assert not mean_of(summarise(scores, tables.samples, members, enough), "go_straight", "1.0", subset="night")[
        "too_few"
    ]
    events = EvaluationConfig(min_samples=3, min_events=3, min_scenes=2, num_bootstrap=200)
    assert mean_of(summarise(scores, tables.samples, members, events), "go_straight", "1.0", subset="night")["too_few"]


def test_differences_are_paired_and_below_zero_where_the_planner_is_better():
    tables = make_fleet(num_scenes=9, num_train=1)
    good, poor = offset_plans(tables, 1.0, "good"), offset_plans(tables, 3.0, "poor")
    # In every other scene the poor one is off by 1 m more: it is 2 or 3 m worse, whatever the scene is like.
    is_odd = poor["sample_token"].str[:10].str[-1].astype(int) % 2 == 1
    poor["y_m"] += is_odd
    scores = score(pd.concat([good, poor], ignore_index=True), tables, CONFIG.metrics)
    table = result_tables.ScoreDifferences.validate(compare(scores, tables.samples, "good", CONFIG))
    row = table[(table["metric"] == "planning_l2") & (table["horizon"] == "avg")].iloc[0]
    assert (row["other"], row["num_scenes"]) == ("poor", 8)
    np.testing.assert_allclose(row["mean"], -2.5)
    assert -3.2 < row["low"] < -2.5 < row["high"] < -1.8
    with pytest.raises(ValueError, match="no planner 'best'"):
        compare(scores, tables.samples, "best", CONFIG)


def test_planners_that_planned_other_keyframes_are_refused():
    tables = make_fleet()
    tokens = split_samples(tables, "val")["sample_token"].tolist()
    half = plan_rows("half", tokens[:5], np.zeros((5, 6, 2)))
    with pytest.raises(ValueError, match="'half' has no complete"):
        score(pd.concat([offset_plans(tables, 0.0), half], ignore_index=True), tables, CONFIG.metrics)


def test_a_metric_that_stands_twice_or_the_lack_of_the_one_that_is_argued_with_is_refused():
    with pytest.raises(ValueError, match="planning_l2 of protocol standardised is asked for twice"):
        EvaluationConfig(metrics=["planning_l2", {"name": "planning_l2", "protocol": "standardised"}])
    with pytest.raises(ValueError, match="protocol: standardised} is missing"):
        EvaluationConfig(metrics=[{"name": "planning_l2", "protocol": "vad"}, "box_collision"])


def test_a_misspelt_metric_is_refused_before_anything_runs():
    with pytest.raises(ValueError, match="did you mean 'planning_l2'"):
        EvaluationConfig(metrics=["planing_l2"])
    with pytest.raises(ValueError, match="num_picture"):
        EvaluationConfig(num_picture=3)


def test_two_scenes_carry_no_interval_by_default():
    tables = make_fleet(num_scenes=3, num_train=1)
    scores = score(go_straight(tables, "val"), tables, CONFIG.metrics)
    row = mean_of(summarise(scores, tables.samples, NO_SLICES, EvaluationConfig()), "go_straight", "3.0")
    assert row["num_scenes"] == 2 and np.isnan(row["low"]) and np.isfinite(row["mean"])


def test_a_slice_of_too_few_scenes_is_marked_however_many_keyframes_it_has():
    tables = make_fleet(num_scenes=4, num_samples=40, num_train=1)
    scores = score(go_straight(tables, "val"), tables, CONFIG.metrics)
    for floor, expected in ((3, False), (4, True)):
        config = EvaluationConfig(min_scenes=floor, num_bootstrap=200)
        row = mean_of(summarise(scores, tables.samples, NO_SLICES, config), "go_straight", "avg")
        assert bool(row["too_few"]) is expected


def test_vad_looks_at_where_the_lidar_is_which_a_turn_carries_round():
    # The ego origin stays, the car turns left by 90 degrees: the LIDAR, 0.94 m ahead, goes there and back again.
    turned = np.zeros((1, 6, 3))
    turned[..., 2] = np.pi / 2
    scenes = driven_scenes(as_tables(HandScene(straight(10, 0.0), speeds=[0.0] * 10)), ["scene-0001-001"])
    values = {
        name: METRICS.build(METRICS.parse({"name": "planning_l2", "protocol": name})).compute(turned, scenes).value[0]
        for name in ("vad", "standardised")
    }
    np.testing.assert_allclose(values["vad"], LIDAR_AHEAD_OF_EGO_M * np.sqrt(2))
    np.testing.assert_allclose(values["standardised"], 0.0)
