"""Keyframe features made by a rule for tests of drift: scenes differ much, keyframes of one scene hardly."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from dima_pipeline.contracts.result_tables import DRIFT_FEATURES

FEATURES = [name for names in DRIFT_FEATURES.values() for name in names]
NUM_KEYFRAMES = 6
DIM = 3


@dataclass(frozen=True)
class DriftTables:
    """What ``cut_windows`` reads."""

    features: pd.DataFrame
    scenes: pd.DataFrame
    slice_members: pd.DataFrame


def make_drift_tables(num_train: int = 20, num_val: int = 10, num_night: int = 8, seed: int = 0) -> DriftTables:
    """Scenes ``scene-000`` ...: training scenes first, the first ``num_night`` of them dark (brightness 0.2, not 0.5).

    Slice ``night`` holds the dark scenes, slice ``start`` the first three keyframes of every scene, and ``rare`` one
    keyframe.
    """
    rng = np.random.default_rng(seed)
    num = num_train + num_val
    names = [f"scene-{scene:03d}" for scene in range(num)]
    split = np.where(np.arange(num) < num_train, "train", "val")
    scenes = pd.DataFrame({"scene_token": [f"token-{name}" for name in names], "name": names, "split": split})
    tokens = [f"{name}-{at}" for name in names for at in range(NUM_KEYFRAMES)]
    keys = pd.DataFrame({"sample_token": tokens, "scene_token": np.repeat(scenes["scene_token"], NUM_KEYFRAMES)})
    values = rng.normal(size=(num, len(FEATURES))).repeat(NUM_KEYFRAMES, 0)
    values += 0.1 * rng.normal(size=values.shape)
    found = pd.DataFrame(values, columns=FEATURES)
    is_dark = np.arange(len(tokens)) < num_night * NUM_KEYFRAMES
    found["brightness"] = np.where(is_dark, 0.2, 0.5) + 0.02 * values[:, 0]
    embedding = rng.normal(size=(num, DIM)).repeat(NUM_KEYFRAMES, 0) + 0.1 * rng.normal(size=(len(tokens), DIM))
    features = pd.concat([keys.reset_index(drop=True), found], axis=1).assign(embedding=list(embedding))
    at = np.tile(np.arange(NUM_KEYFRAMES), num)
    members = [("night", is_dark), ("start", at < 3), ("rare", np.arange(len(tokens)) == 0)]
    rows = [{"sample_token": tokens[row], "slice": name} for name, inside in members for row in np.flatnonzero(inside)]
    return DriftTables(features, scenes, pd.DataFrame(rows).assign(event_id="event"))
