"""The two windows that drift compares, cut from the table of keyframe features: no scene stands in both."""

import hashlib

import numpy as np
import pandas as pd

from dima_pipeline.contracts.result_tables import DRIFT_FEATURES
from dima_pipeline.monitoring.config import DriftConfig, WindowConfig
from dima_pipeline.plugins import unknown

EMBEDDING = "embedding"


def cut_windows(
    features: pd.DataFrame, scenes: pd.DataFrame, slice_members: pd.DataFrame, config: DriftConfig
) -> pd.DataFrame:
    """The keyframes of both windows with ``is_current``, and components instead of ``embedding``.

    Raises ``ValueError`` for a window without keyframes, an unknown slice or an unknown scene.
    """
    current = _select(features, scenes, slice_members, config.current, "current")
    reference = _select(features, scenes, slice_members, config.reference, "reference")
    reference = reference[~reference["scene_token"].isin(current["scene_token"])]
    if reference.empty:
        raise ValueError("drift.current takes every scene of drift.reference; let one of them be another split or part")
    both = pd.concat([reference.assign(is_current=False), current.assign(is_current=True)], ignore_index=True)
    parts = components(np.stack(both[EMBEDDING].to_list()), config.num_components)
    return both.drop(columns=EMBEDDING).assign(**{f"{EMBEDDING}_{i + 1}": part for i, part in enumerate(parts.T)})


def feature_groups(windows: pd.DataFrame) -> dict[str, str]:
    """Feature -> group for the feature columns of ``cut_windows``."""
    groups = {name: group for group, names in DRIFT_FEATURES.items() for name in names}
    return groups | {name: EMBEDDING for name in windows.columns if name.startswith(f"{EMBEDDING}_")}


def _select(
    features: pd.DataFrame, scenes: pd.DataFrame, slice_members: pd.DataFrame, window: WindowConfig, name: str
) -> pd.DataFrame:
    strangers = sorted(set(window.scenes) - set(scenes["name"]))
    if strangers:
        raise ValueError(f"drift.{name}.scenes: {unknown('scene', strangers[0], sorted(scenes['name']))}")
    chosen = scenes[scenes["split"] == window.split]
    if window.scenes:
        chosen = chosen[chosen["name"].isin(window.scenes)]
    if window.part is not None:
        order = chosen["name"].map(lambda scene: hashlib.sha256(scene.encode()).hexdigest()).argsort()
        chosen = chosen.iloc[order.to_numpy()[("even", "odd").index(window.part) :: 2]]
    rows = features[features["scene_token"].isin(chosen["scene_token"])]
    if window.slice is not None:
        known = sorted(slice_members["slice"].unique())
        if window.slice not in known:
            raise ValueError(f"drift.{name}.slice: {unknown('slice', window.slice, known)}")
        members = slice_members[slice_members["slice"] == window.slice]
        rows = rows[rows["sample_token"].isin(members["sample_token"])]
    if rows.empty:
        raise ValueError(f"drift.{name} has no keyframe: nothing in table keyframe_features fits {window}")
    return rows


def components(embedding: np.ndarray, num_components: int) -> np.ndarray:
    """Coordinates (N, K) along the directions in which the embeddings (N, D) of both windows vary most.

    Fitted on both windows: fitted on the reference alone, any other scenes would look strange.
    """
    centred = embedding - embedding.mean(0)
    directions = np.linalg.svd(centred, full_matrices=False)[2][:num_components]
    # The sign of a direction is arbitrary: make its largest entry positive.
    largest = np.take_along_axis(directions, np.abs(directions).argmax(1)[:, None], 1)
    coordinates: np.ndarray = centred @ (directions * np.sign(largest)).T
    return coordinates
