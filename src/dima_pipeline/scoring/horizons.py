"""From values per step to the numbers of a table: what "at 3 s" means differs between protocols.

``at``: the value of that step (UniAD, PARA-Drive). ``mean``: the mean of all steps up to it (ST-P3, VAD). ``any``:
whether it happened at any step up to it (BEV-Planner's collisions). ``avg`` is the mean of the numbers at 1, 2 and 3 s,
``avg_all`` the mean of the six steps, never of running means.
"""

from typing import Literal

import numpy as np
from jaxtyping import Bool, Float

from dima_pipeline.contracts.frames import HORIZON_RULES, NUM_FUTURE_STEPS, STEP_S

HorizonRule = Literal["at", "mean", "any"]
HORIZONS = (*(f"{STEP_S * step:.1f}" for step in range(1, NUM_FUTURE_STEPS + 1)), "avg", "avg_all")
WHOLE_SECONDS = {"1": 1, "2": 3, "3": 5}
"""Horizon in s and the index of its step."""
AVERAGED_STEPS = list(WHOLE_SECONDS.values())


def horizon_columns(
    value: Float[np.ndarray, "N T"], valid: Bool[np.ndarray, "N T"], rule: str
) -> tuple[Float[np.ndarray, "N 2T"], Float[np.ndarray, "N 2T"]]:
    """What is summed over samples and how often it counts: T columns by ``rule``, then the T steps themselves."""
    assert rule in HORIZON_RULES, rule
    steps = np.where(valid, value, 0.0)
    counts = valid.astype(float)
    if rule == "at":
        ruled, ruled_counts = steps, counts
    elif rule == "mean":
        known = np.cumsum(counts, 1)
        ruled = np.cumsum(steps, 1) / np.maximum(known, 1)
        ruled_counts = (known > 0).astype(float)
    else:
        ruled = np.maximum.accumulate(steps, 1)
        ruled_counts = np.maximum.accumulate(counts, 1)
    return np.concatenate([ruled, steps], 1), np.concatenate([ruled_counts, counts], 1)


def horizon_means(sums: Float[np.ndarray, "... 2T"], counts: Float[np.ndarray, "... 2T"]) -> Float[np.ndarray, "... H"]:
    """The number for each of ``HORIZONS`` from sums over ``horizon_columns``; NaN where nothing was counted."""
    with np.errstate(invalid="ignore"):
        means = sums / counts
    ruled, steps = means[..., :NUM_FUTURE_STEPS], means[..., NUM_FUTURE_STEPS:]
    averages = [ruled[..., AVERAGED_STEPS].mean(-1), steps.mean(-1)]
    return np.concatenate([ruled, np.stack(averages, -1)], -1)
