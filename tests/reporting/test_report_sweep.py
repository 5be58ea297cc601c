"""The sweep in words: a gain only where there is one, and failures are told."""

import numpy as np
import pytest

from dima_pipeline.reporting import charts, sweep
from report_facts import make_facts, make_trials

NAN = float("nan")


@pytest.mark.parametrize(
    ("objectives", "mood", "headline", "numbers"),
    [
        ((2.0, 1.5, 1.75), "good", "The sweep found better settings", "default 2.00 m, best 1.50 m (−25\u00a0%)"),
        ((1.5, 2.0, 1.75), "open", "nothing better than the default", "default 1.50 m, best 1.50 m."),
        ((NAN, 2.0, 1.75), "open", "does not know how good the default", "3 trials: 2 finished and 1 failed."),
        ((NAN, NAN), "bad", "No trial of the sweep came to a result", "2 trials: 2 failed."),
    ],
)
def test_the_verdict_follows_from_the_trials(objectives: tuple[float, ...], mood: str, headline: str, numbers: str):
    verdict = sweep.sweep_verdict(make_facts(sweep_trials=make_trials(*objectives)))
    assert verdict is not None and verdict.mood == mood
    assert headline in verdict.headline and numbers in verdict.detail


def test_a_default_that_was_stopped_early_is_not_compared_as_if_it_had_finished():
    trials = make_trials(2.0, 1.5, status=("stopped", "finished"))
    verdict = sweep.sweep_verdict(make_facts(sweep_trials=trials))
    assert verdict is not None and verdict.mood == "open" and "may be better" in verdict.headline
    assert "the default was stopped after 20 steps, the best after 60" in verdict.detail


def test_no_sweep_is_no_verdict():
    facts = make_facts(sweep_trials=make_trials(1.0).iloc[:0])
    assert sweep.sweep_verdict(facts) is None and sweep.changed_rows(facts) == [] and sweep.status_rows(facts) == []
    assert charts.sweep_chart(facts.sweep_trials) is None


def test_trials_are_counted_by_how_they_ended():
    trials = make_trials(2.0, 1.5, NAN, 1.9, status=("finished", "finished", "failed", "stopped"))
    counts = [(name, num) for name, num, _ in sweep.status_rows(make_facts(sweep_trials=trials))]
    assert counts == [("finished", 2), ("stopped", 1), ("failed", 1)]


def test_what_the_best_trial_changed_stands_beside_the_default():
    rows = sweep.changed_rows(make_facts(sweep_trials=make_trials(2.0, 1.5)))
    assert rows == [
        {"name": "joint.learning_rate", "default": "0.001", "best": "0.002", "is_changed": True},
        {"name": "joint.clip_norm", "default": "20", "best": "20", "is_changed": False},
    ]


def test_a_default_without_result_still_shows_its_values():
    rows = sweep.changed_rows(make_facts(sweep_trials=make_trials(NAN, 1.5)))
    assert rows[0]["default"] == "0.001" and rows[0]["is_changed"]


def test_a_better_trial_lies_lower_and_the_line_follows_the_best_so_far():
    chart = charts.sweep_chart(make_trials(2.0, 1.0, 1.5))
    assert chart is not None and (chart.top, chart.bottom, chart.last) == ("2 m", "1 m", "3")
    assert [dot.x for dot in chart.dots] == [50.0, 150.0, 250.0]
    assert [dot.y for dot in chart.dots] == [charts.MARGIN, charts.HEIGHT - charts.MARGIN, charts.HEIGHT / 2]
    assert chart.line == "50.0,8.0 150.0,8.0 150.0,112.0 250.0,112.0 250.0,112.0"
    assert [dot.kind for dot in chart.dots] == ["finished default", "finished best", "finished"]
    assert chart.dots[1].note == "trial 1: 1 m after 60 steps, finished, the best"


def test_failed_trials_lie_at_the_top_and_break_nothing():
    chart = charts.sweep_chart(make_trials(NAN, 1.0, NAN))
    assert chart is not None and [dot.kind for dot in chart.dots] == ["failed default", "finished best", "failed"]
    assert chart.dots[2].y == charts.MARGIN and "no result" in chart.dots[2].note
    assert chart.line.startswith("150.0,") and "nan" not in chart.line
    assert charts.sweep_chart(make_trials(np.nan)) is None
