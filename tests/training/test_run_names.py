"""Runs by name: the same name resumes, and a changed configuration is refused by its keys unless it is asked for."""

import json
from pathlib import Path

import pytest

from dima_pipeline.storage.disk import FullDiskError
from dima_pipeline.storage.filesystem import FileSystem
from dima_pipeline.storage.manifest import verify
from dima_pipeline.storage.runtime import RuntimeConfig
from dima_pipeline.training import stages
from dima_pipeline.training.checkpoints import CheckpointStore
from dima_pipeline.training.config import parse_distillation
from dima_pipeline.training.loop import read_log
from dima_pipeline.training.run_names import RUN, changes, run_name
from dima_pipeline.training.runtime import LocalRuntime
from dima_pipeline.training.stages import plan_stages, train_stage
from dima_pipeline.training.windows import tables_digest
from training_cases import make_training_tables, write_shards

STAGE = {"num_steps": 6, "batch_size": 4, "learning_rate": 0.01, "warmup_steps": 2, "checkpoint_every": 2}


def settings(**changes):
    return parse_distillation({"planner": {"name": "doubles.fake_planner"}, "pretraining": {**STAGE, **changes}})


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Tables and image shards."""
    tables, directory = make_training_tables(), tmp_path_factory.mktemp("names") / "shards"
    write_shards(tables, directory)
    return tables, directory


def plan(data, work_dir, *, run="night", resume_changed=False, **changes):
    specs = plan_stages(settings(**changes), *data, work_dir, run=run, resume_changed=resume_changed)
    return specs["pretraining"]


def test_a_named_run_lies_below_its_name_and_is_not_done_twice(data, tmp_path):
    spec = plan(data, tmp_path)
    assert spec.run_dir == str(tmp_path / "runs" / "night-pretraining")
    train_stage(spec, LocalRuntime())
    before = spec.log_path.stat().st_mtime_ns
    train_stage(plan(data, tmp_path), LocalRuntime())
    assert spec.log_path.stat().st_mtime_ns == before


def test_the_name_says_what_the_files_hold_that_a_teacher_or_planner_begins_with(tmp_path):
    (tmp_path / "base").mkdir()
    (tmp_path / "backbone.safetensors").write_bytes(b"1")
    planner = {"name": "vad", "backbone_weights": str(tmp_path / "backbone.safetensors")}
    config = parse_distillation({"planner": planner, "teacher": {"name": "causal_lm", "checkpoint": str(tmp_path)}})

    def names():
        return [run_name(stage, config, "data", None) for stage in ("pretraining", "control", "joint")]

    before = names()
    (tmp_path / "base" / "model.safetensors").write_bytes(b"2")
    teacher_changed = names()
    assert [a == b for a, b in zip(before, teacher_changed, strict=True)] == [True, True, False]
    (tmp_path / "backbone.safetensors").write_bytes(b"3")
    assert not set(teacher_changed) & set(names())


def test_two_runs_that_begin_together_in_one_work_folder_keep_out_of_each_others_way(data, tmp_path, monkeypatch):
    other = []

    def while_another_begins(directory):
        if not other:
            other.append(None)  # the other one does not begin a third
            other.append(plan(data, tmp_path, run="other"))
        return tables_digest(directory)

    monkeypatch.setattr(stages, "tables_digest", while_another_begins)
    spec = plan(data, tmp_path)
    assert spec.tables_dir == other[1].tables_dir
    verify(Path(spec.tables_dir))
    assert not list(tmp_path.glob(".tables.*"))


def test_what_decides_the_result_is_kept_beside_the_checkpoints_named_or_not(data, tmp_path):
    for run in (None, "night"):
        spec = plan(data, tmp_path, run=run)
        kept = json.loads((tmp_path / "runs" / (f"{run}-pretraining" if run else spec.name) / RUN).read_text())
        assert kept["pretraining"]["learning_rate"] == 0.01 and kept["planner"]["name"] == "doubles.fake_planner"


def test_a_changed_named_run_is_refused_by_the_keys_that_changed_and_nothing_is_touched(data, tmp_path):
    plan(data, tmp_path)
    kept = (tmp_path / "runs" / "night-pretraining" / RUN).read_bytes()
    with pytest.raises(ValueError) as refused:
        plan(data, tmp_path, learning_rate=0.02, num_steps=8)
    text = str(refused.value)
    assert "distillation.pretraining.learning_rate: 0.01 -> 0.02" in text
    assert "distillation.pretraining.num_steps: 6 -> 8" in text and "batch_size" not in text
    assert "night-pretraining" in text and "runtime.resume_changed" in text
    assert (tmp_path / "runs" / "night-pretraining" / RUN).read_bytes() == kept


def test_other_data_under_the_same_name_are_refused(data, tmp_path):
    plan(data, tmp_path)
    write_shards(data[0], tmp_path / "others", image_size=(16, 16))
    with pytest.raises(ValueError, match="something else: the tables or images"):
        plan((data[0], tmp_path / "others"), tmp_path)


def test_what_only_executes_a_run_may_change(data, tmp_path):
    plan(data, tmp_path)
    plan(data, tmp_path, checkpoint_every=3, keep_last=5, best={"metric": "total"}, gradient_norms_every=7)


def test_a_changed_run_goes_on_from_its_newest_checkpoint_where_that_is_asked_for(data, tmp_path):
    train_stage(plan(data, tmp_path), LocalRuntime())
    changed = plan(data, tmp_path, num_steps=8, resume_changed=True)
    train_stage(changed, LocalRuntime())
    assert [line["step"] for line in read_log(changed.log_path)] == list(range(8))
    assert json.loads((changed.model_dir / "manifest.json").read_text())["name"] == changed.name
    plan(data, tmp_path, num_steps=8)  # from now on this is its configuration
    with pytest.raises(ValueError, match="num_steps: 8 -> 6"):
        plan(data, tmp_path)


def test_a_run_of_which_nobody_says_what_it_is_is_refused(data, tmp_path):
    spec = plan(data, tmp_path)
    CheckpointStore(tmp_path / "runs" / "night-pretraining" / "checkpoints").claim()
    (tmp_path / "runs" / "night-pretraining" / RUN).unlink()
    with pytest.raises(ValueError, match=r"holds a run but no run\.json"):
        plan(data, tmp_path)
    assert plan(data, tmp_path, resume_changed=True) == spec


def test_without_a_name_a_change_is_another_run(data, tmp_path):
    first, second = plan(data, tmp_path, run=None), plan(data, tmp_path, run=None, learning_rate=0.02)
    assert first.run_dir != second.run_dir and first.identity == first.name


@pytest.mark.parametrize("name", ["", "../up", "a/b", ".hidden", "a b"])
def test_a_name_that_is_no_folder_name_is_refused(name):
    with pytest.raises(ValueError, match="run_name"):
        RuntimeConfig(work_dir="work", run_name=name)


def test_what_keeps_checkpoints_leaves_the_digest_alone():
    for change in ({"best": {"metric": "total", "mode": "max"}}, {"keep_last": 4}, {"gradient_norms_every": 3}):
        assert run_name("pretraining", settings(**change), "d", None) == run_name("pretraining", settings(), "d", None)
    assert run_name("pretraining", settings(clip_norm=1.0), "d", None) != run_name("pretraining", settings(), "d", None)


def test_changes_name_leaves_that_came_went_and_differ():
    before = {"seed": 0, "planner": {"name": "vad", "layers": 2}, "code": "a"}
    now = {"seed": 0, "planner": {"name": "vad", "width": 3}, "code": "b"}
    told = changes(before, now)
    assert told[0] == "the code of models and training" and len(told) == 3
    assert told[1].startswith("distillation.planner.layers: 2") and told[2].endswith("3")


def test_a_disk_that_fills_up_ends_a_stage_in_words_and_the_same_name_goes_on(data, tmp_path, monkeypatch):
    spec = plan(data, tmp_path)
    append, written = FileSystem.append, []

    def full(self, descriptor, content):
        written.append(len(content))
        if len(written) > 1 + 2 * 4:  # the claim, and two checkpoints of four files
            append(self, descriptor, content[: len(content) // 2])
            raise OSError(28, "No space left on device")
        append(self, descriptor, content)

    with monkeypatch.context() as patch:
        patch.setattr(FileSystem, "append", full)
        with pytest.raises(FullDiskError, match=r"checkpoint of step 6 takes .* MB, .* step_00000004 is kept"):
            train_stage(spec, LocalRuntime())
    folder = tmp_path / "runs" / "night-pretraining" / "checkpoints"
    assert sorted(path.name for path in folder.iterdir()) == ["attempt.json", "step_00000002", "step_00000004"]
    train_stage(spec, LocalRuntime())
    whole = plan(data, tmp_path / "whole")
    train_stage(whole, LocalRuntime())
    assert (spec.model_dir / "planner.safetensors").read_bytes() == (
        whole.model_dir / "planner.safetensors"
    ).read_bytes()
