"""Reading ahead: the order of batches is the sampler's, an error names its samples, and no thread outlives the loop."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
import pytest

from dima_pipeline.storage import image_shards
from dima_pipeline.training.loading import Reading, prefetched
from dima_pipeline.training.sampling import Sampler
from training_cases import make_training_tables, write_shards

ALONE = SimpleNamespace(rank=0, world_size=1)
SAMPLER = Sampler(10, 4, 0)


class Data:
    """Ten samples that take some time, the earlier ones of an epoch longer; ``bad`` cannot be read."""

    sample_tokens = tuple(f"frame-{index}" for index in range(10))

    def __init__(self, seconds=0.0, bad=None, error=None):
        self.seconds, self.bad, self.error = seconds, bad, error
        self.begun, self.threads = [], set()

    def __len__(self):
        return 10

    def batch(self, indices, epochs=None):
        self.begun.append(indices.tolist())
        self.threads.add(threading.get_ident())
        time.sleep(self.seconds * (len(self.begun) % 3))
        if self.bad in indices:
            raise self.error
        return SimpleNamespace(sample_tokens=tuple(self.sample_tokens[index] for index in indices))


def load(data, steps=range(6), worker=ALONE, num_micro_batches=1, **reading):
    return prefetched(data, SAMPLER, steps, worker, num_micro_batches=num_micro_batches, reading=Reading(**reading))


def drawn(step):
    return [f"frame-{index}" for index in SAMPLER.draw(step).indices]


def readers():
    return [thread for thread in threading.enumerate() if thread.name.startswith("reader")]


@pytest.mark.parametrize("num_readers", [1, 2, 4, 8])
@pytest.mark.parametrize("prefetch_batches", [1, 3, 20])
def test_batches_come_in_the_order_of_steps_whatever_the_number_of_readers(num_readers, prefetch_batches):
    with load(Data(seconds=0.002), num_readers=num_readers, prefetch_batches=prefetch_batches) as loaded:
        found = list(loaded)
    assert [one.step for one in found] == list(range(6))
    assert [list(one.micro_batches[0].sample_tokens) for one in found] == [drawn(step) for step in range(6)]
    assert [one.epochs for one in found] == [SAMPLER.draw(step).epochs.tolist() for step in range(6)]


def test_micro_batches_of_two_workers_are_the_batch():
    tokens = []
    for rank in range(2):
        worker = SimpleNamespace(rank=rank, world_size=2)
        with load(Data(), range(3, 4), worker, num_micro_batches=2, num_readers=2) as loaded:
            [one] = loaded
        assert len(one.micro_batches) == 2
        tokens += [token for batch in one.micro_batches for token in batch.sample_tokens]
    assert tokens == drawn(3)


def test_nothing_is_read_on_the_training_thread_and_no_further_ahead_than_asked():
    data = Data()
    with load(data, num_readers=2, prefetch_batches=3) as loaded:
        next(loaded)
        time.sleep(0.1)
        assert len(data.begun) == 1 + 3  # the one that is trained on, and three more
        next(loaded)
        time.sleep(0.1)
        assert len(data.begun) == 2 + 3
    assert threading.get_ident() not in data.threads


def test_no_steps_read_nothing():
    data = Data()
    with load(data, range(4, 4)) as loaded:
        assert list(loaded) == []
    assert data.begun == []


@pytest.mark.parametrize("num_readers", [1, 3])
def test_an_error_comes_when_its_batch_is_due_and_names_step_and_samples(num_readers):
    bad = int(SAMPLER.draw(2).indices[1])
    first = next(step for step in range(6) if bad in SAMPLER.draw(step).indices)
    data, seen = Data(bad=bad, error=ValueError("scene-7.jpegs: CAM_BACK is damaged")), []
    with pytest.raises(ValueError) as caught, load(data, num_readers=num_readers) as loaded:
        for one in loaded:
            seen.append(one.step)
    assert seen == list(range(first))
    text = str(caught.value)
    assert text.startswith("scene-7.jpegs: CAM_BACK is damaged (while the samples of step")
    assert text.endswith(f"step {first} were read: {', '.join(drawn(first))})")
    assert readers() == []


def test_an_error_that_is_no_users_keeps_its_kind_and_carries_a_note():
    error = OSError("the disk is gone")
    with pytest.raises(OSError, match="the disk is gone") as caught, load(Data(bad=3, error=error)) as loaded:
        list(loaded)
    assert "frame-3" in caught.value.__notes__[0]


@pytest.mark.parametrize("num_readers", [1, 4])
def test_no_reader_outlives_a_training_that_raises_or_ends_early(num_readers):
    data = Data(seconds=0.02)
    with pytest.raises(RuntimeError, match="the loss"), load(data, range(1000), num_readers=num_readers) as loaded:
        next(loaded)
        assert readers()
        raise RuntimeError("the loss")
    assert readers() == []
    with load(data, range(1000), num_readers=num_readers, prefetch_batches=50) as loaded:
        next(loaded)
    assert readers() == []
    assert len(data.begun) < 20  # what nobody had begun to read is not read any more


def test_waiting_is_what_the_training_thread_stood_still_for():
    class Slow(Data):
        def batch(self, indices, epochs=None):
            time.sleep(0.1)
            return super().batch(indices, epochs)

    with load(Slow(), range(3), prefetch_batches=1) as loaded:
        waited_s = [next(loaded).waited_s, next(loaded).waited_s]
        time.sleep(0.3)  # training goes on while the last one is read
        waited_s.append(next(loaded).waited_s)
    assert min(waited_s[:2]) > 0.05 > waited_s[2]


def test_a_batch_that_does_not_split_is_refused_before_anything_is_read():
    data = Data()
    with (
        pytest.raises(ValueError, match="batch_size 4 does not split among 3 workers"),
        load(data, worker=SimpleNamespace(rank=0, world_size=3)) as loaded,
    ):
        next(loaded)
    assert data.begun == [] and readers() == []


def test_more_readers_read_faster_where_reading_waits():
    class Waiting(Data):
        def batch(self, indices, epochs=None):
            time.sleep(0.05)
            return super().batch(indices, epochs)

    def seconds(num_readers):
        started_s = time.perf_counter()
        with load(Waiting(), range(12), num_readers=num_readers, prefetch_batches=8) as loaded:
            assert len(list(loaded)) == 12
        return time.perf_counter() - started_s

    assert seconds(4) < 0.6 * seconds(1)


def test_indices_reach_the_data_as_arrays():
    class Strict(Data):
        def batch(self, indices, epochs=None):
            assert isinstance(indices, np.ndarray) and isinstance(epochs, np.ndarray)
            return super().batch(indices, epochs)

    with load(Strict()) as loaded:
        assert len(list(loaded)) == 6


def test_a_mapped_file_that_another_reader_lets_go_is_read_to_the_end(tmp_path):
    class LetGo(dict):
        """As if another thread took out at once what this one puts in."""

        def __setitem__(self, path, mapped):
            pass

    tables = make_training_tables()
    shards = write_shards(tables, tmp_path / "shards")
    shards._maps = LetGo()
    tokens = tables.samples["sample_token"].tolist()
    assert [shards.read(token)[0, 0, 0, 0] for token in tokens] == list(range(len(tokens)))


def test_many_readers_of_more_scenes_than_are_kept_open_get_what_they_asked_for(tmp_path, monkeypatch):
    monkeypatch.setattr(image_shards, "MAX_OPEN_SCENES", 1)
    tables = make_training_tables()
    shards = write_shards(tables, tmp_path / "shards")
    tokens = tables.samples["sample_token"].tolist()
    asked = [*range(len(tokens))] * 50
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda row: int(shards.read(tokens[row])[0, 0, 0, 0]), asked))
    assert found == asked
