"""``dima estimate``: what a run of an environment will take of disk, memory and time, before it is started."""

import json
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dima_pipeline.cli.checks import num_usable_cores
from dima_pipeline.cli.errors import clear_errors, kedro_errors
from dima_pipeline.cli.project import Project, load_project

if TYPE_CHECKING:
    from dima_pipeline.cli.volumes import Line, Volume

GB = 1e9
QUANTITIES = ("disk", "memory", "time")


@click.command("estimate")
@click.option("--env", "environment", default="synthetic", show_default=True, help="Environment below conf/.")
@click.option("--json", "json_path", type=click.Path(path_type=Path), help="Write the estimate to this file, too.")
def estimate_command(environment: str, json_path: Path | None) -> None:
    """Estimate disk, memory and hours of a run: a few scenes and steps are done for real, in a temporary folder."""
    clear_errors(_estimate, kedro_errors())(environment, json_path)


def _estimate(environment: str, json_path: Path | None) -> None:
    project = load_project(environment)
    if project.parameters["distillation"].teacher is None:
        raise ValueError("distillation.teacher is null: name one, a run without it stops there")
    volume = count(project)
    measured = measure(project)
    lines = estimate_lines(volume, project.parameters, measured)
    warnings = [*shortages(lines, free_bytes(project)), *busyness(os.getloadavg()[0], num_usable_cores())]
    show(environment, volume, lines, warnings)
    if json_path is not None:
        content = {
            "environment": environment,
            "volume": asdict(volume),
            "lines": [asdict(line) for line in lines],
            "warnings": warnings,
            "measured": measured,
        }
        json_path.write_text(json.dumps(content, indent=1) + "\n")


def count(project: Project) -> "Volume":
    """Scenes and keyframes of a run; raises ``ValueError`` where recordings are asked for and not there."""
    from dima_pipeline.cli import volumes

    split = project.parameters["evaluation"].split
    if project.facts["generates_world"]:
        world = project.parameters["world"]
        return volumes.world_volume(world.num_train_scenes, world.num_val_scenes, world.num_keyframes, split)
    return volumes.recorded_volume(project.parameters["ingestion"], project.dataroot(), split)


def measure(project: Project) -> dict[str, Any]:
    """What ``probe`` finds, part by part."""
    from rich.console import Console

    from dima_pipeline.cli.probe import PARTS, run_part

    with tempfile.TemporaryDirectory(prefix="dima_estimate_") as folder, Console(stderr=True).status("") as status:
        found = {}
        for part in PARTS:
            status.update(f"measuring {part}")
            found[part] = run_part(part, project, Path(folder))
        return found


def estimate_lines(volume: "Volume", parameters: Mapping[str, Any], measured: Mapping[str, Any]) -> list["Line"]:
    """All lines, disk first."""
    from dima_pipeline.cli import volumes

    kinds = (volumes.disk_lines, volumes.memory_lines, volumes.time_lines)
    return [line for kind in kinds for line in kind(volume, parameters, measured)]


def total(lines: Sequence["Line"], quantity: str) -> float:
    """Bytes side by side on disk, of the largest process in memory, seconds one after the other."""
    values = [line.value for line in lines if line.quantity == quantity and not line.is_device]
    return max(values) if quantity == "memory" else sum(values)


def shortages(lines: Sequence["Line"], free: Mapping[str, int]) -> list[str]:
    """A message for each quantity of which more is needed than there is."""
    advice = {
        "disk": "choose another data_dir, smaller images (ingestion.image_height, image_width) or fewer scenes",
        "memory": "lower distillation batch sizes, runtime.num_workers or the number of scenes",
    }
    return [
        f"needs {total(lines, name) / GB:.1f} GB of {name}, {free[name] / GB:.1f} GB free: {advice[name]}"
        for name in advice
        if total(lines, name) > free[name]
    ]


def busyness(load: float, num_cores: int) -> list[str]:
    """A message where others kept the cores busy while steps were timed; measuring itself loads them once."""
    if load <= 2 * num_cores:
        return []
    return [f"the machine is busy (load {load:.1f} on {num_cores} cores): a run alone on it takes less time than this"]


def free_bytes(project: Project) -> dict[str, int]:
    """What this machine has left."""
    from dima_pipeline.cli.checks import existing, memory_bytes

    return {"disk": shutil.disk_usage(existing(project.data_dir)).free, "memory": memory_bytes()[1]}


def show(environment: str, volume: "Volume", lines: Sequence["Line"], warnings: Sequence[str]) -> None:
    """Print a table, its totals and the warnings."""
    from rich.console import Console
    from rich.table import Table

    table = Table("", "item", title=f"{environment}: {volume.num_scenes} scenes, {volume.num_samples} keyframes")
    table.add_column("estimate", justify="right")
    table.add_column("basis")
    table.add_column("from", overflow="fold")
    for quantity in QUANTITIES:
        for line in (line for line in lines if line.quantity == quantity):
            table.add_row(quantity, line.item, readable(line.value, quantity), line.basis, line.how)
        table.add_row(
            quantity, "largest" if quantity == "memory" else "total", readable(total(lines, quantity), quantity)
        )
        table.add_section()
    console = Console()
    console.print(table)
    for warning in warnings:
        console.print(f"warning: {warning}", style="yellow", markup=False)


def readable(value: float, quantity: str) -> str:
    """Bytes or seconds with a unit that suits their size."""
    units = ((3600.0, "h"), (60.0, "min"), (0.0, "s")) if quantity == "time" else ((GB, "GB"), (1e6, "MB"), (0.0, "kB"))
    scale, unit = next((scale, unit) for scale, unit in units if value >= scale)
    return f"{value / (scale or (1.0 if quantity == 'time' else 1e3)):.1f} {unit}"
