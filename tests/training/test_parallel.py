"""Several workers: the curve of one, whatever the parallelism; checkpoints for one and for two."""

import shutil

import pytest
import torch
from safetensors.torch import load_file

from dima_pipeline.training.checkpoints import CheckpointStore
from dima_pipeline.training.config import StageConfig
from dima_pipeline.training.loop import read_log
from dima_pipeline.training.optimizer import build_optimizer, plain_groups
from dima_pipeline.training.runtime import LocalRuntime
from dima_pipeline.training.sharding import shard
from parallel_workers import TinyObjective, curve, train_alone, train_together

STAGE = {
    "num_steps": 8,
    "batch_size": 8,
    "learning_rate": 0.02,
    "learning_rates": {"teacher": 0.01},
    "warmup_steps": 2,
    "checkpoint_every": 3,
    "clip_norm": 0.5,
}
JOINT = {"num_steps": 4, "batch_size": 2, "warmup_steps": 1}
UNUSED = "teacher.unused"
"""Without a gradient where it is whole, with one of zero where it is sharded."""


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """One worker, and all that two do."""
    directory = tmp_path_factory.mktemp("parallel")
    alone = train_alone(directory / "alone", stage=STAGE)
    with pytest.raises(OSError):
        train_alone(directory / "cut", stage=STAGE, fail_at=4)
    for parallel in ("ddp", "fsdp"):
        shutil.copytree(directory / "cut", directory / f"{parallel}_goes_on")
    jobs = {}
    for parallel in ("ddp", "fsdp"):
        jobs |= {
            parallel: {"stage": STAGE},
            f"{parallel}_parts": {"stage": {**STAGE, "num_micro_batches": 2}},
            f"{parallel}_goes_on": {"stage": STAGE, "fail_at": 4},
            f"{parallel}_bf16": {"stage": {**STAGE, "precision": "bf16"}},
            f"{parallel}_nan": {"stage": {**STAGE, "max_bad_steps": 1}, "nan_at": [2]},
            f"{parallel}_nans": {"stage": {**STAGE, "max_bad_steps": 1}, "nan_at": [2, 5]},
        }
        for name in jobs:
            jobs[name].setdefault("parallel", parallel)
    return directory, alone, train_together(directory, jobs)


def assert_same_curve(found, expected, tolerance=2e-6):
    assert len(found) == len(expected) > 0
    for step, (terms, wanted) in enumerate(zip(found, expected, strict=True)):
        assert terms == pytest.approx(wanted, rel=tolerance, abs=tolerance), step


