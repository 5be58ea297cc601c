"""Whether the scenes of now are like those of the training: ``DriftScores`` in words, a ranking, slices by group."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from dima_pipeline.reporting.facts import ReportFacts
from dima_pipeline.reporting.wording import Verdict, many, percent, plain, quantity, short

GROUPS = {
    "scene": "what is around the car",
    "ego": "how the car moves",
    "prediction": "what the planner plans",
    "error": "how wrong it is",
    "embedding": "the planner’s inner features",
}
NUM_LEVELS = 4
"""Shades of the table of slices."""


@dataclass(frozen=True, kw_only=True)
class DriftCounts:
    """Features with enough behind them, and those that drifted."""

    drifted: int
    judged: int
    too_few: int


def drift_counts(facts: ReportFacts, subset: str = "all", group: str | None = None) -> DriftCounts:
    """Counts over the features of a slice, of one group or of all."""
    rows = facts.drift_scores[facts.drift_scores["slice"] == subset]
    if group is not None:
        rows = rows[rows["group"] == group]
    judged = rows[~rows["too_few"].astype(bool)]
    drifted = int(judged["drifted"].sum())
    return DriftCounts(drifted=drifted, judged=len(judged), too_few=len(rows) - len(judged))


def drift_verdict(facts: ReportFacts) -> Verdict | None:
    """Whether the drift gate passed; None where drift was not computed."""
    if facts.drift_scores.empty:
        return None
    verdict, counts = facts.drift_verdict, drift_counts(facts)
    if not counts.judged:
        return Verdict(
            "open", "Too few keyframes or scenes to judge drift", f"{many(counts.too_few, 'feature')} not judged."
        )
    limit = verdict["max_drifted_share"]
    sides = [_window(verdict, side) for side in ("reference", "current")]
    numbers = (
        f"{counts.drifted} of {many(counts.judged, 'feature')} drifted; {percent(limit, 0) if limit else 'none'} may. "
        f"Reference: {sides[0]}; current: {sides[1]}."
    )
    if verdict["passed"]:
        head = "The drift stays within what is allowed" if counts.drifted else "No drift was found"
        return Verdict("good", head, numbers)
    advice = "See which features drifted, and add scenes like the current ones to the training if they are to stay."
    return Verdict("bad", "The current scenes are not like the reference", numbers, advice)


def _window(verdict: Mapping[str, Any], side: str) -> str:
    scenes = f" of {many(verdict[key], 'scene')}" if (key := f"num_{side}_scenes") in verdict else ""
    return f"{many(verdict[f'num_{side}'], 'keyframe')}{scenes}"


def drifted_rows(facts: ReportFacts, num: int = 12) -> list[dict[str, Any]]:
    """The features that moved farthest over all keyframes: value beside threshold, largest ratio first."""
    rows = facts.drift_scores[(facts.drift_scores["slice"] == "all") & ~facts.drift_scores["too_few"].astype(bool)]
    rows = rows.assign(ratio=rows["value"] / rows["threshold"]).sort_values(
        ["ratio", "feature"], ascending=[False, True]
    )
    return [
        {
            "feature": quantity(row["feature"]),
            "group": row["group"],
            "statistic": plain(row["statistic"]),
            "value": short(row["value"]),
            "threshold": short(row["threshold"]),
            "ratio": float(row["ratio"]),
            "drifted": bool(row["drifted"]),
        }
        for _, row in rows.head(num).iterrows()
    ]


def drift_groups(facts: ReportFacts) -> list[tuple[str, str]]:
    """The groups of features that were compared, and what they are."""
    present = set(facts.drift_scores["group"])
    return [(name, what) for name, what in GROUPS.items() if name in present]


def heat_rows(facts: ReportFacts) -> list[dict[str, Any]]:
    """One row a slice, all keyframes first: keyframes, and drifted features of judged ones by group."""
    names = [str(name) for name in pd.unique(facts.drift_scores["slice"])]
    rows = []
    for name in sorted(names, key=lambda name: (name != "all", name)):
        scores = facts.drift_scores[facts.drift_scores["slice"] == name]
        cells = [_cell(drift_counts(facts, name, group)) for group, _ in drift_groups(facts)]
        behind = {"reference": int(scores["num_reference"].max()), "current": int(scores["num_current"].max())}
        rows.append({"name": "every keyframe" if name == "all" else plain(name), **behind, "cells": cells})
    return rows


def _cell(counts: DriftCounts) -> dict[str, Any]:
    if not counts.judged:
        return {"text": "too few" if counts.too_few else "–", "level": 0}
    level = int(np.ceil(NUM_LEVELS * counts.drifted / counts.judged))
    return {"text": f"{counts.drifted} of {counts.judged}", "level": level}
