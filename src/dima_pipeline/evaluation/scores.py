"""From plans to numbers: scores per keyframe, and the one place where means over keyframes are taken.

Which steps count and what a number at a horizon is, is a matter of the protocol (``scoring``), and stands in each row.
Intervals resample whole scenes, as keyframes of a scene are not independent.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float

from dima_pipeline.contracts.frames import NUM_FUTURE_STEPS, STEP_S
from dima_pipeline.datasets import SceneTables
from dima_pipeline.evaluation.config import EvaluationConfig
from dima_pipeline.evaluation.driven import driven_scenes
from dima_pipeline.evaluation.plans import plan_array
from dima_pipeline.metrics import METRICS, MetricValues
from dima_pipeline.scoring.bootstrap import scene_interval, scene_sums
from dima_pipeline.scoring.horizons import AVERAGED_STEPS, HORIZONS, horizon_columns, horizon_means

DRIVEN = "driven"
"""Name of the driven path where it stands among planners."""
RAW = "_raw"
"""Suffix of a metric before steps where the driven path itself fails are forgiven."""

ALL_SAMPLES = "all"
KEYS = ["planner", "protocol", "metric", "horizon_rule"]


def score(plans: pd.DataFrame, tables: SceneTables, metrics: Sequence[Any]) -> pd.DataFrame:
    """``PlanningScores`` rows of every planner, keyframe, metric (parsed ``MetricSpec``) and step.

    A metric that knows ``compute_driven`` adds rows of the planner ``driven`` under its name with ``_raw``. Raises
    ``ValueError`` where planners do not all have a complete plan for the same keyframes.
    """
    tokens = pd.unique(plans["sample_token"]).tolist()
    scenes = driven_scenes(tables, tokens)
    planned = {planner: plan_array(plans, planner, tokens) for planner in pd.unique(plans["planner"])}
    frames = []
    for spec in metrics:
        metric, name = METRICS.build(spec), METRICS.dump(spec)["name"]
        facts = {"protocol": metric.protocol, "metric": name, "horizon_rule": metric.horizon_rule}
        for planner, array in planned.items():
            frames.append(_score_rows({"planner": planner, **facts}, tokens, metric.compute(array, scenes)))
        if hasattr(metric, "compute_driven"):
            facts |= {"planner": DRIVEN, "metric": f"{name}{RAW}"}
            frames.append(_score_rows(facts, tokens, metric.compute_driven(scenes)))
    return pd.concat(frames, ignore_index=True)


def _score_rows(facts: dict[str, str], tokens: Sequence[str], values: MetricValues) -> pd.DataFrame:
    num_samples, num_steps = values.value.shape
    rows = pd.DataFrame(
        {
            "sample_token": np.repeat(np.asarray(tokens, object), num_steps),
            "horizon_s": np.tile(STEP_S * np.arange(1, num_steps + 1), num_samples),
            "value": values.value.reshape(-1),
            "valid": values.valid.reshape(-1),
        }
    )
    columns = ["planner", "sample_token", "protocol", "metric", "horizon_rule", "horizon_s", "value", "valid"]
    return rows.assign(**facts)[columns]


def summarise(
    scores: pd.DataFrame, samples: pd.DataFrame, slice_members: pd.DataFrame, config: EvaluationConfig
) -> pd.DataFrame:
    """``ScoreSummaries``: the mean of every planner and metric over all keyframes and over each slice."""
    rows = []
    members = slice_members[slice_members["sample_token"].isin(set(scores["sample_token"]))]
    for keys, tokens, values, valid in _per_sample(scores):
        scene = _scene_index(samples, tokens)
        columns, counted = horizon_columns(values, valid, keys["horizon_rule"])
        for name, inside, num_events in _subsets(members, tokens):
            facts: dict[str, Any] = _over_scenes((columns[inside], counted[inside]), scene[inside], config)
            facts["low"] = np.maximum(facts["low"], 0.0)  # no metric is below 0, differences are
            too_few = (facts["num_samples"] < config.min_samples) | (facts["num_scenes"] < config.min_scenes)
            if name != ALL_SAMPLES:
                too_few |= num_events < config.min_events
            subset = {"slice": name, "num_events": num_events, "too_few": too_few}
            rows.append(pd.DataFrame({**keys, **subset, "horizon": HORIZONS, **facts}))
    order = [*KEYS, "slice", "horizon", "mean", "low", "high", "num_samples", "num_scenes", "num_events", "too_few"]
    return pd.concat(rows, ignore_index=True)[order]


def compare(scores: pd.DataFrame, samples: pd.DataFrame, planner: str, config: EvaluationConfig) -> pd.DataFrame:
    """``ScoreDifferences`` of ``planner`` to every other planner: paired by keyframe, below 0 = ``planner`` is better.

    Raises ``ValueError`` where ``planner`` has no scores.
    """
    found = {tuple(keys.values()): (keys, tokens, values, valid) for keys, tokens, values, valid in _per_sample(scores)}
    if planner not in {name for name, *_ in found}:
        raise ValueError(f"table planning_scores has no planner '{planner}'; it has {sorted({p for p, *_ in found})}")
    rows = []
    for (other, *what), (keys, tokens, values, valid) in found.items():
        if other == planner or (planner, *what) not in found:
            continue
        _, own_tokens, own_values, own_valid = found[planner, *what]
        assert own_tokens == tokens, "score() gives every planner the same keyframes"
        own, counts = horizon_columns(own_values, valid & own_valid, keys["horizon_rule"])
        others, _ = horizon_columns(values, valid & own_valid, keys["horizon_rule"])
        facts = _over_scenes((own - others, counts), _scene_index(samples, tokens), config)
        pair = {**keys, "planner": planner, "other": other}
        rows.append(pd.DataFrame({**pair, "horizon": HORIZONS, **facts}))
    return pd.concat(rows, ignore_index=True)


def _per_sample(scores: pd.DataFrame) -> Iterator[tuple[dict[str, str], list[str], np.ndarray, np.ndarray]]:
    """``KEYS``; sample_tokens; values (N, T) and validity (N, T), in one fixed order."""
    for key, group in scores.groupby(KEYS, sort=False):
        rows = group.sort_values(["sample_token", "horizon_s"])
        tokens = rows["sample_token"].tolist()[::NUM_FUTURE_STEPS]
        assert len(rows) == NUM_FUTURE_STEPS * rows["sample_token"].nunique(), "six steps a keyframe"
        shape = (len(tokens), NUM_FUTURE_STEPS)
        keys = dict(zip(KEYS, map(str, key), strict=True))
        yield keys, tokens, rows["value"].to_numpy(float).reshape(shape), rows["valid"].to_numpy(bool).reshape(shape)


def _scene_index(samples: pd.DataFrame, tokens: Sequence[str]) -> np.ndarray:
    scene = samples.set_index("sample_token")["scene_token"].loc[list(tokens)]
    return np.unique(scene.to_numpy(str), return_inverse=True)[1]


def _subsets(members: pd.DataFrame, tokens: Sequence[str]) -> Iterator[tuple[str, np.ndarray, float]]:
    """Every subset of keyframes: name, which of ``tokens`` are in it, and its number of events."""
    yield ALL_SAMPLES, np.ones(len(tokens), bool), np.nan
    for name, rows in members.groupby("slice", sort=True):
        yield (
            str(name),
            np.isin(np.asarray(tokens, object), rows["sample_token"].to_numpy(object)),
            float(rows["event_id"].nunique()),
        )


def _over_scenes(
    columns: tuple[Float[np.ndarray, "N 2T"], Float[np.ndarray, "N 2T"]], scene: np.ndarray, config: EvaluationConfig
) -> dict[str, np.ndarray]:
    """Means for each of ``HORIZONS`` of ``horizon_columns``, their 95 % intervals and what stands behind them."""
    sums, counts = scene_sums(*columns, scene)
    num_samples, num_scenes = _at_horizons(counts.sum(0)), _at_horizons((counts > 0).sum(0))
    low = high = np.full(len(HORIZONS), np.nan)
    if (num_scenes >= config.min_scenes).any():
        # The same seed for every planner: intervals of two planners differ by their plans, not by the draw.
        ends = scene_interval(sums, counts, horizon_means, num_resamples=config.num_bootstrap, seed=config.seed)
        low, high = (np.where(num_scenes >= config.min_scenes, end, np.nan) for end in ends)
    means = horizon_means(sums.sum(0), counts.sum(0))
    return {"mean": means, "low": low, "high": high, "num_samples": num_samples, "num_scenes": num_scenes}


def _at_horizons(counts: Float[np.ndarray, "2T"]) -> np.ndarray:
    """Counts of columns for all ``HORIZONS``: an average stands on as many as the least of its numbers."""
    ruled, steps = counts[:NUM_FUTURE_STEPS], counts[NUM_FUTURE_STEPS:]
    return np.concatenate([ruled, [ruled[AVERAGED_STEPS].min(), steps.min()]]).astype(int)


def headline(summaries: pd.DataFrame) -> dict[str, float]:
    """The averages over all keyframes as ``<planner>.<metric>.<protocol>.avg``, for a metrics file."""
    rows = summaries[(summaries["slice"] == ALL_SAMPLES) & (summaries["horizon"] == "avg")].dropna(subset=["mean"])
    names = rows["planner"] + "." + rows["metric"] + "." + rows["protocol"] + ".avg"
    return dict(zip(names, rows["mean"].astype(float), strict=True))
