"""A small made-up run for tests of the report: tables typed by hand, with the contracts' columns."""

import json
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pandas as pd

from dima_pipeline.contracts import result_tables
from dima_pipeline.contracts import tables as contracts
from dima_pipeline.contracts.frames import VQA_CATEGORIES
from dima_pipeline.datasets import SceneTables
from dima_pipeline.reporting.config import ReportConfig
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
    "constant_turn_rate_and_velocity": 0.95,
    "ego_mlp": 0.85,
    "go_straight": 1.90,
}


def summary_rows(planner: str, metric: str, values: np.ndarray, **options: Any) -> pd.DataFrame:
    """Rows of ``score_summaries`` for all horizons; the interval is 10 % wide on each side."""
    row = {"slice": "all", "num_samples": 240, "num_scenes": 10, "num_events": np.nan, "too_few": False, **options}
    values = np.asarray(values, float)
    facts = {"horizon": HORIZONS, "mean": values, "low": 0.9 * values, "high": 1.1 * values}
    return pd.DataFrame(
        {"planner": planner, "protocol": "standardised", "metric": metric, "horizon_rule": "at", **row, **facts}
    )


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
    return result_tables.ScoreSummaries.validate(pd.concat(frames, ignore_index=True))


def make_differences(low: float = -0.18, mean: float = -0.12, high: float = -0.05) -> pd.DataFrame:
    """The planner against all others; the numbers are those against the control."""
    rows = []
    for other, scale in L2_SCALES.items():
        if other == "planner":
            continue
        numbers = (low, mean, high) if other == "control" else tuple((0.8 - scale) * np.array([1.4, 1.1667, 0.9]))
        values = dict(zip(("low", "mean", "high"), numbers, strict=True))
        keys = {"planner": "planner", "other": other, "protocol": "standardised", "metric": "planning_l2"}
        keys["horizon_rule"] = "at"
        rows.append({**keys, "horizon": "avg", **values, "num_samples": 240, "num_scenes": 10})
    return result_tables.ScoreDifferences.validate(pd.DataFrame(rows))


def make_answers(num_each: int = 20, own: float = 0.7, shuffled: float = 0.4) -> pd.DataFrame:
    """Questions of all categories, about the eight held-out scenes in turn; the first so many are answered rightly."""
    rows = []
    for category in VQA_CATEGORIES:
        for beam, share in (("own", own), ("shuffled", shuffled)):
            for number in range(num_each):
                is_right = number < share * num_each
                token = f"scene-000{2 + number % 8}-003"
                asked = {"sample_token": token, "category": category, "beam": beam}
                text = {"question": f"What does car {number} do next?", "expected": "It slows down."}
                answer = "it slows down." if is_right else "It keeps its speed."
                rows.append({**asked, **text, "answer": answer, "correct": is_right})
    return result_tables.VqaScores.validate(pd.DataFrame(rows))


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
    return result_tables.TrainingLog.validate(pd.DataFrame(rows))


def make_members() -> pd.DataFrame:
    """Night in a training and in a held-out scene, one resume in training, one construction site never held out."""
    rows = [("scene-0000", "night"), ("scene-0002", "night"), ("scene-0000", "resume_from_stop")]
    rows += [("scene-0003", "resume_from_stop"), ("scene-0001", "construction")]
    members = [
        {"sample_token": f"{scene}-{index:03d}", "slice": name, "event_id": f"{name}-{scene}"}
        for scene, name in rows
        for index in (2, 3)
    ]
    return contracts.SliceMembers.validate(pd.DataFrame(members))


def make_trials(*objectives: float, status: tuple[str, ...] = (), rate: float = 1e-3) -> pd.DataFrame:
    """Trials of one objective each (NaN = failed), the default first; learning rates are multiples of ``rate``."""
    rows = []
    for trial, objective in enumerate(objectives):
        ended = status[trial] if status else "failed" if np.isnan(objective) else "finished"
        config = json.dumps({"joint.learning_rate": rate * (1 + trial), "joint.clip_norm": 20})
        step = {"finished": 60, "stopped": 20, "failed": 0}[ended]
        rows.append({"trial": trial, "config": config, "objective": objective, "step": step, "status": ended})
    table = pd.DataFrame(rows).assign(is_default=False, is_best=False)
    table.loc[0, "is_default"] = True
    finished = table.loc[table["status"] == "finished", "objective"]
    if not finished.empty:
        table.loc[finished.idxmin(), "is_best"] = True
    return result_tables.SweepTrials.validate(table)


