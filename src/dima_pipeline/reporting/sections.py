"""From tables to what the page says: rows with ready numbers, and verdicts in plain words that can turn out badly."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd

from dima_pipeline.contracts.frames import CAMERAS, IMAGE_SOURCES, SPLITS, VQA_CATEGORIES
from dima_pipeline.reporting.facts import ReportFacts

SECONDS = ("1.0", "2.0", "3.0")
SHUFFLED = "_shuffled"
BASELINES = ("constant_velocity", "go_straight")
LOOKS_FROM = 0.10
"""From this relative rise of L2 with images of other scenes on, a planner is said to look."""

LABELS = {
    "constant_velocity": (
        "constant velocity",
        "keeps its measured velocity, which the planner is not told; sees nothing",
    ),
    "go_straight": ("go straight", "mean speed of the training scenes; knows nothing"),
    "driven": ("driven path", "what the car really did"),
}
KNOWN = {
    "constant_velocity": "which sees nothing but is told its speed",
    "go_straight": "which sees nothing",
}


@dataclass(frozen=True)
class Verdict:
    """One finding: whether it is good news, a headline and the numbers behind it."""

    mood: Literal["good", "open", "bad"]
    headline: str
    detail: str

    @property
    def mark(self) -> str:
        """A sign that does not need colour."""
        return {"good": "✓", "open": "?", "bad": "✗"}[self.mood]


def number(value: float, digits: int = 2) -> str:
    """``value`` with a true minus sign; a dash where it is unknown."""
    if value is None or not math.isfinite(value):
        return "–"
    return f"{value:.{digits}f}".replace("-", "−")


def percent(value: float, digits: int = 1) -> str:
    """A share as per cent; a dash where it is unknown."""
    shown = number(100 * value, digits)
    return shown if shown == "–" else f"{shown} %"


def interval(low: float, high: float, unit: str = "") -> str:
    """A 95 % interval; a dash where there is none."""
    if not (math.isfinite(low) and math.isfinite(high)):
        return "–"
    scale, digits = (100, 1) if unit == "%" else (1, 2)
    return f"{number(scale * low, digits)} … {number(scale * high, digits)}"


def label(planner: str, facts: ReportFacts) -> tuple[str, str]:
    """What a planner is called on the page, and what it is."""
    if planner == facts.planner:
        return "planner", "distilled from the teacher; no LLM inside"
    if planner == facts.control:
        return "control", "trained equally long without the teacher"
    return LABELS.get(planner, (planner.replace("_", " "), ""))


def lookup(facts: ReportFacts, planner: str, metric: str, horizon: str, subset: str = "all") -> pd.Series | None:
    """The row of ``summaries``, or None where there is none."""
    table = facts.summaries
    wanted = {"planner": planner, "metric": metric, "horizon": horizon, "slice": subset}
    chosen = np.logical_and.reduce([table[column].to_numpy(object) == value for column, value in wanted.items()])
    place = np.flatnonzero(chosen)
    return table.iloc[place[0]] if len(place) else None


def mean(facts: ReportFacts, planner: str, metric: str, horizon: str, subset: str = "all") -> float:
    """The mean, NaN where there is none."""
    row = lookup(facts, planner, metric, horizon, subset)
    return math.nan if row is None else float(row["mean"])


def shown_planners(facts: ReportFacts) -> list[str]:
    """Planners of the result tables: the distilled one, the control, others, then what sees nothing."""
    present = [name for name in pd.unique(facts.summaries["planner"]) if name != "driven"]
    others = [name for name in present if not name.endswith(SHUFFLED) and name not in BASELINES]
    first = [name for name in (facts.planner, facts.control) if name in others]
    return [*first, *(name for name in others if name not in first), *(name for name in BASELINES if name in present)]


def data_rows(facts: ReportFacts) -> list[dict[str, Any]]:
    """One row a split: scenes, keyframes and where the camera images come from."""
    split = facts.samples["scene_token"].map(facts.scenes.set_index("scene_token")["split"])
    rows = []
    for name in SPLITS:
        samples = facts.samples[split == name]
        if samples.empty:
            continue
        columns = [f"{camera.lower()}_source" for camera in CAMERAS]
        sources = pd.Series(samples[columns].to_numpy(object).ravel()).value_counts()
        counts = {source: int(sources.get(source, 0)) for source in IMAGE_SOURCES}
        scenes = facts.scenes[facts.scenes["split"] == name]
        places = ", ".join(sorted(scenes["location"].unique()))
        rows.append({"split": name, "scenes": len(scenes), "keyframes": len(samples), **counts, "places": places})
    return rows


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
        between = "–" if row is None else interval(row["low"], row["high"], unit)
        name, what = label(planner, facts)
        rows.append({"name": name, "what": what, "cells": cells, "interval": between})
    return rows


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


def verdicts(facts: ReportFacts) -> list[Verdict]:
    """The findings at the top of the page, in order of what a reader asks first."""
    found = [control_verdict(facts), *(baseline_verdict(facts, name) for name in BASELINES)]
    found += [looks_verdict(facts), teacher_verdict(facts), latency_verdict(facts)]
    return [verdict for verdict in found if verdict is not None]


def control_verdict(facts: ReportFacts) -> Verdict | None:
    """Whether the teacher helped: the distilled planner against the control."""
    row = _difference(facts, facts.control)
    if row is None:
        return None
    numbers = _difference_text(row)
    if not math.isfinite(row["low"]):
        return Verdict("open", "Too few scenes to tell the planner from the control", numbers)
    if row["high"] < 0:
        return Verdict("good", "The distilled planner beats the control", numbers)
    if row["low"] > 0:
        return Verdict("bad", "The control beats the distilled planner: here the teacher did not help", numbers)
    worse = " (on average it is slightly worse)" if row["mean"] > 0 else ""
    return Verdict("open", f"No difference to the control that this many scenes could show{worse}", numbers)


def baseline_verdict(facts: ReportFacts, baseline: str) -> Verdict | None:
    """Whether the distilled planner beats a rule that sees nothing; only bad or open news is a headline of its own."""
    row = _difference(facts, baseline)
    if row is None:
        return None
    name, numbers = label(baseline, facts)[0], _difference_text(row)
    if not math.isfinite(row["low"]):
        return Verdict("open", f"Too few scenes to tell the planner from “{name}”", numbers)
    if row["high"] < 0:
        return Verdict("good", f"The planner beats “{name}”", numbers)
    if row["low"] > 0:
        return Verdict("bad", f"“{name}”, {KNOWN[baseline]}, beats the planner", numbers)
    return Verdict("open", f"The planner is not clearly better than “{name}”, {KNOWN[baseline]}", numbers)


def looks_verdict(facts: ReportFacts) -> Verdict | None:
    """Whether the planner uses its cameras: L2 with images of other scenes against L2 with its own."""
    own = mean(facts, facts.planner, "planning_l2", "avg")
    shuffled = mean(facts, facts.planner + SHUFFLED, "planning_l2", "avg")
    if not (math.isfinite(own) and math.isfinite(shuffled) and own > 0):
        return None
    rise = shuffled / own - 1
    numbers = f"L2 {number(own)} m with its own images, {number(shuffled)} m with images of other scenes"
    numbers += f" ({'+' if rise >= 0 else ''}{number(100 * rise, 0)} %)."
    if rise >= LOOKS_FROM:
        return Verdict("good", "The planner looks at the images", numbers)
    if rise > 0:
        return Verdict("open", "The planner hardly looks at the images", numbers)
    return Verdict("bad", "The planner does not look at the images", numbers)


def teacher_verdict(facts: ReportFacts) -> Verdict | None:
    """Whether the teacher reads the scene tokens: right answers with its own against another scene's."""
    rows = answer_rows(facts)
    if not rows:
        return None
    total = rows[-1]
    numbers = (
        f"{total['own']} of {total['num']} held-out answers right with the scene’s own tokens, "
        f"{total['shuffled']} with another scene’s; difference {total['difference']} points "
        f"(95 %: {total['interval']})."
    )
    if total["low"] > 0:
        return Verdict("good", "The teacher reads the scene", numbers)
    if total["high"] < 0:
        return Verdict("bad", "The teacher answers better with another scene’s tokens", numbers)
    return Verdict("open", "The teacher’s answers do not clearly depend on the scene", numbers)


