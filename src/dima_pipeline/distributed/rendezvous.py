"""How the workers of one machine find each other: by a file, because torch's own store listens on every interface."""

import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import ray
import ray.util
from ray.train.backend import BackendConfig
from ray.train.torch import TorchConfig
from ray.train.torch.config import _set_torch_distributed_env_vars, _setup_torch_process_group, _TorchBackend

from dima_pipeline.distributed.ray_start import LOOPBACK


def torch_config(device: Literal["cpu", "cuda"], directory: Path) -> TorchConfig:
    """By a file in the absolute ``directory`` where all of Ray is on loopback, else by the network."""
    backend = "nccl" if device == "cuda" else "gloo"
    is_local = ray.util.get_node_ip_address() == LOOPBACK
    return LocalTorchConfig(backend, directory=str(directory)) if is_local else TorchConfig(backend)


@dataclass
class LocalTorchConfig(TorchConfig):
    """``TorchConfig`` for workers that share a file system."""

    directory: str = ""
    """Holds the files as long as the run lasts."""

    @property
    def backend_cls(self) -> type["LocalTorchBackend"]:
        return LocalTorchBackend


class LocalTorchBackend(_TorchBackend):
    """Sets the process group up by a new file each time that workers start."""

    def on_start(self, worker_group: Any, backend_config: BackendConfig) -> None:
        """Called by Ray's controller when all workers are there."""
        assert isinstance(backend_config, LocalTorchConfig)
        directory, size = Path(backend_config.directory), len(worker_group)
        directory.mkdir(parents=True, exist_ok=True)
        group = {
            "backend": backend_config.backend,
            "world_size": size,
            "init_method": (directory / f"rendezvous-{uuid.uuid4().hex}").as_uri(),
            "timeout_s": backend_config.timeout_s,
        }
        worker_group.execute(_set_torch_distributed_env_vars)
        setup = _setup_torch_process_group
        ray.get([worker_group.execute_single_async(rank, setup, world_rank=rank, **group) for rank in range(size)])
