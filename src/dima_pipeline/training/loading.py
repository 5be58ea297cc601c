"""Batches, read ahead of the training thread by threads of their own.

What is read when is decided by the sampler alone: readers only take work off the training thread, so that neither their
number nor how far they are ahead changes the order of batches or what is in them.
"""

import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple, Protocol

import numpy as np

from dima_pipeline.contracts.batch import TrainingBatch
from dima_pipeline.training.sampling import Draw, Sampler


class Batches(Protocol):
    """What training draws from, e.g. ``windows.WindowDataset``; ``batch`` is called by several threads at a time."""

    @property
    def sample_tokens(self) -> Sequence[str]:
        """Of all samples, in the order of their indices."""

    def __len__(self) -> int: ...

    def batch(self, indices: np.ndarray, epochs: np.ndarray | None = None) -> TrainingBatch:
        """The samples ``indices`` in numpy."""


class Worker(Protocol):
    """The part of ``training.runtime.Runtime`` that decides which part of a batch is read."""

    rank: int
    world_size: int


@dataclass(frozen=True)
class Reading:
    """How a worker reads: nothing here changes a result."""

    num_readers: int = 1
    """Threads; decoding of JPEG runs beside others, so that more readers help until the cores are busy."""
    prefetch_batches: int = 2
    """Batches that are read or being read while one is trained on; each takes memory."""
    log_samples: bool = False
    """See ``ledger``."""


class Loaded(NamedTuple):
    """A step's part of this worker."""

    step: int
    micro_batches: list[TrainingBatch]
    epochs: list[int]
    """Of each sample, over all micro-batches."""
    waited_s: float
    """How long the training thread stood still for it."""


@contextmanager
def prefetched(
    data: Batches, sampler: Sampler, steps: range, worker: Worker, *, num_micro_batches: int, reading: Reading
) -> Iterator[Iterator[Loaded]]:
    """The worker's parts of ``steps`` in order. All readers have ended when the body has, however it ended.

    What a reader raises is raised in the training thread when the batch is due, and names step and samples. Raises
    ``ValueError`` where the batch does not split among workers and micro-batches.
    """
    pool = ThreadPoolExecutor(reading.num_readers, thread_name_prefix="reader")

    def begun() -> Iterator[_Ahead]:
        for step in steps:
            parts = sampler.draw(step).parts(worker.rank, worker.world_size, num_micro_batches)
            yield _Ahead(step, parts, [pool.submit(data.batch, part.indices, part.epochs) for part in parts])

    try:
        yield _in_order(data, begun(), reading.prefetch_batches)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


class _Ahead(NamedTuple):
    """A step that is being read: one task a micro-batch, so that several readers can share a step."""

    step: int
    parts: list[Draw]
    futures: list[Future[TrainingBatch]]


def _in_order(data: Batches, begun: Iterator[_Ahead], num_ahead: int) -> Iterator[Loaded]:
    """What was begun, as it ends; taking one more from ``begun`` begins it."""
    ahead = deque(islice(begun, num_ahead))
    while ahead:
        step, parts, futures = ahead.popleft()
        started_s = time.perf_counter()
        batches = [_result(future, step, part, data) for future, part in zip(futures, parts, strict=True)]
        waited_s = time.perf_counter() - started_s
        ahead.extend(islice(begun, 1))
        epochs = [int(epoch) for part in parts for epoch in part.epochs]
        yield Loaded(step, batches, epochs, waited_s)


def _result(future: Future[TrainingBatch], step: int, part: Draw, data: Batches) -> TrainingBatch:
    """The batch that was read, or the error with the samples it was read for."""
    error = future.exception()
    if error is None:
        return future.result()
    tokens = ", ".join(data.sample_tokens[index] for index in part.indices)
    where = f"while the samples of step {step} were read: {tokens}"
    if isinstance(error, ValueError):  # its text is all that a user sees
        raise ValueError(f"{error} ({where})") from error
    error.add_note(where)
    raise error
