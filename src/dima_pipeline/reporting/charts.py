"""Coordinates of the page's charts; the template draws them as inline SVG, so nothing is loaded from elsewhere."""

import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pandas as pd

from dima_pipeline.reporting.facts import ReportFacts
from dima_pipeline.reporting.results import difference_rows, label, lookup, shown_planners, slice_rows
from dima_pipeline.reporting.wording import short

WIDTH, HEIGHT = 300, 120
MARGIN = 8
"""Above and below the dots of a sweep."""
MAX_POINTS = 120
MAIN_TERMS = {
    "total": "everything that training makes small",
    "planning/trajectory_l1": "plan to driven path",
    "distillation/ego": "planner’s features to the teacher’s",
    "teacher/vqa": "the teacher’s answers",
}
"""Shown first, with what they are; the others fold away."""


@dataclass(frozen=True, kw_only=True)
class Line:
    """A line of a chart: its colour class (``series-0`` ...), name, SVG points and what is said about it."""

    series: int
    name: str
    points: str
    note: str


@dataclass(frozen=True, kw_only=True)
class Chart:
    """A small chart from 0 to ``top``."""

    title: str
    lines: tuple[Line, ...]
    top: str
    first: str
    last: str


def training_charts(log: pd.DataFrame) -> list[Chart]:
    """One chart for every named loss term, one line for every stage that has it; terms as they first appear."""
    stages = list(pd.unique(log["stage"]))
    charts = []
    for term in pd.unique(log["term"]):
        rows = log[(log["term"] == term) & np.isfinite(log["value"])]
        curves = {
            stages.index(stage): (str(stage), *_thinned(part.sort_values("step")))
            for stage, part in rows.groupby("stage", sort=False)
        }
        if not curves:
            continue
        last = max(int(steps[-1]) for _, steps, _ in curves.values())
        top = max(float(values.max()) for _, _, values in curves.values()) or 1.0
        bottom = min(0.0, *(float(values.min()) for _, _, values in curves.values()))
        lines = tuple(
            Line(
                series=series,
                name=name,
                points=_points(steps / max(last, 1), values, bottom, top),
                note=f"{short(values[0])} → {short(values[-1])}",
            )
            for series, (name, steps, values) in sorted(curves.items())
        )
        charts.append(Chart(title=str(term), lines=lines, top=short(top), first="0", last=str(last)))
    return charts


def stage_names(log: pd.DataFrame) -> list[tuple[int, str]]:
    """Colour class and name of every stage, for the legend."""
    return [(series, str(stage)) for series, stage in enumerate(pd.unique(log["stage"]))]


def horizon_chart(facts: ReportFacts) -> Chart:
    """L2 over the six steps for every planner of the result table."""
    horizons = [f"{0.5 * step:.1f}" for step in range(1, 7)]
    curves = []
    for series, planner in enumerate(shown_planners(facts)):
        rows = [lookup(facts, planner, "planning_l2", horizon) for horizon in horizons]
        values = np.array([math.nan if row is None else row["mean"] for row in rows], float)
        curves.append((series, label(planner, facts)[0], values))
    top = max((float(np.nanmax(values)) for _, _, values in curves if np.isfinite(values).any()), default=1.0)
    lines = tuple(
        Line(
            series=series,
            name=name,
            points=_points((np.arange(6) + 1) / 6, values, 0.0, top),
            note=f"{short(values[-1])} m",
        )
        for series, name, values in curves
    )
    return Chart(title="L2 over the planned 3 s", lines=lines, top=f"{short(top)} m", first="0 s", last="3 s")


@dataclass(frozen=True, kw_only=True)
class Dot:
    """A trial in the chart of a sweep, a mean in a strip: its place, its kind (CSS class) and what is said about it."""

    x: float
    y: float
    kind: str
    note: str


@dataclass(frozen=True, kw_only=True)
class SweepChart:
    """Objective over trials: dots, and the best so far as a line."""

    dots: tuple[Dot, ...]
    line: str
    top: str
    bottom: str
    last: str