def assert_same_weights(found, expected, tolerance=2e-6):
    for name, value in expected.items():
        if not name.startswith(UNUSED) and name != "num_seen":
            torch.testing.assert_close(found[name], value, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("name", ["ddp", "fsdp", "ddp_parts", "fsdp_parts"])
def test_two_workers_have_the_curve_and_the_weights_of_one(trained, name):
    directory, alone, errors = trained
    assert [error[name] for error in errors] == ["", ""]
    assert_same_curve(curve(directory / name), curve(directory / "alone"))
    assert_same_weights(load_file(directory / name / "trained.safetensors"), alone.state_dict())


@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
def test_with_bf16_the_curve_is_near_that_of_float32_and_checkpoints_stay_float32(trained, parallel):
    directory, _, errors = trained
    assert [error[f"{parallel}_bf16"] for error in errors] == ["", ""]
    found, wanted = (curve(directory / name) for name in (f"{parallel}_bf16", "alone"))
    assert [terms["total"] for terms in found] == pytest.approx([terms["total"] for terms in wanted], rel=0.03)
    assert found != wanted
    checkpoint = CheckpointStore(directory / f"{parallel}_bf16" / "checkpoints").latest()
    entries = [value for own in checkpoint.optimizer["state"].values() for value in own.values()]
    assert {value.dtype for value in (*checkpoint.model.values(), *entries)} == {torch.float32}


def test_the_gradient_is_clipped_by_the_norm_of_the_whole_model(trained):
    directory, _, _ = trained
    norms = [terms["gradient_norm"] for terms in curve(directory / "fsdp")]
    assert min(norms) > 2 * STAGE["clip_norm"]  # so that equal weights say that clipping was right


@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
def test_a_checkpoint_is_the_same_whatever_the_parallelism(trained, parallel):
    directory, _, _ = trained
    one, two = (CheckpointStore(directory / name / "checkpoints").latest() for name in ("alone", parallel))
    assert one.step == two.step == 8
    assert {name: value.shape for name, value in one.model.items()} == {n: v.shape for n, v in two.model.items()}
    assert_same_weights(two.model, one.model)
    assert two.optimizer["param_groups"] == one.optimizer["param_groups"]
    for number, entries in one.optimizer["state"].items():
        for name, value in entries.items():
            torch.testing.assert_close(two.optimizer["state"][number][name], value, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
def test_a_run_goes_from_one_worker_to_two_and_back_without_a_change(trained, parallel):
    """Cut after step 4, then two workers from the checkpoint of step 3 to 7, then one from that of step 6."""
    directory, alone, errors = trained
    folder = directory / f"{parallel}_goes_on"
    assert [error[folder.name] for error in errors] == ["the disk is gone"] * 2
    assert CheckpointStore(folder / "checkpoints").latest().step == 6
    model = train_alone(folder, stage=STAGE)
    assert_same_curve(curve(folder), curve(directory / "alone"))
    assert_same_weights(model.state_dict(), alone.state_dict())


@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
def test_a_nan_on_one_worker_is_skipped_and_named_by_all(trained, parallel):
    directory, _, errors = trained
    assert [error[f"{parallel}_nan"] for error in errors] == ["", ""]
    lines = read_log(directory / f"{parallel}_nan" / "log.jsonl")
    skipped = {line["step"]: line["skipped"] for line in lines if "skipped" in line}
    assert skipped == {2: ["planning", "total"]}
    weights = load_file(directory / f"{parallel}_nan" / "trained.safetensors")
    assert all(torch.isfinite(value).all() for value in weights.values())
    assert CheckpointStore(directory / f"{parallel}_nan" / "checkpoints").latest().facts["num_bad_steps"] == 1


@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
def test_one_bad_step_too_many_ends_all_workers_with_the_same_words(trained, parallel):
    directory, _, errors = trained
    first, second = (error[f"{parallel}_nans"] for error in errors)
    assert first == second
    assert "step 5: planning, total not finite (worker 1)" in first and "for the 2nd time" in first
    kept = CheckpointStore(directory / f"{parallel}_nans" / "checkpoints").latest()
    assert kept.step == 3 and all(torch.isfinite(value).all() for value in kept.model.values())


def test_groups_of_the_optimiser_are_numbered_as_those_of_the_model_alone():
    model = TinyObjective()
    optimizer = build_optimizer(model, StageConfig(**STAGE))
    groups = [parameters for _, parameters in plain_groups(model, optimizer)]
    assert [[id(p) for p in parameters] for parameters in groups] == [
        [id(p) for p in group["params"]] for group in optimizer.param_groups
    ]


def test_activations_of_a_model_that_cannot_compute_them_again_are_refused_to_be_forgotten():
    with pytest.raises(ValueError, match=r"runtime\.gradient_checkpointing is on, but neither"):
        LocalRuntime(gradient_checkpointing=True).wrap(TinyObjective())


def test_a_teacher_that_names_no_layers_cannot_be_sharded():
    with pytest.raises(ValueError, match=r"the teacher Linear cannot be sharded.*set runtime\.parallel to ddp"):
        shard(torch.nn.Linear(2, 2), "cpu", "fp32")


@pytest.mark.slow
def test_a_sharded_language_model_trains_as_a_whole_one_though_one_worker_has_no_questions(tmp_path):
    """Losses, gradient norms by term, and what is refused: they cannot be measured where backward passes are not
    repeatable."""
    jobs = {
        "ddp": {"stage": JOINT, "joint": True, "parallel": "ddp"},
        "fsdp": {"stage": JOINT, "joint": True, "parallel": "fsdp"},
        "ddp_bf16": {"stage": {**JOINT, "precision": "bf16"}, "joint": True, "parallel": "ddp"},
        "fsdp_bf16": {"stage": {**JOINT, "precision": "bf16"}, "joint": True, "parallel": "fsdp"},
        "ddp_norms": {"stage": {**JOINT, "gradient_norms_every": 2}, "joint": True, "parallel": "ddp"},
        "fsdp_norms": {"stage": {**JOINT, "gradient_norms_every": 2}, "joint": True, "parallel": "fsdp"},
    }
    errors = train_together(tmp_path, jobs)
    assert [error[name] for name in ("ddp", "fsdp", "ddp_bf16", "fsdp_bf16", "ddp_norms") for error in errors] == [
        ""
    ] * 10
    assert all("runtime.parallel to ddp" in error["fsdp_norms"] for error in errors)
    whole, sharded = curve(tmp_path / "ddp"), curve(tmp_path / "fsdp")
    assert_same_curve(sharded[:2], whole[:2], 1e-3)
    assert_same_curve(sharded, whole, 0.05)  # rounding grows: an agent may be matched to another query
    assert_same_curve(curve(tmp_path / "fsdp_bf16"), curve(tmp_path / "ddp_bf16"), 0.05)
    assert curve(tmp_path / "ddp_norms") == curve(tmp_path / "ddp")
    lines = read_log(tmp_path / "ddp_norms" / "log.jsonl")
    assert ["encoder" in line for line in lines] == [True, False, True, False]
