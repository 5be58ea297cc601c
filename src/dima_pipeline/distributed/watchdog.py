"""The driver's part in ending a run that hangs; each worker has a watchdog of its own (``training.watchdog``).

A worker that hangs ends itself, Ray starts it again, and there it finds the verdict and gives up. What cannot end
itself, because its process is stopped, is ended from here where it is on this machine.
"""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from ray.train import TrainingFailedError

from dima_pipeline.training.beats import FOLDER, LONG, Observer, find_culprits
from dima_pipeline.training.verdict import clear_verdict, condemn, is_frozen_here, read_verdict

POLL_S = 2.0


@contextmanager
def guarded(directories: Sequence[Path], num_workers: int, limit_s: float) -> Iterator[None]:
    """Run the body, which trains with ``num_workers`` ranks in each of the ``directories``, one after the other.

    Raises ``ValueError`` with the verdict where a run was ended because it hangs and Ray tells of dead workers alone.
    """
    for directory in directories:
        clear_verdict(directory)
    stop = threading.Event()
    poll_s = min(POLL_S, limit_s / 20)
    observers = [Observer(directory, num_workers, LONG * limit_s, limit_s / 4) for directory in directories]

    def watch() -> None:
        while not stop.wait(poll_s):
            for observer in observers:
                with suppress(OSError):
                    _end_frozen(observer, poll_s)

    thread = threading.Thread(target=watch, daemon=True, name="hang-watch")
    thread.start()
    try:
        yield
    except TrainingFailedError:
        for directory in directories:
            if text := read_verdict(directory):
                raise ValueError(text) from None
        raise
    finally:
        stop.set()
        thread.join()


def _end_frozen(observer: Observer, poll_s: float) -> None:
    if not (observer.directory / FOLDER).is_dir() or read_verdict(observer.directory) is not None:
        return
    beats = observer.beats()
    culprits = [beat for beat in find_culprits(beats) if is_frozen_here(beat)]
    if culprits:
        condemn(observer.directory, beats, culprits, poll_s)
