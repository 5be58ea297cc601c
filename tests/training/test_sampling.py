"""The sampler: every sample once an epoch, whatever the batch size and the number of workers."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dima_pipeline.training.sampling import Sampler

SIZES = st.tuples(st.integers(1, 40), st.integers(1, 6), st.integers(1, 4), st.integers(0, 2**31))


@given(SIZES)
def test_every_sample_is_seen_once_an_epoch_for_any_number_of_workers(sizes):
    num_samples, per_worker, world_size, seed = sizes
    sampler = Sampler(num_samples, per_worker * world_size, seed)
    num_epochs = 3
    num_steps = -(-num_samples * num_epochs // sampler.batch_size)
    seen = [
        (int(epoch), int(index))
        for step in range(num_steps)
        for rank in range(world_size)
        for part in [sampler.draw(step).shard(rank, world_size)]
        for epoch, index in zip(part.epochs, part.indices, strict=True)
    ]
    complete = seen[: num_samples * num_epochs]
    assert sorted(complete) == [(epoch, index) for epoch in range(num_epochs) for index in range(num_samples)]


@given(SIZES, st.integers(0, 50))
def test_the_workers_share_the_batch_that_one_alone_would_get(sizes, step):
    num_samples, per_worker, world_size, seed = sizes
    draw = Sampler(num_samples, per_worker * world_size, seed).draw(step)
    parts = [draw.shard(rank, world_size).indices for rank in range(world_size)]
    assert np.concatenate(parts).tolist() == draw.indices.tolist()


def test_epochs_and_seeds_have_orders_of_their_own():
    first, second, other = Sampler(50, 50, 0).draw(0), Sampler(50, 50, 0).draw(1), Sampler(50, 50, 1).draw(0)
    assert first.indices.tolist() != second.indices.tolist()
    assert first.indices.tolist() != other.indices.tolist()
    assert first.indices.tolist() == Sampler(50, 50, 0).draw(0).indices.tolist()


def test_a_batch_that_does_not_split_evenly_is_refused():
    with pytest.raises(ValueError, match="batch_size 8 does not split among 3 workers"):
        Sampler(20, 8, 0).draw(0).shard(0, 3)
