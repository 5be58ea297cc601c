"""Whether the rolled-out ego would hit an agent within a second if both moved on as they do.

The time to collision of the PDM score (NAVSIM, NeurIPS 2024): boxes 0, 0.3, 0.6 and 0.9 s on; a standing ego is safe,
and agents behind its rear bumper do not count. Unlike there, agents move on at constant velocity instead of as
recorded, and are looked at twice a second.
"""

import numpy as np
from jaxtyping import Bool, Float
from pydantic import NonNegativeFloat, PositiveFloat

from dima_pipeline.contracts.frames import EGO_LENGTH_M, EGO_WIDTH_M, STEP_S
from dima_pipeline.geometry import boxes_overlap, ego_boxes
from dima_pipeline.metrics import DrivenScenes, MetricValues
from dima_pipeline.metrics._open_loop import KIND_OF_CATEGORY, OTHER
from dima_pipeline.metrics._rolled_out import PROTOCOL, failed, is_scored, raw, rolled_out
from dima_pipeline.plugins import config_dataclass
from dima_pipeline.scoring.horizons import HorizonRule
from dima_pipeline.scoring.rollout import TICKS_PER_STEP, Motion


@config_dataclass
class Config:
    """How far ahead boxes are moved; all agents but cones and barriers count."""

    within_s: PositiveFloat = 0.9
    every_s: PositiveFloat = 0.3
    min_speed_mps: NonNegativeFloat = 0.05
    """A slower ego stands."""


class TimeToCollision:
    """``time_to_collision`` (1: too short at one of the steps so far)."""

    protocol = PROTOCOL
    horizon_rule: HorizonRule = "at"

    def __init__(self, config: Config) -> None:
        self._times_s = np.arange(0, config.within_s + config.every_s / 2, config.every_s)
        self._min_speed_mps = config.min_speed_mps

    def compute(self, plans: Float[np.ndarray, "N T 3"], scenes: DrivenScenes) -> MetricValues:
        """1 from the first step on up to which the plan comes too close and the drive does not."""
        planned, driven = rolled_out(plans, scenes)
        return failed(self.is_short(planned, scenes), self.is_short(driven, scenes), is_scored(scenes))

    def compute_driven(self, scenes: DrivenScenes) -> MetricValues:
        """1 where the driven path comes too close itself."""
        return raw(self.is_short(rolled_out(scenes.path, scenes)[1], scenes), is_scored(scenes))

    def is_short(self, motion: Motion, scenes: DrivenScenes) -> Bool[np.ndarray, "N T"]:
        """Whether the ego would have hit an agent within the time, at one of the steps up to each."""
        ego = ego_boxes(motion.pose[:, TICKS_PER_STEP::TICKS_PER_STEP])
        speed = motion.speed_mps[:, TICKS_PER_STEP::TICKS_PER_STEP]
        forward = np.stack([np.cos(ego[..., 2]), np.sin(ego[..., 2])], -1)
        is_moving = np.abs(speed) >= self._min_speed_mps
        apart = scenes.boxes[..., :2] - ego[:, :, None, :2]
        is_ahead = (apart * forward[:, :, None]).sum(-1) > -EGO_LENGTH_M / 2
        counts = (KIND_OF_CATEGORY[scenes.category] != OTHER)[:, None] & scenes.boxes_valid
        sample, step, agent = np.nonzero(counts & is_ahead & is_moving[..., None])
        own_mps = forward[sample, step] * speed[sample, step, None]
        closing_mps = agent_velocities(scenes)[sample, step, agent] - own_mps
        ego, boxes = ego[sample, step], scenes.boxes[sample, step, agent]
        is_short = np.zeros(motion.speed_mps.shape[:1] + speed.shape[1:], bool)
        for time_s in self._times_s:
            there = boxes.copy()
            there[:, :2] += time_s * closing_mps
            # Most are too far away to touch: the exact test runs on the few that are not.
            reach = (np.hypot(EGO_LENGTH_M, EGO_WIDTH_M) + np.hypot(boxes[:, 3], boxes[:, 4])) / 2
            near = np.flatnonzero(np.hypot(*(there[:, :2] - ego[:, :2]).T) < reach)
            hit = near[boxes_overlap(ego[near], there[near])]
            is_short[sample[hit], step[hit]] = True
        return np.logical_or.accumulate(is_short, 1)


def agent_velocities(scenes: DrivenScenes) -> Float[np.ndarray, "N T A 2"]:
    """Velocity (m/s) of agents at each step: of the move just made, else of the next one, else 0."""
    move = np.diff(scenes.boxes[..., :2], axis=1) / STEP_S
    is_known = scenes.boxes_valid[:, 1:] & scenes.boxes_valid[:, :-1]
    velocity = np.zeros((*scenes.boxes.shape[:-1], 2))
    velocity[:, :-1] = np.where(is_known[..., None], move, 0.0)
    velocity[:, 1:] = np.where(is_known[..., None], move, velocity[:, 1:])
    return velocity


build = TimeToCollision
