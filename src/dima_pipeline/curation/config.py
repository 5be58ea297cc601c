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
    image_encoding: Literal["auto", "raw", "jpeg"] = "auto"
    """How shards keep images: ``auto`` is raw pixels where they are small, else JPEG (``benchmarks/shards.py``)."""
    jpeg_quality: int = Field(default=95, ge=1, le=100)
    missing_images: Literal["error", "drop", "render"] = "error"
    """A camera file that is not there: stop before any work, leave it black and not valid, or draw it from the log."""
    val_scenes: list[str] = Field(default_factory=list)
    """Scenes of split ``val``, before the official lists are asked."""
    splits_file: str | None = None
    """A JSON or YAML file ``{train: [...], val: [...], test: [...]}`` of scene names instead of the official lists; a
    relative path counts from the project folder."""
    vad_infos: Literal["skip", "none", "vad"] = "skip"
    """The fields of VAD's converter beside our tables: with right values (``none``) or with its published faults."""
    overlap_radius_m: float = Field(default=5.0, gt=0, allow_inf_nan=False)
    """Held-out keyframes this near to a training keyframe are reported as driven in a known place."""
    scenes: list[str] = Field(default_factory=list)
    """Names of the scenes to ingest; empty means all."""
    max_scenes: int | None = Field(default=None, ge=1)
    """Only the first so many scenes."""

    def __post_init__(self) -> None:
        """Refuse two ways to say the splits; pydantic reports it under the parameter's name."""
        if self.val_scenes and self.splits_file:
            raise ValueError("val_scenes and splits_file both say which scenes are held out: keep one of them")

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width of the model's images, pixels."""
        return self.image_height, self.image_width
