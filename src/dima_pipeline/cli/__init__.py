"""Command line: ``kedro run`` with clear errors, and ``dima``: one file a command, and nothing heavy before it runs."""

import functools
from pathlib import Path
from typing import Any

import click

from dima_pipeline.cli.compare import compare_command
from dima_pipeline.cli.doctor import doctor_command
from dima_pipeline.cli.drivelm import drivelm_group
from dima_pipeline.cli.dvc import dvc_command
from dima_pipeline.cli.errors import clear_errors, kedro_errors
from dima_pipeline.cli.estimate import estimate_command
from dima_pipeline.cli.gallery import gallery_command
from dima_pipeline.cli.import_weights import import_weights_command
from dima_pipeline.cli.review import review_command
from dima_pipeline.cli.score import score_command


def _kedro_group() -> click.Group:
    """Kedro's own ``run`` with clear errors, in the group that Kedro looks for."""
    from kedro.framework.cli.project import run

    assert run.callback is not None
    command = click.Command(
        "run", callback=clear_errors(run.callback, kedro_errors()), params=run.params, help=run.help
    )
    return click.Group("dima_pipeline", commands={"run": command})


def __getattr__(name: str) -> Any:
    # Kedro asks this module for ``cli``; a car that only serves a bundle has no Kedro, so nothing of it loads before.
    if name == "cli":
        return _kedro_group()
    raise AttributeError(name)


@click.group()
@click.version_option(package_name="dima_pipeline")
def main() -> None:
    """Tools around a planner that was distilled from a multimodal LLM."""


@main.command()
@click.argument("directory", type=click.Path(path_type=Path))
@functools.partial(clear_errors, expected=(ValueError,))
def verify(directory: Path) -> None:
    """Check that a finished DIRECTORY (bundle, model, shards, report) holds exactly what was written."""
    from dima_pipeline.storage.manifest import verify as verify_directory

    manifest = verify_directory(directory)
    click.echo(f"{directory}: {len(manifest['files'])} files are whole")


main.add_command(compare_command)
main.add_command(doctor_command)
main.add_command(drivelm_group)
main.add_command(dvc_command)
main.add_command(estimate_command)
main.add_command(gallery_command)
main.add_command(import_weights_command)
main.add_command(review_command)
main.add_command(score_command)
