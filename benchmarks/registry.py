"""How long Kedro takes to list this project's pipelines, against an empty Kedro project with the same packages.

``python benchmarks/registry.py [--repeats 5]``; both run in turn, each in a process of its own. The time of the
processor (user + system) is the steadier number on a machine that does other work; the wall time is what one waits for.
"""

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PROJECT = Path(__file__).parents[1]
KEDRO = [sys.executable, "-m", "kedro"]
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "KEDRO_LOGGING_CONFIG"}
"""Without the logging of whoever runs this: its path is that of one project."""


def empty_project(directory: Path) -> Path:
    """What ``kedro new`` makes without any tool or example."""
    answers = ["--name", "empty", "--tools", "none", "--example", "n", "--telemetry", "no"]
    subprocess.run([*KEDRO, "new", *answers], cwd=directory, check=True, capture_output=True, env=ENVIRONMENT)
    return directory / "empty"


def list_pipelines(project: Path) -> tuple[float, float]:
    """Wall and processor seconds of one ``kedro registry list``."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run([*KEDRO, "registry", "list"], cwd=project, check=True, capture_output=True, env=ENVIRONMENT)
    wall_s, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall_s, after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def compare(repeats: int) -> None:
    """Print the medians of both projects and their ratios."""
    with tempfile.TemporaryDirectory() as scratch:
        projects = {"this": PROJECT, "empty": empty_project(Path(scratch))}
        for project in projects.values():
            list_pipelines(project)  # compiles
        rows = [{name: list_pipelines(project) for name, project in projects.items()} for _ in range(repeats)]
    for at, what in enumerate(("wall", "processor")):
        this_s, empty_s = (statistics.median(row[name][at] for row in rows) for name in ("this", "empty"))
        print(f"{what:9}  this {this_s:.2f} s  empty {empty_s:.2f} s  ratio {this_s / empty_s:.2f}")


def main() -> None:
    """Parse the arguments and compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    compare(parser.parse_args().repeats)


if __name__ == "__main__":
    main()
