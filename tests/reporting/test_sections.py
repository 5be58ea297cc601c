"""What the page says follows from the numbers, also when they are bad news."""

import numpy as np
import pandas as pd
import pytest

from dima_pipeline.reporting import charts, sections
from report_facts import L2_SCALES, SHAPE, make_answers, make_differences, make_facts, make_log, make_summaries


def scaled(planner: str, factor: float) -> pd.DataFrame:
    """The summaries with one planner's values changed."""
    table = make_summaries()
    columns = ["mean", "low", "high"]
    table.loc[table["planner"] == planner, columns] *= factor
    return table


@pytest.mark.parametrize(
    ("low", "mean", "high", "mood", "words"),
    [
        (-0.18, -0.12, -0.05, "good", "distilled planner beats the control"),
        (0.02, 0.10, 0.20, "bad", "control beats the distilled planner"),
        (-0.10, -0.01, 0.08, "open", "No difference"),
        (-0.05, 0.04, 0.13, "open", "on average it is slightly worse"),
        (np.nan, -0.1, np.nan, "open", "Too few scenes"),
    ],
)
def test_the_control_verdict_says_honestly_who_is_better(low: float, mean: float, high: float, mood: str, words: str):
    verdict = sections.control_verdict(make_facts(differences=make_differences(low, mean, high)))
    assert verdict is not None and verdict.mood == mood and words in verdict.headline
    assert sections.number(mean) in verdict.detail


def test_a_baseline_that_beats_the_planner_is_said_loudly():
    table = make_differences()
    ahead = table["other"] == "constant_velocity"
    table.loc[ahead, ["low", "mean", "high"]] = [0.1, 0.2, 0.3]
    verdict = sections.baseline_verdict(make_facts(differences=table), "constant_velocity")
    assert verdict is not None and verdict.mood == "bad"
    assert "constant velocity”, which sees nothing but is told its speed, beats the planner" in verdict.headline


@pytest.mark.parametrize(
    ("factor", "mood", "share"), [(1.0, "good", "+100 %"), (0.525, "open", "+5 %"), (0.45, "bad", "−10 %")]
)
def test_whether_the_planner_looks_is_the_rise_of_l2_with_images_of_other_scenes(factor: float, mood: str, share: str):
    verdict = sections.looks_verdict(make_facts(summaries=scaled("planner_shuffled", factor)))
    assert verdict is not None and verdict.mood == mood and share in verdict.detail


@pytest.mark.parametrize(("own", "shuffled", "mood"), [(0.7, 0.4, "good"), (0.5, 0.5, "open"), (0.3, 0.6, "bad")])
def test_the_teacher_reads_the_scene_only_if_its_own_tokens_help(own: float, shuffled: float, mood: str):
    verdict = sections.teacher_verdict(make_facts(vqa_scores=make_answers(20, own, shuffled)))
    assert verdict is not None and verdict.mood == mood


def test_what_was_not_measured_is_not_claimed():
    facts = make_facts(
        vqa_scores=make_answers().iloc[:0],
        latencies=make_facts().latencies.iloc[:0],
        differences=make_differences().iloc[:0],
        summaries=make_summaries().query("not planner.str.endswith('_shuffled')"),
    )
    assert sections.verdicts(facts) == []
    assert sections.answer_rows(facts) == [] and sections.question_rows(facts) == []


def test_results_list_the_planner_first_and_mark_the_best_of_each_column():
    rows = sections.result_rows(make_facts(), "planning_l2", "m")
    assert [row["name"] for row in rows] == ["planner", "control", "constant velocity", "go straight"]
    assert [cell["text"] for cell in rows[0]["cells"]] == ["0.40", "0.88", "1.52", "0.93", "0.80"]
    assert all(cell["best"] for cell in rows[0]["cells"])
    better = sections.result_rows(make_facts(summaries=scaled("control", 0.5)), "planning_l2", "m")
    assert [any(cell["best"] for cell in row["cells"]) for row in better] == [False, True, False, False]


def test_equal_numbers_share_the_mark_and_collisions_are_per_cent():
    rows = sections.result_rows(make_facts(summaries=scaled("control", 0.8 / 0.9)), "box_collision", "%")
    assert [cell["text"] for cell in rows[0]["cells"]][:3] == ["0.4", "0.9", "1.5"]
    assert rows[0]["cells"][0]["best"] and rows[1]["cells"][0]["best"]


