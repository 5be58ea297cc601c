"""Exact collisions: closed oriented boxes, turned by the tangent of the path."""

import numpy as np
from jaxtyping import Bool, Float

from dima_pipeline.contracts.frames import EGO_LENGTH_M, EGO_WIDTH_M
from dima_pipeline.geometry import boxes_overlap, ego_boxes, path_headings
from dima_pipeline.scoring.rasters import any_of, near

CENTER_AHEAD_OF_LIDAR_M = 0.5
MIN_STEP_M = 0.5
"""A shorter step (below 1 m/s) does not turn the ego: at a stop the tangent is noise."""
TOUCH_M = 1e-9


def tangent_boxes(path: Float[np.ndarray, "N T 2"], forward_rad: float, ahead_m: float) -> Float[np.ndarray, "N T 5"]:
    """Ego boxes x, y, yaw, length, width on a path from the origin; their centre is ``ahead_m`` ahead of the path."""
    yaw = path_headings(path, MIN_STEP_M, start_rad=forward_rad, may_reverse=False)
    return ego_boxes(np.concatenate([path, yaw[..., None]], -1), ahead_m)


def exact_hits(
    ego: Float[np.ndarray, "N T 5"], boxes: Float[np.ndarray, "N T A 5"], counts: Bool[np.ndarray, "N T A"]
) -> Bool[np.ndarray, "N T"]:
    """Whether ego boxes share a point with a counted box; touching counts."""
    # Most boxes are too far away to touch: the exact test runs on the few that are not.
    half = np.hypot(EGO_LENGTH_M, EGO_WIDTH_M) / 2
    sample, step, agent = near(boxes, counts, ego[..., :2] - half, ego[..., :2] + half, TOUCH_M)
    hit = boxes_overlap(ego[sample, step], boxes[sample, step, agent], TOUCH_M)
    return any_of(hit, (sample, step), ego.shape[:2])
