"""What the page says follows from the numbers, also when they are bad news."""

import numpy as np
import pandas as pd
import pytest

from dima_pipeline.reporting import verdicts
from dima_pipeline.reporting.config import ReportConfig
from dima_pipeline.reporting.wording import number
from report_facts import make_answers, make_bare_facts, make_differences, make_facts, make_summaries


def scaled(planner: str, factor: float, subset: str | None = None) -> pd.DataFrame:
    """The summaries with one planner's values changed, in one slice or in all."""
    table = make_summaries()
    chosen = (table["planner"] == planner) & ((table["slice"] == subset) if subset else True)
    table.loc[chosen, ["mean", "low", "high"]] *= factor
    return table


def against(other: str, low: float, mean: float, high: float) -> pd.DataFrame:
    """The differences with those to one other planner changed."""
    table = make_differences()
    table.loc[table["other"] == other, ["low", "mean", "high"]] = [low, mean, high]
    return table


@pytest.mark.parametrize(
    ("low", "mean", "high", "mood", "words"),
    [
        (-0.18, -0.12, -0.05, "good", "distilled planner beats the control"),
        (0.02, 0.10, 0.20, "bad", "control beats the distilled planner"),
        (-0.10, -0.01, 0.08, "open", "No clear difference"),
        (-0.05, 0.04, 0.13, "open", "on average the planner is slightly worse"),
        (np.nan, -0.1, np.nan, "open", "Too few scenes"),
    ],
)
def test_the_control_verdict_says_honestly_who_is_better(low: float, mean: float, high: float, mood: str, words: str):
    verdict = verdicts.control_verdict(make_facts(differences=make_differences(low, mean, high)))
    assert verdict is not None and verdict.mood == mood and words in verdict.headline
    assert number(mean) in verdict.detail
    assert bool(verdict.advice) == (mood != "good")


@pytest.mark.parametrize(
    ("low", "mean", "high", "mood", "words"),
    [
        (0.1, 0.2, 0.3, "bad", "constant velocity”, which sees nothing but is told its speed, beats the planner"),
        (-0.1, 0.2, 0.3, "open", "is not clearly better than “constant velocity”"),
        (-0.3, -0.2, -0.1, "good", "The planner beats “constant velocity”"),
        (np.nan, -0.2, np.nan, "open", "Too few scenes to tell the planner from “constant velocity”"),
    ],
)
def test_a_baseline_that_is_not_beaten_is_said_loudly(low: float, mean: float, high: float, mood: str, words: str):
    facts = make_facts(differences=against("constant_velocity", low, mean, high))
    verdict = verdicts.baseline_verdict(facts, "constant_velocity")
    assert verdict is not None and verdict.mood == mood and words in verdict.headline
    assert bool(verdicts.surprise(facts)) == (mood != "good"), "only what surprises is explained"


@pytest.mark.parametrize(
    ("baseline", "known"),
    [
        (
            "constant_turn_rate_and_velocity",
            "“constant turn rate”, which sees nothing but is told its speed and turn rate,",
        ),
        ("go_straight", "“go straight”, which sees nothing,"),
        ("ego_mlp", "“ego-MLP”, which sees nothing but is told its own last 2 s,"),
    ],
)
def test_a_verdict_says_what_the_winning_baseline_knew(baseline: str, known: str):
    verdict = verdicts.baseline_verdict(make_facts(differences=against(baseline, 0.1, 0.2, 0.3)), baseline)
    assert verdict is not None and verdict.headline == f"{known} beats the planner"


def test_why_a_blind_baseline_keeps_up_names_those_that_do_and_why_the_ego_mlp_stands_there():
    words = verdicts.surprise(make_facts(differences=against("constant_turn_rate_and_velocity", 0.1, 0.2, 0.3)))
    assert words.startswith("Why can “constant turn rate” keep up") and "BEV-Planner" not in words
    words = verdicts.surprise(make_facts(differences=against("ego_mlp", -0.1, 0.2, 0.3)))
    assert words.startswith("Why can “ego-MLP” keep up") and "BEV-Planner, CVPR 2024" in words
    assert verdicts.surprise(make_facts(differences=against("go_straight", 0.1, 0.2, 0.3))) == "", "told nothing"


def test_a_good_run_is_called_good():
    verdict = verdicts.overall(make_facts())
    assert (verdict.mood, verdict.headline) == ("good", "Good")
    assert verdict.detail.startswith("It plans nearer to the human driver than the control (the same planner without")
    assert "beaten by" not in verdict.detail and verdict.detail.endswith("it uses its cameras.")


@pytest.mark.parametrize(
    ("winner", "name"),
    [
        ("control", "the control"),
        ("constant_velocity", "“constant velocity” (told its speed, but blind)"),
        ("constant_turn_rate_and_velocity", "“constant turn rate” (told its speed and turn rate, but blind)"),
        ("go_straight", "“go straight” (blind)"),
        ("ego_mlp", "“ego-MLP” (told its own last 2 s, but blind)"),
    ],
)
def test_a_run_that_something_beats_is_called_not_good(winner: str, name: str):
    verdict = verdicts.overall(make_facts(differences=against(winner, 0.1, 0.2, 0.3)))
    assert (verdict.mood, verdict.headline) == ("bad", "Not good")
    assert name in verdict.detail.split("it is beaten by ")[1].split(";")[0]


