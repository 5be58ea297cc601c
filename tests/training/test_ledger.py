"""The ledger of samples: what the final weights have seen is each sample once an epoch, however a run was broken."""

import random
import subprocess
import sys
import threading
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import ledger_worker
from dima_pipeline.training.config import StageConfig
from dima_pipeline.training.ledger import read_samples, sample_log
from dima_pipeline.training.loading import Reading
from dima_pipeline.training.loop import Run, fit
from dima_pipeline.training.runtime import LocalRuntime
from dima_pipeline.training.sampling import Draw, Sampler
from parallel_workers import NUM_SAMPLES, TinyData

BATCH_SIZE, NUM_EPOCHS, EVERY = 6, 6, 3
STAGE = StageConfig(
    num_steps=NUM_SAMPLES * NUM_EPOCHS // BATCH_SIZE, batch_size=BATCH_SIZE, checkpoint_every=EVERY, warmup_steps=1
)
ONCE_AN_EPOCH = sorted((epoch, str(index)) for epoch in range(NUM_EPOCHS) for index in range(NUM_SAMPLES))


class Data(TinyData):
    """Cannot read the samples of ``fail_step``, whoever asks for them and however many have been read."""

    def __init__(self, fail_step=None):
        super().__init__()
        draw = Sampler(NUM_SAMPLES, BATCH_SIZE, 3).draw(fail_step) if fail_step is not None else Draw([], [])
        self.bad = set(zip(draw.epochs, draw.indices, strict=True))

    def batch(self, indices, epochs=None):
        if (epochs[0], indices[0]) in self.bad:
            raise OSError("the disk is gone")
        return super().batch(indices, epochs)


