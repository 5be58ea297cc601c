"""What evaluation can be told: ``params:evaluation``."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from dima_pipeline.contracts.frames import MAIN_PROTOCOL, InferenceMode
from dima_pipeline.metrics import METRICS, MetricSpec
from dima_pipeline.plugins import config_dataclass

Split = Literal["train", "val", "test"]
ARGUED_WITH = "planning_l2", MAIN_PROTOCOL


def scored_once(specs: list[Any]) -> list[Any]:
    """``specs``; raises ``ValueError`` where a metric stands twice or the one the report argues with is missing."""
    names = [(METRICS.dump(spec)["name"], METRICS.build(spec).protocol) for spec in specs]
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise ValueError(f"metric {twice[0][0]} of protocol {twice[0][1]} is asked for twice")
    if ARGUED_WITH not in names:
        name, protocol = ARGUED_WITH
        raise ValueError(f"{{name: {name}, protocol: {protocol}}} is missing: pictures and report argue with it")
    return specs


def with_the_planner(modes: tuple[InferenceMode, ...]) -> tuple[InferenceMode, ...]:
    """``modes``; raises ``ValueError`` where one stands twice or the planner, whom all are compared to, is missing."""
    if len(set(modes)) < len(modes) or "planner" not in modes:
        raise ValueError(f"asks for 'planner' and each mode once, got {list(modes)}")
    return modes


@config_dataclass
class EgoMlpConfig:
    """Size and training of the ego-MLP."""

    hidden_dim: Annotated[int, Field(ge=1)] = 128
    num_steps: Annotated[int, Field(ge=1)] = 2000
    batch_size: Annotated[int, Field(ge=1)] = 256
    learning_rate: Annotated[float, Field(gt=0)] = 1e-3
    """At the start; it falls to 0 as a cosine."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.01


@config_dataclass
class EvaluationConfig:
    """How planners are scored, timed, questioned and pictured."""

    metrics: Annotated[list[MetricSpec], AfterValidator(scored_once)] = Field(
        default_factory=lambda: ["planning_l2", "box_collision"]
    )
    inference_modes: Annotated[tuple[InferenceMode, ...], AfterValidator(with_the_planner)] = ("planner",)
    """Who plans the split. ``planner`` is the exported one; ``teacher`` and ``dual`` run the LLM at every keyframe."""
    split: Split = "val"
    """Keyframes that are scored; training keyframes only to see over-fitting."""
    ego_mlp: EgoMlpConfig = Field(default_factory=EgoMlpConfig)
    """The baseline that plans from the ego's own last 2 s alone."""
    num_parallel_scenes: Annotated[int, Field(ge=1)] = 8
    """Scenes planned side by side: a matter of speed and memory, not of the result."""
    num_bootstrap: Annotated[int, Field(ge=100)] = 1000
    """Resamples of the scenes behind each 95 % interval."""
    min_scenes: Annotated[int, Field(ge=2)] = 8
    """Fewer scenes carry no interval: from 8 on it holds what it promises (``benchmarks/bootstrap_coverage.py``)."""
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
