"""How good the planner is: against control and baselines, over all keyframes and by slice."""

import math
import re
from typing import Any

import numpy as np
import pandas as pd

from dima_pipeline.contracts.frames import MAIN_PROTOCOL
from dima_pipeline.reporting.facts import ReportFacts
from dima_pipeline.reporting.wording import interval, listed, number, percent, plain, signed
from dima_pipeline.slices import SLICES, slice_counts

SECONDS = ("1.0", "2.0", "3.0")
SHUFFLED = "_shuffled"
BASELINES = ("constant_velocity", "constant_turn_rate_and_velocity", "go_straight", "ego_mlp")
"""Planners that see nothing; ``evaluation`` makes them."""

LABELS = {
    "constant_velocity": (
        "constant velocity",
        "keeps its measured velocity, which the planner is not told; sees nothing",
    ),
    "constant_turn_rate_and_velocity": (
        "constant turn rate",
        "keeps its measured velocity and turn rate (CTRV); sees nothing",
    ),
    "ego_mlp": (
        "ego-MLP",
        "a small network trained on the car’s own last 2 s (path, speed, acceleration, turn rate) and nothing else",
    ),
    "go_straight": ("go straight", "mean speed of the training scenes; knows nothing"),
    "teacher": ("teacher alone", "the LLM’s own planning head on the planner’s tokens; it is told no command"),
    "dual": ("dual", "the planner’s head on the larger of both features; the LLM runs at every keyframe"),
    "driven": ("driven path", "what the car really did"),
}


def label(planner: str, facts: ReportFacts) -> tuple[str, str]:
    """What a planner is called on the page, and what it is."""
    if planner == facts.planner:
        return "planner", "distilled from the teacher; no LLM inside"
    if planner == facts.control:
        return "control", "trained equally long without the teacher"
    if planner == facts.planner + SHUFFLED:
        return "planner, wrong images", "the same planner, shown the images of another scene"
    return LABELS.get(planner, (plain(planner), ""))


def lookup(
    facts: ReportFacts, planner: str, metric: str, horizon: str, subset: str = "all", *, protocol: str = MAIN_PROTOCOL
) -> pd.Series | None:
    """The row of ``summaries``, or None where there is none."""
    table = facts.summaries
    wanted = {"planner": planner, "metric": metric, "protocol": protocol, "horizon": horizon, "slice": subset}
    chosen = np.logical_and.reduce([table[column].to_numpy(object) == value for column, value in wanted.items()])
    place = np.flatnonzero(chosen)
    return table.iloc[place[0]] if len(place) else None


def mean(facts: ReportFacts, planner: str, metric: str, horizon: str, subset: str = "all") -> float:
    """The mean, NaN where there is none."""
    row = lookup(facts, planner, metric, horizon, subset)
    return math.nan if row is None else float(row["mean"])


def difference(facts: ReportFacts, other: str, metric: str = "planning_l2") -> pd.Series | None:
    """The row of ``differences`` to ``other`` averaged over 1, 2 and 3 s, or None where there is none."""
    table = facts.differences
    chosen = (table["planner"] == facts.planner) & (table["other"] == other) & (table["metric"] == metric)
    rows = table[chosen & (table["protocol"] == MAIN_PROTOCOL) & (table["horizon"] == "avg")]
    return None if rows.empty else rows.iloc[0]


def shown_planners(facts: ReportFacts) -> list[str]:
    """Planners of the result tables: the distilled one, the control, others, then what sees nothing."""
    present = [name for name in pd.unique(facts.summaries["planner"]) if name != "driven"]
    others = [name for name in present if not name.endswith(SHUFFLED) and name not in BASELINES]
    first = [name for name in (facts.planner, facts.control) if name in others]
    return [*first, *(name for name in others if name not in first), *(name for name in BASELINES if name in present)]


def result_rows(facts: ReportFacts, metric: str, unit: str) -> list[dict[str, Any]]:
    """One row a planner: the metric at 1, 2 and 3 s, its averages and interval; the best of a column is marked."""
    planners = shown_planners(facts)
    horizons = (*SECONDS, "avg", "avg_all")
    table = np.array([[mean(facts, planner, metric, horizon) for horizon in horizons] for planner in planners])
    scale, digits = (100, 1) if unit == "%" else (1, 2)
    shown = np.round(scale * table, digits)
    best = np.nanmin(np.where(np.isnan(shown), np.inf, shown), axis=0) if len(planners) else np.zeros(0)
    rows = []
    for planner, values, rounded in zip(planners, table, shown, strict=True):
        row = lookup(facts, planner, metric, "avg")
        cells = [
            {"text": number(scale * value, digits), "best": bool(near == top)}
            for value, near, top in zip(values, rounded, best, strict=True)
        ]
        most = 1.0 if unit == "%" else math.inf
        between = "–" if row is None else interval(scale * row["low"], scale * min(row["high"], most), digits)
        rows.append({"name": label(planner, facts)[0], "cells": cells, "interval": between})
    return rows


