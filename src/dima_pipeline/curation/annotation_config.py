"""The configuration of annotation: who asks, how scenes are edited, which long-tail slices are looked for."""

from pydantic import Field

from dima_pipeline.annotations import ANNOTATORS, AnnotatorSpec
from dima_pipeline.plugins import config_dataclass
from dima_pipeline.slices import SLICES, SliceSpec


@config_dataclass
class EditConfig:
    """How scenes are edited."""

    keyframe_share: float = Field(1.0, ge=0, le=1)
    """Share of the keyframes with a known future that are edited at all."""
    add_share: float = Field(0.8, ge=0, le=1)
    vulnerable_share: float = Field(0.3, ge=0, le=1)
    """Share of the tried agents that are pedestrians and cyclists; with 0 only vehicles are edited, as in the paper."""
    matter_share: float = Field(0.5, ge=0, le=1)
    """Wanted share of the edits that change what the ego should do."""
    num_nearest: int = Field(5, ge=1)
    """Agents among which the deleted one is drawn."""
    num_candidates: int = Field(16, ge=1)
    """Poses tried for an added agent."""
    min_ahead_m: float = Field(6.0, ge=0)
    max_ahead_m: float = Field(30.0, gt=0)


@config_dataclass
class AnnotationConfig:
    """The parameters of the ``annotation`` pipeline."""

    seed: int = 0
    annotators: list[AnnotatorSpec] = Field(default_factory=lambda: [ANNOTATORS.parse("rules")])
    edits: EditConfig = Field(default_factory=EditConfig)
    decisions_file: str | None = None
    """What people decided about pairs (``curation.review``), relative to the project; null for nothing yet."""
    slices: list[SliceSpec] = Field(default_factory=lambda: [SLICES.parse(name) for name in SLICES.names()])
