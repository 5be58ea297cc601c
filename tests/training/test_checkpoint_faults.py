"""Faults injected into the writing of checkpoints, and damage done to written ones: none that is bad is ever used."""

import errno
import itertools
import shutil
from pathlib import Path

import pytest
import torch

from dima_pipeline.storage.disk import FullDiskError
from dima_pipeline.training.checkpoints import Checkpoint, CheckpointStore
from faulty_disk import POWER_CUTS, DiedError, FaultyDisk

FILES = ("model.safetensors", "optimizer.safetensors", "state.json", "manifest.json")
FAULTS = {"disk full": errno.ENOSPC, "input/output error": errno.EIO}
NEXT = {"another step": 3, "the same step again": 2}
"""What is saved after steps 1 and 2."""


def make(step, version=0):
    """A checkpoint whose content tells its step and version."""
    value = torch.full((20,), step + version / 10)
    state = {0: {"step": torch.tensor(float(step)), "exp_avg": value * 2}}
    optimizer = {"state": state, "param_groups": [{"lr": 0.1, "betas": (0.9, 0.99), "params": [0]}]}
    return Checkpoint(step=step, model={"weight": value, "bias": value[:3]}, optimizer=optimizer, facts={"v": version})


def is_same(found, expected):
    return (
        (found.step, found.facts) == (expected.step, expected.facts)
        and all(torch.equal(found.model[name], value) for name, value in expected.model.items())
        and torch.equal(found.optimizer["state"][0]["exp_avg"], expected.optimizer["state"][0]["exp_avg"])
    )


@pytest.fixture(scope="module")
def two_steps(tmp_path_factory):
    """A folder with the checkpoints of steps 1 and 2, to be copied."""
    top = tmp_path_factory.mktemp("two")
    store = CheckpointStore(top / "checkpoints", disk=FaultyDisk(top / "graves"))
    store.save(make(1))
    store.save(make(2))
    return store.directory


def attempt(two_steps, folder: Path, step: int, **fault):
    """Save ``step`` by a new attempt on a faulty disk into a copy of ``two_steps``; the disk, and how it ended."""
    directory = Path(shutil.copytree(two_steps, folder / "checkpoints"))
    # an earlier attempt died while it wrote
    shutil.copytree(directory / "step_00000001", directory / ".step_00000004.0123456789ab.partial")
    disk = FaultyDisk(folder / "graves", **fault)
    store = CheckpointStore(directory, keep_last=2, disk=disk)
    try:
        store.claim()
        store.save(make(step, version=1))
    except (DiedError, OSError, FullDiskError) as error:
        return disk, error
    return disk, None


def check(directory: Path, step: int, is_saved: bool) -> None:
    """What a start finds is whole, nothing that was there before is lost, and it can go on."""
    store = CheckpointStore(directory, keep_last=2, disk=FaultyDisk(directory.parent / "more graves"))
    store.claim()
    found = store.latest()
    old, new = make(2), make(step, version=1)
    assert found is not None
    assert is_same(found, new) or (is_same(found, old) and not is_saved), f"step {found.step} {found.facts}"
    store.save(make(5))
    assert is_same(store.latest(), make(5))
    assert not [path.name for path in directory.iterdir() if path.name.startswith(".")]
    assert len(store.paths()) == 2


def num_operations(two_steps, folder, step):
    disk, error = attempt(two_steps, folder / "whole", step)
    assert error is None and disk.count > 20
    assert {"make", "open", "append", "sync", "rename", "remove"} == set(disk.done)
    return disk.count


@pytest.mark.parametrize("step", NEXT.values(), ids=NEXT)
@pytest.mark.parametrize("is_before", [True, False], ids=["before", "after"])
@pytest.mark.parametrize("how", POWER_CUTS)
def test_a_death_before_or_after_any_operation_leaves_a_whole_checkpoint(two_steps, tmp_path, step, is_before, how):
    for at in range(num_operations(two_steps, tmp_path, step)):
        folder = tmp_path / str(at)
        disk, error = attempt(two_steps, folder, step, at=at, is_before=is_before)
        assert isinstance(error, DiedError)
        disk.cut_power(folder / "checkpoints", how)
        check(folder / "checkpoints", step, is_saved=False)
        shutil.rmtree(folder)


