"""How far a plan falls short of the drive: the share of the driven way that it does not make.

The progress of the PDM score (NAVSIM, NeurIPS 2024), against the driven path instead of the best of many proposals.
Going further than the drive is no fault here; going elsewhere is a fault as far as it does not lead along the drive.
"""

import numpy as np
from jaxtyping import Float
from pydantic import PositiveFloat

from dima_pipeline.metrics import DrivenScenes, MetricValues
from dima_pipeline.metrics._rolled_out import PROTOCOL, is_scored, rolled_out
from dima_pipeline.plugins import config_dataclass
from dima_pipeline.scoring.horizons import HorizonRule
from dima_pipeline.scoring.rollout import TICKS_PER_STEP


@config_dataclass
class Config:
    """From when on there is any progress to speak of."""

    min_driven_m: PositiveFloat = 2.0
    """Steps up to which the drive is shorter are not valid."""


class Progress:
    """``progress`` (0: as far along as the drive, 1: nowhere), both rolled out."""

    protocol = PROTOCOL
    horizon_rule: HorizonRule = "at"

    def __init__(self, config: Config) -> None:
        self._min_driven_m = config.min_driven_m

    def compute(self, plans: Float[np.ndarray, "N T 3"], scenes: DrivenScenes) -> MetricValues:
        """1 - (way made along the drive up to that step) / (length of the drive up to it); a plan that goes further has
        made all of it."""
        planned, driven = rolled_out(plans, scenes)
        shortfall, valid = np.zeros(scenes.path_valid.shape), is_scored(scenes)
        for step in range(valid.shape[1]):
            tick = TICKS_PER_STEP * (step + 1)
            track = driven.pose[:, : tick + 1, :2]
            made_m, length_m = way_along(planned.pose[:, tick, :2], track)
            valid[:, step] &= length_m >= self._min_driven_m
            shortfall[:, step] = 1 - made_m / np.maximum(length_m, self._min_driven_m)
        return MetricValues(value=np.where(valid, shortfall, 0.0), valid=valid)


def way_along(
    point: Float[np.ndarray, "N 2"], track: Float[np.ndarray, "N P 2"]
) -> tuple[Float[np.ndarray, "N"], Float[np.ndarray, "N"]]:
    """Arc length (m) at the place of a track that is nearest to a point (the last where several are), and of the whole
    track."""
    start, along = track[:, :-1], np.diff(track, axis=1)
    length2 = (along**2).sum(-1)
    share = np.clip(((point[:, None] - start) * along).sum(-1) / np.maximum(length2, 1e-12), 0.0, 1.0)
    gap = np.linalg.norm(point[:, None] - start - share[..., None] * along, axis=-1)
    nearest = gap.shape[1] - 1 - np.argmin(gap[:, ::-1], 1)[:, None]
    length = np.sqrt(length2)
    so_far = np.cumsum(length, 1)
    made = so_far - (1 - share) * length
    return np.take_along_axis(made, nearest, 1)[:, 0], so_far[:, -1]


build = Progress
