"""The same plans by the protocols of other papers, and what becomes of them once a vehicle drives them."""

from typing import Any

import numpy as np
import pandas as pd

from dima_pipeline.reporting.facts import ReportFacts
from dima_pipeline.reporting.results import SECONDS, label, lookup, shown_planners
from dima_pipeline.reporting.wording import interval, listed, number, percent
from dima_pipeline.scoring.protocols import PROTOCOLS

INCOMPLETE = {
    "drop_sample": "keyframe left out",
    "count_as_zero": "step counts as 0 m, no collision",
    "drop_step": "step left out",
}
RULES = {"at": "the value at that second", "mean": "the mean up to that second", "any": "any collision up to it"}
DRIVING = {
    "off_road": "leaves the road",
    "off_lane": "leaves its lane",
    "time_to_collision": "under 1 s from a collision",
    "comfort": "too rough",
    "progress": "falls short, of the driven way",
}
"""Metrics of the rolled-out plan, and what their number is the share of."""


def protocol_rows(facts: ReportFacts) -> list[dict[str, Any]]:
    """One row a protocol that the planner was scored by: what counts in it, its L2 and collisions, and how often the
    driven path itself collides by it."""
    known = [name for name in pd.unique(facts.summaries["protocol"]) if name in PROTOCOLS]
    rows = []
    for name in known:
        protocol = PROTOCOLS[name]
        distance = [lookup(facts, facts.planner, "planning_l2", at, protocol=name) for at in (*SECONDS, "avg")]
        hits = lookup(facts, facts.planner, "box_collision", "avg", protocol=name)
        driven = lookup(facts, "driven", "box_collision_raw", "avg", protocol=name)
        rows.append(
            {
                "name": name,
                "samples": [int(row["num_samples"]) for row in distance[:3] if row is not None],
                "classes": listed([f"{kind}s" for kind in protocol.classes]),
                "footprint": protocol.footprint,
                "incomplete": INCOMPLETE[protocol.incomplete],
                "rules": (RULES[protocol.l2_rule], RULES[protocol.collision_rule]),
                "l2": ["–" if row is None else number(row["mean"]) for row in distance],
                "collision": "–" if hits is None else percent(hits["mean"]),
                "driven": "–" if driven is None else percent(driven["mean"], 2),
            }
        )
    return rows


def driving_rows(facts: ReportFacts) -> list[dict[str, Any]]:
    """One row a planner: the share of keyframes at which the rolled-out plan fails within 3 s, a cell a metric of
    ``DRIVING`` that was scored; the best of a column is marked."""
    planners, metrics = shown_planners(facts), driving_metrics(facts)
    found = [[lookup(facts, planner, metric, "3.0", protocol="pdm") for metric in metrics] for planner in planners]
    shown = np.array([[np.nan if row is None else round(100 * row["mean"], 1) for row in rows] for rows in found])
    rows = []
    for planner, cells, values in zip(planners, found, shown, strict=True):
        best = np.nanmin(np.where(np.isnan(shown), np.inf, shown), axis=0)
        rows.append(
            {
                "name": label(planner, facts)[0],
                "cells": [
                    {
                        "text": number(value, 1),
                        "best": bool(value == top),
                        "interval": "–" if row is None else interval(100 * row["low"], min(100 * row["high"], 100), 1),
                    }
                    for row, value, top in zip(cells, values, best, strict=True)
                ],
            }
        )
    return rows


def driving_metrics(facts: ReportFacts) -> list[str]:
    """The metrics of ``DRIVING`` that were scored, in their order."""
    scored = set(facts.summaries.loc[facts.summaries["protocol"] == "pdm", "metric"])
    return [name for name in DRIVING if name in scored]
