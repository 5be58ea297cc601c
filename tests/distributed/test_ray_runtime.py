"""Ray Train: the same losses as in this process, a dead worker comes back, several workers share the batch."""

import json
import math

import pytest
import torch

from dima_pipeline.contracts.result_tables import TrainingLog
from dima_pipeline.distributed import ray_runtime
from dima_pipeline.distributed.distill import distill
from dima_pipeline.distributed.ray_runtime import launch
from dima_pipeline.storage.runtime import RuntimeConfig
from dima_pipeline.training.config import parse_distillation
from dima_pipeline.training.loop import read_log
from dima_pipeline.training.runtime import LocalRuntime
from dima_pipeline.training.stages import load_planner, plan_stages, train_stage
from training_cases import make_training_tables, write_shards

STAGE = {"num_steps": 9, "batch_size": 4, "learning_rate": 0.01, "warmup_steps": 2, "checkpoint_every": 2}


@pytest.fixture(scope="module")
def tables():
    return make_training_tables()


@pytest.fixture(scope="module")
def shards_dir(tables, tmp_path_factory):
    directory = tmp_path_factory.mktemp("ray") / "shards"
    write_shards(tables, directory)
    return directory


def config(**planner):
    spec = {"name": "doubles.fake_planner", **planner}
    return parse_distillation({"planner": spec, "pretraining": STAGE})


def logged(spec):
    return [(line["step"], line["terms"]) for line in read_log(spec.log_path)]


def test_a_run_whose_worker_dies_ends_with_the_losses_of_a_local_run_bit_for_bit(
    local_ray, tables, shards_dir, tmp_path
):
    flag = tmp_path / "died"
    # Dies in step 5: the checkpoint after step 4 is there, so that step 4 is done twice and steps 0 to 3 once.
    dying = config(die_at=5, died_flag=str(flag))
    seen = []
    runtime = RuntimeConfig(work_dir=str(tmp_path / "work"))
    result = distill(dying, runtime, tables, shards_dir, show=seen.append)
    assert flag.exists()
    local = plan_stages(config(), tables, shards_dir, tmp_path / "local")["pretraining"]
    train_stage(local, LocalRuntime())
    remote = plan_stages(dying, tables, shards_dir, tmp_path / "work")["pretraining"]
    assert logged(remote) == logged(local)
    weights = [load_planner(directory)[0].state_dict() for directory in (result.planner_dir, local.model_dir)]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[1])
    assert (result.control_dir, result.teacher_dir) == (None, None)
    assert len(TrainingLog.validate(result.log)) == 9 * len(logged(local)[0][1])
    assert (seen[-1].stage, seen[-1].done, seen[-1].total) == ("pretraining", 9, 9)
    assert not list((tmp_path / "work" / "ray").glob("*/*"))


def test_two_workers_share_each_batch_and_end_with_one_model(local_ray, tables, shards_dir, tmp_path):
    spec = plan_stages(config(dropout=0.0), tables, shards_dir, tmp_path)["pretraining"]
    launch([spec], RuntimeConfig(work_dir=str(tmp_path), num_workers=2))
    assert [step for step, _ in logged(spec)] == list(range(9))
    local = plan_stages(config(dropout=0.0), tables, shards_dir, tmp_path / "local")["pretraining"]
    train_stage(local, LocalRuntime())
    pairs = [(a["total"], b["total"]) for (_, a), (_, b) in zip(logged(spec), logged(local), strict=True)]
    # Batch norm sees half a batch on each worker, so that the losses are near and not equal.
    assert all(math.isclose(a, b, rel_tol=0.25) for a, b in pairs) and pairs[0][0] != pairs[0][1]
    planner, _ = load_planner(spec.model_dir)
    assert all(torch.isfinite(value).all() for value in planner.state_dict().values())


def test_finished_stages_need_no_ray_at_all(tables, shards_dir, tmp_path, monkeypatch):
    spec = plan_stages(config(), tables, shards_dir, tmp_path)["pretraining"]
    train_stage(spec, LocalRuntime())
    monkeypatch.setattr(ray_runtime, "start_ray", lambda runtime: pytest.fail("Ray was started"))
    assert launch([spec], RuntimeConfig(work_dir=str(tmp_path))) == [spec.model_dir]


def test_a_users_error_comes_back_as_text_and_is_not_tried_again(tables, shards_dir, tmp_path, monkeypatch):
    monkeypatch.setattr(ray_runtime, "RayRuntime", lambda spec: LocalRuntime())
    spec = plan_stages(config(nan_from=2), tables, shards_dir, tmp_path)["pretraining"]
    job = json.loads(json.dumps({"specs": [vars(spec)], "num_threads": 1, "python_path": []}))
    assert "trajectory_l1, total not finite, for the 4th time" in ray_runtime._train_stages(job)


def test_a_users_error_among_several_workers_is_raised_for_ray_to_end_them(tables, shards_dir, tmp_path, monkeypatch):
    class OneOfTwo(LocalRuntime):
        world_size = 2

    monkeypatch.setattr(ray_runtime, "RayRuntime", lambda spec: OneOfTwo())
    spec = plan_stages(config(nan_from=2), tables, shards_dir, tmp_path)["pretraining"]
    with pytest.raises(ValueError, match="for the 4th time"):
        ray_runtime._train_stages({"specs": [vars(spec)], "num_threads": 1, "python_path": []})
