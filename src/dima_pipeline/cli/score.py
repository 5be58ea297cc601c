"""``dima score``: planned paths from one ``.npz`` file under published protocols; no data set, no GPU, numpy alone."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dima_pipeline.contracts.frames import LIDAR_AHEAD_OF_EGO_M

if TYPE_CHECKING:
    from dima_pipeline.scoring.samples import Frame

ALL_PROTOCOLS = "vad,uniad,bev_planner,standardised"


class Refused(click.ClickException):
    """What a user got wrong: one message and exit status 2."""

    exit_code = 2


def _names(context: click.Context, parameter: click.Parameter, value: str) -> list[str]:
    """Protocols of a comma-separated list."""
    from dima_pipeline.scoring.protocols import protocol_named

    try:
        return [protocol_named(name.strip()).name for name in value.split(",")]
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


@click.command("score")
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--protocol", "protocols", default=ALL_PROTOCOLS, show_default=True, callback=_names, help="Names, comma-separated."
)
@click.option(
    "--frame",
    type=click.Choice(["lidar", "ego"]),
    required=True,
    help="Of the arrays, at t=0: lidar (x right, y forward, from LIDAR_TOP) or ego (x forward, y left, from its pose).",
)
@click.option("--json", "json_path", type=click.Path(path_type=Path), help="Write the numbers to this file, too.")
@click.option("--per-step", is_flag=True, help="Add the collisions of each row and step to the JSON file.")
@click.option("--markdown", "is_markdown", is_flag=True, help="Print a markdown table.")
@click.option(
    "--lidar-ahead",
    "lidar_ahead_m",
    default=LIDAR_AHEAD_OF_EGO_M,
    show_default=True,
    help="From ego pose to LIDAR_TOP, m.",
)
@click.option("--frame-check/--no-frame-check", default=True, help="Refuse driven paths that lead sideways.")
def score_command(
    file: Path,
    *,
    protocols: list[str],
    frame: "Frame",
    json_path: Path | None,
    per_step: bool,
    is_markdown: bool,
    lidar_ahead_m: float,
    frame_check: bool,
) -> None:
    """Score the planned paths in FILE: L2 and collisions under each protocol; docs/scoring.md says what they mean.

    FILE is an .npz of pred and gt (N,6,2), fut_mask (N,6), boxes (N,6,A,5), box_mask (N,6,A) and kind (N,A).
    """
    from dima_pipeline.scoring import report
    from dima_pipeline.scoring.files import read_samples

    if per_step and json_path is None:
        raise Refused("--per-step adds to the JSON file: name one with --json")
    if json_path is not None:
        check_target(json_path, file)
    try:
        samples = read_samples(file, frame, lidar_ahead_m, frame_check)
    except ValueError as error:
        raise Refused(str(error)) from error
    scored = report.score_report(samples, protocols, per_step)
    rows = report.table_rows(scored)
    click.echo(report.markdown(rows) if is_markdown else report.plain(rows))
    for message in report.empty_numbers(scored):
        click.echo(f"warning: {message}", err=True)
    if json_path is not None:
        write_json(json_path, scored, None if per_step else 1)


def check_target(path: Path, source: Path) -> None:
    """Raises ``Refused`` where no JSON file can or should be put, before time is spent on what it would hold."""
    if path.resolve() == source.resolve():
        raise Refused(f"--json {path} would replace the file that is scored")
    if (path.exists() and not path.is_file()) or path.absolute().parts[1:2] in (("dev",), ("proc",)):
        raise Refused(f"--json {path} is no file")
    if not path.resolve().parent.is_dir():
        raise Refused(f"--json {path}: there is no folder {path.parent}")


def write_json(path: Path, content: Mapping[str, Any], indent: int | None) -> None:
    """Write a file that is either the old one or the whole new one; raises ``Refused`` where it cannot be."""
    from dima_pipeline.storage.manifest import write_durably

    text = json.dumps(content, indent=indent, allow_nan=False) + "\n"
    try:
        write_durably(path.resolve(), text.encode())
    except OSError as error:
        raise Refused(f"{path} cannot be written: {error.strerror}") from error
