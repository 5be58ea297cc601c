"""How a run is executed (``params:runtime``): what changes the time it takes and never its result."""

import shutil
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import unquote, urlsplit

from pydantic import AfterValidator, Field

from dima_pipeline.plugins import config_dataclass

PositiveInt = Annotated[int, Field(ge=1)]


def local_path(uri: str) -> str:
    """The path that a ``file`` URI names; any other path as it is. ``ValueError`` for other schemes."""
    if "://" not in uri:
        return uri
    parts = urlsplit(uri)
    if parts.scheme != "file" or parts.netloc not in ("", "localhost"):
        raise ValueError(
            f"work_dir '{uri}' is no folder: checkpoints are renamed in place, which needs a file system. Give a path "
            "or file:///... URI that all machines of the cluster have mounted"
        )
    return unquote(parts.path)


@config_dataclass
class RuntimeConfig:
    """The YAML key ``runtime``."""

    work_dir: Annotated[str, AfterValidator(local_path)]
    """Checkpoints, logs and unfinished results; outside of everything DVC owns. A path or a ``file`` URI; on a cluster
    it must be the same folder on all machines."""
    run_name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")] | None = None
    """Of the runs of distillation; the digest of all that decides the result where None. The same name resumes."""
    resume_changed: bool = False
    """Whether a run with a ``run_name`` goes on though its configuration, data or code changed; else it is refused."""
    world_dir: str | None = None
    """Where the catalog publishes a generated world: looked at before one is drawn."""
    num_processes: PositiveInt = 2
    """Processes that draw the generated world, and Ray actors that convert scenes (1: none, this process does)."""
    num_workers: PositiveInt = 1
    """Ray Train workers."""
    threads_per_worker: PositiveInt = 1
    device: Literal["cpu", "cuda"] = "cpu"
    cpus_per_worker: Annotated[float, Field(gt=0)] = 1.0
    """What Ray sets aside for a worker; a worker waits until it is free."""
    gpus_per_worker: Annotated[float, Field(gt=0)] = 1.0
    """With ``device: cuda`` only."""
    parallel: Literal["ddp", "fsdp"] = "ddp"
    """How several workers train: ``ddp`` copies all to each, ``fsdp`` shards the teacher among them (FSDP2)."""
    num_readers: PositiveInt = 1
    """Threads of each worker that read ahead; several pay where images are stored as JPEG."""
    prefetch_batches: PositiveInt = 2
    """How many batches they are ahead of the training; each takes memory."""
    log_samples: bool = False
    """Write which samples each step consumed, as ``samples.<rank>.jsonl`` beside the log of the run."""
    gradient_checkpointing: bool = False
    """Compute activations of teacher and image backbone again in the backward pass: less memory, more time."""
    num_cpus: PositiveInt | None = None
    """CPUs Ray may use on this machine (all where None); ignored on a cluster."""
    max_failures: Annotated[int, Field(ge=0)] = 2
    hang_timeout_s: Annotated[float, Field(gt=0)] = 75.0
    """A rank that does nothing for so long ends the run, which takes some seconds more: 120 s at most in all."""
    object_store_mb: Annotated[int, Field(ge=80)] = 200
    use_dashboard: bool = False
    """Of the Ray that is started here, on loopback and behind Ray's token; a cluster has its own."""
    use_dvclive: bool = False
    """Also write metrics as DVCLive files below ``work_dir``."""

    def kept(self, name: str) -> Path:
        """A directory below ``work_dir`` for what the next run takes up; no node may publish it."""
        return Path(self.work_dir) / name

    def staging(self, name: str) -> Path:
        """An empty directory below ``work_dir`` for a result that is published when it is finished."""
        directory = Path(self.work_dir) / "staging" / name
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir(parents=True)
        return directory
