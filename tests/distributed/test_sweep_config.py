"""The YAML of a sweep is refused where it cannot be meant, and its module is light enough for Kedro's registry."""

import subprocess
import sys

import pytest
from pydantic import TypeAdapter, ValidationError

from dima_pipeline.distributed.sweep_config import ChoiceConfig, RangeConfig, TuningConfig
from sweep_cases import make_tuning


def parse(**values):
    return TypeAdapter(TuningConfig).validate_python(values)


def test_a_space_is_parsed_by_kind():
    space = make_tuning().space
    assert space["joint.learning_rate"] == RangeConfig(kind="loguniform", low=1e-4, high=0.1)
    assert space["objective.distillation"] == ChoiceConfig(kind="choice", values=["kl", "smooth_l1", "cosine"])


@pytest.mark.parametrize(
    ("dimension", "message"),
    [
        ({"kind": "uniform", "low": 2, "high": 1}, "low 2.0 must be below high 1.0"),
        ({"kind": "uniform", "low": 1, "high": 1}, "must be below"),
        ({"kind": "uniform", "low": 0, "high": float("inf")}, "both finite"),
        ({"kind": "loguniform", "low": 0, "high": 1}, "low 0.0 must be above 0 for loguniform"),
        ({"kind": "integer", "low": 1, "high": 2.5}, "must be whole numbers"),
        ({"kind": "gaussian", "low": 1, "high": 2}, "'uniform', 'loguniform', 'integer', 'choice'"),
        ({"kind": "choice", "values": [1]}, "at least 2"),
        ({"kind": "uniform", "lo": 1, "high": 2}, "lo"),
    ],
)
def test_a_wrong_dimension_is_refused(dimension, message):
    with pytest.raises(ValidationError, match="space") as caught:
        parse(num_trials=2, space={"x": dimension})
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"num_trials": 3}, "space is empty"),
        ({"grace_period": 101}, "grace_period 101 is above num_steps 100"),
        ({"report_every": 101, "grace_period": 1}, "report_every 101 is above num_steps 100"),
        ({"trials": "thread"}, "'function' or 'trainer'"),
        ({"num_trial": 3}, "num_trial"),
    ],
)
def test_wrong_settings_are_refused(values, message):
    with pytest.raises(ValidationError) as caught:
        parse(**values)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("dimension", "inside", "outside"),
    [
        (RangeConfig(kind="uniform", low=0, high=2), [0.0, 1.5, 2.0], [2.1, -0.1, 1, True, "1", None]),
        (RangeConfig(kind="integer", low=1, high=3), [1, 3], [0, 4, 1.0, 2.5, True]),
        (ChoiceConfig(kind="choice", values=["kl", None, 8]), ["kl", None, 8], ["cosine", 9]),
    ],
)
def test_a_dimension_knows_what_it_holds(dimension, inside, outside):
    assert all(dimension.holds(value) for value in inside)
    assert not any(dimension.holds(value) for value in outside)


def test_the_ends_of_an_integer_range_are_whole_numbers():
    ends = RangeConfig(kind="integer", low=1, high=3).ends()
    assert ends == [1, 3] and all(type(end) is int for end in ends)


def test_registering_the_pipeline_loads_neither_ray_nor_torch_nor_optuna():
    code = (
        "import sys; from dima_pipeline.pipelines.tuning.pipeline import create_pipeline; create_pipeline(); "
        "print([name for name in ('ray', 'torch', 'optuna', 'matplotlib', 'pandas') if name in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