def latency_verdict(facts: ReportFacts) -> Verdict | None:
    """How long one plan of the distilled planner takes; a fact, good news only under the half second of a step."""
    rows = facts.latencies[facts.latencies["planner"] == facts.planner]
    if rows.empty:
        return None
    row = rows.iloc[0]
    numbers = f"{number(row['p95_ms'], 1)} ms in 95 of 100 runs, batch {row['batch']}, on {row['device']}."
    mood: Literal["good", "bad"] = "good" if row["p95_ms"] < 500 else "bad"
    return Verdict(mood, f"One plan takes {number(row['p50_ms'], 1)} ms (median)", numbers)


def _difference(facts: ReportFacts, other: str) -> pd.Series | None:
    table = facts.differences
    chosen = (table["planner"] == facts.planner) & (table["other"] == other)
    rows = table[chosen & (table["metric"] == "planning_l2") & (table["horizon"] == "avg")]
    return None if rows.empty else rows.iloc[0]


def _difference_text(row: pd.Series) -> str:
    between, scenes = interval(row["low"], row["high"]), row["num_scenes"]
    return f"Difference in L2: {number(row['mean'])} m (95 % interval {between} m; {scenes} scenes)."


def answer_rows(facts: ReportFacts) -> list[dict[str, Any]]:
    """Right answers with own and shuffled scene tokens by category, the total last; empty without questions."""
    table = facts.vqa_scores
    if table.empty:
        return []
    names = [name for name in VQA_CATEGORIES if (table["category"] == name).any()]
    rows = [_answers(name, table[table["category"] == name]) for name in names]
    return [*rows, _answers("all", table)]


