"""Command line: ``kedro run`` with clear errors, and ``dima`` for what needs no Kedro.

Whatever a user can get wrong ends in one message and exit status 1; ``DIMA_TRACEBACK=1`` shows where it came from.
"""

import functools
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

TRACEBACK_VARIABLE = "DIMA_TRACEBACK"


def clear_errors(command: Callable[..., Any], expected: tuple[type[Exception], ...]) -> Callable[..., Any]:
    """Wrap ``command`` so that an ``expected`` exception becomes one message and exit status 1."""

    @functools.wraps(command)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        try:
            return command(*args, **kwargs)
        except expected as error:
            if os.environ.get(TRACEBACK_VARIABLE):
                raise
            click.secho(f"Error: {message_of(error)}", fg="red", err=True)
            click.echo(f"(set {TRACEBACK_VARIABLE}=1 to see where this was raised)", err=True)
            sys.exit(1)

    return wrapped


def message_of(error: BaseException) -> str:
    """The message of an error; wrapped errors of user's input speak for the wrapper."""
    cause = error.__cause__
    while cause is not None:
        if isinstance(cause, ValueError):
            return str(cause)
        cause = cause.__cause__
    return str(error)


def _kedro_group() -> click.Group:
    """Kedro's own ``run`` with clear errors, in the group that Kedro looks for."""
    from kedro.config import BadConfigException, MissingConfigException
    from kedro.framework.cli.project import run
    from kedro.io import DatasetError
    from kedro.validation import ParameterValidationError
    from omegaconf.errors import OmegaConfBaseException

    expected = (
        ValueError,
        DatasetError,
        ParameterValidationError,
        MissingConfigException,
        BadConfigException,
        OmegaConfBaseException,
    )
    assert run.callback is not None
    command = click.Command("run", callback=clear_errors(run.callback, expected), params=run.params, help=run.help)
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
