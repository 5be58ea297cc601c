"""What really happened around keyframes, as metrics want it: driven paths and every agent's box at each future step.

Boxes come from the annotations of the later keyframes, moved into the ego frame at t=0 along the driven path, so agents
that appear within the 3 s are there too.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from dima_pipeline.contracts.frames import AGENT_CATEGORIES, NUM_FUTURE_STEPS
from dima_pipeline.datasets import SceneTables
from dima_pipeline.geometry import wrap_angle
from dima_pipeline.metrics import DrivenScenes

BOX = ["x_m", "y_m", "yaw_rad", "length_m", "width_m"]


def driven_scenes(tables: SceneTables, sample_tokens: Sequence[str]) -> DrivenScenes:
    """``DrivenScenes`` for keyframes in the order given; raises ``ValueError`` for a keyframe without driven path."""
    path, path_valid = _driven_paths(tables.ego_paths, sample_tokens)
    boxes = _future_boxes(tables, sample_tokens, path, path_valid)
    slots = boxes.drop_duplicates(["row", "instance_token"])
    slots = slots.assign(slot=slots.groupby("row").cumcount())
    boxes = boxes.merge(slots[["row", "instance_token", "slot"]], on=["row", "instance_token"])
    num_slots = int(slots["slot"].max()) + 1 if len(slots) else 0
    array = np.zeros((len(sample_tokens), NUM_FUTURE_STEPS, num_slots, 5))
    valid = np.zeros(array.shape[:3], bool)
    category = np.full((len(sample_tokens), num_slots), -1)
    row, step, slot = (boxes[name].to_numpy(int) for name in ("row", "step", "slot"))
    array[row, step - 1, slot] = boxes[BOX].to_numpy(float)
    valid[row, step - 1, slot] = True
    category[row, slot] = boxes["category"].map(AGENT_CATEGORIES.index).to_numpy(int)
    return DrivenScenes(path=path, path_valid=path_valid, boxes=array, boxes_valid=valid, category=category)


def _driven_paths(ego_paths: pd.DataFrame, sample_tokens: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Poses (N, T, 3) and their validity (N, T)."""
    place = pd.Series(np.arange(len(sample_tokens)), index=list(sample_tokens))
    rows = ego_paths[(ego_paths["step"] >= 1) & ego_paths["sample_token"].isin(place.index)]
    missing = set(place.index) - set(rows["sample_token"])
    if missing:
        raise ValueError(f"table ego_paths has no future of sample_token {min(missing)} ({len(missing)} keyframes)")
    path = np.zeros((len(sample_tokens), NUM_FUTURE_STEPS, 3))
    valid = np.zeros(path.shape[:2], bool)
    index = place.loc[rows["sample_token"]].to_numpy(), rows["step"].to_numpy() - 1
    path[index] = rows[["x_m", "y_m", "yaw_rad"]].to_numpy(float)
    valid[index] = rows["valid"].to_numpy(bool)
    path[~valid] = 0.0
    return path, valid


def _future_boxes(
    tables: SceneTables, sample_tokens: Sequence[str], path: np.ndarray, path_valid: np.ndarray
) -> pd.DataFrame:
    """One row per keyframe ``row``, ``step`` and agent annotated then, in the ego frame of the row's keyframe."""
    follows = tables.samples.set_index("sample_token")["next"]
    token = pd.Series(list(sample_tokens), dtype=object)
    frames = []
    for step in range(1, NUM_FUTURE_STEPS + 1):
        token = token.map(follows)
        row = np.flatnonzero(token.notna().to_numpy() & path_valid[:, step - 1])
        later = pd.DataFrame({"sample_token": token.to_numpy(object)[row], "row": row, "step": step})
        frames.append(later.merge(tables.agents[["sample_token", "instance_token", "category", *BOX]]))
    boxes = pd.concat(frames, ignore_index=True)
    pose = path[boxes["row"].to_numpy(int), boxes["step"].to_numpy(int) - 1]
    cos, sin = np.cos(pose[:, 2]), np.sin(pose[:, 2])
    x, y = boxes["x_m"].to_numpy(float), boxes["y_m"].to_numpy(float)
    return boxes.assign(
        x_m=pose[:, 0] + cos * x - sin * y,
        y_m=pose[:, 1] + sin * x + cos * y,
        yaw_rad=wrap_angle(boxes["yaw_rad"].to_numpy(float) + pose[:, 2]),
    )
