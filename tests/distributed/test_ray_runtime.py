"""Ray Train: the same losses as in this process, a dead worker comes back, several workers share the batch."""

import math
from dataclasses import asdict, replace
from types import SimpleNamespace

import pytest
import ray
import torch
from safetensors.torch import load_file

from dima_pipeline.contracts.result_tables import TrainingLog
from dima_pipeline.distributed import ray_runtime, shared_storage
from dima_pipeline.distributed.distill import distill
from dima_pipeline.distributed.ray_runtime import launch
from dima_pipeline.distributed.shared_storage import require_on
from dima_pipeline.storage.runtime import RuntimeConfig
from dima_pipeline.training.config import StageConfig, parse_distillation
from dima_pipeline.training.loop import read_log
from dima_pipeline.training.runtime import LocalRuntime
from dima_pipeline.training.stages import load_planner, load_teacher, plan_stages, train_stage
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


def test_half_precision_and_micro_batches_give_the_same_bits_in_a_worker_and_here(
    local_ray, tables, shards_dir, tmp_path
):
    stage = {**STAGE, "num_steps": 4, "precision": "bf16", "num_micro_batches": 2}
    changed = replace(config(), pretraining=StageConfig(**stage))
    remote, local = (
        plan_stages(changed, tables, shards_dir, tmp_path / name)["pretraining"] for name in ("remote", "local")
    )
    launch([remote], RuntimeConfig(work_dir=str(tmp_path / "remote"), cpus_per_worker=0.5))
    train_stage(local, LocalRuntime())
    assert logged(remote) == logged(local)
    assert logged(local)[0][1]["total"] != 0


@pytest.mark.slow
def test_a_teacher_that_was_sharded_among_workers_is_published_whole(local_ray, tables, shards_dir, tmp_path):
    sharded_teacher = {"name": "causal_lm", "hidden_dim": 32, "num_layers": 2, "num_heads": 2, "vocab_size": 300}
    stage = {**STAGE, "num_steps": 3}
    facts = {
        "planner": {"name": "doubles.fake_planner"},
        "teacher": sharded_teacher,
        "surrogates": ["masked_reconstruction"],
        "pretraining": stage,
        "joint": stage,
    }
    specs = plan_stages(parse_distillation(facts), tables, shards_dir, tmp_path)
    launch(list(specs.values()), RuntimeConfig(work_dir=str(tmp_path), num_workers=2, parallel="fsdp"))
    teacher = load_teacher(specs["joint"].model_dir)
    (newest,) = (tmp_path / "runs").glob("joint-*/checkpoints/step_00000003")
    trained = load_file(newest / "model.safetensors")
    weights = {f"teacher.{name}": value for name, value in teacher.state_dict().items()}
    assert set(weights) == {name for name in trained if name.startswith("teacher.")}
    assert all(torch.equal(value, trained[name]) for name, value in weights.items())
    assert [step for step, _ in logged(specs["control"])] == [0, 1, 2]


@pytest.mark.slow
def test_the_text_of_a_users_error_among_two_workers_comes_back_without_a_second_try(
    local_ray, tables, shards_dir, tmp_path
):
    spec = plan_stages(config(nan_from=2), tables, shards_dir, tmp_path)["pretraining"]
    with pytest.raises(ValueError, match=r"total not finite \(worker 0, 1\), for the 4th time"):
        launch([spec], RuntimeConfig(work_dir=str(tmp_path), num_workers=2))
    assert [line["step"] for line in read_log(spec.log_path)] == [0, 1, 2, 3, 4]


def test_each_machine_is_asked_and_one_that_does_not_see_the_folder_is_named(local_ray, tmp_path, monkeypatch):
    nodes = {node["NodeID"]: "worker-7" for node in ray.nodes()}
    (tmp_path / "manifest.json").write_text("{}")
    require_on(nodes, tmp_path / "work", [tmp_path / "manifest.json"])
    assert list((tmp_path / "work").iterdir()) == []
    monkeypatch.setattr(shared_storage, "_digest", lambda path: "written elsewhere")
    with pytest.raises(ValueError, match=f"the machine worker-7 does not see {tmp_path}/work and {tmp_path} as"):
        require_on(nodes, tmp_path / "work", [tmp_path / "manifest.json"])
    assert list((tmp_path / "work").iterdir()) == []


def watched(spec, monkeypatch, world_size):
    """What the first of ``world_size`` workers does, here and without the others."""
    context = SimpleNamespace(get_world_rank=lambda: 0, get_world_size=lambda: world_size)
    monkeypatch.setattr("ray.train.get_context", lambda: context)
    monkeypatch.setattr(ray_runtime, "RayRuntime", lambda spec, settings, watchdog: LocalRuntime())
    job = {"specs": [asdict(spec)], "runtime": RuntimeConfig(work_dir="unused"), "python_path": []}
    return ray_runtime._train_stages(job)


def test_a_users_error_comes_back_as_text_and_is_not_tried_again(tables, shards_dir, tmp_path, monkeypatch):
    spec = plan_stages(config(nan_from=2), tables, shards_dir, tmp_path)["pretraining"]
    assert "trajectory_l1, total not finite, for the 4th time" in watched(spec, monkeypatch, 1)


def test_a_users_error_among_several_workers_is_raised_and_found_when_ray_starts_them_again(
    tables, shards_dir, tmp_path, monkeypatch
):
    spec = plan_stages(config(nan_from=2), tables, shards_dir, tmp_path)["pretraining"]
    with pytest.raises(ValueError, match="for the 4th time"):
        watched(spec, monkeypatch, 2)
    before = logged(spec)
    assert "for the 4th time" in watched(spec, monkeypatch, 2)
    assert logged(spec) == before


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, {"CPU": 1.0}),
        ({"cpus_per_worker": 4}, {"CPU": 4.0}),
        ({"device": "cuda", "gpus_per_worker": 0.5}, {"CPU": 1.0, "GPU": 0.5}),
    ],
)
def test_a_worker_gets_the_resources_of_the_configuration(options, expected):
    assert ray_runtime.resources(RuntimeConfig(work_dir="w", **options)) == expected
