"""Between trajectories and the ``plans`` table, and from ``ego_paths`` to arrays of poses."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from jaxtyping import Float

from dima_pipeline.contracts.frames import NUM_FUTURE_STEPS, STEP_S
from dima_pipeline.datasets import SceneTables
from dima_pipeline.geometry import path_headings
from dima_pipeline.scoring.footprints import MIN_STEP_M

TIMES_S = STEP_S * np.arange(1, NUM_FUTURE_STEPS + 1)


def split_samples(tables: SceneTables, split: str) -> pd.DataFrame:
    """The ``samples`` rows of a split; raises ``ValueError`` where it has none."""
    scenes = tables.scenes.loc[tables.scenes["split"] == split, "scene_token"]
    samples = tables.samples[tables.samples["scene_token"].isin(scenes)]
    if samples.empty:
        known = sorted(tables.scenes["split"].unique())
        raise ValueError(f"table samples has no keyframe of split '{split}'; its scenes are of {known}")
    return samples


def plan_rows(planner: str, sample_tokens: Sequence[str], trajectory: Float[np.ndarray, "N T 2"]) -> pd.DataFrame:
    """Rows of the ``plans`` table; headings are tangent to the path."""
    num_samples, num_steps = trajectory.shape[:2]
    yaw = path_headings(trajectory, MIN_STEP_M)
    return pd.DataFrame(
        {
            "planner": planner,
            "sample_token": np.repeat(np.asarray(sample_tokens, object), num_steps),
            "step": np.tile(np.arange(1, num_steps + 1), num_samples),
            "x_m": trajectory[..., 0].reshape(-1).astype(float),
            "y_m": trajectory[..., 1].reshape(-1).astype(float),
            "yaw_rad": yaw.reshape(-1),
        }
    )


def plan_array(plans: pd.DataFrame, planner: str, sample_tokens: Sequence[str]) -> Float[np.ndarray, "N T 3"]:
    """x, y (m), yaw (rad) of one planner's plans, in the order of ``sample_tokens``.

    Raises ``ValueError`` where a keyframe has no complete, finite plan: a failed plan may not leave the denominator.
    """
    rows = plans[plans["planner"] == planner]
    place = pd.Series(np.arange(len(sample_tokens)), index=list(sample_tokens))
    rows = rows[rows["sample_token"].isin(place.index)]
    array = np.full((len(sample_tokens), NUM_FUTURE_STEPS, 3), np.nan)
    index = place.loc[rows["sample_token"]].to_numpy(), rows["step"].to_numpy() - 1
    array[index] = rows[["x_m", "y_m", "yaw_rad"]].to_numpy()
    bad = ~np.isfinite(array).all((1, 2))
    if bad.any():
        token = sample_tokens[int(np.argmax(bad))]
        raise ValueError(
            f"planner '{planner}' has no complete, finite plan for {int(bad.sum())} of {len(sample_tokens)} keyframes "
            f"(first: sample_token {token}); all planners must plan the same keyframes"
        )
    return array


def path_poses(
    ego_paths: pd.DataFrame, sample_tokens: Sequence[str], steps: Sequence[int]
) -> Float[np.ndarray, "N S 3"]:
    """x, y (m), yaw (rad) of the driven path at ``steps`` around keyframes; NaN where it is unknown."""
    place = pd.Series(np.arange(len(sample_tokens)), index=list(sample_tokens))
    slot = pd.Series(np.arange(len(steps)), index=list(steps))
    rows = ego_paths[ego_paths["valid"] & ego_paths["step"].isin(slot.index)]
    rows = rows[rows["sample_token"].isin(place.index)]
    poses = np.full((len(place), len(slot), 3), np.nan)
    index = place.loc[rows["sample_token"]].to_numpy(), slot.loc[rows["step"]].to_numpy()
    poses[index] = rows[["x_m", "y_m", "yaw_rad"]].to_numpy(float)
    return poses
