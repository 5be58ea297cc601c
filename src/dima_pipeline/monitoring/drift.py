"""Drift of the current window from the reference, for all keyframes and for each slice, and what follows from it."""

from typing import Any

import numpy as np
import pandas as pd

from dima_pipeline.monitoring.calibration import STATISTIC, calibrate
from dima_pipeline.monitoring.config import DriftConfig
from dima_pipeline.monitoring.windows import feature_groups

ALL = "all"
"""The subset of every keyframe."""


def subsets(windows: pd.DataFrame, slice_members: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """The rows of ``windows`` by subset: all of them, and those of each slice, also where there are none."""
    found = {ALL: windows}
    for name, rows in slice_members.groupby("slice", sort=True):
        found[str(name)] = windows[windows["sample_token"].isin(rows["sample_token"])]
    return found


def score_drift(windows: pd.DataFrame, slice_members: pd.DataFrame, config: DriftConfig) -> pd.DataFrame:
    """``DriftScores`` of ``windows.cut_windows``; what has too little behind it is kept, not judged."""
    groups = feature_groups(windows)
    scores = [_score(rows, name, groups, config) for name, rows in subsets(windows, slice_members).items()]
    return pd.concat(scores, ignore_index=True)


def _score(rows: pd.DataFrame, name: str, groups: dict[str, str], config: DriftConfig) -> pd.DataFrame:
    scores = pd.DataFrame({"slice": name, "group": list(groups.values()), "feature": list(groups)})
    scores = scores.assign(statistic=STATISTIC, value=np.nan, threshold=np.nan, drifted=False)
    sides = {"reference": rows[~rows["is_current"]], "current": rows[rows["is_current"]]}
    is_judged = np.ones(len(scores), bool)
    for side, own in sides.items():
        known = own[list(groups)].notna()
        num_scenes = known.groupby(own["scene_token"]).any().sum()
        scores[f"num_{side}"] = known.sum().to_numpy(int)
        is_judged &= (known.sum() >= config.min_samples).to_numpy() & (num_scenes >= config.min_scenes).to_numpy()
    if is_judged.any():
        values = rows[scores.loc[is_judged, "feature"].tolist()].to_numpy(float)
        scene, tokens = pd.factorize(rows["scene_token"], sort=True)
        is_current = np.isin(tokens, sides["current"]["scene_token"])
        value, threshold = calibrate(values, scene, is_current, config)
        scores.loc[is_judged, ["value", "threshold"]] = np.stack([value, threshold], 1)
        scores.loc[is_judged, "drifted"] = value > threshold
    return scores.assign(too_few=~is_judged)


def num_tolerated(num_features: int, config: DriftConfig) -> int:
    """How many features may drift; a share of 0.3 of 10 is 3 in spite of rounding."""
    return int(config.max_drifted_share * num_features + 1e-9)


def judge(windows: pd.DataFrame, scores: pd.DataFrame, config: DriftConfig) -> dict[str, Any]:
    """The verdict in numbers. It is about all keyframes; slices are tested the same way and stand beside it.

    ``passed`` is false where nothing could be judged: what was not seen did not pass.
    """
    judged = scores[~scores["too_few"]]
    shares = judged.groupby("slice")["drifted"].mean()
    of_all = judged[judged["slice"] == ALL]
    num_features, num_drifted = len(of_all), int(of_all["drifted"].sum())
    return {
        "passed": num_features > 0 and num_drifted <= num_tolerated(num_features, config),
        "num_features": num_features,
        "num_drifted": num_drifted,
        "share_drifted": num_drifted / max(num_features, 1),
        "max_drifted_share": config.max_drifted_share,
        "num_reference": int((~windows["is_current"]).sum()),
        "num_current": int(windows["is_current"].sum()),
        "num_reference_scenes": int(windows.loc[~windows["is_current"], "scene_token"].nunique()),
        "num_current_scenes": int(windows.loc[windows["is_current"], "scene_token"].nunique()),
        "share_by_slice": {str(name): float(share) for name, share in shares.items() if name != ALL},
    }


def check(verdict: dict[str, Any], scores: pd.DataFrame, config: DriftConfig) -> None:
    """The exit rule: raises ``ValueError`` where ``on_drift`` is ``fail`` and the verdict did not pass."""
    if config.on_drift == "report" or verdict["passed"]:
        return
    windows = "{num_current} keyframes of {num_current_scenes} scenes against {num_reference} of {num_reference_scenes}"
    if not verdict["num_features"]:
        raise ValueError(
            f"drift cannot be judged: {windows.format(**verdict)} are too few (drift.min_scenes {config.min_scenes}, "
            f"drift.min_samples {config.min_samples}); choose larger windows, or drift.on_drift: report"
        )
    raise ValueError(
        f"the current window drifted: {verdict['num_drifted']} of {verdict['num_features']} features, at most "
        f"{verdict['max_drifted_share']:.0%} may: {drifted_features(scores[scores['slice'] == ALL])}; "
        f"{windows.format(**verdict)}. Report and tables are written; drift.on_drift: report lets the run go on"
    )


def drifted_features(scores: pd.DataFrame) -> str:
    """The drifted features of some ``DriftScores`` rows in words, farthest beyond their threshold first."""
    rows = scores[scores["drifted"]]
    ratio = (rows["value"] / rows["threshold"]).set_axis(rows["feature"]).sort_values(ascending=False)
    return ", ".join(f"{name} ({times:.1f} x its threshold)" for name, times in ratio.items())
