"""Drift in words: bad where the gate says so, silent where too little was seen."""

import numpy as np

from dima_pipeline.reporting import drift
from report_facts import DRIFT, make_bare_facts, make_drift, make_drift_verdict, make_facts


def test_drift_that_the_gate_refuses_is_bad_news_with_its_numbers():
    verdict = drift.drift_verdict(make_facts())
    assert verdict is not None and verdict.mood == "bad" and "not like the reference" in verdict.headline
    assert verdict.detail == (
        "2 of 4 features drifted; 30\u00a0% may. "
        "Reference: 900 keyframes of 30 scenes; current: 180 keyframes of 6 scenes."
    )
    assert verdict.advice


def test_a_gate_that_lets_nothing_pass_says_none():
    strict = {**make_drift_verdict(), "max_drifted_share": 0.0}
    verdict = drift.drift_verdict(make_facts(drift_verdict=strict))
    assert verdict is not None and "2 of 4 features drifted; none may." in verdict.detail


def test_drift_that_the_gate_lets_pass_is_good_news():
    verdict = drift.drift_verdict(make_facts(drift_verdict=make_drift_verdict(passed=True)))
    assert verdict is not None and verdict.mood == "good" and not verdict.advice
    assert verdict.headline == "The drift stays within what is allowed"
    still = make_drift({"all": dict.fromkeys(DRIFT["all"], 0.05)})
    verdict = drift.drift_verdict(make_facts(drift_scores=still, drift_verdict=make_drift_verdict(passed=True)))
    assert verdict is not None and verdict.headline == "No drift was found"


def test_windows_that_are_too_small_are_not_judged():
    table = make_drift({"all": dict.fromkeys(DRIFT["all"], np.nan)})
    verdict = drift.drift_verdict(make_facts(drift_scores=table))
    assert verdict is not None and verdict.mood == "open" and "Too few keyframes" in verdict.headline
    assert verdict.detail == "4 features not judged."
    assert drift.drifted_rows(make_facts(drift_scores=table)) == []


def test_no_drift_run_is_no_verdict():
    facts = make_bare_facts()
    assert drift.drift_verdict(facts) is None and drift.heat_rows(facts) == [] and drift.drift_groups(facts) == []


def test_features_are_ranked_by_how_far_they_passed_their_threshold():
    rows = drift.drifted_rows(make_facts())
    assert [row["feature"] for row in rows] == ["num agents", "l2, m", "ego features", "speed, m/s"]
    assert [row["drifted"] for row in rows] == [True, True, False, False]
    assert (rows[0]["value"], rows[0]["threshold"], round(rows[0]["ratio"], 6)) == ("0.3", "0.1", 3.0)
    assert [row["feature"] for row in drift.drifted_rows(make_facts(), num=1)] == ["num agents"]


def test_the_table_of_slices_counts_drifted_features_by_group_and_says_too_few():
    groups = [name for name, _ in drift.drift_groups(make_facts())]
    assert groups == ["scene", "ego", "error", "embedding"]
    every, night, rain = drift.heat_rows(make_facts())
    assert (every["name"], every["reference"], every["current"]) == ("every keyframe", 900, 180)
    assert [cell["text"] for cell in every["cells"]] == ["1 of 1", "0 of 1", "1 of 1", "0 of 1"]
    assert [cell["level"] for cell in night["cells"]] == [0, 4, 0, 0]
    assert {cell["text"] for cell in rain["cells"]} == {"too few"} and rain["current"] == 2


def test_a_group_that_a_slice_lacks_has_a_dash():
    table = make_drift()
    table = table[~((table["slice"] == "night") & (table["group"] == "error"))]
    night = drift.heat_rows(make_facts(drift_scores=table))[1]
    assert night["cells"][2] == {"text": "–", "level": 0}


def test_counts_are_of_the_asked_slice_and_group():
    counts = drift.drift_counts(make_facts(), "night", "ego")
    assert (counts.drifted, counts.judged, counts.too_few) == (1, 1, 0)
    assert drift.drift_counts(make_facts(), "rain").too_few == 4
