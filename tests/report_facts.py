"""A small made-up run for tests of the report: tables typed by hand, with the contracts' columns."""

from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pandas as pd

from dima_pipeline.contracts import tables as contracts
from dima_pipeline.contracts.frames import VQA_CATEGORIES
from dima_pipeline.datasets import SceneTables
from dima_pipeline.reporting.facts import ReportFacts
from evaluation_scenes import make_fleet

HORIZONS = ("0.5", "1.0", "1.5", "2.0", "2.5", "3.0", "avg", "avg_all")
SHAPE = np.array([0.2, 0.5, 0.8, 1.1, 1.5, 1.9, 1.1667, 1.0])
"""L2 over the horizons where the scale is 1."""
L2_SCALES = {
    "planner": 0.80,
    "control": 0.90,
    "planner_shuffled": 1.60,
    "constant_velocity": 1.00,
    "go_straight": 1.90,
}


def summary_rows(planner: str, metric: str, values: np.ndarray, **options: Any) -> pd.DataFrame:
    """Rows of ``score_summaries`` for all horizons; the interval is 10 % wide on each side."""
    row = {"slice": "all", "num_samples": 240, "num_scenes": 10, "num_events": np.nan, "too_few": False, **options}
    values = np.asarray(values, float)
    facts = {"horizon": HORIZONS, "mean": values, "low": 0.9 * values, "high": 1.1 * values}
    return pd.DataFrame({"planner": planner, "protocol": "standardised", "metric": metric, **row, **facts})


def make_summaries() -> pd.DataFrame:
    """All planners on all keyframes and on two slices, one of them with too few keyframes."""
    return _summaries().copy()


@cache
def _summaries() -> pd.DataFrame:
    frames = []
    slices = {
        "all": {},
        "resume_from_stop": {"slice": "resume_from_stop", "num_samples": 41, "num_scenes": 6, "num_events": 8.0},
        "night": {"slice": "night", "num_samples": 7, "num_scenes": 1, "num_events": 1.0, "too_few": True},
    }
    for factor, options in zip((1.0, 1.4, 0.9), slices.values(), strict=True):
        for planner, scale in L2_SCALES.items():
            frames.append(summary_rows(planner, "planning_l2", factor * scale * SHAPE, **options))
            frames.append(summary_rows(planner, "box_collision", 0.01 * factor * scale * SHAPE, **options))
    frames.append(summary_rows("driven", "box_collision_raw", np.full(8, 0.0033)))
    return contracts.ScoreSummaries.validate(pd.concat(frames, ignore_index=True))


def make_differences(low: float = -0.18, mean: float = -0.12, high: float = -0.05) -> pd.DataFrame:
    """The planner against all others; the numbers are those against the control."""
    rows = []
    for other, scale in L2_SCALES.items():
        if other == "planner":
            continue
        numbers = (low, mean, high) if other == "control" else tuple((0.8 - scale) * np.array([1.4, 1.1667, 0.9]))
        values = dict(zip(("low", "mean", "high"), numbers, strict=True))
        keys = {"planner": "planner", "other": other, "protocol": "standardised", "metric": "planning_l2"}
        rows.append({**keys, "horizon": "avg", **values, "num_samples": 240, "num_scenes": 10})
    return contracts.ScoreDifferences.validate(pd.DataFrame(rows))


def make_answers(num_each: int = 20, own: float = 0.7, shuffled: float = 0.4) -> pd.DataFrame:
    """Questions of all categories of which the first so many are answered rightly."""
    rows = []
    for category in VQA_CATEGORIES:
        for beam, share in (("own", own), ("shuffled", shuffled)):
            for number in range(num_each):
                is_right = number < share * num_each
                asked = {"sample_token": "scene-0001-003", "category": category, "beam": beam}
                text = {"question": f"What does car {number} do next?", "expected": "It slows down."}
                answer = "it slows down." if is_right else "It keeps its speed."
                rows.append({**asked, **text, "answer": answer, "correct": is_right})
    return contracts.VqaScores.validate(pd.DataFrame(rows))


def make_log(terms: tuple[str, ...] = ("total", "trajectory_l1", "agent_class")) -> pd.DataFrame:
    """Losses that halve a few times in two stages; the second has a term of its own."""
    return _log(terms).copy()


@cache
def _log(terms: tuple[str, ...]) -> pd.DataFrame:
    rows = []
    for stage, names in {"planner": terms, "joint": (*terms, "distillation")}.items():
        for term in names:
            for step in range(0, 300, 2):
                rows.append({"stage": stage, "step": step, "term": term, "value": 4.0 * 0.5 ** (step / 90) + 0.3})
    return contracts.TrainingLog.validate(pd.DataFrame(rows))


@cache
def _fleet() -> SceneTables:
    return make_fleet(num_scenes=4, num_samples=6, num_train=2)


def make_facts(**changes: Any) -> ReportFacts:
    """A complete run without pictures."""
    fleet = _fleet()
    times = [
        {"planner": name, "device": "cpu", "batch": 1, "p50_ms": 21.4, "p95_ms": 25.0, "p99_ms": 29.9}
        for name in ("planner", "control")
    ]
    facts = ReportFacts(
        title="Distilled planner: first report",
        dataset="a generated world in the nuScenes format",
        licence="Apache-2.0",
        scenes=fleet.scenes,
        samples=fleet.samples,
        summaries=make_summaries(),
        differences=make_differences(),
        vqa_scores=make_answers(),
        training_log=make_log(),
        latencies=contracts.Latencies.validate(pd.DataFrame(times)),
        identity={"bundle": "sha256 4f1d…", "seed": "0"},
    )
    return replace(facts, **changes)
