"""One process at a time in a folder: a lock that goes with the process, however that ends."""

import fcntl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

POLL_S = 0.2


class BusyError(ValueError):
    """Another process works in the folder."""


@contextmanager
def exclusive(directory: Path, doing: str, patience_s: float = 0.0) -> Iterator[None]:
    """Hold the lock of ``directory``, which is made where it is not there.

    Raises ``BusyError`` where another process still holds it after ``patience_s``; ``doing`` says what that one does.
    """
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / "lock").open("w") as file:
        deadline_s = time.monotonic() + patience_s
        while not _try_lock(file):
            if time.monotonic() > deadline_s:
                raise BusyError(f"another process {doing} in {directory}: wait for it or end it")
            time.sleep(POLL_S)
        yield


def _try_lock(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