def test_what_stands_behind_the_numbers_is_counted():
    counted = sections.counted(make_facts())
    assert counted["protocol"] == "standardised" and counted["scenes"] == 10
    assert counted["samples"] == [240, 240, 240] and counted["driven_collisions"] == ["0.33 %"] * 3


def test_slices_show_how_little_stands_behind_them():
    every, night, resume = sections.slice_rows(make_facts())
    assert (every["name"], every["events"], every["too_few"]) == ("every keyframe", "–", False)
    assert (night["name"], night["events"], night["scenes"], night["samples"], night["too_few"]) == (
        "night",
        1,
        1,
        7,
        True,
    )
    assert (resume["name"], resume["events"]) == ("resume from stop", 8)
    assert resume["l2"][0] == sections.number(1.4 * L2_SCALES["planner"] * SHAPE[6])
    assert sections.slice_planners(make_facts()) == ["planner", "control", "constant velocity"]


def test_answers_are_counted_by_category_and_in_all():
    rows = sections.answer_rows(make_facts(vqa_scores=make_answers(20, 0.75, 0.25)))
    assert [row["name"] for row in rows] == ["perception", "prediction", "planning", "behavior", "all"]
    assert (rows[-1]["num"], rows[-1]["own"], rows[-1]["shuffled"], rows[-1]["difference"]) == (
        80,
        "75 %",
        "25 %",
        "+50",
    )


def test_sample_questions_show_right_and_wrong_answers_side_by_side():
    rows = sections.question_rows(make_facts(vqa_scores=make_answers(20, 0.9, 0.1)))
    assert [row["correct"] for row in rows] == [True, False] * 4
    assert rows[0]["other_answer"] == "it slows down." and rows[1]["other_answer"] == "It keeps its speed."
    only_right = sections.question_rows(make_facts(vqa_scores=make_answers(20, 1.0, 0.0)))
    assert [row["correct"] for row in only_right] == [True] * 8


def test_images_are_counted_by_source_and_split():
    facts = make_facts()
    samples = facts.samples.copy()
    samples["cam_back_source"] = "missing"
    samples["cam_front_source"] = "rendered"
    train, val = sections.data_rows(make_facts(samples=samples))
    assert (train["split"], train["scenes"], train["keyframes"]) == ("train", 2, 12)
    assert (val["recorded"], val["rendered"], val["missing"]) == (4 * 12, 12, 12)


def test_every_loss_term_gets_a_chart_with_a_line_for_each_stage_that_has_it():
    found = {chart.title: chart for chart in charts.training_charts(make_log())}
    assert list(found) == ["total", "trajectory_l1", "agent_class", "distillation"]
    assert [line.name for line in found["total"].lines] == ["planner", "joint"]
    assert [(line.name, line.series) for line in found["distillation"].lines] == [("joint", 1)]
    points = [tuple(map(float, pair.split(","))) for pair in found["total"].lines[0].points.split()]
    assert len(points) <= charts.MAX_POINTS
    assert points[0][1] < 5 and points[-1][1] > 80, "SVG counts downwards: a loss that falls ends low on the page"
    assert points[-1][0] == charts.WIDTH


def test_a_term_that_is_constant_zero_or_broken_does_not_break_the_chart():
    rows = [{"stage": "s", "step": step, "term": "zero", "value": 0.0} for step in range(3)]
    rows += [{"stage": "s", "step": step, "term": "broken", "value": np.nan} for step in range(3)]
    (chart,) = charts.training_charts(pd.DataFrame(rows))
    assert chart.title == "zero" and "nan" not in chart.lines[0].points
    assert charts.training_charts(pd.DataFrame(rows).iloc[:0]) == []


@pytest.mark.parametrize(
    ("value", "shown"), [(1.005, "1.00"), (-0.5, "−0.50"), (float("nan"), "–"), (float("inf"), "–")]
)
def test_numbers_have_a_true_minus_and_unknown_ones_a_dash(value: float, shown: str):
    assert sections.number(value) == shown
