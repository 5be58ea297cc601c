"""The sampler: every sample once an epoch, whatever the batch size and the number of workers."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dima_pipeline.training.sampling import Sampler

FIRST_BATCHES = [[5, 6, 2, 1], [4, 3, 0, 2], [1, 4, 0, 5]]
SITTINGS = st.lists(st.tuples(st.integers(1, 8), st.integers(1, 5), st.integers(0, 6)), max_size=6)
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
    with pytest.raises(ValueError, match="batch_size 8 does not split among 3 workers evenly"):
        Sampler(20, 8, 0).draw(0).shard(0, 3)
    with pytest.raises(ValueError, match="batch_size 8 does not split among 2 workers of 3 micro-batches each evenly"):
        Sampler(20, 8, 0).draw(0).parts(0, 2, 3)


def test_the_first_batches_of_a_seed_are_those_that_they_always_were():
    assert [Sampler(7, 4, 3).draw(step).indices.tolist() for step in range(3)] == FIRST_BATCHES
    assert [Sampler(7, 4, 3).draw(step).epochs.tolist() for step in range(2)] == [[0, 0, 0, 0], [0, 0, 0, 1]]


@given(SIZES, st.integers(1, 5))
def test_micro_batches_of_all_workers_in_turn_are_the_batch(sizes, num_micro_batches):
    num_samples, size, world_size, seed = sizes
    draw = Sampler(num_samples, size * world_size * num_micro_batches, seed).draw(2)
    parts = [part for rank in range(world_size) for part in draw.parts(rank, world_size, num_micro_batches)]
    assert {len(part.indices) for part in parts} == {size}
    assert np.concatenate([part.indices for part in parts]).tolist() == draw.indices.tolist()
    assert np.concatenate([part.epochs for part in parts]).tolist() == draw.epochs.tolist()


@given(st.integers(1, 40), st.integers(0, 2**31), SITTINGS)
def test_every_sample_is_seen_once_an_epoch_across_cuts_with_other_workers_and_batch_sizes(num_samples, seed, sittings):
    """Every sitting has workers and a batch size of its own, and takes the cursor up where the one before kept it."""
    seen, step, cursor = [], 0, None
    for world_size, per_worker, num_steps in [*sittings, (2, 1, 3 * num_samples)]:
        sampler = Sampler(num_samples, world_size * per_worker, seed)
        if cursor is not None:
            sampler = sampler.resumed(json.loads(json.dumps(cursor)), step)
        for _ in range(num_steps):
            for rank in range(world_size):
                part = sampler.draw(step).shard(rank, world_size)
                seen += zip(part.epochs.tolist(), part.indices.tolist(), strict=True)
            step += 1
        cursor = sampler.cursor(step)
        assert cursor["epoch"] * num_samples + cursor["position"] == len(seen)
    complete = seen[: 3 * num_samples]
    assert sorted(complete) == [(epoch, index) for epoch in range(3) for index in range(num_samples)]


@given(SIZES, st.integers(0, 30), st.integers(0, 30))
def test_a_resumed_sampler_draws_what_the_first_one_would_have(sizes, cut, later):
    num_samples, per_worker, world_size, seed = sizes
    sampler = Sampler(num_samples, per_worker * world_size, seed)
    resumed = sampler.resumed(sampler.cursor(cut), cut)
    assert resumed.draw(cut + later).indices.tolist() == sampler.draw(cut + later).indices.tolist()
    assert resumed.cursor(cut + later) == sampler.cursor(cut + later)


def test_a_cursor_of_more_data_or_another_order_is_refused_with_both_numbers():
    cursor = Sampler(20, 8, 5).cursor(3)
    assert cursor == {"seed": 5, "num_samples": 20, "epoch": 1, "position": 4}
    with pytest.raises(ValueError, match=r"made with 20 training samples, now it is 21.*another run name"):
        Sampler(21, 8, 5).resumed(cursor, 3)
    with pytest.raises(ValueError, match="made with 5 as seed of the order of samples, now it is 6"):
        Sampler(20, 8, 6).resumed(cursor, 3)


@pytest.mark.parametrize("cursor", [None, {}, {"seed": 5, "num_samples": 20, "epoch": 1, "position": 20}, [1, 2], "3"])
def test_what_is_no_cursor_is_refused(cursor):
    with pytest.raises(ValueError, match="does not say which samples were consumed"):
        Sampler(20, 8, 5).resumed(cursor, 3)
