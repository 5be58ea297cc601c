"""What models and planners did, as tables: plans and their scores, answers, latencies, trials and drift."""

from typing import Final

import pandas as pd
import pandera.pandas as pa
from pandera.typing import Series

from dima_pipeline.contracts.frames import HORIZON_RULES, VQA_CATEGORIES
from dima_pipeline.contracts.tables import Table


class Plans(Table):
    """One row per planner, keyframe and planned step."""

    planner: Series[str]
    sample_token: Series[str]
    step: Series[int] = pa.Field(ge=1, le=6)
    x_m: Series[float]
    y_m: Series[float]
    yaw_rad: Series[float]


class PlanningScores(Table):
    """One row per planner, keyframe, metric and horizon."""

    planner: Series[str]
    sample_token: Series[str]
    protocol: Series[str]
    metric: Series[str]
    horizon_rule: Series[str] = pa.Field(isin=HORIZON_RULES)
    """What a number at a horizon is: the value at that step, the mean of the steps up to it, or whether any had it."""
    horizon_s: Series[float] = pa.Field(gt=0)
    value: Series[float]
    """Of the step itself, whatever the rule."""
    valid: Series[bool]


class ScoreSummaries(Table):
    """One row per planner, metric, slice and horizon: the mean over keyframes, and how much stands behind it."""

    planner: Series[str]
    """``driven`` is the driven path itself: its ``box_collision_raw`` is the ground-truth collision rate."""
    protocol: Series[str]
    metric: Series[str]
    horizon_rule: Series[str] = pa.Field(isin=HORIZON_RULES)
    slice: Series[str]
    """``all`` = every keyframe."""
    horizon: Series[str]
    """0.5 ... 3.0 (s): the number there by the rule; avg: mean of 1, 2 and 3 s; avg_all: mean of all six steps."""
    mean: Series[float] = pa.Field(nullable=True)
    low: Series[float] = pa.Field(nullable=True)
    """95 % bootstrap interval over scenes; null where too few scenes were scored or have an event, or all are alike."""
    high: Series[float] = pa.Field(nullable=True)
    num_samples: Series[int] = pa.Field(ge=0)
    num_scenes: Series[int] = pa.Field(ge=0)
    num_events: Series[float] = pa.Field(nullable=True)
    """Null for the slice ``all``."""
    too_few: Series[bool]


class ScoreDifferences(Table):
    """One row per pair of planners, metric and horizon: paired difference planner - other, below 0 = planner better."""

    planner: Series[str]
    other: Series[str]
    protocol: Series[str]
    metric: Series[str]
    horizon_rule: Series[str] = pa.Field(isin=HORIZON_RULES)
    horizon: Series[str]
    mean: Series[float] = pa.Field(nullable=True)
    low: Series[float] = pa.Field(nullable=True)
    high: Series[float] = pa.Field(nullable=True)
    num_samples: Series[int] = pa.Field(ge=0)
    num_scenes: Series[int] = pa.Field(ge=0)


class GroundingRates(Table):
    """One row per writer of pairs and kind of claim: what became of the pairs when they were checked."""

    source: Series[str]
    """Of the pairs: ``rules``, ``drivelm``, ``llm:<model name>`` or ``human``."""
    claim: Series[str]
    """``none``: nothing in the pair could be weighed."""
    num_passed: Series[int] = pa.Field(ge=0)
    num_failed: Series[int] = pa.Field(ge=0)
    num_unchecked: Series[int] = pa.Field(ge=0)
    first_failure: Series[str] = pa.Field(nullable=True)
    """A question, its answer and why it failed; null where nothing failed."""


class VqaScores(Table):
    """One row per held-out question that the teacher answered, with its own and with another scene's BEAM tokens."""

    sample_token: Series[str]
    category: Series[str] = pa.Field(isin=VQA_CATEGORIES)
    beam: Series[str] = pa.Field(isin=("own", "shuffled"))
    question: Series[str]
    expected: Series[str]
    answer: Series[str]
    correct: Series[bool]
    """Exact match after lower-casing and trimming."""


