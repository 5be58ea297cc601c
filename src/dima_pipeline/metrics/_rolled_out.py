"""What the metrics after the PDM score share: plan and drive rolled out alike, and the drive's own failures forgiven.

The PDM score is NAVSIM's (Dauner et al., NeurIPS 2024). Ours differs: plans of 3 s at 2 Hz instead of 4 s; polylines of
the map instead of drivable polygons; lower is better; what the driven path fails in as well is forgiven; and the
sub-scores are left apart, per sample and step, instead of one product.
"""

import numpy as np
from jaxtyping import Bool, Float

from dima_pipeline.contracts.frames import STEP_S
from dima_pipeline.metrics import DrivenScenes, MetricValues
from dima_pipeline.scoring.rollout import TICKS_PER_STEP, Motion, roll_out, steering_to

PROTOCOL = "pdm"


def rolled_out(plans: Float[np.ndarray, "N T D"], scenes: DrivenScenes) -> tuple[Motion, Motion]:
    """Plans and driven paths as the same car drives them, both from the speed and the steering angle at t=0."""
    planned, driven = continued(plans, scenes), continued(scenes.path, scenes)
    # Wheels thought straight in a bend would have to be torn round: the drive's first half second says how they stand.
    steering_rad = steering_to(np.zeros((len(driven), 3)), driven[:, 0], np.zeros(len(driven)))
    return roll_out(planned, scenes.speed_mps, steering_rad), roll_out(driven, scenes.speed_mps, steering_rad)


def continued(path: Float[np.ndarray, "N T D"], scenes: DrivenScenes) -> Float[np.ndarray, "N T 2"]:
    """Positions, at constant velocity where the drive is unknown: no such step is scored, but the car aims at it."""
    before, here = np.zeros((2, len(path), 2))
    before[:, 0] = -scenes.speed_mps * STEP_S
    positions = np.array(path[..., :2], float)
    for step in range(positions.shape[1]):
        is_known = scenes.path_valid[:, step, None]
        before, here = here, np.where(is_known, positions[:, step], 2 * here - before)
        positions[:, step] = here
    return positions


def is_scored(scenes: DrivenScenes) -> Bool[np.ndarray, "N T"]:
    """Steps whose driven position is known, but for the first keyframe of a scene."""
    return scenes.path_valid & scenes.has_past[:, None]


def by_step(flags: Bool[np.ndarray, "N S"]) -> Bool[np.ndarray, "N T"]:
    """Whether it happened at any tick up to each step."""
    return np.logical_or.accumulate(flags, 1)[:, TICKS_PER_STEP::TICKS_PER_STEP]


def failed(
    planned: Bool[np.ndarray, "N T"], driven: Bool[np.ndarray, "N T"], valid: Bool[np.ndarray, "N T"]
) -> MetricValues:
    """1 from the first step on where the plan has failed and the drive has not; both say "up to that step"."""
    value = np.logical_or.accumulate(planned & ~driven, 1)
    return MetricValues(value=(value & valid).astype(float), valid=valid)


def raw(driven: Bool[np.ndarray, "N T"], valid: Bool[np.ndarray, "N T"]) -> MetricValues:
    """1 where the drive itself fails: what is forgiven, to print beside every result."""
    return MetricValues(value=(driven & valid).astype(float), valid=valid)
