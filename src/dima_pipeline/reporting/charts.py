"""Coordinates of the page's line charts; the template draws them as inline SVG, so nothing is loaded from elsewhere."""

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd

from dima_pipeline.reporting.facts import ReportFacts
from dima_pipeline.reporting.sections import label, lookup, shown_planners

WIDTH, HEIGHT = 300, 120
MAX_POINTS = 120


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
        top = max(float(values.max()) for _, _, values in curves.values())
        bottom = min(0.0, *(float(values.min()) for _, _, values in curves.values()))
        lines = tuple(
            Line(
                series=series,
                name=name,
                points=_points(steps / max(last, 1), values, bottom, top),
                note=f"{_short(values[0])} → {_short(values[-1])}",
            )
            for series, (name, steps, values) in sorted(curves.items())
        )
        charts.append(Chart(title=str(term), lines=lines, top=_short(top), first="0", last=str(last)))
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
            note=f"{_short(values[-1])} m",
        )
        for series, name, values in curves
    )
    return Chart(title="L2 over the planned 3 s", lines=lines, top=f"{_short(top)} m", first="0 s", last="3 s")


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


def _short(value: float) -> str:
    """Three significant digits."""
    return f"{value:.3g}" if math.isfinite(value) else "–"
