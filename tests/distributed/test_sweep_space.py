"""Dotted parameters of ``distillation`` are found, changed, checked before anything starts, and written for people."""

import shutil

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from kedro.config import OmegaConfigLoader

from dima_pipeline.distributed.sweep_space import (
    distributions,
    parameters_file,
    present_values,
    value_at,
    with_values,
)
from dima_pipeline.settings import CONFIG_LOADER_ARGS
from dima_pipeline.training.config import dump_distillation, parse_distillation
from project_folder import PROJECT
from sweep_cases import SPACE, make_distillation, make_tuning

FACTS = dump_distillation(make_distillation())
BEST = {
    "joint.learning_rate": 0.05,
    "objective.weights.distillation/ego": 2.5,
    "surrogates.masked_reconstruction.max_ratio": 0.7,
    "teacher.num_bev_queries": 3,
    "objective.distillation": "cosine",
}


def test_a_member_of_a_list_is_found_by_its_name():
    assert value_at(FACTS, "surrogates.masked_reconstruction.max_ratio") == 0.4
    changed = with_values(FACTS, {"surrogates.masked_reconstruction.max_ratio": 0.5})
    assert [task.get("max_ratio") for task in changed["surrogates"]] == [0.5, None]
    assert value_at(FACTS, "surrogates.masked_reconstruction.max_ratio") == 0.4


@given(st.floats(1e-4, 0.1), st.integers(1, 4))
def test_what_was_set_is_what_the_configuration_then_has(rate, queries):
    values = {"joint.learning_rate": rate, "teacher.num_bev_queries": queries}
    config = parse_distillation(with_values(FACTS, values))
    assert (config.joint.learning_rate, config.teacher.num_bev_queries) == (rate, queries)
    assert {path: value_at(dump_distillation(config), path) for path in values} == values


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("joint.learning_rat", "no parameter 'learning_rat' in distillation.joint; .* did you mean 'learning_rate'?"),
        ("join.learning_rate", "did you mean 'joint'?"),
        ("surrogates.masked_reconstructio.max_ratio", "did you mean 'masked_reconstruction'?"),
        ("objective.weights.distillation/eg", "did you mean 'distillation/ego'?"),
        ("joint", "distillation.joint is a group of parameters: name one of them"),
        ("seed.value", "distillation.seed is one value, it has no 'value'"),
    ],
)
def test_an_unknown_parameter_is_named_with_the_nearest_one(path, message):
    with pytest.raises(ValueError, match=message) as caught:
        value_at(FACTS, path)
    assert str(caught.value).startswith(f"tuning.space.{path}: ")


def test_the_first_trial_has_the_present_values():
    present = {
        "joint.learning_rate": 0.01,
        "objective.weights.distillation/ego": 1.0,
        "surrogates.masked_reconstruction.max_ratio": 0.4,
        "teacher.num_bev_queries": 2,
        "objective.distillation": "kl",
    }
    assert present_values(make_tuning(), make_distillation()) == present


@pytest.mark.parametrize(
    ("path", "dimension", "message"),
    [
        ("joint.learning_rate", {"kind": "uniform", "low": 0.1, "high": 1}, "the present value 0.01 is not in uniform"),
        ("teacher.num_bev_queries", {"kind": "uniform", "low": 1, "high": 4}, "needs kind integer or choice"),
        ("joint.learning_rate", {"kind": "uniform", "low": 0, "high": 1}, "greater than 0"),
        (
            "surrogates.masked_reconstruction.max_ratio",
            {"kind": "uniform", "low": 0.1, "high": 0.5},
            "min_ratio 0.2 is above max_ratio 0.1",
        ),
        ("objective.distillation", {"kind": "choice", "values": ["kl", "cosin"]}, "cosin"),
        ("planner.dropout", {"kind": "uniform", "low": 0.1, "high": 0.5}, "changes pretraining"),
        ("seed", {"kind": "integer", "low": 0, "high": 9}, "changes pretraining"),
        ("joint.num_steps", {"kind": "integer", "low": 12, "high": 99}, "does not change what a trial"),
        ("joint.keep_last", {"kind": "integer", "low": 1, "high": 3}, "does not change what a trial"),
        ("num_development_scenes", {"kind": "integer", "low": 1, "high": 2}, "does not change what a trial"),
    ],
)
def test_a_space_that_does_not_fit_is_refused(path, dimension, message):
    with pytest.raises(ValueError, match=r"distillation|tuning\.space") as caught:
        present_values(make_tuning(space={path: dimension}), make_distillation())
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"teacher": None, "surrogates": []}, "teacher is null"),
        ({"num_development_scenes": 0}, "num_development_scenes is 0"),
        ({"joint": {"num_steps": 11}}, "num_steps 12 is above distillation.joint.num_steps 11"),
    ],
)
def test_a_configuration_that_cannot_be_tuned_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        present_values(make_tuning(), make_distillation(**changes))


