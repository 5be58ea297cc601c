"""Planned and driven tracks among the boxes of agents: all that a protocol looks at.

A track says how far the origin of the frame (LIDAR_TOP or the ego pose) has moved since t=0. Between the two frames it
keeps its metres and swaps its axes: a protocol takes it for the track of the origin that its own data set records.
"""

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Int

from dima_pipeline.contracts.frames import LIDAR_AHEAD_OF_EGO_M

Frame = Literal["lidar", "ego"]
KINDS = ("vehicle", "pedestrian", "other")
"""What ``kind`` counts: two-wheelers are vehicles; cones, barriers and animals are other."""
FORWARD_RAD: dict[Frame, float] = {"lidar": np.pi / 2, "ego": 0.0}
"""Heading of the ego at t=0: along y in the LIDAR frame, along x in the ego frame."""


@dataclass(frozen=True, kw_only=True)
class OpenLoopSamples:
    """N samples in the frame at t=0: ``lidar`` (x right, y forward) or ``ego`` (x forward, y left); m, rad."""

    pred: Float[np.ndarray, "N T 2"]
    gt: Float[np.ndarray, "N T 2"]
    fut_mask: Bool[np.ndarray, "N T"]
    """False where the recording has ended: neither ``gt`` nor boxes are known."""
    boxes: Float[np.ndarray, "N T A 5"]
    """x, y, yaw, length, width of every agent at that step."""
    box_mask: Bool[np.ndarray, "N T A"]
    kind: Int[np.ndarray, "N A"]
    """Index into ``KINDS``; anything where ``box_mask`` is False at every step."""
    frame: Frame
    lidar_ahead_m: float = LIDAR_AHEAD_OF_EGO_M
    """LIDAR_TOP ahead of the ego origin."""

    def __len__(self) -> int:
        return len(self.pred)

    def rows(self, chosen: slice | np.ndarray) -> "OpenLoopSamples":
        """Some of the samples."""
        arrays = {name: getattr(self, name)[chosen] for name in ARRAYS}
        return replace(self, **arrays)

    def chunks(self, size: int) -> Iterator["OpenLoopSamples"]:
        """All samples in parts of ``size``, so that memory does not grow with their number."""
        for first in range(0, len(self), size):
            yield self.rows(slice(first, first + size))

    def in_frame(self, frame: Frame) -> "OpenLoopSamples":
        """The same samples in another frame; nothing is computed where they already are in it."""
        if frame == self.frame:
            return self
        to_lidar = frame == "lidar"
        boxes = np.array(self.boxes)
        boxes[..., :2] = _swapped(self.boxes[..., :2], to_lidar)
        boxes[..., 0 if frame == "ego" else 1] += -self.lidar_ahead_m if to_lidar else self.lidar_ahead_m
        boxes[..., 2] += np.pi / 2 if to_lidar else -np.pi / 2
        return replace(
            self, pred=_swapped(self.pred, to_lidar), gt=_swapped(self.gt, to_lidar), boxes=boxes, frame=frame
        )


ARRAYS = tuple(field.name for field in fields(OpenLoopSamples) if field.name not in ("frame", "lidar_ahead_m"))


def _swapped(xy: Float[np.ndarray, "... 2"], to_lidar: bool) -> Float[np.ndarray, "... 2"]:
    """Axes of the ego frame to those of the LIDAR frame (right = -left), or back."""
    x, y = xy[..., 0], xy[..., 1]
    return np.stack([-y, x] if to_lidar else [y, -x], -1)


def held(path: Float[np.ndarray, "N T 2"], known: Bool[np.ndarray, "N T"]) -> Float[np.ndarray, "N T 2"]:
    """A path that stays where it was last known, at first at the origin: what stands at other steps turns no box."""
    last_known = np.maximum.accumulate(np.where(known, np.arange(1, known.shape[1] + 1), 0), 1)
    from_origin = np.concatenate([np.zeros_like(path[:, :1]), path], 1)
    return np.take_along_axis(from_origin, last_known[..., None], 1)
