"""Planning metrics: per sample first, means last. A new one is one file with ``Config`` and ``build``; numpy only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Protocol

from pydantic import BeforeValidator

from dima_pipeline.plugins import Family

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import Bool, Float, Int

METRICS = Family(__name__)
MetricSpec = Annotated[Any, BeforeValidator(METRICS.parse)]


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


@dataclass(frozen=True, kw_only=True)
class MetricValues:
    """One value a sample and step; means are taken by the reader."""

    value: Float[np.ndarray, "N T"]
    valid: Bool[np.ndarray, "N T"]


class Metric(Protocol):
    """A planning metric with the protocol it follows."""

    protocol: str

    def compute(self, plans: Float[np.ndarray, "N T 3"], scenes: DrivenScenes) -> MetricValues:
        """``plans``: x, y (m), yaw (rad) of the ego origin. Best (0 for errors) for the driven path; never NaN."""
