"""Whether the middle of the rolled-out ego box is in no lane: farther than half a lane from every lane centre.

PARA-Drive (CVPR 2024) reports off-lane rates beside off-road ones; the roll-out is after the PDM score (NAVSIM, NeurIPS
2024). A drive on the lane of oncoming traffic is not seen: no direction is asked for.
"""

import numpy as np
from jaxtyping import Bool, Float
from pydantic import PositiveFloat

from dima_pipeline.contracts.frames import MAP_KINDS, PERCEPTION_RANGE_M
from dima_pipeline.geometry import distance_to_polyline, ego_boxes
from dima_pipeline.metrics import DrivenScenes, MetricValues
from dima_pipeline.metrics._rolled_out import PROTOCOL, is_scored, raw, rolled_out
from dima_pipeline.plugins import config_dataclass
from dima_pipeline.scoring.horizons import HorizonRule
from dima_pipeline.scoring.rasters import any_of
from dima_pipeline.scoring.rollout import TICKS_PER_STEP, Motion

CENTERLINE = MAP_KINDS.index("centerline")


@config_dataclass
class Config:
    """How wide a lane is."""

    lane_half_width_m: PositiveFloat = 1.75
    """Lanes of nuScenes are some 3.5 m wide: half-way between two centres is in a lane still."""


class OffLane:
    """``off_lane`` (1: in no lane at that step)."""

    protocol = PROTOCOL
    horizon_rule: HorizonRule = "at"

    def __init__(self, config: Config) -> None:
        self._reach_m = config.lane_half_width_m

    def compute(self, plans: Float[np.ndarray, "N T 3"], scenes: DrivenScenes) -> MetricValues:
        """1 where the plan is in no lane and the drive is in one.

        Valid where the ego is in a lane at t=0 and the drive has the lanes around it within the map; a plan that leaves
        the map alone counts by where it was last.
        """
        planned, driven = (_centres(motion) for motion in rolled_out(plans, scenes))
        valid = self._is_known(driven, scenes)
        off = _held(self.is_off(planned, scenes), self._is_inside(planned))
        is_off = off & ~self.is_off(driven, scenes) & valid
        return MetricValues(value=is_off[:, 1:].astype(float), valid=valid[:, 1:])

    def compute_driven(self, scenes: DrivenScenes) -> MetricValues:
        """1 where the driven path itself is in no lane."""
        driven = _centres(rolled_out(scenes.path, scenes)[1])
        return raw(self.is_off(driven, scenes)[:, 1:], self._is_known(driven, scenes)[:, 1:])

    def is_off(self, centres: Float[np.ndarray, "N P 2"], scenes: DrivenScenes) -> Bool[np.ndarray, "N P"]:
        """Whether points are farther than half a lane from every lane centre of their keyframe."""
        row, line = np.nonzero(scenes.map_kind == CENTERLINE)
        lanes, at = scenes.map_points[row, line], centres[row]
        low, high = lanes.min(1) - self._reach_m, lanes.max(1) + self._reach_m
        # Most lanes are elsewhere: the exact distance is taken to the few that are not.
        pair, place = np.nonzero(((at >= low[:, None]) & (at <= high[:, None])).all(-1))
        is_in_lane = distance_to_polyline(at[pair, place], lanes[pair]) <= self._reach_m
        return ~any_of(is_in_lane, (row[pair], place), centres.shape[:2])

    def _is_known(self, centres: Float[np.ndarray, "N P 2"], scenes: DrivenScenes) -> Bool[np.ndarray, "N P"]:
        """Steps (and t=0) that are scored, where all lanes within reach are on the map and the ego started in one."""
        starts_in_lane = ~self.is_off(centres[:, :1], scenes)
        scored = np.pad(is_scored(scenes), ((0, 0), (1, 0)), constant_values=True)
        return scored & self._is_inside(centres) & starts_in_lane

    def _is_inside(self, centres: Float[np.ndarray, "N P 2"]) -> Bool[np.ndarray, "N P"]:
        """Whether all lanes within reach are on the map."""
        low, high = np.array(PERCEPTION_RANGE_M[:2]) + self._reach_m, np.array(PERCEPTION_RANGE_M[2:]) - self._reach_m
        return ((centres >= low) & (centres <= high)).all(-1)


def _held(flags: Bool[np.ndarray, "N P"], known: Bool[np.ndarray, "N P"]) -> Bool[np.ndarray, "N P"]:
    """Flags, where they are not known as they were last; t=0 lies within the map."""
    last = np.maximum.accumulate(np.where(known, np.arange(known.shape[1]), 0), 1)
    return np.take_along_axis(flags, last, 1)


def _centres(motion: Motion) -> Float[np.ndarray, "N P 2"]:
    """The middle of the ego box at t=0 and at every step."""
    return ego_boxes(motion.pose[:, ::TICKS_PER_STEP])[..., :2]


build = OffLane
