"""The configuration of distillation: typos are named, and what is dumped is parsed again."""

import pytest

from dima_pipeline.training.config import digest_of, dump_distillation, parse_distillation

FULL = {
    "seed": 3,
    "planner": {"name": "doubles.fake_planner", "token_dim": 16},
    "teacher": {"name": "causal_lm"},
    "surrogates": ["masked_reconstruction", {"name": "future_prediction"}],
    "objective": {"weights": {"planning": 2.0}},
    "window": {"command": "driven"},
    "joint": {"num_steps": 5, "batch_size": 2},
}


def test_a_dumped_configuration_is_parsed_back_to_the_same():
    config = parse_distillation(FULL)
    assert parse_distillation(dump_distillation(config)) == config
    assert config.joint.num_steps == 5 and config.planner.token_dim == 16


def test_the_dump_names_every_plugin_and_states_every_default():
    dump = dump_distillation(parse_distillation(FULL))
    assert dump["planner"]["name"] == "doubles.fake_planner"
    assert [surrogate["name"] for surrogate in dump["surrogates"]] == ["masked_reconstruction", "future_prediction"]
    window = {"num_past_frames": 1, "num_agents": 24, "num_map_elements": 16, "command": "driven"}
    assert dump["window"] == {**window, "augmentation": None}


def test_a_teacher_is_optional():
    config = parse_distillation({"planner": "doubles.fake_planner", "teacher": None})
    assert config.teacher is None and dump_distillation(config)["teacher"] is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sead": 1}, r"distillation\.sead.*did you mean 'seed'"),
        ({"planner": {"name": "doubles.fake_planner", "token_dims": 8}}, "did you mean 'token_dim'"),
        ({"teacher": {"name": "causal_ml"}}, "did you mean 'causal_lm'"),
        ({"joint": {"num_steps": 0}}, r"joint\.num_steps.*greater than or equal to 1"),
        ({"window": {"command": "future"}}, "window.command"),
    ],
)
def test_what_is_wrong_is_named(change, message):
    with pytest.raises(ValueError, match=message):
        parse_distillation({**FULL, **change})


def test_a_digest_does_not_depend_on_the_order_of_keys():
    assert digest_of({"a": 1, "b": [1, 2]}) == digest_of({"b": [1, 2], "a": 1}) != digest_of({"a": 1, "b": [2, 1]})
