"""The log of a run: JSON lines, one a logged step, kept beside its checkpoints."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dima_pipeline.storage.manifest import write_durably

LOG = "log.jsonl"


@contextmanager
def appended(path: Path, first_step: int, *, is_written: bool) -> Iterator[Any]:
    """A function that appends a JSON line to ``path``; lines of steps that will be repeated are removed first."""
    if not is_written:
        yield lambda line: None
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    kept = [line for line in read_log(path) if line["step"] < first_step]
    write_durably(path, "".join(f"{json.dumps(line)}\n" for line in kept).encode())
    with path.open("a") as file:

        def write(line: Mapping[str, Any]) -> None:
            file.write(json.dumps(line) + "\n")
            file.flush()

        yield write


def read_log(path: Path) -> list[dict[str, Any]]:
    """Lines of a log, without a last one that was cut short."""
    if not path.is_file():
        return []
    complete = path.read_text().rpartition("\n")[0]
    return [json.loads(line) for line in complete.splitlines()]