def test_a_run_that_leaves_a_question_open_is_called_mixed():
    verdict = verdicts.overall(make_facts(differences=against("control", -0.1, 0.0, 0.1)))
    assert (verdict.mood, verdict.headline) == ("open", "Mixed")
    assert "it cannot be told from the control" in verdict.detail


def test_a_run_that_beats_nothing_is_called_not_good_and_one_without_comparison_says_so():
    table = make_differences()
    table[["low", "high"]] = np.nan
    blind = scaled("planner_shuffled", 0.52)
    verdict = verdicts.overall(make_facts(differences=table, summaries=blind))
    assert verdict.headline == "Not good" and "whether it uses its cameras is not clear" in verdict.detail
    alone = make_facts(differences=table.iloc[:0], summaries=make_summaries().query("planner != 'planner_shuffled'"))
    assert verdicts.overall(alone).headline == "Not compared"


@pytest.mark.parametrize(
    ("factor", "mood", "share"),
    [(1.0, "good", "+100\u00a0%"), (0.525, "open", "+5\u00a0%"), (0.45, "bad", "−10\u00a0%")],
)
def test_whether_the_planner_looks_is_the_rise_of_l2_with_images_of_other_scenes(factor: float, mood: str, share: str):
    verdict = verdicts.looks_verdict(make_facts(summaries=scaled("planner_shuffled", factor)))
    assert verdict is not None and verdict.mood == mood and share in verdict.detail


def test_a_large_rise_that_chance_could_explain_is_no_proof_of_looking():
    verdict = verdicts.looks_verdict(make_facts(differences=against("planner_shuffled", -2.0, -0.9, 0.1)))
    assert verdict is not None and verdict.mood == "open"


@pytest.mark.parametrize(("own", "shuffled", "mood"), [(0.7, 0.4, "good"), (0.5, 0.5, "open"), (0.3, 0.6, "bad")])
def test_the_teacher_reads_the_scene_only_if_its_own_tokens_help(own: float, shuffled: float, mood: str):
    verdict = verdicts.teacher_verdict(make_facts(vqa_scores=make_answers(20, own, shuffled)))
    assert verdict is not None and verdict.mood == mood


def test_a_teacher_asked_about_few_scenes_is_not_judged():
    verdict = verdicts.teacher_verdict(make_facts(min_scenes=9))
    assert verdict is not None and verdict.mood == "open" and "Too few scenes" in verdict.headline


def test_the_worst_slice_with_enough_behind_it_is_named():
    verdict = verdicts.slice_verdict(make_facts())
    assert verdict is not None and (verdict.mood, verdict.headline) == ("bad", "Worst slice: resume from stop")
    assert "41 keyframes, 6 scenes, 8 events" in verdict.detail and "2 slices too small to judge" in verdict.detail
    assert "resume from stop" in verdict.advice


def test_a_worst_slice_like_the_others_is_open_while_some_are_too_small():
    verdict = verdicts.slice_verdict(make_facts(summaries=scaled("planner", 0.8, "resume_from_stop")))
    assert verdict is not None and verdict.mood == "open" and "none stands out" in verdict.headline
    table = scaled("planner", 0.8, "resume_from_stop").query("slice != 'night'")
    whole = make_facts(summaries=table, slice_members=make_facts().slice_members.query("slice == 'resume_from_stop'"))
    verdict = verdicts.slice_verdict(whole)
    assert verdict is not None and verdict.mood == "good" and verdict.headline.startswith("No slice stands out")


def test_slices_that_are_all_too_small_are_not_judged():
    table = make_summaries()
    table["too_few"] = table["slice"] != "all"
    verdict = verdicts.slice_verdict(make_facts(summaries=table))
    assert verdict is not None and verdict.headline == "Every slice is too small to judge"


@pytest.mark.parametrize(("milliseconds", "mood"), [(25.0, "good"), (700.0, "bad")])
def test_a_plan_that_takes_longer_than_a_step_is_bad_news(milliseconds: float, mood: str):
    table = make_facts().latencies.assign(p95_ms=milliseconds)
    verdict = verdicts.latency_verdict(make_facts(latencies=table))
    assert verdict is not None and verdict.mood == mood


def test_what_was_not_measured_is_not_claimed():
    bare = make_bare_facts()
    table = bare.summaries.query("not planner.str.endswith('_shuffled')")
    facts = make_facts(**{**vars(bare), "summaries": table})
    assert verdicts.verdicts(facts) == []


def test_advice_fits_where_the_data_comes_from():
    table = against("constant_velocity", 0.1, 0.2, 0.3)
    own = ReportConfig(dataset="my fleet", data_dir="data/fleet", generates_world=False)
    for run, words in ((make_facts().run, "world.num_train_scenes"), (own, "more recordings")):
        verdict = verdicts.baseline_verdict(make_facts(differences=table, run=run), "constant_velocity")
        assert verdict is not None and words in verdict.advice
