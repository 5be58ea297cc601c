"""What Ray Train costs a step against the plain loop, what a second worker brings, how long the loop waits for data.

``python benchmarks/training_overhead.py [--repeats 5] [--num-steps 40]``: the default planner on noise images of the
demo's size, in processes of their own and in turn, so that whatever else the machine does falls on all alike. Ray's run
is all of it: controller, watchdog, metrics and dashboard beside the worker. Prints medians and ratios of neighbours.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil

TESTS = Path(__file__).parents[1] / "tests"
sys.path.insert(0, str(TESTS))
from dima_pipeline.storage.runtime import RuntimeConfig  # noqa: E402
from dima_pipeline.training.config import parse_distillation  # noqa: E402
from dima_pipeline.training.run_log import read_log  # noqa: E402
from dima_pipeline.training.stages import StageSpec, plan_stages, train_stage  # noqa: E402
from training_cases import make_training_tables, write_shards  # noqa: E402

IMAGE_SIZE = (96, 160)
BATCH_SIZE, CHECKPOINT_EVERY, NUM_WARM = 8, 10, 5
POLL_S = 0.05
FIELDS = {
    "step_s": "the step alone, median",
    "whole_s": "with data and log, median",
    "quiet_s": "the same, tenth percentile: steps during which the machine did little else",
    "mean_s": "with checkpoints and reports, mean",
    "cpu_s": "CPU time of the process that trains, with everything: what a busy machine says best",
}
WAYS = {"plain loop": 0, "Ray, 1 worker": 1, "Ray, 2 workers": 2}
"""Number of Ray Train workers."""


def make_spec(folder: Path, num_steps: int) -> StageSpec:
    """Pretraining of the default planner on 24 hand-made keyframes."""
    stage = {"num_steps": num_steps, "batch_size": BATCH_SIZE, "checkpoint_every": CHECKPOINT_EVERY}
    tables = make_training_tables(num_keyframes=12)
    if not (folder / "shards").exists():
        write_shards(tables, folder / "shards", IMAGE_SIZE)
    config = parse_distillation({"planner": "vad", "pretraining": stage})
    return plan_stages(config, tables, folder / "shards", folder / "work")["pretraining"]


def train(folder: Path, num_steps: int, num_workers: int) -> None:
    """In this process, or on a Ray that is started for it."""
    spec = make_spec(folder, num_steps)
    if num_workers == 0:
        import torch

        from dima_pipeline.training.runtime import LocalRuntime

        torch.set_num_threads(1)
        train_stage(spec, LocalRuntime())
        return
    from dima_pipeline.distributed.ray_runtime import launch

    work_dir, num_cpus = str(folder / "work"), max(os.cpu_count() or 1, num_workers)
    launch([spec], RuntimeConfig(work_dir=work_dir, num_workers=num_workers, num_cpus=num_cpus, use_dashboard=True))


def measure(num_steps: int, num_workers: int) -> dict[str, float]:
    """A run in a process and session of its own, for the kernel shares time among sessions; without its first steps."""
    with tempfile.TemporaryDirectory(prefix="dima_overhead_") as name:
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        command = [sys.executable, __file__, "--folder", name, "--num-workers", str(num_workers)]
        command += ["--num-steps", str(num_steps)]
        spec = make_spec(Path(name), num_steps)
        with subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL, start_new_session=True) as process:
            cpu_s = cpu_seconds(spec, process.pid if num_workers == 0 else None)
        assert process.returncode == 0
        lines = read_log(spec.log_path)[NUM_WARM:]
    whole = [BATCH_SIZE / line["samples_per_second"] for line in lines]
    return {
        "step_s": statistics.median(line["seconds"] for line in lines),
        "whole_s": statistics.median(whole),
        "quiet_s": statistics.quantiles(whole, n=10)[0],
        "mean_s": statistics.fmean(whole),
        "cpu_s": cpu_s,
        "stall": sum(line["data_wait_seconds"] for line in lines) / sum(whole),
    }


def cpu_seconds(spec: StageSpec, pid: int | None) -> float:
    """CPU time a step of the process that trains: ``pid``, or the first worker of Ray, with all threads of its own."""
    samples: list[tuple[int, float]] = []
    total = spec.config["pretraining"]["num_steps"]
    while not samples or samples[-1][0] < total:
        num_lines = len(read_log(spec.log_path))
        if num_lines >= NUM_WARM and (not samples or num_lines > samples[-1][0]):
            path = Path(spec.run_dir) / "watchdog" / "rank_0.json"
            times = psutil.Process(pid or json.loads(path.read_text())["pid"]).cpu_times()
            samples.append((num_lines, times.user + times.system))
        time.sleep(POLL_S)
    (first, began_s), (last, ended_s) = samples[0], samples[-1]
    return (ended_s - began_s) / (last - first)


def ratio(runs: dict[str, list[dict[str, float]]], way: str, field: str) -> str:
    """Of ``way`` to the plain loop beside it: the median of the repeats and their range."""
    pairs = zip(runs[way], runs["plain loop"], strict=True)
    found = sorted(mine[field] / plain[field] for mine, plain in pairs)
    return f"{statistics.median(found):.3f} ({found[0]:.3f} to {found[-1]:.3f})"


def main(arguments: Any) -> None:
    """Run all ways in turn and print."""
    runs: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
    for number in range(arguments.repeats):
        ways = list(WAYS) if number % 2 == 0 else list(reversed(WAYS))
        for way in ways:
            runs[way].append(measure(arguments.num_steps, WAYS[way]))
            print(json.dumps({"way": way, **{name: round(value, 4) for name, value in runs[way][-1].items()}}))
    about = f"{arguments.num_steps} steps of {BATCH_SIZE}, {arguments.repeats} repeats"
    print(f"{os.cpu_count()} cores, {about}, load {os.getloadavg()[0]:.1f}")
    for way, found in runs.items():
        step_s, mean_s, stall = (
            statistics.median(run[name] for run in found) for name in ("step_s", "mean_s", "stall")
        )
        print(f"{way}: step {1e3 * step_s:.0f} ms, all {1e3 * mean_s:.0f} ms, loader stall {stall:.2%}")
    for way in [way for way in WAYS if WAYS[way]]:
        print(f"{way} / plain loop, median of the repeats (range):")
        for field, what in FIELDS.items():
            print(f"  {what}: {ratio(runs, way, field)}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--num-steps", type=int, default=40)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--num-workers", type=int, default=0)
    options = parser.parse_args()
    if options.folder:
        train(options.folder, options.num_steps, options.num_workers)
    else:
        main(options)
