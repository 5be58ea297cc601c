"""The few points that a tool for comparing runs draws: rows of plain numbers, one column a line of the plot."""

from typing import Any

import pandas as pd

from dima_pipeline.contracts.frames import MAIN_PROTOCOL

Points = list[dict[Any, Any]]

TERM = "planning/trajectory_l1"
"""The one loss that all stages have, at the same weight."""
NUM_STEPS_A_POINT = 10


def l2_by_horizon(summaries: pd.DataFrame) -> Points:
    """``{horizon_s, <planner>: mean L2 (m), ...}`` over all keyframes, one row a step; None where nothing is known."""
    rows = summaries[(summaries["metric"] == "planning_l2") & (summaries["slice"] == "all")]
    rows = rows[rows["protocol"] == MAIN_PROTOCOL]
    rows = rows[~rows["horizon"].str.startswith("avg")]
    means = rows.assign(horizon_s=rows["horizon"].astype(float)).pivot(
        index="horizon_s", columns="planner", values="mean"
    )
    return _points(means)


def loss_by_step(training_log: pd.DataFrame) -> Points:
    """``{step, <stage>: mean loss, ...}``, one row for ten optimiser steps; None after a stage's last one."""
    rows = training_log[training_log["term"] == TERM]
    begins = rows["step"] - rows["step"] % NUM_STEPS_A_POINT
    return _points(rows.assign(step=begins).pivot_table(index="step", columns="stage", values="value", aggfunc="mean"))


def _points(table: pd.DataFrame) -> Points:
    plain = table.reset_index().round(4)
    return plain.astype(object).where(plain.notna(), None).to_dict("records")
