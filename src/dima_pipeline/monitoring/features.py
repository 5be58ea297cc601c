"""What drift looks at in one keyframe: the scene, how the ego moves, what the planner plans, how wrong it is.

Everything is measured the same way in every data set: motion comes from the driven path, as not every recording has a
CAN bus, and agents count within VAD's 60 x 30 m. What is not known is NaN.
"""

import numpy as np
import pandas as pd
from jaxtyping import Float

from dima_pipeline.contracts.frames import CAMERAS, NUM_FUTURE_STEPS, PERCEPTION_RANGE_M, STEP_S
from dima_pipeline.contracts.result_tables import DRIFT_FEATURES
from dima_pipeline.datasets import SceneTables
from dima_pipeline.geometry import path_headings
from dima_pipeline.scoring.footprints import MIN_STEP_M
from dima_pipeline.scoring.horizons import AVERAGED_STEPS
from dima_pipeline.storage.image_shards import ImageShards

KINDS = {
    "num_vehicles": ("car", "truck", "bus", "trailer", "construction_vehicle"),
    "num_two_wheelers": ("motorcycle", "bicycle"),
    "num_pedestrians": ("pedestrian",),
    "num_obstacles": ("traffic_cone", "barrier"),
}
NEAREST = {"nearest_vehicle_m": "num_vehicles", "nearest_pedestrian_m": "num_pedestrians"}
LINES = {"num_dividers": "divider", "num_ped_crossings": "ped_crossing", "num_boundaries": "boundary"}


def describe(
    tables: SceneTables,
    samples: pd.DataFrame,
    shards: ImageShards,
    trajectory: Float[np.ndarray, "N T 2"],
    embedding: Float[np.ndarray, "N D"],
) -> pd.DataFrame:
    """The ``KeyframeFeatures`` of ``samples``, whose plans and ego features come in the same order."""
    tokens = pd.Index(samples["sample_token"])
    path, valid = driven_path(tables.ego_paths, tokens)
    features = {
        **surroundings(tables, tokens),
        **pictures(samples, shards),
        **motion(samples, path, valid),
        **plan(trajectory, path, valid),
        "planning_l2_m": planning_error(samples, trajectory, path, valid),
    }
    names = [name for group in DRIFT_FEATURES.values() for name in group]
    keys = samples[["sample_token", "scene_token"]].reset_index(drop=True)
    found = pd.DataFrame({name: np.asarray(features[name], float) for name in names})
    return pd.concat([keys, found], axis=1).assign(embedding=list(np.asarray(embedding, float)))


def driven_path(ego_paths: pd.DataFrame, tokens: pd.Index) -> tuple[np.ndarray, np.ndarray]:
    """Poses x, y, yaw at steps -1, 1 ... 6 (N, 7, 3), and whether they are known (N, 7)."""
    path = np.zeros((len(tokens), 1 + NUM_FUTURE_STEPS, 3))
    valid = np.zeros(path.shape[:2], bool)
    rows = ego_paths[(ego_paths["step"] >= -1) & ego_paths["valid"] & ego_paths["sample_token"].isin(tokens)]
    index = tokens.get_indexer(pd.Index(rows["sample_token"])), rows["step"].clip(lower=0).to_numpy()
    path[index], valid[index] = rows[["x_m", "y_m", "yaw_rad"]].to_numpy(float), True
    return path, valid


def surroundings(tables: SceneTables, tokens: pd.Index) -> dict[str, np.ndarray]:
    """Agents by kind and the nearest ones within the perception range, and map elements by kind."""
    x_min, y_min, x_max, y_max = PERCEPTION_RANGE_M
    agents = tables.agents[tables.agents["x_m"].between(x_min, x_max) & tables.agents["y_m"].between(y_min, y_max)]
    agents = agents.assign(distance_m=np.hypot(agents["x_m"], agents["y_m"]))
    features = {}
    for name, categories in KINDS.items():
        features[name] = _count(agents[agents["category"].isin(categories)], tokens)
    for name, kind in NEAREST.items():
        of_kind = agents[agents["category"].isin(KINDS[kind])]
        features[name] = of_kind.groupby("sample_token")["distance_m"].min().reindex(tokens).to_numpy(float)
    for name, kind in LINES.items():
        features[name] = _count(tables.map_elements[tables.map_elements["kind"] == kind], tokens)
    return features


