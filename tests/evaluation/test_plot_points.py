"""Points for plots: one row a step, one column a line, None where there is no number."""

import json

import pandas as pd

from dima_pipeline.evaluation.plot_points import l2_by_horizon, loss_by_step


def summary(
    planner: str,
    horizon: str,
    mean: float,
    metric: str = "planning_l2",
    of: str = "all",
    protocol: str = "standardised",
) -> dict:
    """A row of ``score_summaries``, as far as plots look at it."""
    keys = {"planner": planner, "metric": metric, "protocol": protocol}
    return {**keys, "slice": of, "horizon": horizon, "mean": mean}


def test_l2_is_one_row_a_horizon_and_one_column_a_planner():
    rows = [
        summary("planner", "1.0", 0.5),
        summary("planner", "0.5", 0.25),
        summary("control", "1.0", 0.123456),
        summary("control", "0.5", float("nan")),
        summary("planner", "avg", 9.0),
        summary("planner", "avg_all", 9.0),
        summary("planner", "1.0", 9.0, metric="box_collision"),
        summary("planner", "1.0", 9.0, of="night"),
        summary("planner", "1.0", 9.0, protocol="vad"),
    ]
    points = l2_by_horizon(pd.DataFrame(rows))
    assert points == [
        {"horizon_s": 0.5, "control": None, "planner": 0.25},
        {"horizon_s": 1.0, "control": 0.1235, "planner": 0.5},
    ]


def test_ten_steps_of_a_loss_are_one_point_and_a_shorter_stage_ends_in_none():
    rows = [("pretraining", step, "planning/trajectory_l1", float(step)) for step in range(20)]
    rows += [("joint", step, "planning/trajectory_l1", 1.0) for step in range(10)]
    rows += [("joint", 0, "total", 99.0)]
    points = loss_by_step(pd.DataFrame(rows, columns=["stage", "step", "term", "value"]))
    assert points == [
        {"step": 0, "joint": 1.0, "pretraining": 4.5},
        {"step": 10, "joint": None, "pretraining": 14.5},
    ]
    json.dumps(points, allow_nan=False)