def sweep_chart(trials: pd.DataFrame) -> SweepChart | None:
    """Trials in the order in which they were proposed; None where none has an objective. Failed ones lie at the top."""
    values = trials["objective"].to_numpy(float)
    if not np.isfinite(values).any():
        return None
    bottom, top = float(np.nanmin(values)), float(np.nanmax(values))
    span = top - bottom or 1.0
    x = WIDTH * (np.arange(len(trials)) + 0.5) / len(trials)
    y = MARGIN + (HEIGHT - 2 * MARGIN) * np.where(np.isfinite(values), (top - values) / span, 0.0)
    dots = tuple(
        Dot(x=float(u), y=float(v), kind=_kind(row), note=_trial_note(row))
        for u, v, (_, row) in zip(x, y, trials.iterrows(), strict=True)
    )
    best = np.fmin.accumulate(values)
    level = MARGIN + (HEIGHT - 2 * MARGIN) * (top - best) / span
    corners = [(u, v) for u, v in zip(x, level, strict=True) if np.isfinite(v)]
    steps = [corners[0]] + [p for (_, a), (u, b) in pairwise(corners) for p in ((u, a), (u, b))]
    line = " ".join(f"{u:.1f},{v:.1f}" for u, v in steps)
    return SweepChart(dots=dots, line=line, top=f"{short(top)} m", bottom=f"{short(bottom)} m", last=str(len(trials)))


def _kind(row: pd.Series) -> str:
    status = row["status"] if math.isfinite(row["objective"]) else "failed"
    return f"{status}{' best' if row['is_best'] else ''}{' default' if row['is_default'] else ''}"


def _trial_note(row: pd.Series) -> str:
    name = "default settings" if row["is_default"] else f"trial {row['trial']}"
    result = f"{short(row['objective'])} m" if math.isfinite(row["objective"]) else "no result"
    return f"{name}: {result} after {row['step']} steps, {row['status']}{', the best' if row['is_best'] else ''}"


@dataclass(frozen=True, kw_only=True)
class Strip:
    """Means and an interval on a line that all rows of a table share, as shares of its width."""

    dots: tuple[Dot, ...]
    low: float
    high: float
    zero: float | None = None


def slice_strips(facts: ReportFacts) -> list[Strip]:
    """L2 of the shown planners for every row of ``slice_rows``, from 0 to the largest, and the planner's interval."""
    rows, planners = slice_rows(facts), [label(name, facts)[0] for name in shown_planners(facts)]
    values = [number for row in rows for number in (*row["values"], row["high"]) if math.isfinite(number)]
    top = max(values, default=1.0) or 1.0
    strips = []
    for row in rows:
        dots = [
            Dot(x=value / top, y=0.5, kind=f"m{series}", note=f"{name} {short(value)} m")
            for series, (name, value) in enumerate(zip(planners, row["values"], strict=True))
            if math.isfinite(value)
        ]
        strips.append(Strip(dots=tuple(dots), low=row["low"] / top, high=row["high"] / top))
    return strips


def difference_strips(facts: ReportFacts) -> list[Strip]:
    """The L2 difference for every row of ``difference_rows``, zero within."""
    rows = difference_rows(facts)
    known = [row[name] for row in rows for name in ("low", "mean", "high") if math.isfinite(row[name])]
    low, high = min([0.0, *known]), max([0.0, *known])
    span = high - low or 1.0

    def place(value: float) -> float:
        return float((value - low) / span)

    return [
        Strip(
            dots=(Dot(x=place(row["mean"]), y=0.5, kind="m0", note=f"{row['l2']} m"),),
            low=place(row["low"]),
            high=place(row["high"]),
            zero=place(0.0),
        )
        for row in rows
    ]


def _thinned(rows: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Steps and values, long curves as means of neighbours."""
    steps, values = rows["step"].to_numpy(float), rows["value"].to_numpy(float)
    parts = min(len(steps), MAX_POINTS)
    means = [(part_s[-1], part_v.mean()) for part_s, part_v in _parts(steps, values, parts)]
    thin = np.array(means)
    return thin[:, 0], thin[:, 1]


def _parts(steps: np.ndarray, values: np.ndarray, parts: int) -> list[tuple[np.ndarray, np.ndarray]]:
    return list(zip(np.array_split(steps, parts), np.array_split(values, parts), strict=True))


def _points(x: np.ndarray, y: np.ndarray, bottom: float, top: float) -> str:
    """SVG points of shares ``x`` and values ``y``; the value ``top`` lies at the upper edge."""
    span = top - bottom or 1.0
    known = np.isfinite(y)
    pairs = zip(WIDTH * x[known], HEIGHT * (top - y[known]) / span, strict=True)
    return " ".join(f"{u:.1f},{v:.1f}" for u, v in pairs)
