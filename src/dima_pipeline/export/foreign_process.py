"""An untrusted checkpoint is read by another process: ``foreign_reader.py``, alone, bounded, and with nothing to steal.

It gets the open file, an empty environment, an empty folder, so much memory and so many seconds. What comes back is
safetensors and JSON, which cannot run code; this process never unpickles.
"""

import json
import os
import re
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import file_digest
from io import BufferedReader
from pathlib import Path

from pydantic import BaseModel, ConfigDict
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from dima_pipeline.storage.disk import FullDiskError, full_disk_in_words

READER = Path(__file__).with_name("foreign_reader.py")
GB = 10**9
OUT_OF_MEMORY = ("can't allocate memory", "not enough memory", "Cannot allocate memory", "File too large")


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What the reading process may take."""

    memory_bytes: int | None = None
    """On top of torch itself; None: 1 GB and four times the file, for a copy of every weight and the optimiser."""
    cpu_s: int = 600
    wall_s: float | None = None
    """From start to end; None: twice ``cpu_s`` and a minute, for slow disks."""

    def memory_for(self, file_bytes: int) -> int:
        """Bytes for a file of this size."""
        return self.memory_bytes if self.memory_bytes is not None else GB + 4 * file_bytes

    def total_s(self) -> float:
        """Seconds until the process is killed, whatever it does."""
        return self.wall_s if self.wall_s is not None else 60.0 + 2 * self.cpu_s


class Facts(BaseModel):
    """What the reader says beside the tensors; checked, since a hostile file may have taken the reader over."""

    model_config = ConfigDict(strict=True, extra="forbid")
    path: list[str]
    wrapper: str
    order: list[str]
    skipped: list[list[str]]


@dataclass(frozen=True, kw_only=True)
class Foreign:
    """The weights of a checkpoint as ordinary tensors."""

    sha256: str
    """Of the checkpoint."""
    path: str
    """Dotted keys at which the weights lay; empty for a plain state dict."""
    wrapper: str
    """Taken off every name: ``module.``."""
    tensors: Mapping[str, Tensor]
    """In the order of the file."""
    skipped: list[tuple[str, str]]
    """(name, why) of what is no weight."""


def read_foreign(path: Path, limits: Limits) -> Foreign:
    """Read a PyTorch checkpoint in a process of its own; ``ValueError`` names the file and what is wrong with it."""
    with opened(path) as file, tempfile.TemporaryDirectory(prefix="dima_weights_") as name:
        before = os.fstat(file.fileno())
        sha256 = file_digest(file, "sha256").hexdigest()
        file.seek(0)
        folder = Path(name)
        with full_disk_in_words(folder):
            failure = run_reader(file, folder, limits, limits.memory_for(before.st_size))
        if failure is not None:
            raise ValueError(f"{path}: {failure}")
        after = os.fstat(file.fileno())
        if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
            raise ValueError(f"{path} was changed while it was read: wait until it is whole")
        return collect(path, folder, sha256)


@contextmanager
def opened(path: Path) -> Iterator[BufferedReader]:
    """The file, open; raises ``ValueError`` for what is none, before a pipe or a device could hang the reading."""
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            raise ValueError(f"{path} is a folder: name the checkpoint file in it")
        if not stat.S_ISREG(status.st_mode):
            raise ValueError(f"{path} is no ordinary file")
        if status.st_size == 0:
            raise ValueError(f"{path} is empty (0 bytes): copy or download it again")
        file = path.open("rb")
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from None
    with file:
        yield file


def run_reader(file: BufferedReader, folder: Path, limits: Limits, memory_bytes: int) -> str | None:
    """Let the reader fill ``folder``; None, or in words why it could not."""
    command = [sys.executable, "-I", "-B", str(READER), str(memory_bytes), str(limits.cpu_s)]
    with (folder / "stderr").open("wb") as errors:
        try:
            done = subprocess.run(
                command,
                stdin=file,
                stdout=subprocess.DEVNULL,
                stderr=errors,
                cwd=folder,
                env=bare_environment(folder),
                timeout=limits.total_s(),
                check=False,
            )
        except subprocess.TimeoutExpired:
            return f"reading it took more than {limits.total_s():g} s and was ended: raise --seconds, or it is hostile"
    if done.returncode == 0:
        return None
    if done.returncode < 0:
        return killed(-done.returncode, limits)
    return refused(folder, memory_bytes)


def bare_environment(folder: Path) -> dict[str, str]:
    """No tokens, no proxies, none of the switches that change what Python and torch do."""
    home = dict.fromkeys(("HOME", "TMPDIR", "TORCH_HOME", "XDG_CACHE_HOME"), str(folder))
    return {**home, "PATH": os.defpath, "LC_ALL": "C.UTF-8", "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}


def killed(number: int, limits: Limits) -> str:
    """In words what a signal to the reader means."""
    if number == signal.SIGXCPU:
        return (
            f"reading it took more than {limits.cpu_s} s of computing and was ended: raise --seconds, or it is hostile"
        )
    name = signal.Signals(number).name if number in list(signal.Signals) else str(number)
    if number == signal.SIGKILL:
        return f"the process that read it was killed ({name}): the machine has too little memory"
    return f"the process that read it crashed ({name}): it is damaged or hostile"


def refused(folder: Path, memory_bytes: int) -> str:
    """In words what the reader left as its reason."""
    try:
        reason = json.loads((folder / "refusal.json").read_text())
        error, message = str(reason["error"]), str(reason["message"])
    except (OSError, ValueError, KeyError, TypeError):
        lines = (folder / "stderr").read_bytes()[-2000:].decode(errors="replace").strip().splitlines()
        return f"the process that reads it failed: {printable(lines[-1] if lines else 'it said nothing')}"
    if error == "RefusedError":
        return printable(message)
    if error == "MemoryError" or any(words in message for words in OUT_OF_MEMORY):
        return f"reading it takes more than the {memory_bytes / GB:.2f} GB allowed: raise --memory, or it is hostile"
    if "No space left" in message:
        raise FullDiskError(f"the disk of {folder.parent} is full: free some space or let TMPDIR name another folder")
    return of_torch(error, message)


def of_torch(error: str, message: str) -> str:
    """In words what torch said; its own advice, to read it without the check, is not passed on."""
    if "TorchScript" in message:
        return "it is a TorchScript program, no weights: save `module.state_dict()` with torch.save and import that"
    if "legacy .tar" in message:
        return "it has PyTorch's oldest format (before 0.4): load and save it once with a newer PyTorch"
    if found := re.search(r"(?:GLOBAL|global|class|function) `*([\w.<>]+\.[\w.<>]+)", message):
        return (
            f"it holds more than weights: a pickled '{printable(found[1])}', which could run code and is never loaded. "
            "Where you trust it, save `{'state_dict': model.state_dict()}` with torch.save and import that"
        )
    return f"it is no PyTorch checkpoint, or a damaged one ({printable(f'{error}: {message}')})"


def printable(text: str, width: int = 200) -> str:
    """The first line of what came from outside, without what a terminal would obey."""
    line = re.split(r"\n| In PyTorch 2\.6| This is an internal", text.strip())[0]
    return "".join(letter if letter.isprintable() else "?" for letter in line[: width * 4])[:width]


def collect(path: Path, folder: Path, sha256: str) -> Foreign:
    """What a reader that ended well has left."""
    try:
        facts = Facts.model_validate_json((folder / "facts.json").read_text())
        tensors = load_file(folder / "tensors.safetensors")
        ordered = {name: tensors[name] for name in facts.order}
        skipped = [(name, why) for name, why in facts.skipped]
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise ValueError(
            f"{path}: what its reader left makes no sense ({printable(str(error))}): do not trust it"
        ) from None
    words = [*facts.path, facts.wrapper, *ordered, *(word for row in skipped for word in row)]
    if not all(word.isprintable() for word in words):
        raise ValueError(f"{path}: what its reader left cannot be shown: do not trust it")
    return Foreign(sha256=sha256, path=".".join(facts.path), wrapper=facts.wrapper, tensors=ordered, skipped=skipped)
