"""A training in a process of its own, to be killed: ``python tests/training_runs.py FOLDER HOW OPTIONS``.

HOW is ``local`` (the loop alone) or ``ray`` (driver and worker), OPTIONS are those of ``make_spec`` in JSON. What is
found in FOLDER is told by the functions here.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

from dima_pipeline.storage.runtime import RuntimeConfig
from dima_pipeline.training.config import DistillationConfig, parse_distillation
from dima_pipeline.training.stages import StageSpec, plan_stages, train_stage
from training_cases import make_training_tables, write_shards

EVERY = 5
"""Steps from checkpoint to checkpoint."""
STAGE: dict[str, Any] = {
    "num_steps": 60,
    "batch_size": 4,
    "learning_rate": 0.01,
    "warmup_steps": 2,
    "checkpoint_every": EVERY,
}
PLANNER = {"name": "doubles.troubled_planner", "pause_s": 0.02, "fsync_s": 0.05}


def make_config(num_steps: int = STAGE["num_steps"], **planner: Any) -> DistillationConfig:
    return parse_distillation(
        {"planner": {**PLANNER, **planner}, "pretraining": {**STAGE, "num_steps": num_steps}},
    )


def make_spec(folder: Path, **options: Any) -> StageSpec:
    """The one stage of the run in ``folder``; ``options`` as in ``make_config``."""
    tables = make_training_tables()
    if not (folder / "shards").exists():
        write_shards(tables, folder / "shards")
    return plan_stages(make_config(**options), tables, folder / "shards", folder / "work")["pretraining"]


def make_runtime(folder: Path, **settings: Any) -> RuntimeConfig:
    return RuntimeConfig(work_dir=str(folder / "work"), num_cpus=3, **settings)


def run(folder: Path, how: str, **options: Any) -> None:
    """Train, or what is left of it."""
    import torch

    torch.set_num_threads(1)
    spec = make_spec(folder, **options)
    if how == "local":
        from dima_pipeline.training.runtime import LocalRuntime

        train_stage(spec, LocalRuntime())
        return
    from dima_pipeline.distributed.ray_runtime import launch

    launch([spec], make_runtime(folder, max_failures=9))


def start(folder: Path, how: str, **options: Any) -> "subprocess.Popen[bytes]":
    """``run`` in a process of its own."""
    path = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    environment = {**os.environ, "PYTHONPATH": path, "RAY_AUTH_MODE": "disabled", "OMP_NUM_THREADS": "1"}
    environment.pop("RAY_ADDRESS", None)
    with (folder / "output.txt").open("a") as output:
        command = [sys.executable, __file__, str(folder), how, json.dumps(options)]
        return subprocess.Popen(command, env=environment, stdout=output, stderr=subprocess.STDOUT)


def until(is_time: Callable[[], object], process: "subprocess.Popen[bytes]", folder: Path) -> None:
    """Wait; the process must still be at work then."""
    deadline_s = time.monotonic() + 240
    while not is_time():
        assert process.poll() is None, (folder / "output.txt").read_text()
        assert time.monotonic() < deadline_s, "the moment did not come"
        time.sleep(0.002)


def lines(spec: StageSpec) -> list[str]:
    """Of the log, with measured seconds: a step that is done again gives another line."""
    return spec.log_path.read_text().rpartition("\n")[0].splitlines() if spec.log_path.is_file() else []


def has_logged(spec: StageSpec, step: int) -> bool:
    return len(lines(spec)) > step


def is_writing(spec: StageSpec, after_step: int) -> bool:
    """Whether a checkpoint later than ``after_step`` is being written."""
    if not has_logged(spec, after_step):
        return False
    folder = Path(spec.run_dir) / "checkpoints"
    return folder.is_dir() and any(path.name.startswith(".") for path in folder.iterdir())


def worker_pid(spec: StageSpec) -> int:
    """Of the worker that Ray has started last."""
    return json.loads((Path(spec.run_dir) / "watchdog" / "rank_0.json").read_text())["pid"]


def wait_for_end_of(pid: int) -> None:
    """A worker lives on for some seconds when its driver was killed."""
    deadline_s = time.monotonic() + 60
    while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline_s, f"process {pid} does not end"
        time.sleep(0.05)


def kill_worker(spec: StageSpec) -> int:
    """SIGKILL; its number."""
    pid = worker_pid(spec)
    os.kill(pid, signal.SIGKILL)
    return pid


def lost_steps(at_kill: list[str], after: list[str]) -> int:
    """How many logged steps were done again."""
    kept = 0
    for before, now in zip(at_kill, after, strict=False):
        if before != now:
            break
        kept += 1
    return len(at_kill) - kept


if __name__ == "__main__":
    run(Path(sys.argv[1]), sys.argv[2], **json.loads(sys.argv[3]))
