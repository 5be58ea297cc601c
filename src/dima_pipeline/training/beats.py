"""Where every rank of a run is, as small files in the run's folder, and whose fault it is that nothing goes on.

All ranks pass the same phases in the same order: in a run that stands still, the rank with the fewest beats lags and
the others wait for it, wherever they wait; unless a rank that is ahead has taken part in fewer exchanges.
"""

import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

FOLDER = "watchdog"
GONE = ("ended", "failed")
"""What a rank says last."""
EXCHANGES = ("exchange", "report")
"""Phases that every rank must pass equally often, because each waits there for all others."""
LONG = 5
"""So many times the limit may take: what comes before the first step is done (reading, compiling), a checkpoint, and a
report, at which a sweep scores the planner."""


@dataclass(frozen=True, kw_only=True)
class Beat:
    """What the file of a rank says."""

    rank: int
    step: int
    """-1 before the first one."""
    phase: str
    num_beats: int
    """Since the step began."""
    num_exchanges: dict[str, int]
    """By ``EXCHANGES``: how many since the stage began, the present one among them."""
    since_s: float
    """How long it has been in this phase."""
    limit_s: float
    """How long it may be."""
    host: str
    pid: int
    created_s: float
    """When its process began: tells it from another one that got its number."""
    num_written: int
    """Grows as long as the process runs at all."""
    is_frozen: bool = False
    """Whether its process does not run any more; never in a file, for only others can tell."""

    @property
    def position(self) -> tuple[int, int]:
        """Grows from beat to beat."""
        return self.step, self.num_beats

    @property
    def is_overdue(self) -> bool:
        """Longer in its phase than it may be."""
        return self.phase not in GONE and self.since_s > self.limit_s

    @property
    def where(self) -> str:
        """In words."""
        return f"step {self.step}, phase {self.phase}" if self.step >= 0 else f"phase {self.phase}"


def beat_path(directory: Path, rank: int) -> Path:
    """The file of a rank, rewritten again and again."""
    return directory / FOLDER / f"rank_{rank}.json"


def write_beat(directory: Path, beat: Beat) -> None:
    """Replace the file of a rank: nobody reads half of it, and after a crash nobody needs it."""
    path = beat_path(directory, beat.rank)
    staged = path.with_suffix(".partial")
    staged.write_text(json.dumps(asdict(beat)))
    staged.replace(path)


class Observer:
    """Reads the beats of all ranks and notices a file that is not rewritten any more; compares no clocks."""

    def __init__(self, directory: Path, world_size: int, limit_s: float, patience_s: float) -> None:
        self.directory, self.world_size, self._limit_s = directory, world_size, limit_s
        self._patience_s = patience_s
        """A rank whose file stays the same for longer is frozen."""
        self._started_s = time.monotonic()
        self._seen: dict[int, tuple[tuple[int, int], float]] = {}

    def beats(self) -> list[Beat]:
        """Of all ranks; one that wrote none has not begun."""
        return [self._beat(rank) for rank in range(self.world_size)]

    def _beat(self, rank: int) -> Beat:
        now_s = time.monotonic()
        try:
            beat = Beat(**json.loads(beat_path(self.directory, rank).read_text()))
        except FileNotFoundError:
            return self._absent(rank, now_s - self._started_s)
        key = (beat.pid, beat.num_written)
        if rank not in self._seen or self._seen[rank][0] != key:
            self._seen[rank] = key, now_s
        silent_s = now_s - self._seen[rank][1]
        is_frozen = silent_s > self._patience_s and beat.phase not in GONE
        return replace(beat, since_s=beat.since_s + silent_s, is_frozen=is_frozen)

    def _absent(self, rank: int, since_s: float) -> Beat:
        nothing: dict[str, Any] = {"host": "", "pid": 0, "created_s": 0.0, "num_written": 0, "num_beats": 0}
        nothing["num_exchanges"] = dict.fromkeys(EXCHANGES, 0)
        return Beat(rank=rank, step=-1, phase="not begun", since_s=since_s, limit_s=self._limit_s, **nothing)


def find_culprits(beats: Sequence[Beat]) -> list[Beat]:
    """The ranks because of which nothing goes on; none as long as no rank is overdue that waits for nobody.

    A rank ahead of another that took part in fewer exchanges has left one out; so has one that ended with fewer.
    """
    skipping = [beat for beat in beats if any(skips(beat, other) for other in beats)]
    if skipping:
        fewest = min(sum(beat.num_exchanges.values()) for beat in skipping)
        return [beat for beat in skipping if sum(beat.num_exchanges.values()) == fewest]
    alive = [beat for beat in beats if beat.phase not in GONE]
    last = min((beat.position for beat in alive), default=None)
    lagging = [beat for beat in alive if beat.position == last]
    if not any(beat.is_overdue for beat in lagging):
        return []
    return [beat for beat in lagging if beat.since_s > beat.limit_s / 2]


def skips(beat: Beat, other: Beat) -> bool:
    """Whether ``other`` waits in vain for ``beat``, which has left an exchange out."""
    if not any(beat.num_exchanges[kind] < other.num_exchanges[kind] for kind in EXCHANGES):
        return False
    if beat.phase in GONE:  # nothing that could still come is worth the longer patience
        return other.phase in EXCHANGES and other.since_s > other.limit_s / (LONG if other.phase == "report" else 1)
    return beat.is_overdue and beat.position > other.position
