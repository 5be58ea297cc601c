"""How a run that hangs is ended: the stacks of its ranks, one verdict in words, and the end of what is frozen.

A verdict stays in the folder of the run until the run is started anew: it ends workers that were started again, too.
"""

import json
import os
import shutil
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Sequence
from pathlib import Path

import psutil

from dima_pipeline.training.beats import EXCHANGES, FOLDER, GONE, Beat, beat_path, skips

VERDICT, WANTED = "verdict.txt", "stacks_wanted"
NUM_SHOWN_RANKS, NUM_SHOWN_LINES = 8, 6
GOES_ON = (
    "The checkpoints are kept: the same command goes on from the newest one. Where a phase may take so long, raise "
    "runtime.hang_timeout_s."
)


def stack_path(directory: Path, rank: int) -> Path:
    """Where a rank of a run that hangs says what it was doing; the thread that trains comes first."""
    return directory / FOLDER / f"rank_{rank}.stack.txt"


def frozen_path(directory: Path, rank: int) -> Path:
    """Where ``faulthandler`` writes when no Python can run any more; empty otherwise."""
    return directory / FOLDER / f"rank_{rank}.frozen.txt"


def are_stacks_wanted(directory: Path) -> bool:
    """Whether somebody has found a culprit and waits for all stacks."""
    return (directory / FOLDER / WANTED).exists()


def write_stack(directory: Path, rank: int, thread: int) -> None:
    """The stacks of all threads of this process, that of ``thread`` first."""
    names = {other.ident: other.name for other in threading.enumerate()}
    frames = sorted(sys._current_frames().items(), key=lambda item: item[0] != thread)
    texts = [f"thread {names.get(ident)}\n" + "".join(traceback.format_stack(frame)) for ident, frame in frames]
    path = stack_path(directory, rank)
    staged = path.with_suffix(".partial")
    staged.write_text("\n".join(texts))
    staged.replace(path)


def read_verdict(directory: Path) -> str | None:
    """Why the run in ``directory`` was ended, for the user; None where it was not."""
    path = directory / FOLDER / VERDICT
    if path.is_file():
        return path.read_text()
    for frozen in sorted(directory.glob(f"{FOLDER}/rank_*.frozen.txt")):
        if frozen.stat().st_size:
            return _describe_frozen(directory, frozen)
    return None


def clear_verdict(directory: Path) -> None:
    """Before a run is started by a user: what an earlier one left."""
    shutil.rmtree(directory / FOLDER, ignore_errors=True)


def publish_verdict(directory: Path, text: str) -> None:
    """End all ranks of the run in ``directory``, because of ``text``; of several verdicts the first one stays."""
    (directory / FOLDER).mkdir(parents=True, exist_ok=True)
    staged = directory / FOLDER / f"{VERDICT}.{socket.gethostname()}.{os.getpid()}"
    staged.write_text(text)
    target = directory / FOLDER / VERDICT
    try:
        os.link(staged, target)
    except FileExistsError:
        pass
    except OSError:  # a file system without hard links
        if not target.exists():
            staged.replace(target)
    finally:
        staged.unlink(missing_ok=True)


def condemn(directory: Path, beats: Sequence[Beat], culprits: Sequence[Beat], poll_s: float) -> None:
    """Collect the stacks, publish the verdict, and end what is frozen on this machine."""
    (directory / FOLDER / WANTED).touch()
    asked = [beat for beat in beats if beat.num_written and not beat.is_frozen and beat.phase not in GONE]
    deadline_s = time.monotonic() + 3 * poll_s
    while time.monotonic() < deadline_s and not all(stack_path(directory, beat.rank).exists() for beat in asked):
        time.sleep(poll_s / 10)
    publish_verdict(directory, describe(directory, beats, culprits))
    for beat in culprits:
        if is_frozen_here(beat):
            os.kill(beat.pid, signal.SIGKILL)


def is_frozen_here(beat: Beat) -> bool:
    """Whether the process of a rank is on this machine and alive, but does not run: nothing else would end it."""
    if not beat.is_frozen or beat.host != socket.gethostname():
        return False
    try:
        process = psutil.Process(beat.pid)
        return process.create_time() == beat.created_s and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def describe(directory: Path, beats: Sequence[Beat], culprits: Sequence[Beat]) -> str:
    """What the user reads: which ranks hang, where they stand, where all others are, and what to do."""
    ranks = ", ".join(str(beat.rank) for beat in culprits)
    lines = [f"the run {directory.name} hangs at rank {ranks} of {len(beats)} and was ended:"]
    for beat in culprits[:NUM_SHOWN_RANKS]:
        lines.append(f"- rank {beat.rank} on {beat.host or 'an unknown machine'} {_fault(beat, beats)}; it stands in")
        lines += [f"    {line}" for line in _last_lines(stack_path(directory, beat.rank))]
    others = [f"rank {beat.rank} in {beat.where}" for beat in beats if beat not in culprits]
    if others:
        lines.append("- the others wait: " + "; ".join(others[:NUM_SHOWN_RANKS]))
    lines.append(f"Whole stacks: {directory / FOLDER}/rank_*.stack.txt. {GOES_ON}")
    return "\n".join(lines)


def _fault(beat: Beat, beats: Sequence[Beat]) -> str:
    if any(skips(beat, other) for other in beats):
        most = {kind: max(other.num_exchanges[kind] for other in beats) for kind in EXCHANGES}
        counts = " and ".join(f"{beat.num_exchanges[kind]} of {most[kind]} {kind}s" for kind in EXCHANGES)
        where = f"has {beat.phase} after step {beat.step}" if beat.phase in GONE else f"is at {beat.where}"
        return f"took part in {counts} and {where}"
    if beat.is_frozen:
        return f"does not run any more (stopped, or its machine is gone) since {beat.since_s:.0f} s at {beat.where}"
    return f"has done nothing for {beat.since_s:.0f} s at {beat.where} (limit {beat.limit_s:g} s)"


def _last_lines(path: Path) -> list[str]:
    if not path.is_file():
        return ["(it left no stack)"]
    return path.read_text().split("\n\n", 1)[0].splitlines()[-NUM_SHOWN_LINES:]


def _describe_frozen(directory: Path, frozen: Path) -> str:
    rank = int(frozen.name.removeprefix("rank_").removesuffix(".frozen.txt"))
    try:
        beat = Beat(**json.loads(beat_path(directory, rank).read_text()))
        where = f" on {beat.host}, last seen at {beat.where},"
    except FileNotFoundError:
        where = ""
    return (
        f"the run {directory.name} hangs at rank {rank}{where} and was ended: not even its watchdog could run, C code "
        "keeps the interpreter or the storage hangs. Its threads stand in\n"
        f"{frozen.read_text().rstrip()}\n{GOES_ON}"
    )
