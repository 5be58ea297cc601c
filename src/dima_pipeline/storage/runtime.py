"""How a run is executed (``params:runtime``): what changes the time it takes and never its result."""

import shutil
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from dima_pipeline.plugins import config_dataclass

PositiveInt = Annotated[int, Field(ge=1)]


@config_dataclass
class RuntimeConfig:
    """The YAML key ``runtime``."""

    work_dir: str
    """Checkpoints, logs and unfinished results; outside of everything DVC owns."""
    world_dir: str | None = None
    """Where the catalog publishes a generated world: looked at before one is drawn."""
    num_processes: PositiveInt = 2
    """Processes that draw the generated world, and Ray actors that convert scenes (1: none, this process does)."""
    num_workers: PositiveInt = 1
    """Ray Train workers."""
    threads_per_worker: PositiveInt = 1
    device: Literal["cpu", "cuda"] = "cpu"
    num_cpus: PositiveInt | None = None
    """CPUs Ray may use on this machine (all where None); ignored on a cluster."""
    max_failures: Annotated[int, Field(ge=0)] = 2
    object_store_mb: Annotated[int, Field(ge=80)] = 200
    use_dashboard: bool = False
    """Of the Ray that is started here, on loopback and behind Ray's token; a cluster has its own."""

    def kept(self, name: str) -> Path:
        """A directory below ``work_dir`` for what the next run takes up; no node may publish it."""
        return Path(self.work_dir) / name

    def staging(self, name: str) -> Path:
        """An empty directory below ``work_dir`` for a result that is published when it is finished."""
        directory = Path(self.work_dir) / "staging" / name
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir(parents=True)
        return directory
