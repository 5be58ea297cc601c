"""What ``dima doctor`` looks at on this machine: each check is a function from facts to findings.

Packages are imported, each in a process of its own: versions that a resolver found fit still fail to import together,
and a crash of one must not hide the others.
"""

import ipaddress
import json
import os
import platform
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

PACKAGE = "dima_pipeline"
GIB = 2**30
MIN_DISK_GIB, SCARCE_DISK_GIB = 1.0, 5.0
MIN_MEMORY_GIB, SCARCE_MEMORY_GIB = 2.0, 4.0
DASHBOARD_PORT = 8265
"""Ray's default."""
IMPORT_PATIENCE_S = 120.0
DEVELOPMENT = ("dev", "all", "viz", "quantization")
"""Extras of tools, which no run needs unless a configuration names them, and of other extras."""
IMPORTS = {
    "dvc": "import dvc.api",
    "evidently": "from evidently import Report",
    "kedro": "import kedro.framework.session",
    "matplotlib": "import matplotlib.figure",
    "nuscenes-devkit": "import nuscenes.eval.detection.utils, nuscenes.map_expansion.arcline_path_utils",
    "onnxscript": "import onnxscript, torch.onnx",
    "panda3d": "import panda3d.core",
    "pillow": "import PIL.Image",
    "pandera": "import pandera.pandas",
    "pyarrow": "import pyarrow.parquet",
    "ray": "import ray.train.torch, ray.tune",
    "safetensors": "import safetensors.torch",
    "scipy": "import scipy.optimize",
    "transformers": "from transformers import LlamaForCausalLM",
}
"""What shows that a distribution works, where that is more than ``import <its name>``."""
QUIET = {
    "DO_NOT_TRACK": "1",
    "DVC_NO_ANALYTICS": "1",
    "HF_HUB_OFFLINE": "1",
    "KEDRO_DISABLE_TELEMETRY": "1",
    "ORT_DISABLE_TELEMETRY": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
    "TOKENIZERS_PARALLELISM": "false",
}
STATES = ("ok", "warning", "fault")
State = Literal["ok", "warning", "fault"]


@dataclass(frozen=True)
class Finding:
    """One row of the doctor's table."""

    check: str
    state: State
    found: str
    advice: str = ""
    """What to do; empty where nothing is."""


def at_least(value: float, scarce: float, minimum: float) -> State:
    """``ok`` from ``scarce`` on, ``fault`` below ``minimum``."""
    return "ok" if value >= scarce else "warning" if value >= minimum else "fault"


def check_python() -> Finding:
    """Whether this Python is one that the package declares."""
    from packaging.specifiers import SpecifierSet

    version, wanted = platform.python_version(), metadata.metadata(PACKAGE)["Requires-Python"]
    if SpecifierSet(wanted).contains(version):
        return Finding("Python", "ok", f"{version} in {sys.prefix}")
    return Finding("Python", "fault", f"{version}, wanted {wanted}", "make the environment with a Python of that range")


@dataclass(frozen=True)
class Requirement:
    """A distribution that the package or one of its extras asks for."""

    name: str
    wanted: str
    """Version specifier."""
    extra: str
    """Empty: always needed."""

    @property
    def statement(self) -> str:
        """Python that shows that it works."""
        return IMPORTS.get(self.name, f"import {self.name.replace('-', '_')}")


def requirements() -> list[Requirement]:
    """What the installed metadata of the package asks for, tools for development aside."""
    from packaging.requirements import Requirement as Parsed

    extras = ["", *(name for name in metadata.metadata(PACKAGE).get_all("Provides-Extra", []))]
    found: dict[str, Requirement] = {}
    for line in metadata.requires(PACKAGE) or []:
        parsed = Parsed(line)
        for extra in (name for name in extras if name not in DEVELOPMENT):
            if parsed.name != PACKAGE and (parsed.marker is None or parsed.marker.evaluate({"extra": extra})):
                found.setdefault(parsed.name, Requirement(parsed.name, str(parsed.specifier), extra))
    return list(found.values())


def run_python(statement: str) -> subprocess.CompletedProcess[str]:
    """Run one statement in a fresh interpreter that does not import from the working folder."""
    command = [sys.executable, "-P", "-W", "ignore", "-c", statement]
    environment = {**os.environ, **QUIET}
    try:
        return subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=IMPORT_PATIENCE_S, check=False
        )
    except subprocess.TimeoutExpired:
        message = f"it did not end within {IMPORT_PATIENCE_S:.0f} s"
        return subprocess.CompletedProcess(command, returncode=1, stdout="", stderr=message)


