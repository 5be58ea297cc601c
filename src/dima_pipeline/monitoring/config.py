"""What drift can be told: ``params:drift``."""

from typing import Annotated, Literal

from pydantic import Field

from dima_pipeline.plugins import config_dataclass


@config_dataclass
class WindowConfig:
    """A window: the keyframes of a split, or fewer."""

    split: Literal["train", "val", "test"]
    slice: str | None = None
    """Only its keyframes of this slice."""
    scenes: list[str] = Field(default_factory=list)
    """Only these scenes, by name; empty means all."""
    part: Literal["even", "odd"] | None = None
    """Only every other scene, in the order of a digest of the names: two random halves that are always the same."""


@config_dataclass
class DriftConfig:
    """The YAML key ``drift``: which windows are compared, and when a difference is drift."""

    reference: WindowConfig = Field(default_factory=lambda: WindowConfig(split="train"))
    """Without the scenes that ``current`` takes: no scene stands in both windows."""
    current: WindowConfig = Field(default_factory=lambda: WindowConfig(split="val"))
    max_drifted_share: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """The test fails where a larger share of the features drifted."""
    false_alarm_rate: Annotated[float, Field(ge=0.005, le=0.5)] = 0.02
    """How often any feature may be called drifted for two windows whose scenes were dealt at random: of all keyframes,
    and likewise of each slice."""
    num_splits: Annotated[int, Field(ge=200)] = 500
    """Random splits of the scenes behind the thresholds."""
    min_shift: Annotated[float, Field(ge=0)] = 0.1
    """What differs less than values that are all shifted by so many standard deviations is no drift, however many
    scenes there are."""
    min_samples: Annotated[int, Field(ge=1)] = 20
    """Fewer keyframes in a window that know a feature are too few to judge it."""
    min_scenes: Annotated[int, Field(ge=2)] = 5
    """Fewer scenes in a window that know a feature are too few to judge it."""
    num_components: Annotated[int, Field(ge=0)] = 4
    """Principal components of the planner's ego features that stand for them."""
    on_drift: Literal["report", "fail"] = "report"
    """``fail``: the run ends with exit status 1, after report and tables were written."""
    seed: Annotated[int, Field(ge=0)] = 0

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits that the windows are cut from."""
        return tuple(sorted({self.reference.split, self.current.split}))
