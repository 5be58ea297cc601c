"""Progress of training, read from the logs that workers write: it costs them nothing and outlives them."""

import json
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from dima_pipeline.training.config import parse_distillation
from dima_pipeline.training.stages import StageSpec, stage_settings

POLL_S = 0.5
TAIL_BYTES = 65536


@dataclass(frozen=True)
class StageProgress:
    """How far a stage is."""

    stage: str
    done: int
    """Optimiser steps."""
    total: int
    loss: float | None
    """``total`` of the last logged step; None before the first."""


Follow = Callable[[StageProgress], None]
"""Called in a thread whenever a stage has advanced."""


@contextmanager
def follow(specs: Sequence[StageSpec], show: Follow | None = None) -> Iterator[None]:
    """Watch the logs of ``specs`` while the body runs; by default bars on a terminal, else a line now and then."""
    if show is not None:
        with _watched(specs, show):
            yield
        return
    console = Console(stderr=True)
    if not console.is_terminal:
        with _watched(specs, _Lines(console)):
            yield
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[loss]}"))
    with Progress(*columns, TimeElapsedColumn(), TimeRemainingColumn(), console=console) as bars:
        tasks = {str(spec.stage): bars.add_task(spec.stage, total=None, loss="", start=False) for spec in specs}

        def update(progress: StageProgress) -> None:
            bars.start_task(tasks[progress.stage])
            loss = "" if progress.loss is None else f"loss {progress.loss:.3f}"
            bars.update(tasks[progress.stage], completed=progress.done, total=progress.total, loss=loss)

        with _watched(specs, update):
            yield


@contextmanager
def _watched(specs: Sequence[StageSpec], show: Follow) -> Iterator[None]:
    stop = threading.Event()
    totals = [stage_settings(spec.stage, parse_distillation(spec.config)).num_steps for spec in specs]
    seen: dict[str, int] = {}

    def look() -> None:
        for spec, total in zip(specs, totals, strict=True):
            progress = read_progress(spec.stage, spec.log_path, total)
            if progress.done != seen.get(spec.name, 0):
                seen[spec.name] = progress.done
                show(progress)

    def watch() -> None:
        while not stop.wait(POLL_S):
            look()

    thread = threading.Thread(target=watch, daemon=True, name="training-progress")
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
        look()


def read_progress(stage: str, log_path: Path, total: int) -> StageProgress:
    """The state of a stage by the last complete line of its log."""
    if not log_path.is_file():
        return StageProgress(stage, 0, total, None)
    with log_path.open("rb") as file:
        file.seek(max(0, log_path.stat().st_size - TAIL_BYTES))
        complete = file.read().rpartition(b"\n")[0]
    if not complete:
        return StageProgress(stage, 0, total, None)
    line = json.loads(complete.splitlines()[-1])
    return StageProgress(stage, line["step"] + 1, total, line["terms"]["total"])


class _Lines:
    """A printed line whenever another tenth of a stage is done."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._tenths: dict[str, int] = {}

    def __call__(self, progress: StageProgress) -> None:
        tenth = 10 * progress.done // progress.total
        if tenth > self._tenths.get(progress.stage, 0):
            self._tenths[progress.stage] = tenth
            text = f"{progress.stage}: step {progress.done} of {progress.total}, loss {progress.loss:.3f}"
            self._console.print(text, highlight=False)
