"""Whether the rolled-out ego box crosses the edge of the road: BEV-Planner's curb collision, with segments not pixels.

The drivable-area compliance of the PDM score (NAVSIM, NeurIPS 2024), where only boundary polylines are known. They end
at the edge of the perception range: from the tick on at which the drive leaves it, nothing is known (at 3 s drives
faster than some 9 m/s). A plan that leaves it alone keeps what it did before: that is no way out of the denominator.
"""

import numpy as np
from jaxtyping import Bool, Float

from dima_pipeline.contracts.frames import EGO_LENGTH_M, EGO_WIDTH_M, MAP_KINDS, PERCEPTION_RANGE_M
from dima_pipeline.geometry import box_corners, ego_boxes
from dima_pipeline.metrics import DrivenScenes, MetricValues
from dima_pipeline.metrics._rolled_out import PROTOCOL, by_step, failed, is_scored, raw, rolled_out
from dima_pipeline.plugins import config_dataclass
from dima_pipeline.scoring.horizons import HorizonRule
from dima_pipeline.scoring.rasters import any_of
from dima_pipeline.scoring.rollout import Motion

BOUNDARY = MAP_KINDS.index("boundary")


@config_dataclass
class Config:
    """Nothing to choose: the whole ego box counts."""


class OffRoad:
    """``off_road`` (1: the ego box has crossed a boundary up to that step)."""

    protocol = PROTOCOL
    horizon_rule: HorizonRule = "at"

    def __init__(self, config: Config) -> None:
        self.config = config

    def compute(self, plans: Float[np.ndarray, "N T 3"], scenes: DrivenScenes) -> MetricValues:
        """1 from the first step on up to which the plan has crossed a boundary and the drive has not."""
        planned, driven = rolled_out(plans, scenes)
        valid = self._is_known(driven, scenes)
        return failed(self.crosses(planned, scenes), self.crosses(driven, scenes), valid)

    def compute_driven(self, scenes: DrivenScenes) -> MetricValues:
        """1 where the driven path has crossed a boundary itself."""
        driven = rolled_out(scenes.path, scenes)[1]
        return raw(self.crosses(driven, scenes), self._is_known(driven, scenes))

    def crosses(self, motion: Motion, scenes: DrivenScenes) -> Bool[np.ndarray, "N T"]:
        """Whether the ego box has crossed a boundary up to each step."""
        boxes = ego_boxes(motion.pose)
        corners = box_corners(boxes)
        low, high = corners.min((1, 2)), corners.max((1, 2))
        line_of, line = np.nonzero(scenes.map_kind == BOUNDARY)
        points = scenes.map_points[line_of, line].astype(float)
        ends = np.stack([points[:, :-1], points[:, 1:]], 2)
        # Most segments lie nowhere near the way: the exact test runs on the few that do.
        is_near = (ends.min(2) <= high[line_of, None]) & (ends.max(2) >= low[line_of, None])
        row, segment = np.nonzero(is_near.all(-1))
        sample = line_of[row]
        middle, length = ends[row, segment].mean(1), np.linalg.norm(np.diff(ends[row, segment], axis=1)[:, 0], axis=-1)
        gap = np.linalg.norm(boxes[sample, :, :2] - middle[:, None], axis=-1)
        pair, tick = np.nonzero(gap <= (length[:, None] + np.hypot(EGO_LENGTH_M, EGO_WIDTH_M)) / 2)
        hit = meet_segments(boxes[sample[pair], tick], ends[row[pair], segment[pair]])
        return by_step(any_of(hit, (sample[pair], tick), boxes.shape[:2]))

    def _is_known(self, motion: Motion, scenes: DrivenScenes) -> Bool[np.ndarray, "N T"]:
        """Steps up to which the ego box has stayed within the map, where there is one."""
        corners = box_corners(ego_boxes(motion.pose))
        is_outside = (corners < PERCEPTION_RANGE_M[:2]) | (corners > PERCEPTION_RANGE_M[2:])
        has_map = (scenes.map_kind == BOUNDARY).any(1)
        return is_scored(scenes) & has_map[:, None] & ~by_step(is_outside.any((2, 3)))


def meet_segments(boxes: Float[np.ndarray, "... 5"], ends: Float[np.ndarray, "... 2 2"]) -> Bool[np.ndarray, "..."]:
    """Whether a segment passes through the inside of an ego-sized box x, y, yaw, ... (separating axes, exact)."""
    cos, sin = np.cos(boxes[..., 2, None]), np.sin(boxes[..., 2, None])
    x, y = ends[..., 0] - boxes[..., 0, None], ends[..., 1] - boxes[..., 1, None]
    along, across = cos * x + sin * y, cos * y - sin * x
    length, width = EGO_LENGTH_M / 2, EGO_WIDTH_M / 2
    is_beside = (along.min(-1) >= length) | (along.max(-1) <= -length)
    is_beside |= (across.min(-1) >= width) | (across.max(-1) <= -width)
    dx, dy = along[..., 1] - along[..., 0], across[..., 1] - across[..., 0]
    off_line = np.abs(along[..., 0] * dy - across[..., 0] * dx)
    return ~is_beside & (off_line < length * np.abs(dy) + width * np.abs(dx))


build = OffRoad
