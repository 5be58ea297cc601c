"""A rank that does as if it trained, in a process of its own: ``python tests/watchdog_ranks.py FOLDER RANK HOW``.

The ranks wait for each other by files. HOW is what rank 1 does wrong in step 3.
"""

import ctypes
import os
import subprocess
import sys
import time
from pathlib import Path

from dima_pipeline.training.watchdog import Watchdog

NUM_RANKS, NUM_STEPS = 2, 6
LIMIT_S = 1.0


def sleep_for_ever():
    time.sleep(1000)


def keep_the_interpreter():
    ctypes.PyDLL(None).sleep(1000)


def meet(folder: Path, rank: int, name: str) -> None:
    """Wait until all ranks are here."""
    (folder / f"{name}-{rank}").touch()
    while not all((folder / f"{name}-{other}").exists() for other in range(NUM_RANKS)):
        time.sleep(0.01)


def train(folder: Path, rank: int, how: str) -> None:
    with Watchdog(folder, rank, NUM_RANKS, LIMIT_S) as dog:
        for step in range(NUM_STEPS):
            is_wrong = rank == 1 and step == 3
            dog.beat(step, "data")
            if is_wrong and how == "sleeps":
                sleep_for_ever()
            dog.beat(step, "forward")
            if is_wrong and how == "keeps":
                keep_the_interpreter()
            dog.beat(None, "exchange")
            meet(folder, rank, f"exchange-{step}")
            if is_wrong and how == "ends":
                return
            if is_wrong and how == "fails":
                raise RuntimeError("out of luck")
            if not (is_wrong and how == "skips"):
                dog.beat(step, "report")
                meet(folder, rank, f"report-{step}")
            dog.beat(step, "optimizer")
            time.sleep(0.3 if how == "sleeps a little" else 0.02)


def start(folder: Path, how: str) -> list[subprocess.Popen[bytes]]:
    """All ranks."""
    path = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    command = [sys.executable, __file__, str(folder)]
    return [
        subprocess.Popen([*command, str(rank), how], env={**os.environ, "PYTHONPATH": path}, stderr=subprocess.DEVNULL)
        for rank in range(NUM_RANKS)
    ]


if __name__ == "__main__":
    train(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
