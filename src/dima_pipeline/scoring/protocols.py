"""The protocols behind published open-loop planning numbers: same names, different numbers.

``vad``: VAD (ICCV 2023), after ST-P3. ``uniad``: UniAD (CVPR 2023). ``bev_planner``: BEV-Planner (CVPR 2024).
``standardised``: after PARA-Drive (CVPR 2024), with exact boxes. Here are values per sample and step; ``horizons``
makes numbers of them. VAD's point collision (``obj_col``) is left out: it reads a cell 25 m away from the waypoint.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from jaxtyping import Bool, Float

from dima_pipeline.plugins import unknown
from dima_pipeline.scoring.footprints import CENTER_AHEAD_OF_LIDAR_M, exact_hits, tangent_boxes
from dima_pipeline.scoring.horizons import HorizonRule
from dima_pipeline.scoring.rasters import HalfMetreGrid, TenthMetreGrid
from dima_pipeline.scoring.samples import FORWARD_RAD, KINDS, Frame, OpenLoopSamples, held
from dima_pipeline.scoring.values import MetricValues

CHUNK = 256
"""Samples whose boxes are looked at together: memory does not grow with their number."""
Hits = Callable[[Float[np.ndarray, "N T 2"], OpenLoopSamples, Bool[np.ndarray, "N T A"]], Bool[np.ndarray, "N T"]]


@dataclass(frozen=True, kw_only=True)
class Collisions:
    """Whether the ego box meets another one at each step; False where the future is unknown."""

    planned: Bool[np.ndarray, "N T"]
    driven: Bool[np.ndarray, "N T"]


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """How one line of work turns plans into numbers."""

    name: str
    frame: Frame | None
    """Frame that tracks and boxes are brought to; None: they stay."""
    classes: tuple[str, ...]
    """Out of ``KINDS``."""
    incomplete: Literal["drop_sample", "count_as_zero", "drop_step"]
    """What becomes of a sample whose future is not known at all six steps."""
    l2_rule: HorizonRule
    collision_rule: HorizonRule
    footprint: str
    """In words, for tables."""
    hits: Hits

    def counted(self, fut_mask: Bool[np.ndarray, "N T"]) -> Bool[np.ndarray, "N T"]:
        """The samples and steps that stand in the denominator."""
        if self.incomplete == "drop_sample":
            return np.repeat(fut_mask.all(1, keepdims=True), fut_mask.shape[1], 1)
        return np.ones_like(fut_mask) if self.incomplete == "count_as_zero" else fut_mask

    def l2(self, samples: OpenLoopSamples) -> MetricValues:
        """Distance (m) of planned and driven positions as they are given; 0 where the driven one is unknown."""
        distance = np.linalg.norm(samples.pred - samples.gt, axis=-1)
        return self._values(np.where(samples.fut_mask, distance, 0.0), samples)

    def box_collision(self, samples: OpenLoopSamples, found: Collisions) -> MetricValues:
        """1 where the planned box meets another and the driven one does not."""
        return self._values(found.planned & ~found.driven, samples)

    def gt_box_collision(self, samples: OpenLoopSamples, found: Collisions) -> MetricValues:
        """1 where the driven box itself meets another: what ``box_collision`` forgives."""
        return self._values(found.driven, samples)

    def collisions(self, samples: OpenLoopSamples) -> Collisions:
        """With the agents that count, in the frame of the protocol."""
        kinds = [KINDS.index(name) for name in self.classes]
        found = []
        for part in samples.chunks(CHUNK):
            here = part.in_frame(self.frame) if self.frame else part
            counts = here.box_mask & np.isin(here.kind, kinds)[:, None] & here.fut_mask[..., None]
            paths = here.pred, held(here.gt, here.fut_mask)
            found.append(np.stack([self.hits(path, here, counts) for path in paths]))
        planned, driven = np.concatenate(found, 1) if found else np.zeros((2, *samples.fut_mask.shape), bool)
        return Collisions(planned=planned, driven=driven)

    def _values(self, value: np.ndarray, samples: OpenLoopSamples) -> MetricValues:
        counted = self.counted(samples.fut_mask)
        return MetricValues(value=np.where(counted, value, 0.0).astype(float), valid=counted)


def _exact(path: np.ndarray, samples: OpenLoopSamples, counts: np.ndarray) -> np.ndarray:
    ahead_m = CENTER_AHEAD_OF_LIDAR_M + (samples.lidar_ahead_m if samples.frame == "ego" else 0.0)
    return exact_hits(tangent_boxes(path, FORWARD_RAD[samples.frame], ahead_m), samples.boxes, counts)


def _in_grid(grid: HalfMetreGrid | TenthMetreGrid) -> Hits:
    return lambda path, samples, counts: grid.hits(path, samples.boxes, counts)


PROTOCOLS: Final = {
    protocol.name: protocol
    for protocol in (
        Protocol(
            name="vad",
            frame="lidar",
            classes=("vehicle", "pedestrian"),
            incomplete="drop_sample",
            l2_rule="mean",
            collision_rule="mean",
            footprint="8 x 4 cells of 0.5 m, never turned",
            hits=_in_grid(HalfMetreGrid(is_flipped=True)),
        ),
        Protocol(
            name="uniad",
            frame="lidar",
            classes=("vehicle",),
            incomplete="count_as_zero",
            l2_rule="at",
            collision_rule="at",
            footprint="8 x 4 cells of 0.5 m, never turned",
            hits=_in_grid(HalfMetreGrid(is_flipped=False)),
        ),
        Protocol(
            name="bev_planner",
            frame="ego",
            classes=("vehicle",),
            incomplete="drop_sample",
            l2_rule="mean",
            collision_rule="any",
            footprint="41 x 18 cells of 0.1 m, turned by the last step",
            hits=_in_grid(TenthMetreGrid()),
        ),
        Protocol(
            name="standardised",
            frame=None,
            classes=("vehicle", "pedestrian"),
            incomplete="drop_step",
            l2_rule="at",
            collision_rule="at",
            footprint="4.084 x 1.85 m, exact, tangent to the path",
            hits=_exact,
        ),
    )
}


def protocol_named(name: str) -> Protocol:
    """A protocol; raises ``ValueError`` with the nearest name."""
    if name not in PROTOCOLS:
        raise ValueError(unknown("protocol", name, list(PROTOCOLS)))
    return PROTOCOLS[name]
