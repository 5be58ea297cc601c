"""The log of training as DVCLive files, for DVC's VS Code extension and ``dvc plots``: local files and nothing else.

The driver reads the log that workers write, so that nothing runs beside the training loop. The files are written anew
from the first step on whenever a run is started; the log itself stays with the run.
"""

import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dima_pipeline.distributed.progress import EachLine

logger = logging.getLogger(__name__)

OFFLINE = "DVC_STUDIO_OFFLINE"
EXPERIMENT = ("DVC_ROOT", "DVC_EXP_BASELINE_REV", "DVC_EXP_NAME")
"""By these DVCLive finds that it runs below ``dvc exp run``, where it would add its files to git."""


@contextmanager
def live_metrics(directory: Path, is_wanted: bool) -> "Iterator[EachLine | None]":
    """A function that writes a line of the log of a stage below ``directory / stage``; None where it is not wanted.

    Raises ``ValueError`` where dvclive is not installed.
    """
    if not is_wanted:
        yield None
        return
    try:
        from dvclive import Live
    except ImportError:
        raise ValueError(
            "runtime.use_dvclive is true, but dvclive is not installed: pip install 'dima_pipeline[versioning]' or set "
            "it to false"
        ) from None
    lives: dict[str, Any] = {}
    failed: list[OSError] = []

    def write(stage: str, line: Mapping[str, Any]) -> None:
        if failed:
            return
        try:
            if stage not in lives:
                lives[stage] = Live(str(directory / stage), save_dvc_exp=False, dvcyaml=None)
            _log(lives[stage], line)
        except OSError as error:  # the log has it all; training does not end because of its copy
            failed.append(error)
            logger.warning("no more DVCLive files below %s: %s", directory, error)

    with _only_local_files():
        yield write


def _log(live: Any, line: Mapping[str, Any]) -> None:
    live.step = line["step"]
    for name, value in metrics_of(line).items():
        live.log_metric(name, value)
    live.sync()


def metrics_of(line: Mapping[str, Any]) -> dict[str, float]:
    """The numbers of a line of the log: terms by their own names, ``encoder/...``, and ``run/...`` as measured."""
    measured = {f"run/{name}": value for name, value in line.items() if isinstance(value, float | int)}
    measured.pop("run/step", None)
    encoder = {f"encoder/{name}": value for name, value in line.get("encoder", {}).items()}
    return {**line["terms"], **encoder, **measured}


@contextmanager
def _only_local_files() -> Iterator[None]:
    """DVCLive posts to DVC Studio where it finds a token for it, and adds files to git in an experiment of DVC's."""
    before = {name: os.environ.get(name) for name in (OFFLINE, *EXPERIMENT)}
    for name in EXPERIMENT:
        os.environ.pop(name, None)
    os.environ[OFFLINE] = "1"
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value
