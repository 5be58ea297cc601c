"""The ledger of a sweep: one JSON file a trial, the only truth about what was proposed, reported and ended.

Ray's own snapshots lag by ten seconds and more and leave out the scheduler (ray 2.60): a trial that ended after the
last one would be trained again. Here a trial is written down before it starts and after each of its reports.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from dima_pipeline.storage.manifest import write_durably

Status = Literal["running", "finished", "stopped", "failed"]


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One configuration and what is known of it."""

    number: int
    values: dict[str, Any]
    """By dotted parameter of ``distillation``."""
    reports: dict[int, float] = field(default_factory=dict)
    """Optimiser steps done -> objective (m)."""
    status: Status = "running"
    """``running`` also while nobody runs it: it is taken up by the next sitting."""
    error: str = ""

    @property
    def objective(self) -> float | None:
        """At the last report."""
        return self.reports[max(self.reports)] if self.reports else None


class Ledger:
    """All trials of the sweep in ``directory``, in the order in which they were proposed."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        files = directory / "trials"
        files.mkdir(parents=True, exist_ok=True)
        self._trials = [_read(path) for path in sorted(files.glob("*.json"))]
        assert [trial.number for trial in self._trials] == list(range(len(self._trials))), directory

    @property
    def trials(self) -> list[Trial]:
        """As they are now."""
        return list(self._trials)

    def latest(self, number: int) -> Trial:
        """A trial as its file says now: another process may have written it."""
        self._trials[number] = _read(self._file(number))
        return self._trials[number]

    def add(self, values: Mapping[str, Any]) -> Trial:
        """A new trial, durable when this returns."""
        self._trials.append(Trial(number=len(self._trials), values=dict(values)))
        return self._write(self._trials[-1])

    def report(self, number: int, step: int, objective: float) -> Trial:
        """What a running trial reached."""
        trial = self._trials[number]
        return self._write(replace(trial, reports={**trial.reports, step: objective}))

    def end(self, number: int, status: Status, error: str = "") -> Trial:
        """The last word on a trial."""
        assert status != "running"
        return self._write(replace(self._trials[number], status=status, error=error))

    def run_dir(self, number: int) -> Path:
        """Log, checkpoints and result of a trial."""
        return self.directory / "runs" / f"{number:04d}"

    def _write(self, trial: Trial) -> Trial:
        self._trials[trial.number] = trial
        write_durably(self._file(trial.number), json.dumps(asdict(trial)).encode())
        return trial

    def _file(self, number: int) -> Path:
        return self.directory / "trials" / f"{number:04d}.json"


def _read(path: Path) -> Trial:
    content = json.loads(path.read_text())
    return Trial(**{**content, "reports": {int(step): value for step, value in content["reports"].items()}})
