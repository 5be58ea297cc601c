"""Driven scenes as the protocols of ``scoring`` take them, with the filters that are a protocol's own evaluation's."""

from typing import Annotated

import numpy as np
from jaxtyping import Float
from pydantic import AfterValidator

from dima_pipeline.contracts.frames import AGENT_CATEGORIES, LIDAR_AHEAD_OF_EGO_M
from dima_pipeline.metrics import DrivenScenes
from dima_pipeline.scoring.protocols import PROTOCOLS, protocol_named
from dima_pipeline.scoring.samples import KINDS, Frame, OpenLoopSamples

OTHER = KINDS.index("other")
KIND_OF_CATEGORY = np.array(
    [
        KINDS.index("pedestrian") if name == "pedestrian" else OTHER if name in ("traffic_cone", "barrier") else 0
        for name in AGENT_CATEGORIES
    ]
    + [OTHER]
)
"""Category -1 pads and picks the last entry."""
ProtocolName = Annotated[str, AfterValidator(lambda name: protocol_named(name).name)]


def open_loop_samples(plans: Float[np.ndarray, "N T 3"], scenes: DrivenScenes, protocol: str) -> OpenLoopSamples:
    """Samples in the frame of the protocol; the headings of plans and drives say no more than where the LIDAR is.

    ``vad`` knows only agents that it tracks from t=0 on; ``standardised`` leaves out the first keyframe of a scene.
    """
    box_mask = scenes.boxes_valid & scenes.is_tracked[:, None] if protocol == "vad" else scenes.boxes_valid
    is_scored = scenes.has_past[:, None] if protocol == "standardised" else True
    frame = PROTOCOLS[protocol].frame or "ego"
    samples = OpenLoopSamples(
        pred=_track(plans, frame),
        gt=_track(scenes.path, frame),
        fut_mask=scenes.path_valid & is_scored,
        boxes=scenes.boxes,
        box_mask=box_mask,
        kind=KIND_OF_CATEGORY[scenes.category],
        frame="ego",
    )
    return samples.in_frame(frame)


def _track(path: Float[np.ndarray, "N T 3"], frame: Frame) -> Float[np.ndarray, "N T 2"]:
    """How far the ego origin, or the LIDAR ahead of it, has moved; axes of the ego frame."""
    if frame == "ego":
        return path[..., :2]
    yaw = path[..., 2]
    return path[..., :2] + LIDAR_AHEAD_OF_EGO_M * np.stack([np.cos(yaw) - 1, np.sin(yaw)], -1)
