"""Coordinates of the charts, with answers known by eye."""

import numpy as np
import pandas as pd

from dima_pipeline.reporting import charts
from report_facts import make_differences, make_facts, make_log, make_summaries


def test_every_loss_term_gets_a_chart_with_a_line_for_each_stage_that_has_it():
    found = {chart.title: chart for chart in charts.training_charts(make_log())}
    assert list(found) == ["total", "trajectory_l1", "agent_class", "distillation"]
    assert [line.name for line in found["total"].lines] == ["planner", "joint"]
    assert [(line.name, line.series) for line in found["distillation"].lines] == [("joint", 1)]
    points = [tuple(map(float, pair.split(","))) for pair in found["total"].lines[0].points.split()]
    assert len(points) <= charts.MAX_POINTS
    assert points[0][1] < 5 and points[-1][1] > 80, "SVG counts downwards: a loss that falls ends low on the page"
    assert points[-1][0] == charts.WIDTH


def test_a_term_that_is_constant_zero_lies_on_the_ground_and_a_broken_one_is_left_out():
    rows = [{"stage": "s", "step": step, "term": "zero", "value": 0.0} for step in range(3)]
    rows += [{"stage": "s", "step": step, "term": "broken", "value": np.nan} for step in range(3)]
    (chart,) = charts.training_charts(pd.DataFrame(rows))
    assert chart.title == "zero" and chart.lines[0].points == "0.0,120.0 150.0,120.0 300.0,120.0"
    assert charts.training_charts(pd.DataFrame(rows).iloc[:0]) == []


def test_the_largest_l2_reaches_the_top_at_the_last_second():
    chart = charts.horizon_chart(make_facts())
    worst = next(line for line in chart.lines if line.name == "go straight")
    assert worst.points.split()[-1] == "300.0,0.0" and chart.top == "3.61 m"


def test_a_slice_strip_starts_at_zero_and_ends_at_the_largest_number():
    rows = charts.slice_strips(make_facts())
    means = make_summaries().query("metric == 'planning_l2' and horizon == 'avg' and slice == 'resume_from_stop'")
    widest = means.set_index("planner")["mean"]["go_straight"]
    resume = rows[-1]
    assert [dot.kind for dot in resume.dots] == [f"m{series}" for series in range(6)] and resume.dots[4].x == 1.0
    assert resume.dots[0].x == means.set_index("planner")["mean"]["planner"] / widest
    assert resume.low < resume.dots[0].x < resume.high
    assert rows[1].dots == () and np.isnan(rows[1].low), "a slice without scored keyframes has an empty line"


def test_a_difference_strip_holds_zero_even_where_all_are_on_one_side():
    table = make_differences().assign(low=-4.0, mean=-2.0, high=-1.0)
    for strip in charts.difference_strips(make_facts(differences=table)):
        assert (strip.low, strip.dots[0].x, strip.high, strip.zero) == (0.0, 0.5, 0.75, 1.0)