def why(done: subprocess.CompletedProcess[str]) -> str:
    """The last line of what a failed interpreter said, or the signal that ended it."""
    if done.returncode < 0:
        return f"crashed with {signal.Signals(-done.returncode).name}"
    lines = done.stderr.strip().splitlines()
    return lines[-1] if lines else f"exit status {done.returncode}"


def check_packages(asked: list[Requirement], is_project: bool, advance: Callable[[], None]) -> list[Finding]:
    """Import every distribution; ``advance`` is called after each."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:

        def check(requirement: Requirement) -> Finding:
            try:
                return check_package(requirement, is_project)
            finally:
                advance()

        # The slow ones first, so that the processors stay busy until the end.
        slowest_first = sorted(asked, key=lambda requirement: requirement.name not in IMPORTS)
        found = {finding.check: finding for finding in pool.map(check, slowest_first)}
    return [found[requirement.name] for requirement in asked]


def check_package(requirement: Requirement, is_project: bool) -> Finding:
    """Whether one distribution is there, of a wanted version, and can be imported."""
    from packaging.specifiers import SpecifierSet

    name, extra = requirement.name, requirement.extra
    install = f"pip install '{PACKAGE}{f'[{extra}]' if extra else ''}'"
    try:
        version = metadata.version(name)
    except metadata.PackageNotFoundError:
        is_needed = is_project or not extra
        found = f"not installed (extra '{extra}')" if extra else "not installed"
        return Finding(name, "fault" if is_needed else "warning", found, "make setup" if is_project else install)
    done = run_python(requirement.statement)
    if done.returncode:
        return Finding(name, "fault", f"{version}: {why(done)}", "install the versions of constraints.txt")
    if not SpecifierSet(requirement.wanted).contains(version, prereleases=True):
        return Finding(name, "warning", f"{version}, wanted {requirement.wanted}", "install that version")
    return Finding(name, "ok", version)


def check_torchvision() -> Finding | None:
    """torchvision beside a CPU build of torch breaks transformers when it is imported; nothing here needs it."""
    try:
        version, torch = metadata.version("torchvision"), metadata.version("torch")
    except metadata.PackageNotFoundError:
        return None
    if "+cpu" in torch:
        advice = "pip uninstall torchvision (and timm, which pulls it)"
        return Finding("torchvision", "fault", f"{version} beside torch {torch}: transformers does not import", advice)
    done = run_python("import torchvision")
    if done.returncode:
        return Finding("torchvision", "fault", f"{version}: {why(done)}", "pip uninstall torchvision")
    return Finding("torchvision", "ok", version)


def check_disk(folder: Path) -> Finding:
    """Free space where runs write."""
    there = existing(folder)
    free_gib = shutil.disk_usage(there).free / GIB
    state = at_least(free_gib, SCARCE_DISK_GIB, MIN_DISK_GIB)
    return Finding("disk", state, f"{free_gib:.1f} GiB free at {there}", _estimate_it(state))


def existing(folder: Path) -> Path:
    """The folder, or the nearest one above it that is there."""
    return next(path for path in (folder, *folder.parents) if path.exists())


def check_memory() -> Finding:
    """Memory that a run could get."""
    total_gib, available_gib = (size / GIB for size in memory_bytes())
    state = at_least(available_gib, SCARCE_MEMORY_GIB, MIN_MEMORY_GIB)
    return Finding("memory", state, f"{available_gib:.1f} of {total_gib:.1f} GiB available", _estimate_it(state))


def _estimate_it(state: State) -> str:
    return "" if state == "ok" else "`dima estimate` says what a run needs"


def memory_bytes() -> tuple[int, int]:
    """Total and available memory; a container's limit counts."""
    page = os.sysconf("SC_PAGE_SIZE")
    total, available = page * os.sysconf("SC_PHYS_PAGES"), page * os.sysconf("SC_AVPHYS_PAGES")
    info = Path("/proc/meminfo")
    if info.is_file():
        # Pages that only cache files can be had back; sysconf does not count them.
        sizes = dict(line.split(":") for line in info.read_text().splitlines())
        available = int(sizes["MemAvailable"].split()[0]) * 1024
    limit, used = Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current")
    if limit.is_file() and used.is_file() and (text := limit.read_text().strip()) != "max":
        total = min(total, int(text))
        available = min(available, int(text) - int(used.read_text()))
    return total, available


