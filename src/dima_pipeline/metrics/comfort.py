"""Whether the rolled-out motion is rougher than people drive: accelerations, jerks and turns within nuPlan's bounds.

The comfort of the PDM score (NAVSIM, NeurIPS 2024). Instead of its polynomial fits over all ticks, rates are
differences over half a second, the step of plans; jerks over a whole one, as keyframes of nuScenes are up to 0.1 s off
their half second and that looks like jerk. What was before t=0 is not known, so jerks count from 1.5 s on.
"""

import numpy as np
from jaxtyping import Bool, Float

from dima_pipeline.metrics import DrivenScenes, MetricValues
from dima_pipeline.metrics._rolled_out import PROTOCOL, by_step, failed, is_scored, raw, rolled_out
from dima_pipeline.plugins import config_dataclass
from dima_pipeline.scoring.horizons import HorizonRule
from dima_pipeline.scoring.rollout import TICK_S, TICKS_PER_STEP, Motion

JERK_TICKS = 2 * TICKS_PER_STEP


@config_dataclass
class Config:
    """Bounds of comfort; the defaults are those of nuPlan and NAVSIM."""

    min_acceleration_mps2: float = -4.05
    max_acceleration_mps2: float = 2.40
    max_lateral_acceleration_mps2: float = 4.89
    max_jerk_mps3: float = 8.37
    """Along and across together."""
    max_longitudinal_jerk_mps3: float = 4.13
    max_yaw_rate_radps: float = 0.95
    max_yaw_acceleration_radps2: float = 1.93


class Comfort:
    """``comfort`` (1: a bound was exceeded up to that step)."""

    protocol = PROTOCOL
    horizon_rule: HorizonRule = "at"

    def __init__(self, config: Config) -> None:
        self._config = config

    def compute(self, plans: Float[np.ndarray, "N T 3"], scenes: DrivenScenes) -> MetricValues:
        """1 from the first step on up to which the plan exceeds a bound and the drive does not."""
        planned, driven = rolled_out(plans, scenes)
        return failed(self.is_rough(planned), self.is_rough(driven), is_scored(scenes))

    def compute_driven(self, scenes: DrivenScenes) -> MetricValues:
        """1 where the driven path exceeds a bound itself."""
        return raw(self.is_rough(rolled_out(scenes.path, scenes)[1]), is_scored(scenes))

    def is_rough(self, motion: Motion) -> Bool[np.ndarray, "N T"]:
        """Whether a bound is exceeded up to each step."""
        limits = self._config
        speed, yaw = motion.speed_mps, motion.pose[..., 2]
        along, yaw_rate = _rate(speed), _rate(yaw)
        across = yaw_rate * (speed[:, TICKS_PER_STEP:] + speed[:, :-TICKS_PER_STEP]) / 2
        jerk, lateral_jerk = (_rate(acceleration, JERK_TICKS) for acceleration in (along, across))
        exceeded = (
            (along < limits.min_acceleration_mps2) | (along > limits.max_acceleration_mps2),
            np.abs(across) > limits.max_lateral_acceleration_mps2,
            np.hypot(jerk, lateral_jerk) > limits.max_jerk_mps3,
            np.abs(jerk) > limits.max_longitudinal_jerk_mps3,
            np.abs(yaw_rate) > limits.max_yaw_rate_radps,
            np.abs(_rate(yaw_rate)) > limits.max_yaw_acceleration_radps2,
        )
        is_rough = np.zeros(speed.shape, bool)
        for flags in exceeded:
            is_rough[:, -flags.shape[1] :] |= flags
        return by_step(is_rough)


def _rate(values: Float[np.ndarray, "N S"], num_ticks: int = TICKS_PER_STEP) -> Float[np.ndarray, "N R"]:
    """Change per second over the ``num_ticks`` before each of the last R = S - ``num_ticks`` ticks."""
    return (values[:, num_ticks:] - values[:, :-num_ticks]) / (num_ticks * TICK_S)


build = Comfort
