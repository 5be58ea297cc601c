"""Between trajectories and the ``plans`` table, and planners that know no images: floors to print beside any result."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from jaxtyping import Float

from dima_pipeline.contracts.frames import NUM_FUTURE_STEPS, STEP_S
from dima_pipeline.datasets import SceneTables
from dima_pipeline.geometry import path_headings

MIN_STEP_M = 0.5
"""A shorter planned step (below 1 m/s) does not turn the ego box: at a stop the tangent is noise."""

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


def constant_velocity(tables: SceneTables, split: str) -> pd.DataFrame:
    """Plans of ``constant_velocity``: straight on with the displacement of the last 0.5 s.

    At the first keyframe of a scene nothing lies behind: the CAN speed straight ahead, or standing without CAN bus.
    """
    samples = split_samples(tables, split)
    before = tables.ego_paths[(tables.ego_paths["step"] == -1) & tables.ego_paths["valid"]].set_index("sample_token")
    past = before.reindex(samples["sample_token"])[["x_m", "y_m"]].to_numpy(float)
    speed = samples["speed_mps"].to_numpy(float)
    ahead = np.stack([np.nan_to_num(speed), np.zeros(len(speed))], -1)
    velocity = np.where(np.isnan(past), ahead, -past / STEP_S)
    return plan_rows("constant_velocity", samples["sample_token"].tolist(), velocity[:, None] * TIMES_S[:, None])


def go_straight(tables: SceneTables, split: str) -> pd.DataFrame:
    """Plans of ``go_straight``: straight ahead at the mean driven speed of the training split, whatever happens."""
    samples = split_samples(tables, split)
    training = set(split_samples(tables, "train")["sample_token"])
    steps = tables.ego_paths[(tables.ego_paths["step"] == 1) & tables.ego_paths["valid"]]
    steps = steps[steps["sample_token"].isin(training)]
    speed_mps = float(np.hypot(steps["x_m"], steps["y_m"]).mean()) / STEP_S
    path = np.stack([speed_mps * TIMES_S, np.zeros(NUM_FUTURE_STEPS)], -1)
    return plan_rows("go_straight", samples["sample_token"].tolist(), np.repeat(path[None], len(samples), 0))
