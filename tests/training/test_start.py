"""Stage 2 from somebody's weights: a model, a checkpoint or a foreign file, whose source travels with the model."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from dima_pipeline.training.checkpoints import CheckpointStore
from dima_pipeline.training.config import parse_distillation
from dima_pipeline.training.foreign_weights import FACTS
from dima_pipeline.training.runtime import LocalRuntime
from dima_pipeline.training.stages import plan_stages, train_stage
from dima_pipeline.training.start import PLANNER, START
from training_cases import make_training_tables, write_shards

STAGE = {"num_steps": 2, "batch_size": 4, "learning_rate": 0.01, "warmup_steps": 1, "checkpoint_every": 1}
TEACHER = {"name": "causal_lm", "hidden_dim": 32, "num_layers": 2, "num_heads": 2, "vocab_size": 300}
IMPORTED = {"source": "VAD_tiny.pth", "licence": "for research alone"}


def settings(**changes):
    facts = {"planner": {"name": "doubles.fake_planner"}, "teacher": TEACHER, "pretraining": STAGE, "joint": STAGE}
    return parse_distillation({**facts, **changes})


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Tables and image shards."""
    tables, directory = make_training_tables(), tmp_path_factory.mktemp("start") / "shards"
    write_shards(tables, directory)
    return tables, directory


@pytest.fixture(scope="module")
def pretrained(data, tmp_path_factory):
    """The specification of a finished stage 1."""
    spec = plan_stages(settings(seed=5), *data, tmp_path_factory.mktemp("before"))["pretraining"]
    train_stage(spec, LocalRuntime())
    return spec


@pytest.fixture
def plan(data, tmp_path):
    """``plan_stages`` from a path, below ``tmp_path``."""
    return lambda path, **changes: plan_stages(settings(start_from=str(path), **changes), *data, tmp_path / "work")


def planner_of(spec):
    return load_file(Path(spec.parent_dir) / PLANNER)


def are_equal(found, expected):
    return found.keys() == expected.keys() and all(torch.equal(found[name], expected[name]) for name in expected)


def test_a_model_takes_the_place_of_stage_1(plan, pretrained):
    specs = plan(pretrained.model_dir)
    assert list(specs) == ["joint", "control"]
    expected = load_file(pretrained.model_dir / PLANNER)
    assert all(are_equal(planner_of(spec), expected) for spec in specs.values())


def test_a_checkpoint_takes_the_place_of_stage_1(plan, pretrained):
    path = Path(pretrained.run_dir) / "checkpoints" / "step_00000001"
    saved = CheckpointStore(path.parent).read(path).model
    expected = {name.removeprefix("planner."): value for name, value in saved.items() if name.startswith("planner.")}
    assert are_equal(planner_of(plan(path)["joint"]), expected)


def test_the_source_and_licence_of_a_foreign_file_travel_into_the_model(plan, pretrained, tmp_path):
    weights = load_file(pretrained.model_dir / PLANNER)
    save_file(weights, tmp_path / "vad.safetensors", metadata={FACTS: json.dumps(IMPORTED)})
    control = plan(tmp_path / "vad.safetensors")["control"]
    train_stage(control, LocalRuntime())
    start = json.loads((control.model_dir / "config.json").read_text())["start"]
    assert start["imported"] == IMPORTED and start["kind"] == "file" and len(start["sha256"]) == 64
    again = plan(control.model_dir)["joint"]
    told = json.loads((Path(again.parent_dir) / START).read_text())
    assert told["stage"] == "control" and told["start"]["imported"] == IMPORTED


def test_what_does_not_fit_of_a_foreign_file_is_named_and_the_rest_is_taken(plan, pretrained, tmp_path, caplog):
    weights = load_file(pretrained.model_dir / PLANNER)
    kept = weights.pop("out.weight")
    save_file({**weights, "camera_head": torch.ones(3)}, tmp_path / "part.safetensors")
    found = planner_of(plan(tmp_path / "part.safetensors")["joint"])
    assert "missing in the file: out.weight" in caplog.text and "camera_head" in caplog.text
    assert torch.equal(found["see.weight"], weights["see.weight"]) and not torch.equal(found["out.weight"], kept)


def test_the_content_decides_the_name_of_a_run_and_its_path_does_not(plan, pretrained, tmp_path):
    weights = load_file(pretrained.model_dir / PLANNER)
    for folder, change in (("a", 0.0), ("b", 0.0), ("c", 1.0)):
        (tmp_path / folder).mkdir()
        save_file({name: value + change for name, value in weights.items()}, tmp_path / folder / "w.safetensors")
    first, second, third = (plan(tmp_path / folder / "w.safetensors")["joint"].name for folder in "abc")
    assert first == second != third


def test_a_file_that_is_gone_after_the_start_is_not_missed(plan, pretrained, tmp_path):
    copy = Path(shutil.copytree(pretrained.model_dir, tmp_path / "model"))
    control = plan(copy)["control"]
    shutil.rmtree(copy)
    train_stage(control, LocalRuntime())
    assert control.model_dir.is_dir()


def test_what_is_no_start_is_refused_by_name_before_anything_trains(plan, pretrained, data, tmp_path):
    (tmp_path / "old.pth").write_bytes(b"\x80\x02}q\x00.")
    (tmp_path / "empty").mkdir()
    cut = Path(shutil.copytree(pretrained.model_dir, tmp_path / "cut"))
    (cut / PLANNER).write_bytes((cut / PLANNER).read_bytes()[:-3])
    for path, text in (
        (tmp_path / "nowhere", r"distillation\.start_from: .*nowhere does not exist; give .*dima import-weights"),
        (tmp_path / "old.pth", r"old\.pth is no safetensors file"),
        (tmp_path / "empty", r"empty has no manifest\.json"),
        (cut, r"cut/planner\.safetensors has \d+ bytes"),
        (data[1], r"holds a .*, no planner"),
    ):
        with pytest.raises(ValueError, match=text):
            plan(path)
    assert not (tmp_path / "work" / "runs").exists()
    assert not list((tmp_path / "work" / "starts").glob("*")) if (tmp_path / "work" / "starts").exists() else True


def test_weights_of_another_planner_are_refused(plan, pretrained):
    other = {"name": "doubles.fake_planner", "token_dim": 4}
    with pytest.raises(ValueError, match=r"another configuration of the planner: norm\.bias \(shape \[32\] for \[16\]"):
        plan(pretrained.model_dir, planner=other)


def test_stage_2_needs_a_teacher(plan, pretrained):
    with pytest.raises(ValueError, match="start_from is where stage 2 starts, which needs a teacher"):
        plan(pretrained.model_dir, teacher=None)
