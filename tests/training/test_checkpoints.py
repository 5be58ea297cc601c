"""Checkpoints: what comes back is what was saved, and whatever was damaged is refused by name."""

import logging
import shutil
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

from dima_pipeline.training.checkpoints import (
    Checkpoint,
    CheckpointStore,
    flatten_optimizer,
    load_trainable,
    save_tensors,
    trainable_state,
    unflatten_optimizer,
)
from dima_pipeline.training.config import BestConfig

FILES = ("model.safetensors", "optimizer.safetensors", "state.json", "manifest.json")


def trained(num_steps=2):
    """A small model and its AdamW after some steps."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 1))
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    for _ in range(num_steps):
        optimizer.zero_grad()
        model(torch.randn(5, 3)).square().mean().backward()
        optimizer.step()
    return model, optimizer


def checkpoint(step=1):
    model, optimizer = trained()
    facts = {"digest": "d", "num_bad_steps": 0}
    return Checkpoint(step=step, model=trainable_state(model), optimizer=optimizer.state_dict(), facts=facts)


@pytest.fixture
def store(tmp_path):
    store = CheckpointStore(tmp_path / "checkpoints", keep_last=3)
    store.save(checkpoint(1))
    store.save(checkpoint(2))
    return store


def names_in(directory):
    return sorted(path.name for path in directory.iterdir())


def test_a_checkpoint_comes_back_as_it_was(store):
    saved, read = checkpoint(2), store.latest()
    assert read.step == 2 and read.facts == saved.facts
    assert read.model.keys() == saved.model.keys()
    assert all(torch.equal(read.model[name], saved.model[name]) for name in saved.model)


def test_a_restored_optimiser_takes_the_same_next_step(store):
    model, optimizer = trained()
    other, restored = trained(num_steps=0)
    load_trainable(other, store.latest().model)
    restored.load_state_dict(store.latest().optimizer)
    x = torch.randn(5, 3)
    for net, opt in ((model, optimizer), (other, restored)):
        opt.zero_grad()
        net(x).square().mean().backward()
        opt.step()
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), other.parameters(), strict=True))


def test_an_empty_folder_has_no_checkpoint(tmp_path):
    assert CheckpointStore(tmp_path / "nothing").latest() is None


def test_only_the_last_ones_are_kept(tmp_path):
    store = CheckpointStore(tmp_path, keep_last=2)
    for step in (1, 2, 10):
        store.save(checkpoint(step))
    assert [path.name for path in store.paths()] == ["step_00000002", "step_00000010"]


def test_saving_a_step_again_replaces_it(store):
    before = checkpoint(2)
    store.save(Checkpoint(step=2, model=before.model, optimizer=before.optimizer, facts={"digest": "new"}))
    assert store.latest().facts == {"digest": "new"}
    assert names_in(store.directory) == ["attempt.json", "step_00000001", "step_00000002"]


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_named_and_the_checkpoint_before_is_used(store, caplog, name):
    (store.directory / "step_00000002" / name).unlink()
    with caplog.at_level(logging.WARNING):
        assert store.latest().step == 1
    assert "step_00000002" in caplog.text and name in caplog.text


@pytest.mark.parametrize("name", FILES)
def test_a_truncated_file_is_refused(store, caplog, name):
    path = store.directory / "step_00000002" / name
    path.write_bytes(path.read_bytes()[:-7])
    assert store.latest().step == 1
    assert name in caplog.text


def test_a_file_of_another_checkpoint_is_refused(store, tmp_path):
    torch.manual_seed(1)
    model, optimizer = trained(num_steps=5)
    other = CheckpointStore(tmp_path / "other")
    path = other.save(Checkpoint(step=2, model=trainable_state(model), optimizer=optimizer.state_dict(), facts={}))
    shutil.copy(path / "optimizer.safetensors", store.directory / "step_00000002" / "optimizer.safetensors")
    assert store.latest().step == 1


def test_what_a_dead_process_left_half_written_is_not_seen(store):
    half = store.directory / ".step_00000003.0123456789ab.partial"
    shutil.copytree(store.directory / "step_00000002", half)
    (half / "manifest.json").unlink()
    assert store.latest().step == 2
    again = CheckpointStore(store.directory, keep_last=3)
    again.save(checkpoint(3))
    assert again.latest().step == 3
    assert not half.exists()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
@given(name=st.sampled_from(FILES), position=st.integers(0, 10**6), bit=st.integers(0, 7))
def test_a_flipped_bit_is_refused_or_changes_nothing(store, name, position, bit):
    path = store.directory / "step_00000002" / name
    content = path.read_bytes()
    at = position % len(content)
    path.write_bytes(content[:at] + bytes([content[at] ^ (1 << bit)]) + content[at + 1 :])
    found = store.latest()
    path.write_bytes(content)
    # The manifest holds facts and white space beside digests: a flip there may leave all files as they were.
    assert found.step == 1 or (name == "manifest.json" and same(found, checkpoint(2)))


def same(first, second):
    return first.facts == second.facts and all(torch.equal(first.model[n], second.model[n]) for n in second.model)


def test_no_checkpoint_file_is_a_pickle(store):
    path = store.directory / "step_00000002"
    assert {file.suffix for file in path.iterdir()} == {".safetensors", ".json"}


def test_frozen_weights_are_left_out_and_stay_as_they_are():
    model, _ = trained()
    model[0].requires_grad_(False)
    kept = model[0].weight.clone()
    state = trainable_state(model)
    assert "0.weight" not in state and "1.running_mean" in state
    load_trainable(model, {name: tensor + 1 for name, tensor in state.items()})
    assert torch.equal(model[0].weight, kept)


def test_the_state_of_another_model_is_refused_by_name():
    model, _ = trained()
    with pytest.raises(ValueError, match=r"another model: 1 tensors differ, e.g. 2\.bias"):
        load_trainable(model, {k: v for k, v in trainable_state(model).items() if k != "2.bias"})


def test_tied_weights_are_saved_under_both_names(tmp_path):
    from safetensors.torch import load_file

    weight = torch.arange(6.0).reshape(2, 3)
    save_tensors({"embedding": weight, "head": weight}, tmp_path / "tied.safetensors")
    read = load_file(tmp_path / "tied.safetensors")
    assert torch.equal(read["embedding"], weight) and torch.equal(read["head"], weight)


def test_an_optimiser_without_steps_and_one_with_plain_values_survive_flattening():
    state = {"state": {3: {"step": 7, "m": torch.ones(2)}}, "param_groups": [{"betas": (0.9, 0.99), "params": [3]}]}
    again = unflatten_optimizer(*flatten_optimizer(state))
    assert again["state"][3]["step"] == 7 and torch.equal(again["state"][3]["m"], torch.ones(2))
    assert again["param_groups"] == state["param_groups"]
    assert unflatten_optimizer(*flatten_optimizer({"state": {}, "param_groups": []})) == {
        "state": {},
        "param_groups": [],
    }


def test_the_store_works_below_a_folder_that_does_not_exist_yet(tmp_path):
    store = CheckpointStore(Path(tmp_path) / "a" / "b")
    store.save(checkpoint(4))
    assert store.latest().step == 4


def scored(step, total):
    found = checkpoint(step)
    return Checkpoint(
        step=step, model=found.model, optimizer=found.optimizer, facts=found.facts, metrics={"total": total}
    )


@pytest.mark.parametrize(
    ("mode", "kept"),
    [("min", ["step_00000002", "step_00000005"]), ("max", ["step_00000003", "step_00000005"])],
)
def test_the_best_checkpoint_is_kept_beside_the_last_one(tmp_path, mode, kept):
    store = CheckpointStore(tmp_path, keep_last=1, best=BestConfig(metric="total", mode=mode))
    for step, total in enumerate([3.0, 1.0, 4.0, float("nan"), 2.0], start=1):
        store.save(scored(step, total))
    assert [path.name for path in store.paths()] == kept
    assert store.latest().metrics == {"total": 2.0}


def test_of_equally_good_checkpoints_the_later_is_kept_and_as_many_as_are_asked_for(tmp_path):
    store = CheckpointStore(tmp_path, keep_last=1, best=BestConfig(keep=2))
    for step in range(1, 6):
        store.save(scored(step, 1.0 if step < 5 else 9.0))
    assert [path.name for path in store.paths()] == ["step_00000003", "step_00000004", "step_00000005"]


def test_a_metric_that_is_no_term_is_refused_with_those_there_are(tmp_path):
    with pytest.raises(ValueError, match=r"no term 'totl' in best.metric; known: \['total'\]; did you mean 'total'"):
        CheckpointStore(tmp_path, best=BestConfig(metric="totl")).save(scored(1, 1.0))
    assert not tmp_path.joinpath("step_00000001").exists()


def test_a_refused_checkpoint_is_removed_when_a_newer_sound_one_stands(store):
    (store.directory / "step_00000002" / "state.json").write_text("{}")
    resumed = CheckpointStore(store.directory, keep_last=3)
    assert resumed.latest().step == 1
    resumed.save(checkpoint(3))
    assert [path.name for path in resumed.paths()] == ["step_00000001", "step_00000003"]
