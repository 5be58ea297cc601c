"""Ray Train V2 executes the stages: it starts the workers and starts them again when one dies.

Our own checkpoints are what a restarted worker, or the same command run again, resumes from. Ray gets no checkpoint and
a fresh run name each time, so that a snapshot of its own never stands in the way. One trainer does all stages, because
starting workers costs more than a short stage.
"""

import shutil
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import ray.train
import ray.train.torch
import torch
from ray.train import FailureConfig, RunConfig, ScalingConfig, UserCallback
from ray.train.torch import TorchTrainer
from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer

from dima_pipeline.distributed.metrics import TrainingGauges
from dima_pipeline.distributed.progress import EachLine, Follow, follow
from dima_pipeline.distributed.ray_start import extend_python_path, python_path, start_ray
from dima_pipeline.distributed.rendezvous import torch_config
from dima_pipeline.distributed.shared_storage import require_shared
from dima_pipeline.distributed.watchdog import guarded
from dima_pipeline.storage.manifest import MANIFEST
from dima_pipeline.storage.runtime import RuntimeConfig
from dima_pipeline.training.loading import Reading
from dima_pipeline.training.runtime import GroupRuntime
from dima_pipeline.training.stages import StageSpec, is_finished, train_stage
from dima_pipeline.training.verdict import publish_verdict, read_verdict
from dima_pipeline.training.watchdog import Watchdog

Loop = Callable[[dict[str, Any]], str]
"""What a worker does; the text of a user's error, or nothing."""


class RayRuntime(GroupRuntime):
    """The worker of a Ray Train run that this process is, for one stage; see ``training.runtime.Runtime``."""

    def __init__(self, spec: StageSpec, settings: RuntimeConfig, watchdog: Watchdog | None = None) -> None:
        device: torch.device = ray.train.torch.get_device()
        super().__init__(
            device,
            parallel=settings.parallel,
            gradient_checkpointing=settings.gradient_checkpointing,
            reading=Reading(settings.num_readers, settings.prefetch_batches, settings.log_samples),
        )
        self._stage, self._watchdog = spec.stage, watchdog
        self._gauges = TrainingGauges(spec.stage, spec.name, self.rank)

    def beat(self, step: int | None, phase: str) -> None:
        """Tell the watchdog."""
        if self._watchdog is not None:
            self._watchdog.beat(step, phase)

    def gather(self, values: Mapping[str, float]) -> Sequence[Mapping[str, float]]:
        """As the group does."""
        self.beat(None, "exchange")
        return super().gather(values)

    def observe(self, line: Mapping[str, Any]) -> None:
        """As Ray metrics."""
        self._gauges.show(line)

    def report(self, metrics: Mapping[str, float]) -> None:
        """A barrier among the workers, and a line in the log of each, which the dashboard shows from its left."""
        self.beat(None, "report")
        first = {"stage": self._stage, "step": metrics["step"], "total": metrics["total"]}
        ray.train.report({**first, **metrics})


def launch(
    specs: Sequence[StageSpec], runtime: RuntimeConfig, show: Follow | None = None, each_line: EachLine | None = None
) -> list[Path]:
    """Do all stages in order, those already finished excepted; their model directories.

    Raises ``ValueError`` for what a configuration or the data got wrong, and Ray's ``TrainingFailedError`` when workers
    died more than ``max_failures`` times. Run again, it resumes.
    """
    unfinished = [spec for spec in specs if not is_finished(spec)]
    if unfinished:
        start_ray(runtime)
        require_shared(Path(runtime.work_dir), [Path(unfinished[0].shards_dir) / MANIFEST])
        job = {"specs": [asdict(spec) for spec in unfinished], "runtime": runtime, "python_path": python_path()}
        directories = [Path(spec.run_dir) for spec in unfinished]
        with follow(unfinished, show, each_line), guarded(directories, runtime.num_workers, runtime.hang_timeout_s):
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
    scaling = ScalingConfig(
        num_workers=runtime.num_workers, use_gpu=runtime.device == "cuda", resources_per_worker=resources(runtime)
    )
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


def resources(runtime: RuntimeConfig) -> dict[str, float]:
    """What Ray sets aside for each worker."""
    gpus = {"GPU": runtime.gpus_per_worker} if runtime.device == "cuda" else {}
    return {"CPU": runtime.cpus_per_worker, **gpus}


def _train_stages(job: dict[str, Any]) -> str:
    """Runs in every worker; the text of a user's error, which trying again would not mend, or nothing."""
    extend_python_path(job["python_path"])
    settings: RuntimeConfig = job["runtime"]
    torch.set_num_threads(settings.threads_per_worker)
    for facts in job["specs"]:
        spec = StageSpec(**facts)
        if text := watched(spec, settings, partial(train_stage, spec)):
            return text
    return ""


def watched(
    spec: StageSpec,
    settings: RuntimeConfig,
    train: Callable[[RayRuntime], Any],
    again: tuple[type[ValueError], ...] = (),
) -> str:
    """Train a stage under the eyes of a watchdog; the text of a user's error or of a verdict, or nothing.

    Among several workers a user's error is published as a verdict, which ends the others, who wait for this one; then
    it is raised, Ray starts them all again, and they find the verdict. Errors of type ``again`` are only raised.
    """
    directory = Path(spec.run_dir)
    if text := read_verdict(directory):
        return text
    context = ray.train.get_context()
    rank, world_size = context.get_world_rank(), context.get_world_size()
    with Watchdog(directory, rank, world_size, settings.hang_timeout_s) as watchdog:
        try:
            train(RayRuntime(spec, settings, watchdog))
        except again:
            raise
        except ValueError as error:
            if world_size == 1:
                return str(error)
            publish_verdict(directory, str(error))
            raise
    return ""
