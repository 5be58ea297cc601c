"""What a generated driving world is made of: how many scenes, how long, how large the images."""

from dataclasses import field
from typing import Annotated

from pydantic import Field, StringConstraints

from dima_pipeline.plugins import config_dataclass

MIN_EVENT_KEYFRAMES = 24
"""Below this a scene is too short for its planted event to be guaranteed."""


@config_dataclass
class WorldConfig:
    """A generated root; equal configurations give equal bytes."""

    seed: Annotated[int, Field(ge=0)] = 0
    num_train_scenes: Annotated[int, Field(ge=0, le=700)] = 28
    num_val_scenes: Annotated[int, Field(ge=0, le=150)] = 10
    num_keyframes: Annotated[int, Field(ge=4, le=80)] = 30
    """Keyframes a scene, at 2 Hz."""
    image_width: Annotated[int, Field(ge=16, le=1600)] = 320
    image_height: Annotated[int, Field(ge=9, le=900)] = 180
    jpeg_quality: Annotated[int, Field(ge=30, le=95)] = 85
    annotation_range_m: Annotated[float, Field(gt=5, le=120)] = 60.0
    version: Annotated[str, StringConstraints(pattern=r"^v1\.0-[a-z0-9-]*(trainval|mini|test)$")] = field(
        default="v1.0-synthetic-trainval"
    )
    """Detection evaluation of the devkit wants a name that ends in trainval, mini or test."""
