"""A cluster trains from and into one file system: a folder that some machine does not see is refused at the start.

A path proves nothing, for each machine may have its own folder of that name: each must find what the driver wrote.
"""

import hashlib
import uuid
from collections.abc import Sequence
from pathlib import Path

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy


def require_shared(work_dir: Path, files: Sequence[Path]) -> None:
    """Raises ``ValueError`` naming the machines that do not see ``work_dir`` or one of ``files`` as this one does.

    Nothing to do where Ray runs on one machine.
    """
    nodes = {node["NodeID"]: node["NodeManagerHostname"] for node in ray.nodes() if node["Alive"]}
    if len(nodes) > 1:
        require_on(nodes, work_dir, files)


def require_on(nodes: dict[str, str], work_dir: Path, files: Sequence[Path]) -> None:
    """``require_shared`` for the given machines: host names by Ray's node id."""
    work_dir.mkdir(parents=True, exist_ok=True)
    probe = work_dir.resolve() / f".shared-{uuid.uuid4().hex}"
    probe.write_text(probe.name)
    try:
        expected = {str(path): _digest(path) for path in (probe, *(file.resolve() for file in files))}
        look = ray.remote(num_cpus=0)(unseen)
        asked = {
            host: look.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False)).remote(expected)
            for node, host in nodes.items()
        }
        for host, found in zip(asked, ray.get(list(asked.values())), strict=True):
            if found:
                folders = " and ".join(str(work_dir if path == str(probe) else Path(path).parent) for path in found)
                raise ValueError(
                    f"the machine {host} does not see {folders} as {ray.util.get_node_ip_address()} does: a cluster "
                    "needs runtime.work_dir and the image shards on a file system that all its machines have mounted"
                )
    finally:
        probe.unlink()


def unseen(expected: dict[str, str]) -> list[str]:
    """Paths of files that are not there or have another content than ``expected``, their SHA-256, says."""
    return [path for path, content in expected.items() if not Path(path).is_file() or _digest(Path(path)) != content]


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
