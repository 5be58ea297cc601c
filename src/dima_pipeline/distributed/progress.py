"""Progress of training, read from the logs that workers write: it costs them nothing and outlives them."""

import json
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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
    samples_per_second: float | None = None


Follow = Callable[[StageProgress], None]
"""Called in a thread whenever a stage has advanced."""
EachLine = Callable[[str, Mapping[str, Any]], None]
"""Called in a thread with the stage and a line of its log: with each once, from the first, in the order of steps."""


@contextmanager
def follow(specs: Sequence[StageSpec], show: Follow | None = None, each_line: EachLine | None = None) -> Iterator[None]:
    """Watch the logs of ``specs`` while the body runs; by default bars on a terminal, else a line now and then."""
    if show is not None:
        with _watched(specs, show, each_line):
            yield
        return
    console = Console(stderr=True)
    if not console.is_terminal:
        with _watched(specs, _Lines(console), each_line):
            yield
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[loss]}"))
    with Progress(*columns, TimeElapsedColumn(), TimeRemainingColumn(), console=console) as bars:
        tasks = {str(spec.stage): bars.add_task(spec.stage, total=None, loss="", start=False) for spec in specs}

        def update(progress: StageProgress) -> None:
            bars.start_task(tasks[progress.stage])
            bars.update(tasks[progress.stage], completed=progress.done, total=progress.total, loss=_state(progress))

        with _watched(specs, update, each_line):
            yield


def _state(progress: StageProgress) -> str:
    loss = "" if progress.loss is None else f"loss {progress.loss:.3f}"
    return loss if progress.samples_per_second is None else f"{loss}, {progress.samples_per_second:.1f} samples/s"


@contextmanager
def _watched(specs: Sequence[StageSpec], show: Follow, each_line: EachLine | None) -> Iterator[None]:
    stop = threading.Event()
    totals = [stage_settings(spec.stage, parse_distillation(spec.config)).num_steps for spec in specs]
    tails = [Tail(spec.log_path) for spec in specs]
    seen: dict[str, int] = {}

    def look() -> None:
        for spec, total, tail in zip(specs, totals, tails, strict=True):
            for line in tail.read() if each_line else ():
                assert each_line is not None
                each_line(spec.stage, line)
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
    speed = line.get("samples_per_second")
    return StageProgress(stage, line["step"] + 1, total, line["terms"]["total"], speed)


class Tail:
    """New lines of a log, which may be put in place again with fewer lines when a run resumes."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._inode, self._offset = 0, 0
        self._last_step = -1

    def read(self) -> list[dict[str, Any]]:
        """What came since the last call; a step that was done again after an interruption comes once."""
        if not self._path.is_file():
            return []
        with self._path.open("rb") as file:
            stat = os.fstat(file.fileno())
            if stat.st_ino != self._inode or stat.st_size < self._offset:
                self._inode, self._offset = stat.st_ino, 0
            file.seek(self._offset)
            complete = file.read().rpartition(b"\n")[0]
        if not complete:
            return []
        self._offset += len(complete) + 1
        lines = [line for line in map(json.loads, complete.splitlines()) if line["step"] > self._last_step]
        self._last_step = lines[-1]["step"] if lines else self._last_step
        return lines


class _Lines:
    """A printed line whenever another tenth of a stage is done."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._tenths: dict[str, int] = {}
        self._began: dict[str, tuple[float, int]] = {}

    def __call__(self, progress: StageProgress) -> None:
        # A resumed stage did not take its first steps in the time that is measured here.
        began_s, began = self._began.setdefault(progress.stage, (time.monotonic(), progress.done))
        tenth = 10 * progress.done // progress.total
        if tenth > self._tenths.get(progress.stage, 0):
            self._tenths[progress.stage] = tenth
            text = f"{progress.stage}: step {progress.done} of {progress.total}, {_state(progress)}"
            if 0 < began < progress.done < progress.total:
                left_s = (time.monotonic() - began_s) * (progress.total - progress.done) / (progress.done - began)
                text += f", about {left_s:.0f} s left"
            self._console.print(text, highlight=False)
