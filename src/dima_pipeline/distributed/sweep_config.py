"""The parameters of tuning (YAML key ``tuning``): how many trials of which size, and the space they are drawn from."""

import math
from typing import Annotated, Literal

from pydantic import Field

from dima_pipeline.plugins import config_dataclass

PositiveInt = Annotated[int, Field(ge=1)]
Scalar = bool | int | float | str | None


@config_dataclass
class RangeConfig:
    """Numbers from ``low`` to ``high``, both included; ``loguniform`` draws their logarithm."""

    kind: Literal["uniform", "loguniform", "integer"]
    low: float
    high: float

    def __post_init__(self) -> None:
        """Refuse what cannot be drawn from; pydantic reports it under the parameter's name."""
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low < self.high):
            raise ValueError(f"low {self.low} must be below high {self.high}, both finite")
        if self.kind == "loguniform" and self.low <= 0:
            raise ValueError(f"low {self.low} must be above 0 for loguniform")
        if self.kind == "integer" and not (self.low.is_integer() and self.high.is_integer()):
            raise ValueError(f"low {self.low} and high {self.high} must be whole numbers for integer")

    def holds(self, value: Scalar) -> bool:
        """Whether ``value`` could be drawn; a whole number asks for ``integer``, which draws nothing else."""
        if isinstance(value, bool) or not isinstance(value, int | float):
            return False
        return self.low <= value <= self.high and isinstance(value, int) == (self.kind == "integer")

    def ends(self) -> list[Scalar]:
        """The outermost values."""
        return [int(end) if self.kind == "integer" else end for end in (self.low, self.high)]


@config_dataclass
class ChoiceConfig:
    """One of ``values``."""

    kind: Literal["choice"]
    values: Annotated[list[Scalar], Field(min_length=2)]

    def holds(self, value: Scalar) -> bool:
        """Whether ``value`` could be drawn."""
        return value in self.values

    def ends(self) -> list[Scalar]:
        """All values."""
        return list(self.values)


Dimension = Annotated[RangeConfig | ChoiceConfig, Field(discriminator="kind")]


@config_dataclass
class TuningConfig:
    """Trials are shortened joint stages from the shared pretrained planner, compared on the development scenes."""

    seed: Annotated[int, Field(ge=0)] = 0
    num_trials: Annotated[int, Field(ge=0)] = 0
    """The present configuration is the first of them; 0: no sweep. A larger number continues a finished sweep."""
    num_steps: PositiveInt = 100
    """Optimiser steps of a trial that is not stopped."""
    report_every: PositiveInt = 25
    """Steps between two looks at the development scenes, which are also those between two checkpoints."""
    grace_period: PositiveInt = 25
    """Steps that ASHA gives every trial."""
    reduction_factor: Annotated[int, Field(ge=2)] = 2
    """Of the trials that reach a rung, ASHA goes on with one in so many."""
    num_random: PositiveInt = 5
    """Trials before Optuna's TPE models what is good; those before are drawn at random."""
    max_concurrent: PositiveInt = 2
    trials: Literal["function", "trainer"] = "function"
    """``function``: a trial trains in its own process on one CPU or GPU. ``trainer``: it starts the Ray trainer with
    the workers of ``runtime``, which costs about 15 s a trial."""
    space: dict[str, Dimension] = Field(default_factory=dict)
    """By dotted parameter of ``distillation``, e.g. ``joint.learning_rate``."""

    def __post_init__(self) -> None:
        if self.num_trials and not self.space:
            raise ValueError("space is empty: name at least one parameter of distillation, or set num_trials to 0")
        if not self.grace_period <= self.num_steps:
            raise ValueError(f"grace_period {self.grace_period} is above num_steps {self.num_steps}")
        if not self.report_every <= self.num_steps:
            raise ValueError(f"report_every {self.report_every} is above num_steps {self.num_steps}")