class Latencies(Table):
    """One row per timed configuration of a bundle."""

    planner: Series[str]
    device: Series[str]
    batch: Series[int] = pa.Field(ge=1)
    p50_ms: Series[float] = pa.Field(gt=0)
    p95_ms: Series[float] = pa.Field(gt=0)
    p99_ms: Series[float] = pa.Field(gt=0)


class TrainingLog(Table):
    """One row per stage, optimiser step and logged loss term."""

    stage: Series[str]
    step: Series[int] = pa.Field(ge=0)
    term: Series[str]
    value: Series[float]


class SweepTrials(Table):
    """One row per trial of a sweep, in the order in which they were proposed; no row where no sweep was made."""

    trial: Series[int] = pa.Field(ge=0, unique=True)
    config: Series[str]
    """JSON: dotted parameter of ``distillation`` -> value."""
    objective: Series[float] = pa.Field(nullable=True)
    """``planning_l2`` averaged over 1, 2 and 3 s on development scenes (m) at the trial's last report; lower is better,
    null where it never reported."""
    step: Series[int] = pa.Field(ge=0)
    """Optimiser steps done."""
    status: Series[str] = pa.Field(isin=("finished", "stopped", "failed"))
    """``stopped``: ended early by the scheduler."""
    is_default: Series[bool]
    """Whether it is the configuration that the sweep started from."""
    is_best: Series[bool]


DRIFT_FEATURES: Final = {
    "scene": (
        *("num_vehicles", "num_two_wheelers", "num_pedestrians", "num_obstacles", "nearest_vehicle_m"),
        *("nearest_pedestrian_m", "num_dividers", "num_ped_crossings", "num_boundaries"),
        *("brightness", "contrast", "num_missing_cameras"),
    ),
    "ego": (
        *("speed_mps", "acceleration_mps2", "yaw_rate_radps", "steering_rad"),
        *("command_left", "command_right", "command_unknown"),
    ),
    "prediction": ("planned_speed_mps", "planned_end_x_m", "planned_end_y_m", "planned_turn_rad", "planned_gap_m"),
    "error": ("planning_l2_m",),
}
"""Features of a keyframe by group; what each one is stands in ``monitoring.features``."""


class KeyframeFeatures:
    """One row per keyframe: ``DRIFT_FEATURES`` (null = unknown) and the planner's ego features ``embedding`` (D)."""

    @classmethod
    def to_schema(cls) -> pa.DataFrameSchema:
        """The complete schema."""
        columns = {"sample_token": pa.Column(str, unique=True), "scene_token": pa.Column(str)}
        columns |= {name: pa.Column(float, nullable=True) for names in DRIFT_FEATURES.values() for name in names}
        return pa.DataFrameSchema({**columns, "embedding": pa.Column(object)}, strict=True, coerce=True)

    @classmethod
    def validate(cls, frame: pd.DataFrame, *args: object, **kwargs: object) -> pd.DataFrame:
        """Check ``frame``; raises pandera's ``SchemaErrors`` or ``SchemaError``."""
        return cls.to_schema().validate(frame, lazy=True)


class DriftScores(Table):
    """One row per slice and feature: how far the current window lies from the reference."""

    slice: Series[str]
    """``all`` = every keyframe of the windows."""
    group: Series[str] = pa.Field(isin=(*DRIFT_FEATURES, "embedding"))
    feature: Series[str]
    statistic: Series[str]
    value: Series[float] = pa.Field(nullable=True)
    """Null where one of the windows knows the feature at too few keyframes or scenes."""
    threshold: Series[float] = pa.Field(nullable=True)
    drifted: Series[bool]
    """False where ``too_few``."""
    num_reference: Series[int] = pa.Field(ge=0)
    """Keyframes where it is known."""
    num_current: Series[int] = pa.Field(ge=0)
    too_few: Series[bool]
