"""The parameters of distillation: all that decides its result (``storage.runtime`` holds what only executes it)."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import fields
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, TypeAdapter, ValidationError

from dima_pipeline.planners import PLANNERS, PlannerSpec
from dima_pipeline.plugins import config_dataclass, explain
from dima_pipeline.surrogates import SURROGATES, SurrogateSpec
from dima_pipeline.teachers import TEACHERS
from dima_pipeline.training.weights import FIXED_TERMS, ObjectiveConfig, Weights

OptionalTeacher = Annotated[Any, BeforeValidator(lambda value: None if value is None else TEACHERS.parse(value))]
PositiveInt = Annotated[int, Field(ge=1)]


@config_dataclass
class AugmentationConfig:
    """How far the images of a training sample may be changed at most; each change is drawn anew in every epoch."""

    brightness: Annotated[float, Field(ge=0, le=0.5)] = 0.1
    """Share of the full range that is added or taken away (VAD: 0.125)."""
    contrast: Annotated[float, Field(ge=0, lt=1)] = 0.3
    """A factor of 1 +- this (VAD: 0.5)."""
    saturation: Annotated[float, Field(ge=0, le=1)] = 0.3
    """A factor of 1 +- this (VAD: 0.5)."""
    hue_deg: Annotated[float, Field(ge=0, le=30)] = 9.0
    """More would turn a red light into another one (VAD: 18)."""
    crop: Annotated[float, Field(ge=0, le=0.5)] = 0.1
    """Share of width and height that is cut away before the rest is enlarged; the projection follows."""


@config_dataclass
class WindowConfig:
    """What one training sample holds."""

    num_past_frames: Annotated[int, Field(ge=0)] = 1
    """Keyframes before the present one that fill the BEV memory."""
    num_agents: PositiveInt = 24
    """The nearest agents within the perception range are kept."""
    num_map_elements: PositiveInt = 16
    command: Literal["route", "driven"] = "route"
    """``driven`` looks ahead (VAD's rule): for comparison only."""
    augmentation: AugmentationConfig | None = None
    """Of images, in training alone; none where it is not named. ``{}`` takes the ranges above."""


@config_dataclass
class BestConfig:
    """Which checkpoints are kept beside the last ones."""

    metric: str = "total"
    """A term of the log, as it was in the step before the checkpoint."""
    mode: Literal["min", "max"] = "min"
    keep: PositiveInt = 1


@config_dataclass
class StageConfig:
    """One optimisation: AdamW, warm-up and cosine decay, clipped gradients."""

    num_steps: PositiveInt = 300
    batch_size: PositiveInt = 8
    """Samples a step over all workers together."""
    num_micro_batches: PositiveInt = 1
    """Passes into which each worker cuts its part of a batch, to save memory; their gradients add up."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """What the models compute in; weights, optimiser and loss terms are float32 in both cases."""
    learning_rate: Annotated[float, Field(gt=0)] = 1e-3
    learning_rates: dict[Literal["planner", "teacher", "surrogates", "regressors"], Annotated[float, Field(gt=0)]] = (
        Field(default_factory=dict)
    )
    """Of parts that need another one: a random teacher wants more than a planner that is already trained."""
    warmup_steps: Annotated[int, Field(ge=0)] = 20
    weight_decay: Annotated[float, Field(ge=0)] = 0.01
    clip_norm: Annotated[float, Field(gt=0)] = 5.0
    checkpoint_every: PositiveInt = 100
    log_every: PositiveInt = 1
    gradient_norms_every: Annotated[int, Field(ge=0)] = 0
    """Every so many steps the gradient of each term on the shared encoder is measured; 0 never. Changes no result."""
    keep_last: PositiveInt = 2
    best: BestConfig | None = None
    """Checkpoints that are kept beside the last ones; none where it is not named. ``{}`` keeps that of least loss."""
    max_bad_steps: Annotated[int, Field(ge=0)] = 3
    """Steps with a loss or gradient that is not finite are skipped; one more than this many stops the run."""


@config_dataclass
class DistillationConfig:
    """The YAML key ``distillation``: two stages (DiMA, section 3.4) and the models they train."""

    seed: Annotated[int, Field(ge=0)] = 0
    num_development_scenes: Annotated[int, Field(ge=0)] = 0
    """Training scenes that no stage trains on: configurations are compared on them, so that ``val`` stays unseen."""
    start_from: str | None = None
    """What stage 2 starts from in place of stage 1: a model directory, a checkpoint directory or a safetensors file."""
    planner: PlannerSpec
    teacher: OptionalTeacher = None
    surrogates: list[SurrogateSpec] = Field(default_factory=list)
    objective: ObjectiveConfig = Field(default_factory=ObjectiveConfig)
    window: WindowConfig = Field(default_factory=WindowConfig)
    pretraining: StageConfig = Field(default_factory=StageConfig)
    joint: StageConfig = Field(default_factory=StageConfig)

    def __post_init__(self) -> None:
        """Refuse what a cached teacher cannot do."""
        if not self.is_teacher_cached:
            return
        weighing = Weights(self.objective.weights)
        asked = [name for name in FIXED_TERMS["teacher"] if weighing[name] > 0]
        if asked or self.surrogates or self.objective.teacher_ema > 0:
            raise ValueError(
                "teacher.is_cached leaves distillation alone: set objective.weights.teacher and every weight below it "
                f"to 0, surrogates to [] and objective.teacher_ema to 0; {', '.join(asked) or 'something else'} is on"
            )

    @property
    def is_teacher_cached(self) -> bool:
        """Whether the teacher's features are written down before the joint stage."""
        return bool(getattr(self.teacher, "is_cached", False))


def parse_distillation(value: Any) -> DistillationConfig:
    """The typed configuration of a mapping; raises ``ValueError`` that names the key and the nearest allowed one."""
    try:
        return TypeAdapter(DistillationConfig).validate_python(value)
    except ValidationError as error:
        raise ValueError(explain(error, DistillationConfig, prefix="distillation")) from None


def dump_distillation(config: DistillationConfig) -> dict[str, Any]:
    """JSON-able mapping that ``parse_distillation`` turns back into ``config``."""
    plain = {f.name: getattr(config, f.name) for f in fields(config)}
    teacher = None if config.teacher is None else TEACHERS.dump(config.teacher)
    return {
        **{name: _dump(value) for name, value in plain.items() if name not in ("planner", "teacher", "surrogates")},
        "planner": PLANNERS.dump(config.planner),
        "teacher": teacher,
        "surrogates": [SURROGATES.dump(surrogate) for surrogate in config.surrogates],
    }


def _dump(value: Any) -> Any:
    return TypeAdapter(type(value)).dump_python(value, mode="json")


def digest_of(facts: Mapping[str, Any]) -> str:
    """SHA-256 of JSON-able facts, independent of the order of keys."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True, allow_nan=False).encode()).hexdigest()
