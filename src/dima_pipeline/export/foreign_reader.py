"""The process that reads an untrusted checkpoint: PyTorch's file on stdin, safetensors into the working folder.

``foreign_process`` runs it by its path. It knows nothing of this package and limits its own memory, time and files
before it looks at the first byte. Whatever goes wrong is left in ``refusal.json``; the process is the safety net.
"""

import json
import os
import resource
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import safetensors.torch
import torch

TENSORS, FACTS, REFUSAL = "tensors.safetensors", "facts.json", "refusal.json"
CONTAINERS = ("state_dict", "model_state_dict", "model", "module", "network")
"""Where checkpoints keep their weights, in this order: mmdetection and Lightning, Hugging Face's trainers, timm, ..."""
MAX_DEPTH = 3
WRAPPERS = ("module.", "_orig_mod.")
"""What DistributedDataParallel and ``torch.compile`` put before every name."""
MAX_TENSORS = 200_000
WRITABLE = (
    *(torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.float8_e4m3fn, torch.float8_e5m2),
    *(torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool),
)


class RefusedError(ValueError):
    """What is wrong with the file, in words for its owner."""


def limit(memory_bytes: int, cpu_s: int) -> None:
    """No more address space, processor time and file size than this on top of what importing torch took."""
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    spent_s = int(sum(os.times()[:2])) + 1
    # At the hard limit of time the kernel kills without a word: SIGXCPU has to come before it.
    wanted = {
        resource.RLIMIT_AS: (used + memory_bytes, used + memory_bytes),
        resource.RLIMIT_CPU: (spent_s + cpu_s, spent_s + cpu_s + 2),
        resource.RLIMIT_FSIZE: (memory_bytes, memory_bytes),
        resource.RLIMIT_CORE: (0, 0),
        resource.RLIMIT_NPROC: (0, 0),
    }
    for which, (soft, hard) in wanted.items():
        present = resource.getrlimit(which)[1]
        bound = hard if present == resource.RLIM_INFINITY else min(hard, present)
        resource.setrlimit(which, (min(soft, bound), bound))


def load(file: IO[bytes]) -> Any:
    """The content of a checkpoint; safetensors are taken as they are."""
    head = file.read(9)
    file.seek(0)
    if head[8:] == b"{":  # the length of the header, then its JSON
        return safetensors.torch.load(file.read())
    return torch.load(file, map_location="cpu", weights_only=True)


def find_state(content: Any, depth: int = 0) -> tuple[list[str], Mapping[Any, Any]] | None:
    """The keys that lead to the weights, and the mapping that holds them; None where there are none."""
    if not isinstance(content, Mapping) or depth > MAX_DEPTH:
        return None
    for name in CONTAINERS:
        if (found := find_state(content.get(name), depth + 1)) is not None:
            return [name, *found[0]], found[1]
    return ([], content) if any(isinstance(value, torch.Tensor) for value in content.values()) else None


def beside(content: Mapping[Any, Any], path: list[str]) -> list[tuple[str, str]]:
    """(name, what it is) of all that lies beside the way to the weights: optimiser, meta, schedules."""
    rows = []
    for depth, name in enumerate(path):
        for other in (key for key in content if key != name):
            rows.append((".".join([*path[:depth], shown(other)]), beside_kind(other, content[other])))
        content = content[name]
    return rows


def beside_kind(key: Any, value: Any) -> str:
    """What a neighbour of the weights is, in words."""
    words = "optimiser state" if "optim" in str(key).lower() else "beside the weights"
    return f"{words}: {kind(value)}"


def kind(value: Any) -> str:
    """A value's type and size."""
    if isinstance(value, Mapping):
        num = sum(isinstance(entry, torch.Tensor) for entry in value.values())
        return f"{len(value)} entries, {num} of them tensors"
    return type(value).__name__


def shown(key: Any) -> str:
    """A key that can stand in a table; names from outside may hold anything."""
    return key[:200] if isinstance(key, str) and key.isprintable() else ascii(key)[:80]


