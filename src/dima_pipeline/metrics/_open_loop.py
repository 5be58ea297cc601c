"""Driven scenes as the protocols of ``scoring`` take them, with the filters that are a protocol's own evaluation's."""

from typing import Annotated

import numpy as np
from jaxtyping import Float
from pydantic import AfterValidator

from dima_pipeline.contracts.frames import AGENT_CATEGORIES
from dima_pipeline.metrics import DrivenScenes
from dima_pipeline.scoring.protocols import protocol_named
from dima_pipeline.scoring.samples import KINDS, OpenLoopSamples

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
    """Samples in the ego frame; headings of plans and drives are left to the protocol.

    ``vad`` knows only agents that it tracks from t=0 on; ``standardised`` leaves out the first keyframe of a scene.
    """
    box_mask = scenes.boxes_valid & scenes.is_tracked[:, None] if protocol == "vad" else scenes.boxes_valid
    is_scored = scenes.has_past[:, None] if protocol == "standardised" else True
    return OpenLoopSamples(
        pred=plans[..., :2],
        gt=scenes.path[..., :2],
        fut_mask=scenes.path_valid & is_scored,
        boxes=scenes.boxes,
        box_mask=box_mask,
        kind=KIND_OF_CATEGORY[scenes.category],
        frame="ego",
    )
