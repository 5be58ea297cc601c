"""Stages: named by what decides their result, resumed or reused by that name, and saved whole."""

import json
import shutil
from dataclasses import asdict, replace

import pytest
import torch
from safetensors.torch import load_file

from dima_pipeline.contracts.result_tables import TrainingLog
from dima_pipeline.training.config import parse_distillation
from dima_pipeline.training.loop import read_log
from dima_pipeline.training.runtime import LocalRuntime
from dima_pipeline.training.stages import (
    StageSpec,
    build_model,
    is_finished,
    load_planner,
    load_teacher,
    plan_stages,
    run_name,
    train_stage,
    training_log,
    training_texts,
)
from training_cases import make_training_tables, write_shards

STAGE = {"num_steps": 6, "batch_size": 4, "learning_rate": 0.01, "warmup_steps": 2, "checkpoint_every": 2}
ALONE = {"planner": {"name": "doubles.fake_planner"}, "pretraining": STAGE, "joint": STAGE}
TEACHER = {"name": "causal_lm", "hidden_dim": 32, "num_layers": 2, "num_heads": 2, "vocab_size": 300}
WITH_TEACHER = {
    **ALONE,
    "teacher": TEACHER,
    "surrogates": ["masked_reconstruction", "future_prediction", "scene_editing"],
}


@pytest.fixture(scope="module")
def tables():
    return make_training_tables()


@pytest.fixture(scope="module")
def shards_dir(tables, tmp_path_factory):
    directory = tmp_path_factory.mktemp("stages") / "shards"
    write_shards(tables, directory)
    return directory


@pytest.fixture(scope="module")
def trained(tables, shards_dir, tmp_path_factory):
    """All three stages, done once."""
    specs = plan_stages(parse_distillation(WITH_TEACHER), tables, shards_dir, tmp_path_factory.mktemp("work"))
    for spec in specs.values():
        train_stage(spec, LocalRuntime())
    return specs


def plan(tables, shards_dir, work_dir, **changes):
    return plan_stages(parse_distillation({**ALONE, **changes}), tables, shards_dir, work_dir)


def test_the_stages_are_pretraining_joint_and_control_from_one_pretrained_planner(trained):
    assert list(trained) == ["pretraining", "joint", "control"]
    assert trained["joint"].parent_dir == trained["control"].parent_dir == str(trained["pretraining"].model_dir)
    assert all(is_finished(spec) for spec in trained.values())


def test_the_planner_comes_back_as_it_was_trained_and_in_evaluation_mode(trained):
    planner, config = load_planner(trained["joint"].model_dir)
    saved = load_file(trained["joint"].model_dir / "planner.safetensors")
    assert all(torch.equal(value, saved[name]) for name, value in planner.state_dict().items())
    assert not planner.training and config.seed == 0
    assert type(planner).__name__ == "FakePlanner"


def test_control_and_joint_start_alike_and_part_by_what_the_teacher_adds(trained):
    """Both see the same batches: the planning loss of the first step differs by nothing."""
    first = {stage: read_log(trained[stage].log_path)[0]["terms"] for stage in ("joint", "control")}
    assert first["joint"]["planning/trajectory_l1"] == first["control"]["planning/trajectory_l1"]
    assert first["joint"].keys() - first["control"].keys() >= {"teacher/vqa", "distillation/ego"}
    assert not any(name.startswith(("teacher", "surrogate", "distillation")) for name in first["control"])
    joint, control = (load_file(trained[stage].model_dir / "planner.safetensors") for stage in ("joint", "control"))
    assert not torch.equal(joint["see.weight"], control["see.weight"])


def test_joint_and_control_start_from_the_pretrained_planner(trained, tables):
    pretrained = load_file(trained["pretraining"].model_dir / "planner.safetensors")
    for stage in ("joint", "control"):
        model = build_model(trained[stage], parse_distillation(WITH_TEACHER), tables, (32, 32))
        assert all(torch.equal(value, pretrained[name]) for name, value in model.planner.state_dict().items())
        assert (model.teacher is None) == (stage == "control")


def test_the_teacher_answers_after_it_was_loaded(trained):
    teacher = load_teacher(trained["joint"].model_dir)
    assert teacher.hidden_dim == 32 and not teacher.training
    with pytest.raises(ValueError, match="no teacher: it is the result of stage 'control'"):
        load_teacher(trained["control"].model_dir)


def test_a_model_directory_holds_no_pickle_and_its_exact_configuration(trained):
    files = [path for path in trained["joint"].model_dir.rglob("*") if path.is_file()]
    assert {path.suffix for path in files} <= {".safetensors", ".json", ".jinja"}
    facts = json.loads((trained["joint"].model_dir / "config.json").read_text())
    assert facts["config"] == trained["joint"].config and facts["image_size"] == [32, 32]


