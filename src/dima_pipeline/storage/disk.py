"""A full disk said in words: whoever writes much wraps the writing in this."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

FULL = (errno.ENOSPC, errno.EDQUOT)


class FullDiskError(ValueError):
    """There is no space left, or no quota."""


@contextmanager
def full_disk_in_words(directory: Path) -> Iterator[None]:
    """Raises ``FullDiskError`` that names ``directory`` in place of an ``OSError`` for want of space within."""
    try:
        yield
    except OSError as error:
        if error.errno not in FULL:
            raise
        raise FullDiskError(
            f"the disk of {directory} is full: what was written there is unfinished and never read; free some space "
            "(`dima estimate` says how much a run takes) or choose another data_dir, and run again"
        ) from error
