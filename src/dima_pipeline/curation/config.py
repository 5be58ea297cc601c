"""The configuration of ingestion: which recordings become tables and shards, and what stands in for lost images."""

from typing import Literal

from pydantic import Field

from dima_pipeline.datasets import DatasetSpec
from dima_pipeline.plugins import config_dataclass


@config_dataclass
class IngestionConfig:
    """Parameters of pipeline ``ingestion``."""

    dataset: DatasetSpec
    """A data set plug-in and its options, e.g. ``{name: nuscenes, version: v1.0-mini}``."""
    image_height: int = Field(default=96, ge=8, le=4096)
    image_width: int = Field(default=160, ge=8, le=4096)
    missing_images: Literal["error", "drop", "render"] = "error"
    """A camera file that is not there: stop before any work, leave it black and not valid, or draw it from the log."""
    val_scenes: list[str] = Field(default_factory=list)
    """Scenes of split ``val``, before the official lists are asked."""
    scenes: list[str] = Field(default_factory=list)
    """Names of the scenes to ingest; empty means all."""
    max_scenes: int | None = Field(default=None, ge=1)
    """Only the first so many scenes."""

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width of the model's images, pixels."""
        return self.image_height, self.image_width