def check_cores(num_needed: int) -> Finding:
    """Whether as many threads as a run asks for find a core."""
    num_cores = num_usable_cores()
    found = f"{num_cores} cores, {num_needed} threads asked for"
    if num_cores >= num_needed:
        return Finding("cores", "ok", found)
    return Finding("cores", "warning", found, "lower runtime.num_workers or runtime.threads_per_worker")


def num_usable_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


GPU_STATEMENT = """
import json, torch
names = [torch.cuda.get_device_properties(at) for at in range(torch.cuda.device_count())]
print(json.dumps([torch.version.cuda, [[each.name, each.total_memory] for each in names]]))
"""


def check_gpu(device: str) -> Finding:
    """Whether torch sees a GPU, and whether the configuration uses what there is."""
    done = run_python(GPU_STATEMENT)
    if done.returncode:
        return Finding(
            "GPU", "fault" if device == "cuda" else "warning", f"torch cannot tell: {why(done)}", "see torch"
        )
    cuda, gpus = json.loads(done.stdout.splitlines()[-1])
    if not gpus:
        found = f"none (torch is built for {f'CUDA {cuda}' if cuda else 'the CPU'}), runtime.device is {device}"
        advice = "runtime.device: cpu, or a machine and a torch with CUDA" if device == "cuda" else ""
        return Finding("GPU", "fault" if device == "cuda" else "ok", found, advice)
    found = ", ".join(f"{name} {size / GIB:.0f} GiB" for name, size in gpus) + f" (CUDA {cuda})"
    if device == "cuda":
        return Finding("GPU", "ok", found)
    return Finding("GPU", "warning", f"{found}, not used", "set runtime.device: cuda")


def check_ray(use_dashboard: bool, object_store_mb: int) -> Iterator[Finding]:
    """Where Ray would run: cluster or this machine, its dashboard's port, its shared memory."""
    if address := os.environ.get("RAY_ADDRESS"):
        yield Finding("Ray", "ok", f"RAY_ADDRESS is set: runs go to {address}")
        return
    yield check_port(DASHBOARD_PORT, use_dashboard)
    shared = Path("/dev/shm")
    if shared.is_dir():
        free_mb = shutil.disk_usage(shared).free // 2**20
        if free_mb < object_store_mb:
            found = (
                f"{free_mb} MiB free in /dev/shm, runtime.object_store_mb is {object_store_mb}: Ray falls back to /tmp"
            )
            yield Finding("Ray memory", "warning", found, "give /dev/shm more (docker: --shm-size)")


def check_port(port: int, use_dashboard: bool) -> Finding:
    """Whether the dashboard can have its port, and who listens there if not."""
    label = "Ray dashboard"
    used = "runtime.use_dashboard is on" if use_dashboard else "runtime.use_dashboard is off"
    if not is_taken(port):
        return Finding(label, "ok", f"port {port} is free; {used}, it would listen on 127.0.0.1")
    listening = listeners(port)
    found = f"port {port} is taken, on {', '.join(listening) or 'an unknown interface'}; {used}"
    if any(not ipaddress.ip_address(address).is_loopback for address in listening):
        advice = "what listens there can be reached from other machines: stop it if it is a dashboard of Ray"
        return Finding(label, "warning", found, advice)
    advice = "stop the other Ray, or look for the dashboard at the next free port" if use_dashboard else ""
    return Finding(label, "warning" if use_dashboard else "ok", found, advice)


def is_taken(port: int) -> bool:
    """Whether somebody listens on a TCP port of the loopback interface, or of all."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return True
    return False


def listeners(port: int) -> list[str]:
    """Addresses on which a TCP port is listened to; empty where the system does not tell (no /proc)."""
    found = []
    for table in (Path("/proc/net/tcp"), Path("/proc/net/tcp6")):
        for line in table.read_text().splitlines()[1:] if table.is_file() else ():
            _, local, _, state = line.split()[:4]
            address, listening_port = local.split(":")
            if state == "0A" and int(listening_port, 16) == port:
                # Each 32-bit word is in the machine's byte order.
                words = [
                    bytes.fromhex(address[at : at + 8])[:: -1 if sys.byteorder == "little" else 1]
                    for at in range(0, len(address), 8)
                ]
                found.append(str(ipaddress.ip_address(b"".join(words))))
    return sorted(found)


def as_json(findings: list[Finding]) -> list[dict[str, Any]]:
    """Plain rows for ``--json``."""
    return [vars(finding) for finding in findings]
