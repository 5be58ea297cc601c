"""Ray Train V2 executes the stages: it starts the workers and starts them again when one dies.

Our own checkpoints are what a restarted worker, or the same command run again, resumes from. Ray gets no checkpoint and
a fresh run name each time, so that a snapshot of its own never stands in the way. One trainer does all stages, because
starting workers costs more than a short stage.
"""

import json
import logging
import os
import shutil
import sys
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import ray
import ray.train
import ray.train.torch
import torch
import torch.distributed
from ray._private import ray_constants, services
from ray.train import FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchConfig, TorchTrainer
from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer

from dima_pipeline.distributed.progress import Follow, follow
from dima_pipeline.storage.runtime import RuntimeConfig
from dima_pipeline.training.stages import StageSpec, is_finished, train_stage

QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DEDUP_LOGS": "1",
    # Ray would start workers through `uv run` again when it finds itself started by it, and hang.
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
    # The defaults poll every 2 s, which every report would wait for.
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.1",
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
}
GATHER_BYTES = 8192
LOOPBACK = "127.0.0.1"
CLOSED_PROXY = f"http://{LOOPBACK}:9"
NO_REQUESTS = {"http_proxy": CLOSED_PROXY, "https_proxy": CLOSED_PROXY, "no_proxy": f"{LOOPBACK},localhost"}
"""Sends the HTTP requests of a process to a closed port of this machine."""


class RayRuntime:
    """The worker of a Ray Train run that this process is; see ``training.runtime.Runtime``."""

    def __init__(self) -> None:
        context = ray.train.get_context()
        self.rank = context.get_world_rank()
        self.world_size = context.get_world_size()
        self.device: torch.device = ray.train.torch.get_device()

    def wrap(self, model: torch.nn.Module) -> torch.nn.Module:
        """DDP among several workers; a loss weight of zero leaves parameters unused, which DDP must expect."""
        return ray.train.torch.prepare_model(model, parallel_strategy_kwargs={"find_unused_parameters": True})

    def gather(self, values: Mapping[str, float]) -> Sequence[Mapping[str, float]]:
        """JSON in a tensor of fixed size: torch's own exchange of objects would unpickle."""
        if self.world_size == 1:
            return [values]
        text = json.dumps(dict(values)).encode()
        assert len(text) <= GATHER_BYTES, f"{len(values)} terms are too many to gather"
        mine = torch.tensor(list(text.ljust(GATHER_BYTES)), dtype=torch.uint8, device=self.device)
        everyones = [torch.empty_like(mine) for _ in range(self.world_size)]
        torch.distributed.all_gather(everyones, mine)
        return [json.loads(bytes(tensor.tolist())) for tensor in everyones]

    def report(self, metrics: Mapping[str, float]) -> None:
        """A barrier among the workers, and what Ray's dashboard shows."""
        ray.train.report(dict(metrics))


def launch(specs: Sequence[StageSpec], runtime: RuntimeConfig, show: Follow | None = None) -> list[Path]:
    """Do all stages in order, those already finished excepted; their model directories.

    Raises ``ValueError`` for what a configuration or the data got wrong, and Ray's ``TrainingFailedError`` when workers
    died more than ``max_failures`` times. Run again, it resumes.
    """
    unfinished = [spec for spec in specs if not is_finished(spec)]
    if unfinished:
        start_ray(runtime)
        with follow(unfinished, show):
            _fit(unfinished, runtime)
    return [spec.model_dir for spec in specs]


def start_ray(runtime: RuntimeConfig) -> None:
    """Connect to ``RAY_ADDRESS`` or start Ray on this machine; nothing to do where it runs already."""
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    if ray.is_initialized():
        return
    if os.environ.get("RAY_ADDRESS"):
        ray.init(logging_level=logging.WARNING, log_to_driver=False)
        return
    with _dashboard_stays_here():
        ray.init(
            num_cpus=runtime.num_cpus,
            include_dashboard=runtime.use_dashboard,
            dashboard_host=LOOPBACK,
            # Ray would look for the address by which the internet sees it, and listen there.
            _node_ip_address=LOOPBACK,
            object_store_memory=runtime.object_store_mb * 2**20,
            logging_level=logging.WARNING,
            log_to_driver=False,
        )


@contextmanager
def _dashboard_stays_here() -> Iterator[None]:
    """Keep Ray's dashboard process from asking cloud metadata services where it runs and from reporting that usage
    statistics are off: it does both even with usage statistics off (ray 2.60)."""
    start = services.start_ray_process

    def start_quietly(command: list[str], process_type: str, *arguments: Any, **options: Any) -> Any:
        if process_type == ray_constants.PROCESS_TYPE_DASHBOARD:
            options["env_updates"] = {**(options.get("env_updates") or {}), **NO_REQUESTS}
        return start(command, process_type, *arguments, **options)

    services.start_ray_process = start_quietly
    try:
        yield
    finally:
        services.start_ray_process = start


def _fit(specs: Sequence[StageSpec], runtime: RuntimeConfig) -> None:
    storage = Path(runtime.work_dir).resolve() / "ray"
    name = uuid.uuid4().hex
    job = {
        "specs": [asdict(spec) for spec in specs],
        "num_threads": runtime.threads_per_worker,
        "python_path": [str(Path(path).resolve()) for path in sys.path],
    }
    run_config = RunConfig(
        name=name, storage_path=str(storage), failure_config=FailureConfig(max_failures=runtime.max_failures)
    )
    scaling = ScalingConfig(num_workers=runtime.num_workers, use_gpu=runtime.device == "cuda")
    common: dict[str, Any] = {"train_loop_config": job, "scaling_config": scaling, "run_config": run_config}
    trainer: Any
    if runtime.num_workers == 1:
        # No process group for one worker: torch would look its own address up in the DNS.
        trainer = DataParallelTrainer(_train_stages, **common)
    else:
        backend = TorchConfig(backend="nccl" if runtime.device == "cuda" else "gloo")
        trainer = TorchTrainer(_train_stages, torch_config=backend, **common)  # type: ignore[arg-type]  # stubs of V1
    result = trainer.fit()
    shutil.rmtree(storage / name, ignore_errors=True)
    if error := result.return_value:
        raise ValueError(error)


def _train_stages(job: dict[str, Any]) -> str:
    """Runs in every worker; the text of a user's error, which trying again would not mend, or nothing."""
    # A plug-in may lie outside of what is installed: workers import from where the driver does.
    sys.path.extend(path for path in job["python_path"] if path not in sys.path)
    torch.set_num_threads(job["num_threads"])
    runtime = RayRuntime()
    for facts in job["specs"]:
        try:
            train_stage(StageSpec(**facts), runtime)
        except ValueError as error:
            if runtime.world_size > 1:  # the others wait for this worker: only Ray can end them
                raise
            return str(error)
    return ""
