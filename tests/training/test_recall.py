"""A cached teacher: the features that were written down are the teacher's, and it is not there while others train."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dima_pipeline.models.tensors import to_tensors
from dima_pipeline.storage.image_shards import ImageShards
from dima_pipeline.storage.scene_reader import SceneReader
from dima_pipeline.teachers.causal_lm import CausalLmTeacher
from dima_pipeline.training.config import parse_distillation
from dima_pipeline.training.loop import read_log
from dima_pipeline.training.objective import remember
from dima_pipeline.training.recall import FEATURES, RecalledTeacher
from dima_pipeline.training.runtime import GroupRuntime, LocalRuntime
from dima_pipeline.training.stages import StageSpec, load_planner, load_teacher, plan_stages, train_stage
from dima_pipeline.training.windows import WindowDataset
from training_cases import make_training_tables, write_shards

STAGE = {"num_steps": 3, "batch_size": 4, "learning_rate": 0.01, "warmup_steps": 1, "checkpoint_every": 3}
TEACHER = {"name": "causal_lm", "hidden_dim": 32, "num_layers": 2, "num_heads": 2, "vocab_size": 300}
ALONE = {"planner": {"name": "doubles.fake_planner"}, "pretraining": STAGE, "joint": STAGE}
WEIGHTS = {"teacher": 0.0, "distillation/ego": 1.0, "distillation/agent": 1.0}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path]:
    """Tables and image shards."""
    tables, directory = make_training_tables(), tmp_path_factory.mktemp("recall") / "shards"
    write_shards(tables, directory)
    return tables, directory


@pytest.fixture(scope="module")
def before(data: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model of a joint stage with a teacher that trained along."""
    specs = plan_stages(parse_distillation({**ALONE, "teacher": TEACHER}), *data, tmp_path_factory.mktemp("before"))
    train_stage(specs["pretraining"], LocalRuntime())
    return train_stage(specs["joint"], LocalRuntime())


def settings(before: Path, **changes: Any) -> Any:
    teacher = {**TEACHER, "start": str(before / "teacher"), "is_frozen": True, "is_cached": True}
    plain = {**ALONE, "start_from": str(before), "teacher": teacher, "objective": {"weights": WEIGHTS}}
    return parse_distillation({**plain, **changes})


@pytest.fixture(scope="module")
def trained(data: Any, before: Path, tmp_path_factory: pytest.TempPathFactory) -> StageSpec:
    """The joint stage with a cached teacher, done."""
    spec = plan_stages(settings(before), *data, tmp_path_factory.mktemp("cached"))["joint"]
    train_stage(spec, LocalRuntime())
    return spec


def features_of(spec: StageSpec) -> Path:
    [directory] = (Path(spec.run_dir).parents[1] / "features").iterdir()
    return directory


def test_what_is_recalled_is_what_the_teacher_makes_of_the_planner_that_training_starts_from(
    data: Any, before: Path, trained: StageSpec
) -> None:
    tables, shards = data
    windows = WindowDataset(tables, SceneReader(tables.samples, ImageShards(shards)), "train", num_future=0)
    batch = to_tensors(windows.batch(np.array([7, 2, 11])))
    planner, teacher = load_planner(before)[0], load_teacher(before)
    with torch.no_grad():
        beam, _ = planner.encode(batch.window.current, remember(planner, batch.window))
        expected = teacher(beam, None)
    found = RecalledTeacher(features_of(trained)).recall(batch.sample_tokens, torch.device("cpu"))
    assert torch.allclose(found.ego_features, expected.ego_features, atol=1e-5)
    assert torch.allclose(found.agent.mean(1), expected.agent.mean(1), atol=1e-5)
    assert torch.allclose(found.map.mean(1), expected.map.mean(1), atol=1e-5)


def test_only_distillation_and_planning_are_left_and_the_teacher_is_kept_with_the_model(trained: StageSpec) -> None:
    terms = read_log(trained.log_path)[0]["terms"]
    assert {"distillation/ego", "distillation/agent", "planning/trajectory_l1"} <= terms.keys()
    assert not any(name.startswith(("teacher/", "surrogate/")) for name in terms)
    assert load_teacher(trained.model_dir).hidden_dim == 32


def test_no_language_model_is_there_once_the_features_are(
    data: Any, before: Path, trained: StageSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: Any, **options: Any) -> None:
        raise AssertionError("the teacher is built")

    monkeypatch.setattr(CausalLmTeacher, "__init__", refuse)
    work_dir = Path(trained.run_dir).parents[1]
    again = plan_stages(settings(before), *data, work_dir, run="again")["joint"]
    train_stage(again, LocalRuntime())
    assert read_log(again.log_path)[-1]["terms"] == pytest.approx(read_log(trained.log_path)[-1]["terms"])


def test_a_run_that_differs_in_its_steps_alone_recalls_the_same_features(
    data: Any, before: Path, trained: StageSpec
) -> None:
    other = settings(before, joint={**STAGE, "num_steps": 1})
    spec = plan_stages(other, *data, Path(trained.run_dir).parents[1])["joint"]
    features = features_of(trained)
    written = (features / FEATURES).stat().st_mtime_ns
    train_stage(spec, LocalRuntime())
    assert spec.run_dir != trained.run_dir
    assert features_of(spec) == features and (features / FEATURES).stat().st_mtime_ns == written


def test_several_workers_do_not_shard_a_teacher_without_weights(
    trained: StageSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = torch.nn.Linear(1, 1)
    model.teacher = RecalledTeacher(features_of(trained))
    group = GroupRuntime("cpu", parallel="fsdp")
    group.world_size = 2
    monkeypatch.setattr("dima_pipeline.training.runtime.DataParallel", lambda model, device: ("replicated", model))
    assert group.wrap(model) == ("replicated", model)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"objective": {"weights": {}}}, "teacher/vqa, teacher/trajectory_l1 is on"),
        ({"surrogates": ["masked_reconstruction"]}, "something else is on"),
        ({"objective": {"weights": WEIGHTS, "teacher_ema": 0.9}}, "something else is on"),
    ],
)
def test_what_needs_the_teacher_at_every_step_is_refused_by_name(before: Path, changes: Any, named: str) -> None:
    with pytest.raises(ValueError, match=f"teacher.is_cached leaves distillation alone.*{named}"):
        settings(before, **changes)


def test_a_teacher_that_trains_cannot_be_cached() -> None:
    with pytest.raises(ValueError, match="is_cached needs is_frozen"):
        parse_distillation({**ALONE, "teacher": {**TEACHER, "is_cached": True}})
