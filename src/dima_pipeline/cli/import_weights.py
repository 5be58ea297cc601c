"""``dima import-weights``: a PyTorch checkpoint from elsewhere becomes safetensors; no code in it can run here."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from dima_pipeline.cli.errors import kedro_errors, message_of
from dima_pipeline.cli.score import Refused

if TYPE_CHECKING:
    from dima_pipeline.export.foreign_import import Imported, Target

NUM_SHOWN = 40
LONG_ENOUGH_S = 600


@click.command("import-weights")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), help="The .safetensors file to write; without it, a look only.")
@click.option("--planner", help="The planner that the weights are for, as --env configures it; without it, any names.")
@click.option("--env", "environment", help="Environment below conf/ whose planner it is.  [default: synthetic]")
@click.option("--map", "map_name", help="Built-in map (vad, vad_image, torchvision_resnet) or a file of `from: to`.")
@click.option("--prefix", default="", help="Take only names that begin so, and take it off: img_backbone.")
@click.option("--strict", is_flag=True, help="Write nothing and end with status 2 where the planner is not filled.")
@click.option(
    "--report", type=click.Path(path_type=Path), help="Write all rows of the table to this .csv or .json file."
)
@click.option("--licence", help="Licence of the weights, to be recorded in the file and the report.")
@click.option("--memory", "memory_gb", type=click.FloatRange(min=0.1), help="GB for reading.  [default: 4 x file + 1]")
@click.option(
    "--seconds", type=click.IntRange(min=1), default=LONG_ENOUGH_S, show_default=True, help="Of computing, for reading."
)
def import_weights_command(
    file: Path,
    *,
    out: Path | None,
    planner: str | None,
    environment: str | None,
    map_name: str | None,
    prefix: str,
    strict: bool,
    report: Path | None,
    licence: str | None,
    memory_gb: float | None,
    seconds: int,
) -> None:
    """Convert the PyTorch checkpoint FILE to safetensors and say what of it fits; docs/import_weights.md says how.

    FILE is read with weights_only in a process of its own with bounded memory and time; its code cannot run.
    """
    from dima_pipeline.export.foreign_import import import_weights, write_report, write_weights
    from dima_pipeline.export.foreign_map import find_map
    from dima_pipeline.export.foreign_process import GB, Limits

    if planner is None and (strict or environment is not None):
        raise Refused("--strict and --env are about a planner: name one with --planner")
    check_targets(file, out, report)
    try:
        key_map = find_map(map_name)
        target = None if planner is None else planner_target(planner, environment or "synthetic")
        limits = Limits(memory_bytes=None if memory_gb is None else int(memory_gb * GB), cpu_s=seconds)
        imported = import_weights(file, key_map, target, prefix=prefix, limits=limits)
        imported.facts["licence"] = licence
        show(file, imported)
        problem = imported.problem(strict)
        if report is not None:
            write_report(imported, report.resolve())
        if problem is None and out is not None:
            write_weights(imported, out.resolve())
    except ValueError as error:
        raise Refused(str(error)) from error
    if problem is not None:
        raise Refused(f"{file}: {problem}")
    click.echo(f"{out} is written" if out is not None else "nothing is written: name a file with --out")


def check_targets(file: Path, out: Path | None, report: Path | None) -> None:
    """Raises ``Refused`` where a file cannot or should not be put, before time is spent on what it would hold."""
    for option, path, suffixes in (("--out", out, (".safetensors",)), ("--report", report, (".csv", ".json"))):
        if path is None:
            continue
        if path.suffix not in suffixes:
            raise Refused(f"{option} {path} has to end in {' or '.join(suffixes)}")
        try:
            place = path.resolve()
            is_same = place.exists() and file.exists() and place.samefile(file)
        except (OSError, RuntimeError) as error:  # a loop of links is a RuntimeError in Python 3.11 and 3.12
            raise Refused(f"{option} {path} cannot be a file: {error}") from None
        if is_same:
            raise Refused(f"{option} {path} would replace the file that is read")
        if place.exists() and not place.is_file():
            raise Refused(f"{option} {path} is no file")
        if not place.parent.is_dir():
            raise Refused(f"{option} {path}: there is no folder {path.parent}")


def planner_target(name: str, environment: str) -> "Target":
    """Names and shapes of the planner that ``environment`` configures; raises ``Refused`` for another one or none."""
    from dima_pipeline.cli.project import load_project
    from dima_pipeline.export.foreign_import import Target
    from dima_pipeline.export.foreign_match import planner_specs
    from dima_pipeline.planners import PLANNERS

    try:
        parameters = load_project(environment).parameters
    except kedro_errors() as error:
        raise Refused(message_of(error)) from error
    config, image_size = parameters["distillation"].planner, parameters["ingestion"].image_size
    own = PLANNERS.dump(config)["name"]
    if own != name:
        raise Refused(f"environment {environment} has planner '{own}', not '{name}': set distillation.planner there")
    return Target(name=f"planner {name} of {environment}", specs=planner_specs(config, image_size))


def show(file: Path, imported: "Imported") -> None:
    """Print how much fits, a table of what does not, and what deserves a second look."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from dima_pipeline.export.foreign_import import row_values
    from dima_pipeline.export.foreign_match import MEANING, TAKEN

    console = Console(width=None if Console().is_terminal else 150, highlight=False)
    summary = Table("status", "tensors", "", title=Text(f"{file} for {imported.facts['model'] or 'no model'}"))
    for status, number in imported.facts["counts"].items():
        summary.add_row(status, str(number), MEANING[status])
    console.print(summary)
    odd = [row for row in imported.rows if row.status not in TAKEN or row.not_finite]
    if odd:
        table = Table("status", "in the file", "in the model", "shape", "why", title="What is not taken, or odd")
        for row in odd[:NUM_SHOWN]:
            shape = row_values(row)["source_shape"] or row_values(row)["target_shape"] or ""
            why = row.reason if not row.not_finite else f"{row.not_finite} values are NaN or infinite"
            table.add_row(
                *(Text(word or "", overflow="fold") for word in (row.status, row.source, row.target, shape, why))
            )
        console.print(table)
    if len(odd) > NUM_SHOWN:
        console.print(f"and {len(odd) - NUM_SHOWN} more: --report FILE.csv has them all")
    for message in remarks(imported):
        console.print(message, markup=False, soft_wrap=True)


def remarks(imported: "Imported") -> list[str]:
    """Sentences about what the table does not show."""
    facts = imported.facts
    found = []
    if facts["wrapper"]:
        found.append(f"'{facts['wrapper']}' was taken off every name")
    if imported.unused_rules:
        found.append(f"rules of the map that no name fits: {', '.join(imported.unused_rules)}")
    if facts["not_finite"]:
        found.append(f"warning: {facts['not_finite']} values are NaN or infinite; they are written as they are")
    if facts["licence"]:
        found.append(f"licence: {facts['licence']}, as you say; it holds for whatever is trained from these weights")
    else:
        found.append("no licence was given: many weights are for research alone, and so is what is trained from them")
    return found