@pytest.mark.parametrize("step", NEXT.values(), ids=NEXT)
@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_a_failure_of_any_operation_leaves_the_last_checkpoint_and_no_partial_one(two_steps, tmp_path, step, fault):
    for at in range(num_operations(two_steps, tmp_path, step)):
        folder = tmp_path / str(at)
        disk, error = attempt(two_steps, folder, step, at=at, fault=fault)
        assert not isinstance(error, DiedError)
        assert error is None or isinstance(error, FullDiskError) == (fault == errno.ENOSPC)
        if error is not None and "open" in disk.done:
            assert not list((folder / "checkpoints").glob(f".step_{step:08d}.*.partial")), disk.done
        check(folder / "checkpoints", step, is_saved=error is None)
        shutil.rmtree(folder)


def test_what_was_saved_survives_any_power_cut(two_steps, tmp_path):
    for how, step in itertools.product(POWER_CUTS, NEXT.values()):
        folder = tmp_path / f"{how} {step}"
        disk, _ = attempt(two_steps, folder, step)
        disk.cut_power(folder / "checkpoints", how)
        check(folder / "checkpoints", step, is_saved=True)


def latest_of(directory):
    return CheckpointStore(directory).latest()


@pytest.mark.parametrize("name", FILES)
def test_a_flipped_bit_anywhere_is_refused_or_changes_nothing(two_steps, tmp_path, name):
    directory = Path(shutil.copytree(two_steps, tmp_path / "flips"))
    path = directory / "step_00000002" / name
    content = path.read_bytes()
    for number in range(60):
        at, bit = number * len(content) // 60, number % 8
        path.write_bytes(content[:at] + bytes([content[at] ^ (1 << bit)]) + content[at + 1 :])
        found = latest_of(directory)
        # White space of the manifest means nothing.
        assert is_same(found, make(1)) or (name == "manifest.json" and is_same(found, make(2))), (at, bit)


@pytest.mark.parametrize("name", FILES)
def test_a_file_cut_or_grown_is_refused(two_steps, tmp_path, name):
    directory = Path(shutil.copytree(two_steps, tmp_path / "cuts"))
    path = directory / "step_00000002" / name
    content = path.read_bytes()
    for length in range(0, len(content), len(content) // 15):
        path.write_bytes(content[:length])
        assert is_same(latest_of(directory), make(1)), length
    path.write_bytes(content + b"\0")
    assert is_same(latest_of(directory), make(1))


def test_any_files_of_another_checkpoint_swapped_in_are_refused(two_steps, tmp_path, caplog):
    other = CheckpointStore(tmp_path / "other").save(make(2, version=7))
    subsets = [names for size in range(1, len(FILES)) for names in itertools.combinations(FILES, size)]
    assert len(subsets) == 14
    for number, (source, names) in enumerate(itertools.product((other, two_steps / "step_00000001"), subsets)):
        directory = Path(shutil.copytree(two_steps, tmp_path / str(number)))
        for name in names:
            shutil.copy(source / name, directory / "step_00000002" / name)
        assert is_same(latest_of(directory), make(1)), names


def test_an_old_checkpoint_under_a_newer_name_is_refused_as_stale(two_steps, tmp_path, caplog):
    directory = Path(shutil.copytree(two_steps, tmp_path / "stale"))
    shutil.copytree(directory / "step_00000001", directory / "step_00000009")
    assert is_same(latest_of(directory), make(2))
    assert "step_00000009 is refused" in caplog.text and "stale" in caplog.text


def test_a_full_disk_is_told_with_the_folder_and_what_is_needed(two_steps, tmp_path):
    _, error = attempt(two_steps, tmp_path, 3, at=15, fault=errno.ENOSPC)
    text = str(error)
    assert str(tmp_path / "checkpoints") in text and "step 3 takes 0.0 MB" in text and "MB were free" in text
    assert "step_00000002 is kept" in text and "run again" in text


def test_a_zombie_of_an_earlier_start_is_refused_and_changes_nothing(tmp_path):
    zombie, alive = CheckpointStore(tmp_path), CheckpointStore(tmp_path)
    zombie.claim()
    zombie.save(make(1))
    alive.claim()
    alive.save(make(2))
    with pytest.raises(ValueError, match=r"another start of this run .* has taken over"):
        zombie.save(make(3, version=9))
    assert is_same(alive.latest(), make(2)) and len(alive.paths()) == 2


def test_two_starts_never_write_into_one_partial_folder(tmp_path):
    assert CheckpointStore(tmp_path).attempt != CheckpointStore(tmp_path).attempt
