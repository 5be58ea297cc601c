"""What a user got wrong is one message and exit status 1; ``DIMA_TRACEBACK=1`` shows where it came from."""

import functools
import os
import sys
from collections.abc import Callable
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


def kedro_errors() -> tuple[type[Exception], ...]:
    """What Kedro raises for a user's mistake in configuration or data."""
    from kedro.config import BadConfigException, MissingConfigException
    from kedro.io import DatasetError
    from kedro.validation import ParameterValidationError
    from omegaconf.errors import OmegaConfBaseException

    return (
        ValueError,
        DatasetError,
        ParameterValidationError,
        MissingConfigException,
        BadConfigException,
        OmegaConfBaseException,
    )