def difference_rows(facts: ReportFacts) -> list[dict[str, Any]]:
    """The planner minus each other: L2 and collision with intervals, and what the L2 interval says."""
    others = [*shown_planners(facts), facts.planner + SHUFFLED]
    rows = []
    for other in others:
        row, hits = difference(facts, other), difference(facts, other, "box_collision")
        if row is None:
            continue
        name, what = label(other, facts)
        shown = {"name": name, "what": what, "low": row["low"], "mean": row["mean"], "high": row["high"]}
        shown |= {"l2": signed(row["mean"]), "interval": interval(row["low"], row["high"]), "reads": reading(row)}
        collision = ("–", "–")
        if hits is not None:
            collision = signed(100 * hits["mean"], 1), interval(100 * hits["low"], 100 * hits["high"], 1)
        rows.append({**shown, "collision": collision})
    return rows


def reading(row: pd.Series) -> str:
    """What an interval of a difference says."""
    if not math.isfinite(row["low"]):
        return "too few scenes to say, or all alike"
    if row["high"] < 0:
        return "planner is better"
    return "planner is worse" if row["low"] > 0 else "no clear difference"


def counted(facts: ReportFacts) -> dict[str, Any]:
    """What stands behind the result tables: protocol, keyframes by horizon, scenes, raw ground-truth collision rate."""
    rows = [lookup(facts, facts.planner, "planning_l2", second) for second in SECONDS]
    assert all(row is not None for row in rows), "the distilled planner is scored on planning_l2"
    raw = [mean(facts, "driven", "box_collision_raw", second) for second in SECONDS]
    return {
        "protocol": rows[0]["protocol"],  # type: ignore[index]
        "samples": [int(row["num_samples"]) for row in rows],  # type: ignore[index]
        "scenes": int(rows[0]["num_scenes"]),  # type: ignore[index]
        "driven_collisions": [percent(value, 2) for value in raw],
    }


def slice_rows(facts: ReportFacts) -> list[dict[str, Any]]:
    """One row a slice: what stands behind it, L2 of each planner and collision of the distilled one, averaged.

    ``all`` first; a slice that has no scored keyframe has a row that says so.
    """
    counts = slice_counts(facts.slice_members, facts.samples, facts.scenes)
    trained = counts[counts["split"] == "train"].set_index("slice")["num_events"]
    scored = {str(name) for name in pd.unique(facts.summaries["slice"])} - {"all"}
    rows = []
    for name in ["all", *sorted(scored | set(counts["slice"]))]:
        row = lookup(facts, facts.planner, "planning_l2", "avg", name)
        values = [mean(facts, planner, "planning_l2", "avg", name) for planner in shown_planners(facts)]
        low, high = (math.nan, math.nan) if row is None else (row["low"], row["high"])
        shown = {"name": "every keyframe" if name == "all" else plain(name), "is_all": name == "all"}
        shown |= {"trained": "–" if name == "all" else int(trained.get(name, 0)), "values": values}
        shown |= {"low": low, "high": high, "interval": interval(low, high), "l2": [number(value) for value in values]}
        shown["collision"] = percent(mean(facts, facts.planner, "box_collision", "avg", name))
        rows.append({**shown, **_counts(row)})
    return rows


def _counts(row: pd.Series | None) -> dict[str, Any]:
    if row is None or not row["num_samples"]:
        return {"events": 0, "scenes": 0, "samples": 0, "too_few": True, "is_scored": False}
    events = "–" if pd.isna(row["num_events"]) else int(row["num_events"])
    counts = {"events": events, "scenes": int(row["num_scenes"]), "samples": int(row["num_samples"])}
    return {**counts, "too_few": bool(row["too_few"]), "is_scored": True}


def small_slices(facts: ReportFacts) -> str:
    """The slices that are too small to judge, in words; empty where there is none."""
    rows = slice_rows(facts)
    few = [row for row in rows if row["too_few"] and row["is_scored"] and not row["is_all"]]
    none = [row["name"] for row in rows if not row["is_scored"]]
    said = [f"Too few to judge: {listed([row['name'] for row in few])}."] if few else []
    if len(few) > 1:
        far = max(few, key=lambda row: row["values"][0])
        said.append(f"Of these {far['name']} is farthest off ({far['l2'][0]} m).")
    said += [f"Not in the scored scenes at all: {listed(none)}."] if none else []
    return " ".join(said)


def slice_rules(facts: ReportFacts) -> dict[str, str]:
    """What each slice is, as the module that finds it says; slices from outside the package are left out."""
    known = set(SLICES.names())
    names = sorted(str(name) for name in pd.unique(facts.slice_members["slice"]) if name in known)
    lines = {name: str(SLICES.module(name).__doc__).splitlines()[0] for name in names}
    return {plain(name): re.sub(r" \([^()]*\)", "", line) for name, line in lines.items()}