def _answers(name: str, table: pd.DataFrame) -> dict[str, Any]:
    own = table.loc[table["beam"] == "own", "correct"].to_numpy(float)
    shuffled = table.loc[table["beam"] == "shuffled", "correct"].to_numpy(float)
    assert len(own) == len(shuffled), "every question is asked with own and with shuffled tokens"
    gain = own - shuffled
    half = 1.96 * float(gain.std()) / math.sqrt(len(gain))
    low, high = float(gain.mean()) - half, float(gain.mean()) + half
    return {
        "name": name,
        "num": len(own),
        "own": percent(own.mean(), 0),
        "shuffled": percent(shuffled.mean(), 0),
        "own_share": float(own.mean()),
        "shuffled_share": float(shuffled.mean()),
        "difference": ("+" if gain.mean() > 0 else "") + number(100 * gain.mean(), 0),
        "interval": f"{number(100 * low, 0)} … {number(100 * high, 0)}",
        "low": low,
        "high": high,
    }


def slice_rows(facts: ReportFacts) -> list[dict[str, Any]]:
    """One row a slice: what stands behind it, L2 of each planner and collision of the distilled one, averaged."""
    names = [str(name) for name in pd.unique(facts.summaries["slice"]) if name != "all"]
    planners = [name for name in shown_planners(facts) if name != "go_straight"]
    rows = []
    for name in ["all", *sorted(names)]:
        row = lookup(facts, facts.planner, "planning_l2", "avg", name)
        if row is None:
            continue
        rows.append(
            {
                "name": "every keyframe" if name == "all" else name.replace("_", " "),
                "events": "–" if pd.isna(row["num_events"]) else int(row["num_events"]),
                "scenes": int(row["num_scenes"]),
                "samples": int(row["num_samples"]),
                "too_few": bool(row["too_few"]),
                "l2": [number(mean(facts, planner, "planning_l2", "avg", name)) for planner in planners],
                "interval": interval(row["low"], row["high"]),
                "collision": percent(mean(facts, facts.planner, "box_collision", "avg", name)),
            }
        )
    return rows


def slice_planners(facts: ReportFacts) -> list[str]:
    """Headings of the L2 columns of ``slice_rows``."""
    return [label(name, facts)[0] for name in shown_planners(facts) if name != "go_straight"]


def question_rows(facts: ReportFacts, num_each: int = 2) -> list[dict[str, Any]]:
    """A few questions a category with both answers: as far as there are such, one answered rightly and one wrongly."""
    own = facts.vqa_scores[facts.vqa_scores["beam"] == "own"].reset_index(drop=True)
    shuffled = facts.vqa_scores[facts.vqa_scores["beam"] == "shuffled"].reset_index(drop=True)
    rows: list[dict[str, Any]] = []
    for category in VQA_CATEGORIES:
        candidates = own[own["category"] == category]
        for position in _mixed(candidates["correct"], num_each):
            asked = own.loc[position]
            columns = ["category", "question", "expected", "answer", "correct"]
            rows.append({**asked[columns], "other_answer": shuffled.loc[position, "answer"]})
    return rows


def _mixed(correct: pd.Series, num: int) -> Sequence[int]:
    """Up to ``num`` labels of ``correct``: right and wrong in turn, then whatever is left."""
    right, wrong = correct.index[correct.astype(bool)].tolist(), correct.index[~correct.astype(bool)].tolist()
    turns = [label for pair in zip(right, wrong, strict=False) for label in pair]
    left = [label for label in correct.index if label not in turns]
    return [*turns, *left][:num]


def latency_rows(facts: ReportFacts) -> list[dict[str, Any]]:
    """One row a timed bundle."""
    rows = []
    for _, row in facts.latencies.iterrows():
        times = [number(row[name], 1) for name in ("p50_ms", "p95_ms", "p99_ms")]
        name = label(row["planner"], facts)[0]
        rows.append({"name": name, "device": row["device"], "batch": row["batch"], "times": times})
    return rows
