"""Ends a run that hangs: a thread beside the training of each rank, which needs no reply of the one that hangs.

The loop says where it is (``beat``, no more than an assignment); the thread writes it to the folder of the run and
compares. Whoever finds a culprit asks all ranks for their stacks, writes the verdict, and every rank ends itself.
"""

import faulthandler
import os
import socket
import threading
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

import psutil

from dima_pipeline.training.beats import EXCHANGES, FOLDER, LONG, Beat, Observer, find_culprits, write_beat
from dima_pipeline.training.verdict import (
    are_stacks_wanted,
    condemn,
    frozen_path,
    read_verdict,
    stack_path,
    write_stack,
)

LONG_PHASES = ("checkpoint", "report")
EXIT_CODE = 75


class _Now(NamedTuple):
    """Where the training of this rank is; see ``beats.Beat``."""

    step: int
    phase: str
    num_beats: int
    num_exchanges: dict[str, int]
    started_s: float


class Watchdog:
    """Guards one rank of a run as long as the body of ``with`` lasts; ``directory`` is shared by all ranks.

    Made by the thread that trains. A rank that is longer than ``limit_s`` in a phase and waits for nobody ends the run.
    """

    def __init__(self, directory: Path, rank: int, world_size: int, limit_s: float) -> None:
        self.directory, self.rank, self._limit_s = directory, rank, limit_s
        self._poll_s = min(2.0, limit_s / 20)
        self._observer = Observer(directory, world_size, LONG * limit_s, patience_s=max(5 * self._poll_s, limit_s / 4))
        self._trains = threading.get_ident()
        self._identity: dict[str, Any] = {"host": socket.gethostname(), "pid": os.getpid()}
        self._identity["created_s"] = psutil.Process().create_time()
        self._num_written = 0
        self._first_step: int | None = None
        self._now = _Now(-1, "start", 0, dict.fromkeys(EXCHANGES, 0), time.monotonic())
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True, name="watchdog")

    def beat(self, step: int | None, phase: str) -> None:
        """``phase`` begins now; ``step`` is None where it is the same as before. Each rank beats in the same order."""
        now = self._now
        step = now.step if step is None else step
        num_exchanges = now.num_exchanges
        if phase in EXCHANGES:
            num_exchanges = {**num_exchanges, phase: num_exchanges[phase] + 1}
        num_beats = now.num_beats + 1 if step == now.step else 0
        # One assignment: the thread that reads never sees half of it.
        self._now = _Now(step, phase, num_beats, num_exchanges, time.monotonic())
        if self._first_step is None and step >= 0:
            self._first_step = step

    def __enter__(self) -> "Watchdog":
        folder = self.directory / FOLDER
        folder.mkdir(parents=True, exist_ok=True)
        stack_path(self.directory, self.rank).unlink(missing_ok=True)
        self._frozen = frozen_path(self.directory, self.rank).open("w")
        self._write()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()
        faulthandler.cancel_dump_traceback_later()
        self._frozen.close()
        self._now = self._now._replace(phase="ended" if error is None else "failed", started_s=time.monotonic())
        with suppress(OSError):
            self._write()
            if not (path := frozen_path(self.directory, self.rank)).stat().st_size:
                path.unlink()

    def _watch(self) -> None:
        while not self._stop.wait(self._poll_s):
            # Where this thread cannot run either, because C code keeps the interpreter, one made of C ends the process:
            # before another rank, which begins to look a fifth of the limit later, ends it without its stack.
            limit_s = self._limit_of(self._now)
            faulthandler.dump_traceback_later(limit_s + self._poll_s, exit=True, file=self._frozen)
            with suppress(OSError):  # storage that fails now and then ends no run
                self._look(self._write())

    def _look(self, mine: Beat) -> None:
        if read_verdict(self.directory) is not None:
            self._leave()
        if are_stacks_wanted(self.directory) and not stack_path(self.directory, self.rank).exists():
            self._write_stack()
        # Who advances does not look at the others: among many ranks that would be much to read.
        if mine.since_s > mine.limit_s / LONG:
            beats = self._observer.beats()
            if culprits := find_culprits(beats):
                with suppress(OSError):  # a full disk has no room for a verdict, but this must end
                    self._write_stack()
                    condemn(self.directory, beats, culprits, self._poll_s)
                self._leave()

    def _write(self) -> Beat:
        now = self._now
        self._num_written += 1
        beat = Beat(
            rank=self.rank,
            step=now.step,
            phase=now.phase,
            num_beats=now.num_beats,
            num_exchanges=now.num_exchanges,
            since_s=time.monotonic() - now.started_s,
            limit_s=self._limit_of(now),
            num_written=self._num_written,
            **self._identity,
        )
        write_beat(self.directory, beat)
        return beat

    def _limit_of(self, now: _Now) -> float:
        is_beginning = self._first_step is None or now.step == self._first_step
        return self._limit_s * (LONG if is_beginning or now.phase in LONG_PHASES else 1)

    def _write_stack(self) -> None:
        write_stack(self.directory, self.rank, self._trains)

    def _leave(self) -> None:
        """Without finalisers: they would wait for the thread that hangs."""
        with suppress(OSError):
            if not stack_path(self.directory, self.rank).exists():
                self._write_stack()
        os._exit(EXIT_CODE)