def test_the_log_is_the_table_of_the_contract(trained):
    log = TrainingLog.validate(training_log(list(trained.values())))
    assert log.groupby("stage")["step"].max().to_dict() == {"pretraining": 5, "joint": 5, "control": 5}


def test_a_damaged_model_directory_is_refused_by_file(trained, tmp_path):
    copy = tmp_path / "model"
    shutil.copytree(trained["control"].model_dir, copy)
    weights = copy / "planner.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    with pytest.raises(ValueError, match=r"planner\.safetensors"):
        load_planner(copy)


def test_a_finished_stage_is_not_done_again_but_a_damaged_one_is(tables, shards_dir, tmp_path, caplog):
    spec = plan(tables, shards_dir, tmp_path)["pretraining"]
    train_stage(spec, LocalRuntime())
    before = spec.log_path.stat().st_mtime_ns
    train_stage(spec, LocalRuntime())
    assert spec.log_path.stat().st_mtime_ns == before
    weights = spec.model_dir / "planner.safetensors"
    good = weights.read_bytes()
    weights.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    train_stage(spec, LocalRuntime())
    assert "planner.safetensors" in caplog.text and weights.read_bytes() == good


def test_an_interrupted_stage_ends_as_if_it_had_not_been(tables, shards_dir, tmp_path):
    whole = plan(tables, shards_dir, tmp_path / "whole")["pretraining"]
    cut = plan(tables, shards_dir, tmp_path / "cut")["pretraining"]
    train_stage(whole, LocalRuntime())

    class Stops(LocalRuntime):
        def report(self, metrics):
            if metrics["step"] == 4:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_stage(cut, Stops())
    assert not cut.model_dir.exists()
    train_stage(cut, LocalRuntime())
    assert cut.name == whole.name
    assert (cut.model_dir / "planner.safetensors").read_bytes() == (
        whole.model_dir / "planner.safetensors"
    ).read_bytes()
    assert [line["terms"] for line in read_log(cut.log_path)] == [line["terms"] for line in read_log(whole.log_path)]


def test_a_spec_survives_json(tables, shards_dir, tmp_path):
    spec = plan(tables, shards_dir, tmp_path)["pretraining"]
    assert StageSpec(**json.loads(json.dumps(asdict(spec)))) == spec


@pytest.mark.parametrize(
    ("change", "renamed"),
    [
        ({"seed": 1}, {"pretraining", "joint", "control"}),
        ({"window": {"num_agents": 3}}, {"pretraining", "joint", "control"}),
        ({"objective": {"weights": {"planning": 2.0}}}, {"pretraining", "joint", "control"}),
        ({"objective": {"weights": {"teacher/vqa": 2.0}}}, {"joint"}),
        ({"teacher": {**TEACHER, "hidden_dim": 64}}, {"joint"}),
        ({"surrogates": []}, {"joint"}),
        ({"joint": {**STAGE, "num_steps": 7}}, {"joint", "control"}),
        ({"pretraining": {**STAGE, "checkpoint_every": 3}}, set()),
    ],
)
def test_a_stage_is_renamed_by_what_it_uses_and_by_nothing_else(change, renamed):
    before, after = parse_distillation(WITH_TEACHER), parse_distillation({**WITH_TEACHER, **change})
    stages = ("pretraining", "joint", "control")
    assert {s for s in stages if run_name(s, before, "data", "p") != run_name(s, after, "data", "p")} == renamed
    assert run_name("joint", before, "data", "p") != run_name("joint", before, "data", "q")


def test_other_tables_or_images_are_another_run(tables, shards_dir, tmp_path):
    name = plan(tables, shards_dir, tmp_path)["pretraining"].name
    assert plan(tables, shards_dir, tmp_path / "elsewhere")["pretraining"].name == name
    other = replace(tables, agents=tables.agents.assign(x_m=tables.agents["x_m"] + 1))
    assert plan(other, shards_dir, tmp_path)["pretraining"].name != name
    write_shards(tables, tmp_path / "shards", image_size=(16, 16))
    assert plan(tables, tmp_path / "shards", tmp_path)["pretraining"].name != name


def test_a_tokenizer_never_sees_the_val_split(tables):
    texts = training_texts(tables)
    assert "It drives 4 m/s." in texts and "A truck stands ahead: what now?" in texts
    assert "It drives 6 m/s." not in texts


def test_without_a_teacher_there_is_pretraining_alone(tables, shards_dir, tmp_path):
    assert list(plan(tables, shards_dir, tmp_path)) == ["pretraining"]
