"""Planning metrics: per sample first, means last. A new one is one file with ``Config`` and ``build``; numpy only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Protocol

from pydantic import BeforeValidator

from dima_pipeline.plugins import Family
from dima_pipeline.scoring.values import MetricValues

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import Bool, Float, Int

    from dima_pipeline.scoring.horizons import HorizonRule

METRICS = Family(__name__)
MetricSpec = Annotated[Any, BeforeValidator(METRICS.parse)]
__all__ = ["METRICS", "DrivenScenes", "Metric", "MetricSpec", "MetricValues"]


@dataclass(frozen=True, kw_only=True)
class DrivenScenes:
    """What happened: driven paths and every agent's box at every future step, in the ego frame at t=0."""

    path: Float[np.ndarray, "N T 3"]
    """x, y (m), yaw (rad) of the ego origin at 0.5 ... 3.0 s."""
    path_valid: Bool[np.ndarray, "N T"]
    boxes: Float[np.ndarray, "N T A 5"]
    """x, y, yaw, length, width of agents at that step."""
    boxes_valid: Bool[np.ndarray, "N T A"]
    category: Int[np.ndarray, "N A"]
    """Index into ``frames.AGENT_CATEGORIES``; -1 pads."""
    is_tracked: Bool[np.ndarray, "N A"]
    """Whether the agent is annotated at t=0 with a LIDAR point or more (or unknown how many) in VAD's range, |x| < 15 m
    and |y| < 30 m of LIDAR_TOP: the only ones that VAD's own evaluation knows."""
    has_past: Bool[np.ndarray, "N"]
    """False for the first keyframe of a scene."""
    speed_mps: Float[np.ndarray, "N"]
    """Of the ego at t=0; 0 where nothing is known of it."""
    map_points: Float[np.ndarray, "N M P 2"]
    """Polylines around the ego at t=0."""
    map_kind: Int[np.ndarray, "N M"]
    """Index into ``frames.MAP_KINDS``; -1 pads."""


class Metric(Protocol):
    """A planning metric with the protocol it follows."""

    protocol: str
    horizon_rule: HorizonRule
    """What its value at a horizon is, from the values of the steps; see ``scoring.horizons``."""

    def compute(self, plans: Float[np.ndarray, "N T 3"], scenes: DrivenScenes) -> MetricValues:
        """``plans``: x, y (m), yaw (rad) of the ego origin. Best (0 for errors) for the driven path; never NaN."""
