"""How much of the held-out driving is where the planner was trained: reported, never refused.

nuScenes' own splits share towns and streets, and a model can know a place by heart: over 80 % of its held-out samples
are less than 5 m from a training sample (Lilja et al., "Localization Is All You Evaluate", CVPR 2024).
"""

import numpy as np
import pandas as pd
from jaxtyping import Float
from scipy.spatial import KDTree

COLUMNS = ("split", "location", "radius_m", "num_keyframes", "num_near")


def geographic_overlap(samples: pd.DataFrame, scenes: pd.DataFrame, radius_m: float) -> pd.DataFrame:
    """Held-out keyframes by split and location, and how many are within ``radius_m`` of a training keyframe there.

    From the tables ``samples`` and ``scenes``; height is left out. One row per split and location that holds any,
    sorted: columns ``COLUMNS``.
    """
    facts = scenes.set_index("scene_token")[["split", "location"]]
    keyframes = samples[["scene_token", "ego_x_m", "ego_y_m"]].join(facts, on="scene_token")
    held_out = keyframes[keyframes["split"] != "train"]
    trained_on = keyframes[keyframes["split"] == "train"]
    table = []
    for (split, location), rows in held_out.groupby(["split", "location"]):
        num_near = _num_near(_positions(trained_on[trained_on["location"] == location]), _positions(rows), radius_m)
        table.append((split, location, float(radius_m), len(rows), num_near))
    return pd.DataFrame(table, columns=list(COLUMNS))


def _positions(keyframes: pd.DataFrame) -> Float[np.ndarray, "N 2"]:
    return keyframes[["ego_x_m", "ego_y_m"]].to_numpy(float)


def _num_near(known: Float[np.ndarray, "N 2"], position: Float[np.ndarray, "M 2"], radius_m: float) -> int:
    if len(known) == 0:
        return 0
    distance, _ = KDTree(known).query(position)
    return int((distance <= radius_m).sum())
