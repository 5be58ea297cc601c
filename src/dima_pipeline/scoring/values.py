"""What every metric gives; nothing heavy is loaded to name it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import Bool, Float


@dataclass(frozen=True, kw_only=True)
class MetricValues:
    """One value a sample and step; means are taken by the reader."""

    value: Float[np.ndarray, "N T"]
    valid: Bool[np.ndarray, "N T"]
    """Whether the step stands in the denominator; ``value`` is 0 where it does not."""
