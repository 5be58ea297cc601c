"""What evaluation can be told: ``params:evaluation``."""

from typing import Annotated, Literal

from pydantic import Field

from dima_pipeline.metrics import MetricSpec
from dima_pipeline.plugins import config_dataclass

Split = Literal["train", "val", "test"]


@config_dataclass
class EvaluationConfig:
    """How planners are scored, timed, questioned and pictured."""

    metrics: list[MetricSpec] = Field(default_factory=lambda: ["planning_l2", "box_collision"], min_length=1)
    split: Split = "val"
    """Keyframes that are scored; training keyframes only to see over-fitting."""
    num_parallel_scenes: Annotated[int, Field(ge=1)] = 8
    """Scenes planned side by side: a matter of speed and memory, not of the result."""
    num_bootstrap: Annotated[int, Field(ge=100)] = 1000
    """Resamples of the scenes behind each 95 % interval."""
    min_scenes: Annotated[int, Field(ge=2)] = 5
    """Fewer scenes carry no interval: the two of mini val would give one that means nothing."""
    min_samples: Annotated[int, Field(ge=1)] = 20
    """A slice with fewer scored keyframes is marked "too few"."""
    min_events: Annotated[int, Field(ge=1)] = 2
    """A slice with fewer events is marked "too few"."""
    num_latency_runs: Annotated[int, Field(ge=10)] = 100
    num_pictures: Annotated[int, Field(ge=0)] = 6
    num_questions: Annotated[int, Field(ge=0)] = 200
    """Held-out questions the teacher is asked, balanced over the categories."""
    max_new_tokens: Annotated[int, Field(ge=1)] = 32
    seed: int = 0
