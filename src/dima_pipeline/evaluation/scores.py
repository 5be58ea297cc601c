"""From plans to numbers: scores per keyframe, and the one place where means over keyframes are taken.

Standardised protocol (PARA-Drive, CVPR 2024): the value at 1, 2 and 3 s is that of the step, ``avg`` their mean,
``avg_all`` the mean of all six steps; steps with unknown future and the first keyframe of a scene are left out.
Intervals resample whole scenes, as keyframes of a scene are not independent.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float

from dima_pipeline.contracts.frames import NUM_FUTURE_STEPS, STEP_S
from dima_pipeline.datasets import SceneTables
from dima_pipeline.evaluation.config import EvaluationConfig
from dima_pipeline.evaluation.driven import driven_scenes
from dima_pipeline.evaluation.plans import plan_array
from dima_pipeline.metrics import METRICS, MetricValues

DRIVEN = "driven"
"""Name of the driven path where it stands among planners."""
RAW = "_raw"
"""Suffix of a metric before steps where the driven path itself fails are forgiven."""

ALL_SAMPLES = "all"
HORIZONS = (*(f"{STEP_S * step:.1f}" for step in range(1, NUM_FUTURE_STEPS + 1)), "avg", "avg_all")
AVERAGED_STEPS = [1, 3, 5]
"""Indices of 1, 2 and 3 s."""


def score(plans: pd.DataFrame, tables: SceneTables, metrics: Sequence[Any]) -> pd.DataFrame:
    """``PlanningScores`` rows of every planner, keyframe, metric (parsed ``MetricSpec``) and step.

    A metric that knows ``compute_driven`` adds rows of the planner ``driven`` under its name with ``_raw``. Raises
    ``ValueError`` where planners do not all have a complete plan for the same keyframes.
    """
    tokens = pd.unique(plans["sample_token"]).tolist()
    scenes = driven_scenes(tables, tokens)
    known = tables.samples.set_index("sample_token")["index"].loc[tokens].to_numpy() > 0
    frames = []
    for spec in metrics:
        metric, name = METRICS.build(spec), METRICS.dump(spec)["name"]
        for planner in pd.unique(plans["planner"]):
            values = metric.compute(plan_array(plans, planner, tokens), scenes)
            frames.append(_score_rows(planner, tokens, (metric.protocol, name), values, known))
        if hasattr(metric, "compute_driven"):
            values = metric.compute_driven(scenes)
            frames.append(_score_rows(DRIVEN, tokens, (metric.protocol, f"{name}{RAW}"), values, known))
    return pd.concat(frames, ignore_index=True)


def _score_rows(
    planner: str, tokens: Sequence[str], metric: tuple[str, str], values: MetricValues, known: Bool[np.ndarray, "N"]
) -> pd.DataFrame:
    num_samples, num_steps = values.value.shape
    return pd.DataFrame(
        {
            "planner": planner,
            "sample_token": np.repeat(np.asarray(tokens, object), num_steps),
            "protocol": metric[0],
            "metric": metric[1],
            "horizon_s": np.tile(STEP_S * np.arange(1, num_steps + 1), num_samples),
            "value": values.value.reshape(-1),
            "valid": (values.valid & known[:, None]).reshape(-1),
        }
    )


def summarise(
    scores: pd.DataFrame, samples: pd.DataFrame, slice_members: pd.DataFrame, config: EvaluationConfig
) -> pd.DataFrame:
    """``ScoreSummaries``: the mean of every planner and metric over all keyframes and over each slice."""
    rows = []
    members = slice_members[slice_members["sample_token"].isin(set(scores["sample_token"]))]
    for keys, tokens, values, valid in _per_sample(scores):
        scene = _scene_index(samples, tokens)
        for name, inside, num_events in _subsets(members, tokens):
            facts = _mean_over_scenes(values[inside], valid[inside], scene[inside], config)
            too_few = facts["num_samples"] < config.min_samples
            if name != ALL_SAMPLES:
                too_few |= num_events < config.min_events
            subset = {"slice": name, "num_events": num_events, "too_few": too_few}
            rows.append(pd.DataFrame({**keys, **subset, "horizon": HORIZONS, **facts}))
    columns = ["planner", "protocol", "metric", "slice", "horizon", "mean", "low", "high"]
    counts = ["num_samples", "num_scenes", "num_events", "too_few"]
    return pd.concat(rows, ignore_index=True)[columns + counts]


def compare(scores: pd.DataFrame, samples: pd.DataFrame, planner: str, config: EvaluationConfig) -> pd.DataFrame:
    """``ScoreDifferences`` of ``planner`` to every other planner: paired by keyframe, below 0 = ``planner`` is better.

    Raises ``ValueError`` where ``planner`` has no scores.
    """
    found = {(keys["planner"], keys["metric"]): (keys, tokens, v, ok) for keys, tokens, v, ok in _per_sample(scores)}
    if planner not in {name for name, _ in found}:
        raise ValueError(f"table planning_scores has no planner '{planner}'; it has {sorted({p for p, _ in found})}")
    rows = []
    for (other, metric), (keys, tokens, values, valid) in found.items():
        if other == planner or (planner, metric) not in found:
            continue
        _, own_tokens, own_values, own_valid = found[planner, metric]
        assert own_tokens == tokens, "score() gives every planner the same keyframes"
        scene = _scene_index(samples, tokens)
        facts = _mean_over_scenes(own_values - values, own_valid & valid, scene, config)
        pair = {"planner": planner, "other": other, "protocol": keys["protocol"], "metric": metric}
        rows.append(pd.DataFrame({**pair, "horizon": HORIZONS, **facts}))
    return pd.concat(rows, ignore_index=True)


def _per_sample(scores: pd.DataFrame) -> Iterator[tuple[dict[str, str], list[str], np.ndarray, np.ndarray]]:
    """Planner, protocol and metric; sample_tokens; values (N, T) and validity (N, T), in one fixed order."""
    names = ["planner", "protocol", "metric"]
    for key, group in scores.groupby(names, sort=False):
        rows = group.sort_values(["sample_token", "horizon_s"])
        tokens = rows["sample_token"].tolist()[::NUM_FUTURE_STEPS]
        assert len(rows) == NUM_FUTURE_STEPS * rows["sample_token"].nunique(), "six steps a keyframe"
        shape = (len(tokens), NUM_FUTURE_STEPS)
        keys = dict(zip(names, map(str, key), strict=True))
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


def _mean_over_scenes(
    values: Float[np.ndarray, "N T"],
    valid: Bool[np.ndarray, "N T"],
    scene: np.ndarray,
    config: EvaluationConfig,
) -> dict[str, np.ndarray]:
    """Means for each of ``HORIZONS``, a 95 % bootstrap interval over scenes, and what stands behind them."""
    present = np.unique(scene[valid.any(1)])
    index = np.searchsorted(present, scene[valid.any(1)])
    sums, counts = np.zeros((2, len(present), values.shape[1]))
    np.add.at(sums, index, np.where(valid, values, 0.0)[valid.any(1)])
    np.add.at(counts, index, valid[valid.any(1)])
    means = horizon_means(sums.sum(0), counts.sum(0))
    low = high = np.full(len(HORIZONS), np.nan)
    if len(present) >= config.min_scenes:
        # The same seed for every planner: intervals of two planners differ by their plans, not by the draw.
        draws = np.random.default_rng(config.seed).multinomial(
            len(present), np.full(len(present), 1 / len(present)), config.num_bootstrap
        )
        resampled = horizon_means(draws @ sums, draws @ counts)
        usable = ~np.isnan(resampled).all(0)
        low, high = np.full((2, len(HORIZONS)), np.nan)
        low[usable], high[usable] = np.nanpercentile(resampled[:, usable], [2.5, 97.5], axis=0)
    num_samples = _at_horizons(valid.sum(0))
    num_scenes = _at_horizons((counts > 0).sum(0))
    return {"mean": means, "low": low, "high": high, "num_samples": num_samples, "num_scenes": num_scenes}


def horizon_means(sums: Float[np.ndarray, "... T"], counts: Float[np.ndarray, "... T"]) -> np.ndarray:
    """Means at each of ``HORIZONS`` from sums and counts per step; NaN where nothing was counted."""
    with np.errstate(invalid="ignore"):
        steps = sums / counts
    averages = [steps[..., AVERAGED_STEPS].mean(-1), steps.mean(-1)]
    return np.concatenate([steps, np.stack(averages, -1)], -1)


def _at_horizons(per_step: np.ndarray) -> np.ndarray:
    """Counts per step for all ``HORIZONS``: an average stands on as many as its latest step."""
    return np.concatenate([per_step, [per_step[-1], per_step[-1]]]).astype(int)


def headline(summaries: pd.DataFrame) -> dict[str, float]:
    """The averages over all keyframes as ``<planner>.<metric>.avg``, for a metrics file."""
    rows = summaries[(summaries["slice"] == ALL_SAMPLES) & (summaries["horizon"] == "avg")].dropna(subset=["mean"])
    names = rows["planner"] + "." + rows["metric"] + ".avg"
    return dict(zip(names, rows["mean"].astype(float), strict=True))