def _count(rows: pd.DataFrame, tokens: pd.Index) -> np.ndarray:
    return rows.groupby("sample_token").size().reindex(tokens, fill_value=0).to_numpy(float)


def pictures(samples: pd.DataFrame, shards: ImageShards) -> dict[str, np.ndarray]:
    """Brightness (0 ... 1), contrast (its deviation within an image) over cameras, and how many cameras are missing."""
    is_there = np.stack([samples[f"{camera.lower()}_source"] != "missing" for camera in CAMERAS], 1)
    light = np.full((len(samples), 2), np.nan)
    for row, token in enumerate(samples["sample_token"]):
        if is_there[row].any():
            # Every other pixel is enough for two means.
            grey = shards.read(token)[is_there[row], ::2, ::2].mean(-1, dtype=np.float32) / 255
            light[row] = grey.mean(), grey.std((1, 2)).mean()
    return {"brightness": light[:, 0], "contrast": light[:, 1], "num_missing_cameras": (~is_there).sum(1)}


def motion(samples: pd.DataFrame, path: np.ndarray, valid: np.ndarray) -> dict[str, np.ndarray]:
    """Signed speed, acceleration, yaw rate over the half second before and after; steering (CAN bus); command."""
    before = np.where(valid[:, 0], -path[:, 0, 0], np.nan) / STEP_S
    after = np.where(valid[:, 1], path[:, 1, 0], np.nan) / STEP_S
    is_inside = valid[:, :2].all(1)
    features = {
        "speed_mps": (before + after) / 2,
        "acceleration_mps2": (after - before) / STEP_S,
        "yaw_rate_radps": np.where(is_inside, path[:, 1, 2] - path[:, 0, 2], np.nan) / (2 * STEP_S),
        "steering_rad": samples["steering_rad"].to_numpy(float),
    }
    for command in ("left", "right", "unknown"):
        features[f"command_{command}"] = (samples["command_route"] == command).to_numpy()
    return features


def plan(trajectory: np.ndarray, path: np.ndarray, valid: np.ndarray) -> dict[str, np.ndarray]:
    """Planned speed, end and turn over 3 s, and how far the end is from where constant velocity ends."""
    end = trajectory[:, -1]
    straight_on = np.where(valid[:, :1], -path[:, 0, :2], np.nan) * NUM_FUTURE_STEPS
    steps = np.diff(trajectory, axis=1, prepend=np.zeros_like(trajectory[:, :1]))
    length_m = np.linalg.norm(steps, axis=-1).sum(1)
    return {
        "planned_speed_mps": length_m / (STEP_S * NUM_FUTURE_STEPS),
        "planned_end_x_m": end[:, 0],
        "planned_end_y_m": end[:, 1],
        "planned_turn_rad": path_headings(trajectory, MIN_STEP_M)[:, -1],
        "planned_gap_m": np.linalg.norm(end - straight_on, axis=-1),
    }


def planning_error(samples: pd.DataFrame, trajectory: np.ndarray, path: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """``planning_l2``, standardised, mean of 1, 2 and 3 s; NaN where one is unknown or nothing lies behind."""
    distance = np.linalg.norm(trajectory - path[:, 1:, :2], axis=-1)[:, AVERAGED_STEPS]
    is_scored = valid[:, 1:][:, AVERAGED_STEPS].all(1) & (samples["index"] > 0).to_numpy()
    return np.where(is_scored, distance.mean(1), np.nan)
