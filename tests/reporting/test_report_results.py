"""The tables of results: what is shown, what is marked, and how little stands behind some of it."""

import numpy as np
import pandas as pd
import pytest

from dima_pipeline.reporting import answers, protocols, results
from dima_pipeline.reporting.wording import number
from report_facts import L2_SCALES, SHAPE, make_answers, make_differences, make_facts, make_summaries, summary_rows

BASELINES = ["constant velocity", "constant turn rate", "go straight", "ego-MLP"]


def scaled(planner: str, factor: float) -> pd.DataFrame:
    """The summaries with one planner's values changed."""
    table = make_summaries()
    table.loc[table["planner"] == planner, ["mean", "low", "high"]] *= factor
    return table


def test_results_list_the_planner_first_and_mark_the_best_of_each_column():
    rows = results.result_rows(make_facts(), "planning_l2", "m")
    assert [row["name"] for row in rows] == ["planner", "control", *BASELINES]
    assert [cell["text"] for cell in rows[0]["cells"]] == ["0.40", "0.88", "1.52", "0.93", "0.80"]
    assert all(cell["best"] for cell in rows[0]["cells"])
    better = results.result_rows(make_facts(summaries=scaled("control", 0.5)), "planning_l2", "m")
    assert [any(cell["best"] for cell in row["cells"]) for row in better] == [False, True] + 4 * [False]


def test_equal_numbers_share_the_mark_and_collisions_are_per_cent():
    rows = results.result_rows(make_facts(summaries=scaled("control", 0.8 / 0.9)), "box_collision", "%")
    assert [cell["text"] for cell in rows[0]["cells"]][:3] == ["0.4", "0.9", "1.5"]
    assert rows[0]["cells"][0]["best"] and rows[1]["cells"][0]["best"]


def test_what_stands_behind_the_numbers_is_counted():
    counted = results.counted(make_facts())
    assert counted["protocol"] == "standardised" and counted["scenes"] == 10
    assert counted["samples"] == [240, 240, 240] and counted["driven_collisions"] == ["0.33\u00a0%"] * 3


def test_the_planner_is_compared_with_every_other_and_with_itself_on_wrong_images():
    rows = results.difference_rows(make_facts())
    assert [row["name"] for row in rows] == ["control", *BASELINES, "planner, wrong images"]
    assert (rows[0]["l2"], rows[0]["interval"], rows[0]["reads"]) == ("−0.12", "−0.18 … −0.05", "planner is better")
    assert rows[0]["collision"] == ("–", "–")


def test_collisions_are_compared_where_they_were_scored():
    hits = make_differences().assign(metric="box_collision", low=-0.02, mean=0.0125, high=0.03)
    rows = results.difference_rows(make_facts(differences=pd.concat([make_differences(), hits])))
    assert rows[0]["collision"] == ("+1.2", "−2.0 … 3.0")


@pytest.mark.parametrize(
    ("low", "high", "words"),
    [
        (-0.2, -0.1, "planner is better"),
        (0.1, 0.2, "planner is worse"),
        (-0.1, 0.1, "no clear difference"),
        (np.nan, np.nan, "too few scenes to say, or all alike"),
    ],
)
def test_an_interval_is_read_in_words(low: float, high: float, words: str):
    assert results.reading(pd.Series({"low": low, "high": high})) == words


def test_slices_show_how_little_stands_behind_them():
    every, construction, night, resume = results.slice_rows(make_facts())
    assert (every["name"], every["events"], every["trained"], every["too_few"]) == ("every keyframe", "–", "–", False)
    shown = ("name", "events", "scenes", "samples", "trained", "too_few", "is_scored")
    assert [night[key] for key in shown] == ["night", 1, 1, 7, 1, True, True]
    assert [resume[key] for key in shown] == ["resume from stop", 8, 6, 41, 1, False, True]
    assert [construction[key] for key in shown] == ["construction", 0, 0, 0, 1, True, False]
    assert construction["l2"] == ["–"] * 6 and construction["collision"] == "–"
    assert resume["l2"][0] == number(1.4 * L2_SCALES["planner"] * SHAPE[6])


def test_slices_that_cannot_be_judged_are_named_with_the_worst_of_them():
    assert results.small_slices(make_facts()) == (
        "Too few to judge: night. Not in the scored scenes at all: construction."
    )
    table = make_summaries()
    table["too_few"] = table["slice"] != "all"
    words = results.small_slices(make_facts(summaries=table))
    assert "Too few to judge: night and resume from stop. Of these resume from stop is farthest off (1.31 m)." in words