class Counting(torch.nn.Module):
    """Counts in a buffer, which checkpoints carry, how often each sample was trained on."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(1))
        self.register_buffer("num_seen", torch.zeros(NUM_SAMPLES))

    def forward(self, batch, generator, weights):
        for token in batch.sample_tokens:
            self.num_seen[int(token)] += 1
        return {"total": (self.weight - batch.targets.ego_future.mean()).square().sum()}


class Team(LocalRuntime):
    """One of several workers that are threads of this process; what they train is not averaged."""

    def __init__(self, rank, world_size, barrier, table, reading):
        super().__init__(reading=reading)
        self.rank, self.world_size, self._barrier, self._table = rank, world_size, barrier, table

    def gather(self, values):
        self._table[self.rank] = values
        self._barrier.wait(20)
        found = [self._table[rank] for rank in range(self.world_size)]
        self._barrier.wait(20)
        return found


def train(directory, world_size=1, fail_step=None, stage=STAGE, **reading):
    """One sitting, which a disk ends before ``fail_step``; the models of all workers."""
    barrier, table, models = threading.Barrier(world_size), {}, [Counting() for _ in range(world_size)]
    failed: list[int] = []

    def work(rank):
        runtime = Team(rank, world_size, barrier, table, Reading(**{"num_readers": 2, "log_samples": True} | reading))
        try:
            fit(models[rank], Data(fail_step), Run(stage=stage, seed=3, digest="d", directory=directory), runtime)
        except OSError:
            failed.append(rank)

    threads = [threading.Thread(target=work, args=(rank,)) for rank in range(world_size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(failed) == (0 if fail_step is None else world_size)
    return models


def seen(directory):
    return sorted((epoch, token) for _, epoch, token in read_samples(directory))


@pytest.mark.parametrize("seed", range(4))
def test_weights_of_a_run_that_was_broken_four_times_have_seen_each_sample_once_an_epoch(tmp_path, seed):
    for fail_step in sorted(random.Random(seed).sample(range(STAGE.num_steps), 4)):
        train(tmp_path, fail_step=fail_step, num_readers=1 + seed)
    [model] = train(tmp_path)
    assert model.num_seen.tolist() == [NUM_EPOCHS] * NUM_SAMPLES
    assert seen(tmp_path) == ONCE_AN_EPOCH
    assert [step for step, _, _ in read_samples(tmp_path)][::BATCH_SIZE] == list(range(STAGE.num_steps))


def test_two_workers_then_one_then_two_see_each_sample_once_an_epoch_in_the_order_of_one(tmp_path):
    train(tmp_path / "alone")
    together = tmp_path / "together"
    train(together, world_size=2, fail_step=5)  # steps 3 and 4 are undone
    assert len(read_samples(together)) == 5 * BATCH_SIZE
    train(together, world_size=1, fail_step=10)  # step 9 is undone
    assert {path.name for path in together.glob("samples.*")} == {"samples.0.jsonl", "samples.1.jsonl"}
    assert len(read_samples(together)) == 10 * BATCH_SIZE
    train(together, world_size=2)
    assert seen(together) == ONCE_AN_EPOCH
    assert read_samples(together) == read_samples(tmp_path / "alone")


@pytest.mark.slow
def test_processes_that_average_their_gradients_keep_to_it_too(tmp_path):
    """Two processes fail after four steps, of which one is undone; one goes on and fails; two finish."""
    for world_size, fail_at in ((2, 4), (1, 5), (2, -1)):
        command = [sys.executable, ledger_worker.__file__, str(tmp_path)]
        numbers = [[str(number) for number in (rank, world_size, fail_at)] for rank in range(world_size)]
        workers = [subprocess.Popen([*command, *mine], stdout=subprocess.PIPE, text=True) for mine in numbers]
        said = [worker.communicate(timeout=240)[0] for worker in workers]
        assert said == ["the disk is gone" if fail_at >= 0 else ""] * world_size
        assert all(worker.returncode == 0 for worker in workers)
    assert seen(tmp_path / "run") == ONCE_AN_EPOCH
    assert {path.name for path in (tmp_path / "run").glob("samples.*")} == {"samples.0.jsonl", "samples.1.jsonl"}


def test_a_checkpoint_of_one_worker_is_taken_up_by_two_and_what_both_undo_is_gone(tmp_path):
    train(tmp_path, world_size=1, fail_step=5)
    models = train(tmp_path, world_size=2)
    assert seen(tmp_path) == ONCE_AN_EPOCH
    own = [model.num_seen.numpy() for model in models]
    before = np.bincount([int(token) for step, _, token in read_samples(tmp_path) if step < EVERY], minlength=16)
    assert (own[0] + own[1] - before == NUM_EPOCHS).all()  # both began with what the one had counted


def test_more_data_than_the_checkpoint_knows_are_refused(tmp_path, monkeypatch):
    train(tmp_path, fail_step=5)
    monkeypatch.setattr(TinyData, "__len__", lambda self: NUM_SAMPLES - 1)
    with pytest.raises(ValueError, match="made with 16 training samples, now it is 15"):
        fit(Counting(), Data(), Run(stage=STAGE, seed=3, digest="d", directory=tmp_path), LocalRuntime())


def test_samples_are_written_only_where_asked_for_and_what_is_undone_goes_even_so(tmp_path):
    train(tmp_path / "quiet", log_samples=False)
    assert not list((tmp_path / "quiet").glob("samples.*"))
    train(tmp_path / "loud", fail_step=5)
    train(tmp_path / "loud", log_samples=False)
    assert {step for step, _, _ in read_samples(tmp_path / "loud")} == {0, 1, 2}


def test_the_ledger_holds_micro_batches_in_order_and_epochs_beside_the_samples(tmp_path):
    worker = SimpleNamespace(rank=1, world_size=2)
    parts = [SimpleNamespace(sample_tokens=("a", "b")), SimpleNamespace(sample_tokens=("c", "a"))]
    with sample_log(tmp_path, worker, 0, is_written=True) as note:
        note(0, parts, [0, 0, 0, 1])
    assert read_samples(tmp_path) == [(0, 0, "a"), (0, 0, "b"), (0, 0, "c"), (0, 1, "a")]
    assert (tmp_path / "samples.1.jsonl").read_text().startswith('{"step": 0, "sample_tokens": ["a", "b", "c", "a"]')
