"""What really happened around keyframes, as metrics want it: drives, boxes of agents at each future step, maps.

Boxes come from the annotations of the later keyframes, moved into the ego frame at t=0 along the driven path, so agents
that appear within the 3 s are there too.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int

from dima_pipeline.contracts.frames import (
    AGENT_CATEGORIES,
    LIDAR_AHEAD_OF_EGO_M,
    MAP_KINDS,
    NUM_FUTURE_STEPS,
    NUM_POLYLINE_POINTS,
    STEP_S,
)
from dima_pipeline.datasets import SceneTables
from dima_pipeline.evaluation.plans import path_poses
from dima_pipeline.geometry import wrap_angle
from dima_pipeline.metrics import DrivenScenes

BOX = ["x_m", "y_m", "yaw_rad", "length_m", "width_m"]
TRACKED_AHEAD_M, TRACKED_ASIDE_M = 30.0, 15.0
"""VAD's range around LIDAR_TOP."""


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
    samples = tables.samples.set_index("sample_token").loc[list(sample_tokens)]
    map_points, map_kind = _maps(tables.map_elements, sample_tokens)
    return DrivenScenes(
        path=path,
        path_valid=path_valid,
        boxes=array,
        boxes_valid=valid,
        category=category,
        is_tracked=_tracked(tables.agents, slots, sample_tokens, category.shape),
        has_past=samples["index"].to_numpy() > 0,
        speed_mps=_speeds(samples, tables.ego_paths),
        map_points=map_points,
        map_kind=map_kind,
    )


def _driven_paths(ego_paths: pd.DataFrame, sample_tokens: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Poses (N, T, 3), 0 where unknown, and their validity (N, T)."""
    missing = set(sample_tokens) - set(ego_paths.loc[ego_paths["step"] >= 1, "sample_token"])
    if missing:
        raise ValueError(f"table ego_paths has no future of sample_token {min(missing)} ({len(missing)} keyframes)")
    path = path_poses(ego_paths, sample_tokens, range(1, NUM_FUTURE_STEPS + 1))
    valid = np.isfinite(path).all(-1)
    return np.where(valid[..., None], path, 0.0), valid


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


def _tracked(
    agents: pd.DataFrame, slots: pd.DataFrame, sample_tokens: Sequence[str], shape: tuple[int, ...]
) -> Bool[np.ndarray, "N A"]:
    """Which slots (``row``, ``instance_token``, ``slot``) hold agents that VAD knows at t=0."""
    is_in_range = (agents["y_m"].abs() < TRACKED_ASIDE_M) & (
        (agents["x_m"] - LIDAR_AHEAD_OF_EGO_M).abs() < TRACKED_AHEAD_M
    )
    is_seen = agents["num_lidar_points"].isna() | (agents["num_lidar_points"] >= 1)
    known = agents.loc[is_in_range & is_seen, ["sample_token", "instance_token"]]
    now = slots[["row", "instance_token", "slot"]].assign(
        sample_token=np.asarray(sample_tokens, object)[slots["row"].to_numpy(int)]
    )
    found = now.merge(known)
    is_tracked = np.zeros(shape, bool)
    is_tracked[found["row"].to_numpy(int), found["slot"].to_numpy(int)] = True
    return is_tracked


def _speeds(samples: pd.DataFrame, ego_paths: pd.DataFrame) -> Float[np.ndarray, "N"]:
    """Signed speed (m/s) at t=0: the CAN bus's, else the mean one of the step before, else of the step after, else 0.

    A mean over half a second is late or early by a quarter: within 0.5 m/s at an acceleration of 2 m/s^2.
    """
    speed = samples["speed_mps"].astype(float)
    for step in (-1, 1):
        rows = ego_paths[(ego_paths["step"] == step) & ego_paths["valid"]].set_index("sample_token")
        moved = pd.Series(np.copysign(np.hypot(rows["x_m"], rows["y_m"]), rows["x_m"] * step), rows.index)
        speed = speed.fillna(moved.reindex(speed.index) / STEP_S)
    return speed.fillna(0.0).to_numpy(float)


def _maps(
    map_elements: pd.DataFrame, sample_tokens: Sequence[str]
) -> tuple[Float[np.ndarray, "N M P 2"], Int[np.ndarray, "N M"]]:
    """Polylines (m, in single precision: there are many) and their kinds, padded."""
    place = pd.Series(np.arange(len(sample_tokens)), index=list(sample_tokens))
    row = map_elements["sample_token"].map(place)
    rows = map_elements[row.notna()].assign(row=row.dropna().astype(int))
    slot = rows.groupby("row").cumcount().to_numpy()
    shape = (len(sample_tokens), int(slot.max()) + 1 if len(slot) else 0)
    points = np.zeros((*shape, NUM_POLYLINE_POINTS, 2), np.float32)
    kind = np.full(shape, -1)
    if len(rows):
        flat = np.array(rows["points"].tolist(), np.float32)
        points[rows["row"].to_numpy(), slot] = flat.reshape(-1, NUM_POLYLINE_POINTS, 2)
    kind[rows["row"].to_numpy(), slot] = rows["kind"].map(MAP_KINDS.index).to_numpy(int)
    return points, kind
