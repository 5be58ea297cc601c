"""Progress of long work with what remains: a live bar on a terminal, a line every tenth elsewhere."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

Report = Callable[[int, int], None]
"""Called with (done, total)."""


@contextmanager
def progress(what: str) -> Iterator[Report]:
    """Yield a callback that shows how much of ``what`` is done and what remains."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _Lines(what, console)
        return
    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


class _Lines:
    """A printed line whenever another tenth is done."""

    def __init__(self, what: str, console: Console) -> None:
        self._what, self._console = what, console
        self._tenth = 0
        self._started_s = time.monotonic()

    def __call__(self, done: int, total: int) -> None:
        tenth = 10 * done // max(total, 1)
        if tenth <= self._tenth:
            return
        self._tenth = tenth
        left_s = (time.monotonic() - self._started_s) * (total - done) / max(done, 1)
        self._console.print(f"{self._what}: {done} of {total}, about {left_s:.0f} s left", highlight=False)
