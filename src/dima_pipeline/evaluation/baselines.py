"""Planners that look at nothing: floors to print beside any result.

They may be told how the ego has moved, which the planners of the project never are; what is around it they never know.
``ego_mlp`` is one more, with a file of its own.
"""

import numpy as np
import pandas as pd
from jaxtyping import Complex, Float

from dima_pipeline.contracts.frames import NUM_FUTURE_STEPS, STEP_S
from dima_pipeline.datasets import SceneTables
from dima_pipeline.evaluation.plans import TIMES_S, path_poses, plan_rows, split_samples
from dima_pipeline.geometry import wrap_angle


def constant_velocity(tables: SceneTables, split: str) -> pd.DataFrame:
    """Plans of ``constant_velocity``: straight on with the displacement of the last 0.5 s.

    At the first keyframe of a scene nothing lies behind: the CAN speed straight ahead, or standing without CAN bus.
    Raises ``ValueError`` where the split has no keyframe.
    """
    samples = split_samples(tables, split)
    is_known, moved, _ = _last_step(tables, samples)
    velocity = np.where(is_known, moved / STEP_S, _can(samples, "speed_mps"))
    plans = arcs(velocity, np.zeros(len(samples)), TIMES_S)
    return plan_rows("constant_velocity", samples["sample_token"].tolist(), plans)


def constant_turn_rate_and_velocity(tables: SceneTables, split: str) -> pd.DataFrame:
    """Plans of ``constant_turn_rate_and_velocity`` (CTRV): on along the circle of the last 0.5 s, as fast as on it.

    At the first keyframe of a scene speed and yaw rate are those of the CAN bus; without one it stands. Raises
    ``ValueError`` where the split has no keyframe.
    """
    samples = split_samples(tables, split)
    is_known, moved, turned = _last_step(tables, samples)
    # The displacement is a chord of the circle: shorter than the arc, and half a turn behind the direction of now.
    on_circle = moved * np.exp(0.5j * turned) / np.sinc(turned / 2 / np.pi)
    velocity = np.where(is_known, on_circle / STEP_S, _can(samples, "speed_mps"))
    yaw_rate = np.where(is_known, turned / STEP_S, _can(samples, "yaw_rate_radps"))
    plans = arcs(velocity, yaw_rate, TIMES_S)
    return plan_rows("constant_turn_rate_and_velocity", samples["sample_token"].tolist(), plans)


def go_straight(tables: SceneTables, split: str) -> pd.DataFrame:
    """Plans of ``go_straight``: straight ahead at the mean driven speed of the training split, whatever happens.

    Raises ``ValueError`` where the split, or ``train``, has no keyframe.
    """
    samples = split_samples(tables, split)
    training = split_samples(tables, "train")["sample_token"].tolist()
    steps = path_poses(tables.ego_paths, training, [1])[:, 0]
    speed_mps = float(np.nanmean(np.hypot(steps[:, 0], steps[:, 1]))) / STEP_S
    path = np.stack([speed_mps * TIMES_S, np.zeros(NUM_FUTURE_STEPS)], -1)
    return plan_rows("go_straight", samples["sample_token"].tolist(), np.repeat(path[None], len(samples), 0))


def arcs(
    velocity_mps: Complex[np.ndarray, "N"], yaw_rate_radps: Float[np.ndarray, "N"], times_s: Float[np.ndarray, "T"]
) -> Float[np.ndarray, "N T 2"]:
    """Positions (m) after ``times_s`` at a speed and yaw rate that stay; ``velocity_mps`` is vx + i vy at t=0.

    Exact, also without turning: the chord of an arc of angle a is sin(a/2) / (a/2) of its length, and turned by a/2.
    """
    half_turn = yaw_rate_radps[:, None] * times_s / 2
    position = velocity_mps[:, None] * times_s * np.sinc(half_turn / np.pi) * np.exp(1j * half_turn)
    return np.stack([position.real, position.imag], -1)


def _last_step(tables: SceneTables, samples: pd.DataFrame) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of the last 0.5 s, seen from now: whether it is known, displacement x + i y (m) and turn (rad), else 0."""
    past = path_poses(tables.ego_paths, samples["sample_token"].tolist(), [-1])[:, 0]
    x, y, yaw = np.nan_to_num(past).T
    return np.isfinite(past).all(-1), -(x + 1j * y), wrap_angle(-yaw)


def _can(samples: pd.DataFrame, name: str) -> np.ndarray:
    """A column of the CAN bus, 0 where it is unknown."""
    return np.nan_to_num(samples[name].to_numpy(float))