def plain_name(key: Any) -> bool:
    """Whether a key may be the name of a tensor; a first ``=+-@`` would be a formula in a spreadsheet."""
    return isinstance(key, str) and 0 < len(key) <= 500 and key.isprintable() and key[0] not in "=+-@"


def strip_wrappers(names: list[str]) -> tuple[str, list[str]]:
    """What is before every one of ``names`` without being part of the model, and the names without it."""
    stripped = ""
    while wrapper := next(
        (one for one in WRAPPERS if names and all(name.startswith(one) and name != one for name in names)), None
    ):
        stripped, names = stripped + wrapper, [name.removeprefix(wrapper) for name in names]
    return stripped, names


def why_not(key: Any, value: Any) -> str | None:
    """Why an entry is no tensor that can be written; None where it can."""
    if not isinstance(value, torch.Tensor):
        return f"no tensor: {kind(value)}"
    if not plain_name(key):
        return "its name cannot be that of a tensor"
    if type(value) not in (torch.Tensor, torch.nn.Parameter) or value.device.type != "cpu":
        return f"a tensor without plain values: {type(value).__name__} on {value.device.type}"
    if value.is_quantized or value.layout != torch.strided or value.is_nested:
        return "a sparse, nested or quantised tensor"
    return None if value.dtype in WRITABLE else f"safetensors has no {value.dtype}"


def own_values(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Contiguous tensors of which no two share memory, and none keeps more of it than it shows."""
    seen: set[int] = set()
    plain = {}
    for name, tensor in tensors.items():
        dense = tensor.detach().resolve_conj().resolve_neg().contiguous()
        storage = dense.untyped_storage()
        if storage.data_ptr() in seen or storage.nbytes() != dense.nbytes:
            dense = dense.clone()
        seen.add(dense.untyped_storage().data_ptr())
        plain[name] = dense
    return plain


def check_sizes(tensors: Mapping[str, torch.Tensor], memory_bytes: int) -> None:
    """Refuse what is declared larger than what may be held; a few bytes can declare terabytes."""
    if len(tensors) > MAX_TENSORS:
        raise RefusedError(f"it holds {len(tensors)} tensors, at most {MAX_TENSORS} are read")
    total = 0
    for name, tensor in tensors.items():
        total += tensor.numel() * tensor.element_size()
        if total > memory_bytes:
            raise RefusedError(
                f"with '{shown(name)}' of shape {list(tensor.shape)} its tensors take {total / 1e9:.1f} GB, "
                f"more than the {memory_bytes / 1e9:.1f} GB allowed (--memory)"
            )


def convert(file: IO[bytes], memory_bytes: int) -> None:
    """Write ``TENSORS`` under the names they have in the model, and in ``FACTS`` what else there was."""
    content = load(file)
    if (found := find_state(content)) is None:
        held = ", ".join(map(shown, list(content)[:8])) if isinstance(content, Mapping) else kind(content)
        raise RefusedError(
            f"it is no checkpoint: no mapping of names to tensors was found in it, but {held or 'nothing'}"
        )
    path, state = found
    reasons = [(key, why_not(key, value)) for key, value in state.items()]
    skipped = beside(content, path) + [(shown(key), why) for key, why in reasons if why is not None]
    tensors = {key: state[key] for key, why in reasons if why is None}
    del content, state, found
    check_sizes(tensors, memory_bytes)
    wrapper, names = strip_wrappers(list(tensors))
    written = own_values(dict(zip(names, tensors.values(), strict=True)))
    safetensors.torch.save_file(written, TENSORS)
    facts = {"path": path, "wrapper": wrapper, "order": names, "skipped": skipped}
    Path(FACTS).write_text(json.dumps(facts))


def report(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Leave the reason; the exit status is 1."""
    Path(REFUSAL).write_text(json.dumps({"error": kind.__name__, "message": str(error)[:8000]}))


if __name__ == "__main__":
    sys.excepthook = report
    signal.signal(signal.SIGXCPU, signal.SIG_DFL)
    torch.set_num_threads(1)
    given_memory_bytes, given_cpu_s = map(int, sys.argv[1:])
    limit(given_memory_bytes, given_cpu_s)
    with sys.stdin.buffer as stdin:
        convert(stdin, given_memory_bytes)
