"""Ray Train V2 executes the stages: it starts the workers and starts them again when one dies.

Our own checkpoints are what a restarted worker, or the same command run again, resumes from. Ray gets no checkpoint and
a fresh run name each time, so that a snapshot of its own never stands in the way. One trainer does all stages, because
starting workers costs more than a short stage.
"""

import json
import shutil
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import ray.train
import ray.train.torch
import torch
import torch.distributed
from ray.train import FailureConfig, RunConfig, ScalingConfig, UserCallback
from ray.train.torch import TorchTrainer
from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer

from dima_pipeline.distributed.metrics import TrainingGauges
from dima_pipeline.distributed.progress import Follow, follow
from dima_pipeline.distributed.ray_start import extend_python_path, python_path, start_ray
from dima_pipeline.distributed.rendezvous import torch_config
from dima_pipeline.storage.runtime import RuntimeConfig
from dima_pipeline.training.stages import StageSpec, is_finished, train_stage

GATHER_BYTES = 8192
Loop = Callable[[dict[str, Any]], str]
"""What a worker does; the text of a user's error, or nothing."""


class RayRuntime:
    """The worker of a Ray Train run that this process is, for one stage; see ``training.runtime.Runtime``."""

    def __init__(self, spec: StageSpec) -> None:
        context = ray.train.get_context()
        self.rank = context.get_world_rank()
        self.world_size = context.get_world_size()
        self.device: torch.device = ray.train.torch.get_device()
        self._stage = spec.stage
        self._gauges = TrainingGauges(spec.stage, spec.name, self.rank)

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

    def observe(self, line: Mapping[str, Any]) -> None:
        """As Ray metrics."""
        self._gauges.show(line)

    def report(self, metrics: Mapping[str, float]) -> None:
        """A barrier among the workers, and a line in the log of each, which the dashboard shows from its left."""
        first = {"stage": self._stage, "step": metrics["step"], "total": metrics["total"]}
        ray.train.report({**first, **metrics})


def launch(specs: Sequence[StageSpec], runtime: RuntimeConfig, show: Follow | None = None) -> list[Path]:
    """Do all stages in order, those already finished excepted; their model directories.

    Raises ``ValueError`` for what a configuration or the data got wrong, and Ray's ``TrainingFailedError`` when workers
    died more than ``max_failures`` times. Run again, it resumes.
    """
    unfinished = [spec for spec in specs if not is_finished(spec)]
    if unfinished:
        start_ray(runtime)
        job = {
            "specs": [asdict(spec) for spec in unfinished],
            "num_threads": runtime.threads_per_worker,
            "python_path": python_path(),
        }
        with follow(unfinished, show):
            run_workers(_train_stages, job, runtime)
    return [spec.model_dir for spec in specs]


def run_workers(
    loop: Loop, job: dict[str, Any], runtime: RuntimeConfig, callbacks: Sequence[UserCallback] = ()
) -> None:
    """Run ``loop(job)`` in every worker; raises ``ValueError`` with the text that it returns."""
    storage = Path(runtime.work_dir).resolve() / "ray"
    name = f"distillation-{uuid.uuid4().hex[:8]}"
    run_config = RunConfig(
        name=name,
        storage_path=str(storage),
        failure_config=FailureConfig(max_failures=runtime.max_failures),
        callbacks=list(callbacks),  # type: ignore[arg-type]  # stubs of V1
    )
    scaling = ScalingConfig(num_workers=runtime.num_workers, use_gpu=runtime.device == "cuda")
    common: dict[str, Any] = {"train_loop_config": job, "scaling_config": scaling, "run_config": run_config}
    trainer: Any
    if runtime.num_workers == 1:
        # No process group for one worker: torch would look its own address up in the DNS.
        trainer = DataParallelTrainer(loop, **common)
    else:
        group = torch_config(runtime.device, storage / name)
        trainer = TorchTrainer(loop, torch_config=group, **common)  # type: ignore[arg-type]  # stubs of V1
    result = trainer.fit()
    shutil.rmtree(storage / name, ignore_errors=True)
    if error := result.return_value:
        raise ValueError(error)


def _train_stages(job: dict[str, Any]) -> str:
    """Runs in every worker; the text of a user's error, which trying again would not mend, or nothing."""
    extend_python_path(job["python_path"])
    torch.set_num_threads(job["num_threads"])
    for facts in job["specs"]:
        spec = StageSpec(**facts)
        runtime = RayRuntime(spec)
        try:
            train_stage(spec, runtime)
        except ValueError as error:
            if runtime.world_size > 1:  # the others wait for this worker: only Ray can end them
                raise
            return str(error)
    return ""
