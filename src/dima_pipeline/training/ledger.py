"""Which samples were consumed at which step, by every worker: JSON lines beside the log of a run, where asked for.

Names the samples behind a spike of the loss, and proves that each was seen once an epoch. Steps that a resumed run
repeats are removed first, those of workers that it no longer has among them.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from dima_pipeline.contracts.batch import TrainingBatch
from dima_pipeline.training.loading import Worker
from dima_pipeline.training.run_log import appended, read_log

Note = Callable[[int, Sequence[TrainingBatch], Sequence[int]], None]


@contextmanager
def sample_log(directory: Path, worker: Worker, first_step: int, *, is_written: bool) -> Iterator[Note]:
    """A function that notes the micro-batches and epochs of a step; without ``is_written`` it only cleans up."""
    for rank, path in sorted(_paths(directory).items()):
        if rank == worker.rank or (worker.rank == 0 and rank >= worker.world_size):
            with appended(path, first_step, is_written=True):
                pass  # opening it removes what is undone
    with appended(directory / f"samples.{worker.rank}.jsonl", first_step, is_written=is_written) as write:

        def note(step: int, micro_batches: Sequence[TrainingBatch], epochs: Sequence[int]) -> None:
            tokens = [token for batch in micro_batches for token in batch.sample_tokens]
            write({"step": step, "sample_tokens": tokens, "epochs": list(epochs)})

        yield note


def read_samples(directory: Path) -> list[tuple[int, int, str]]:
    """(step, epoch, sample_token) of all workers, by step and then by rank."""
    found = []
    for rank, path in _paths(directory).items():
        for line in read_log(path):
            pairs = zip(line["epochs"], line["sample_tokens"], strict=True)
            found += [(line["step"], rank, number, epoch, token) for number, (epoch, token) in enumerate(pairs)]
    return [(step, epoch, token) for step, _, _, epoch, token in sorted(found)]


def _paths(directory: Path) -> dict[int, Path]:
    """Files by rank."""
    return {int(path.name.split(".")[1]): path for path in directory.glob("samples.*.jsonl")}