DRIFT = {
    "all": {"speed_mps": 0.05, "num_agents": 0.3, "l2_m": 0.2, "ego_features": 0.1},
    "night": {"speed_mps": 0.5, "num_agents": 0.05, "l2_m": 0.05, "ego_features": 0.05},
    "rain": dict.fromkeys(("speed_mps", "num_agents", "l2_m", "ego_features"), np.nan),
}
"""Value by slice and feature; the threshold of all is 0.1, and NaN is too few."""
DRIFT_GROUPS = {"speed_mps": "ego", "num_agents": "scene", "l2_m": "error", "ego_features": "embedding"}


def make_drift(values: dict[str, dict[str, float]] = DRIFT) -> pd.DataFrame:
    """Scores of four features in every slice."""
    rows = []
    for name, features in values.items():
        for feature, value in features.items():
            too_few = bool(np.isnan(value))
            keys = {"slice": name, "group": DRIFT_GROUPS[feature], "feature": feature, "statistic": "wasserstein"}
            counts = {"num_reference": 3 if too_few else 900, "num_current": 2 if too_few else 180, "too_few": too_few}
            score = {"value": value, "threshold": 0.1, "drifted": not too_few and value > 0.1}
            rows.append({**keys, **score, **counts})
    return result_tables.DriftScores.validate(pd.DataFrame(rows))


def make_drift_verdict(passed: bool = False) -> dict[str, Any]:
    """The verdict on ``make_drift``: two of four features drifted."""
    counts = {"num_features": 4, "num_drifted": 2, "num_reference": 900, "num_current": 180}
    counts |= {"num_reference_scenes": 30, "num_current_scenes": 6}
    limit = 0.6 if passed else 0.3
    return {"passed": passed, "share_drifted": 0.5, "max_drifted_share": limit, **counts, "share_by_slice": {}}


@cache
def _fleet() -> SceneTables:
    return make_fleet(num_scenes=10, num_samples=6, num_train=2)


def make_overlap(*num_near: int) -> pd.DataFrame:
    """Held-out keyframes where training drove, of 24 in each place."""
    places = ["boston-seaport", "singapore-onenorth"]
    keys = {"split": "val", "location": places[: len(num_near)], "radius_m": 5.0, "num_keyframes": 24}
    return contracts.GeographicOverlap.validate(pd.DataFrame({**keys, "num_near": num_near}))


def make_findings() -> pd.DataFrame:
    """Two odd things in two scenes, and another one in the tables as a whole."""
    odd = {"severity": "warning", "table": "sample_annotation", "token": "t"}
    rows = [
        {**odd, "check": "box_size", "scene_name": "scene-0001", "num": 2, "message": "a car of 40 m"},
        {**odd, "check": "box_size", "scene_name": "scene-0002", "num": 3, "message": "a bus of 99 m"},
        {**odd, "check": "no_can_bus", "scene_name": "", "num": 1, "message": "there is none"},
    ]
    return contracts.AuditFindings.validate(pd.DataFrame(rows))


def make_facts(**changes: Any) -> ReportFacts:
    """A complete run without pictures."""
    fleet = _fleet()
    times = [
        {"planner": name, "device": "cpu", "batch": 1, "p50_ms": 21.4, "p95_ms": 25.0, "p99_ms": 29.9}
        for name in ("planner", "control")
    ]
    facts = ReportFacts(
        run=ReportConfig(dataset="a made-up world", data_dir="data/tiny", generates_world=True),
        licence="Apache-2.0",
        scenes=fleet.scenes,
        samples=fleet.samples,
        slice_members=make_members(),
        overlap=make_overlap(0, 3),
        findings=make_findings(),
        summaries=make_summaries(),
        differences=make_differences(),
        vqa_scores=make_answers(),
        training_log=make_log(),
        latencies=result_tables.Latencies.validate(pd.DataFrame(times)),
        sweep_trials=make_trials(2.0, 1.5, 1.75),
        drift_scores=make_drift(),
        drift_verdict=make_drift_verdict(),
        card={"num_parameters": 123456, "planner": {"name": "vad"}, "training": {"run": "joint-4f1d"}},
        training={"teacher": {"name": "causal_lm", "checkpoint": None}, "num_development_scenes": 0},
    )
    return replace(facts, **changes)


def make_bare_facts() -> ReportFacts:
    """A run of which only the scores over all keyframes are there."""
    facts = make_facts()
    names = ["vqa_scores", "training_log", "latencies", "differences", "sweep_trials", "drift_scores", "slice_members"]
    return replace(
        facts,
        summaries=facts.summaries[facts.summaries["slice"] == "all"],
        drift_verdict={},
        **{name: getattr(facts, name).iloc[:0] for name in names},
    )