def test_optuna_draws_within_the_ends():
    found = distributions(make_tuning().space)
    assert list(found) == list(SPACE)
    rate, queries = found["joint.learning_rate"], found["teacher.num_bev_queries"]
    assert (rate.low, rate.high, rate.log) == (1e-4, 0.1, True)
    assert (queries.low, queries.high) == (1, 4)
    assert found["objective.distillation"].choices == ("kl", "smooth_l1", "cosine")


def load(conf, environment):
    """The parameters as a run of an environment has them."""
    return OmegaConfigLoader(conf_source=str(conf), env=environment, **CONFIG_LOADER_ARGS)["parameters"]


def test_the_file_put_in_place_is_the_best_configuration_and_changes_nothing_else(tmp_path):
    conf = tmp_path / "conf"
    base, own = conf / "base", conf / "own"
    base.mkdir(parents=True)
    own.mkdir()
    config = make_distillation()
    (base / "parameters_distillation.yml").write_text(yaml.safe_dump({"distillation": FACTS}))
    (own / "parameters_distillation.yml").write_text(parameters_file(BEST, config, "Trial 3 of 5\nPut it there"))
    assert (own / "parameters_distillation.yml").read_text().startswith("# Trial 3 of 5\n# Put it there\ndistillation:")
    assert parse_distillation(load(conf, "own")["distillation"]) == parse_distillation(with_values(FACTS, BEST))


def test_the_file_says_only_what_was_tuned_plug_ins_whole_and_the_development_scenes():
    written = yaml.safe_load(parameters_file(BEST, make_distillation(), ""))["distillation"]
    assert list(written) == ["num_development_scenes", "joint", "objective", "surrogates", "teacher"]
    assert written["joint"] == {"learning_rate": 0.05}
    assert written["objective"] == {"weights": {"distillation/ego": 2.5}, "distillation": "cosine"}
    assert [task["name"] for task in written["surrogates"]] == ["masked_reconstruction", "scene_editing"]
    assert written["surrogates"][0]["max_ratio"] == 0.7
    assert written["teacher"] == {**FACTS["teacher"], "num_bev_queries": 3}


def test_an_empty_file_changes_nothing(tmp_path):
    conf = shutil.copytree(PROJECT / "conf", tmp_path / "conf")
    before = load(conf, "synthetic")["distillation"]
    text = parameters_file({}, make_distillation(), "No sweep")
    assert text == "# No sweep\ndistillation: {}\n"
    (conf / "synthetic" / "parameters_distillation.yml").write_text(text)
    assert load(conf, "synthetic")["distillation"] == before


@pytest.mark.parametrize("environment", ["synthetic", "nuscenes_mini", "nuscenes"])
def test_the_spaces_of_the_project_fit_its_configurations(environment):
    parameters = load(PROJECT / "conf", environment)
    tuning = make_tuning(**{**parameters["tuning"], "num_trials": 1})
    config = parse_distillation(parameters["distillation"])
    assert list(present_values(tuning, config)) == list(tuning.space)
    assert ("teacher.lora_rank" in tuning.space) == (environment == "nuscenes")
    assert bool(parameters["tuning"]["num_trials"]) == (environment == "synthetic")