def test_the_rule_behind_a_slice_is_said_and_foreign_slices_are_left_out():
    members = make_facts().slice_members
    members["slice"] = members["slice"].replace("construction", "my_company.slices.tram")
    rules = results.slice_rules(make_facts(slice_members=members))
    assert list(rules) == ["night", "resume from stop"]
    assert rules["night"].startswith("Keyframes of scenes that the description calls night")
    assert "(" not in rules["resume from stop"]


def test_answers_are_counted_by_category_and_in_all():
    rows = answers.answer_rows(make_facts(vqa_scores=make_answers(20, 0.75, 0.25)))
    assert [row["name"] for row in rows] == ["perception", "prediction", "planning", "behavior", "all"]
    total = [rows[-1][key] for key in ("num", "own", "shuffled", "difference")]
    assert total == [80, "75\u00a0%", "25\u00a0%", "+50"]


def test_questions_of_one_scene_count_as_one_witness():
    table = make_answers(20, 0.7, 0.4)
    first = answers.answer_rows(make_facts(vqa_scores=table))[-1]
    again = answers.answer_rows(make_facts(vqa_scores=pd.concat([table] * 4, ignore_index=True)))[-1]
    assert again["num"] == 4 * first["num"]
    assert again["high"] - again["low"] == pytest.approx(first["high"] - first["low"]), "asking again proves nothing"
    assert answers.answer_rows(make_facts(min_scenes=9))[-1]["interval"] == "–"


def test_sample_questions_show_right_and_wrong_answers_side_by_side():
    rows = answers.question_rows(make_facts(vqa_scores=make_answers(20, 0.9, 0.1)))
    assert [row["correct"] for row in rows] == [True, False] * 4
    assert rows[0]["other_answer"] == "it slows down." and rows[1]["other_answer"] == "It keeps its speed."
    only_right = answers.question_rows(make_facts(vqa_scores=make_answers(20, 1.0, 0.0)))
    assert [row["correct"] for row in only_right] == [True] * 8
    assert answers.question_rows(make_facts(vqa_scores=make_answers().iloc[:0])) == []


def test_protocols_stand_beside_each_other_with_what_counts_in_them():
    rows = {row["name"]: row for row in protocols.protocol_rows(make_facts(summaries=by_protocol()))}
    assert list(rows) == ["standardised", "uniad"]
    assert rows["uniad"]["l2"] == ["0.25", "0.55", "0.95", "0.58"] and rows["uniad"]["samples"] == [300] * 3
    assert rows["uniad"]["classes"] == "vehicles"
    assert rows["standardised"]["driven"] == "0.33\u00a0%" and rows["uniad"]["driven"] == "–"
    assert rows["uniad"]["incomplete"] != rows["standardised"]["incomplete"]


def test_the_page_argues_with_the_standardised_protocol_whatever_else_is_there():
    assert results.result_rows(make_facts(summaries=by_protocol()), "planning_l2", "m") == results.result_rows(
        make_facts(), "planning_l2", "m"
    )


def by_protocol() -> pd.DataFrame:
    """The made-up scores, and those of the planner by another protocol: half as far off."""
    other = summary_rows("planner", "planning_l2", 0.5 * SHAPE, num_samples=300).assign(protocol="uniad")
    return pd.concat([make_summaries(), other], ignore_index=True)


def test_driven_plans_show_the_share_of_failures_and_no_share_above_all():
    scores = {"planner": (0.2, 0.3), "control": (0.1, 0.9)}
    rows = [
        summary_rows(name, "off_road", np.full(8, mean)).assign(protocol="pdm", high=high)
        for name, (mean, high) in scores.items()
    ]
    facts = make_facts(summaries=pd.concat([make_summaries(), *rows], ignore_index=True))
    found = {row["name"]: row["cells"] for row in protocols.driving_rows(facts)}
    assert protocols.driving_metrics(facts) == ["off_road"]
    assert found["planner"] == [{"text": "20.0", "best": False, "interval": "18.0 … 30.0"}]
    assert found["control"][0]["best"] and found["constant velocity"][0]["text"] == "–"
    over = facts.summaries.assign(high=1.4)
    assert protocols.driving_rows(make_facts(summaries=over))[0]["cells"][0]["interval"] == "18.0 … 100.0"
