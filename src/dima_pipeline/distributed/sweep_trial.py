"""A trial: the joint stage of distillation, shortened and with other values, scored at each of its checkpoints.

Trained and resumed by the same ``train_stage`` as distillation itself, either in Tune's own process or, for models that
want several workers, by the same Ray trainer. What it reported before an interruption it reports again, so that the
scheduler sees a trial as if it had not been interrupted; no step is done twice. It ends itself where the ledger says
that the scheduler stopped it.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import ray.train
import torch
from ray import tune
from ray.tune.integration.ray_train import TuneReportCallback

from dima_pipeline.distributed.ray_runtime import run_workers, watched
from dima_pipeline.distributed.ray_start import extend_python_path
from dima_pipeline.distributed.sweep_config import TuningConfig
from dima_pipeline.distributed.sweep_ledger import Ledger
from dima_pipeline.distributed.sweep_score import development_score
from dima_pipeline.distributed.sweep_search import FAILURE, OBJECTIVE, STEP
from dima_pipeline.distributed.sweep_space import with_values
from dima_pipeline.distributed.watchdog import guarded
from dima_pipeline.storage.lock import BusyError
from dima_pipeline.storage.runtime import RuntimeConfig
from dima_pipeline.training.parallel import Alone, Precision
from dima_pipeline.training.runtime import LocalRuntime, Runtime
from dima_pipeline.training.stages import StageSpec, load_planner, train_stage

Report = Callable[[dict[str, Any]], None]
STOPPED = "stopped"


class StoppedError(Exception):
    """The scheduler ended the trial."""


@dataclass(frozen=True, kw_only=True)
class TrialJob:
    """What the trials of a sitting share."""

    sweep_dir: str
    joint: StageSpec
    """Distillation's own."""
    tuning: TuningConfig
    runtime: RuntimeConfig
    python_path: Sequence[str]
    """Of the driver: trials import from where it does."""


def trial_spec(job: TrialJob, number: int) -> StageSpec:
    """The stage that trial ``number`` trains."""
    ledger, num_steps = Ledger(Path(job.sweep_dir)), job.tuning.num_steps
    config = with_values(job.joint.config, ledger.trials[number].values)
    settings = config["joint"]
    # The whole schedule is shortened, or a short trial would be nothing but warm-up.
    settings["warmup_steps"] = round(settings["warmup_steps"] * num_steps / settings["num_steps"])
    settings |= {"num_steps": num_steps, "checkpoint_every": job.tuning.report_every}
    name = f"{ledger.directory.name}-{number:04d}"
    return replace(job.joint, name=name, config=config, run_dir=str(ledger.run_dir(number)))


def run_function_trial(config: dict[str, Any], job: TrialJob) -> None:
    """Tune's trainable, ``config`` is ``{"number": ...}``: train in this process."""
    torch.set_num_threads(1)
    runtime = LocalRuntime(job.runtime.device, gradient_checkpointing=job.runtime.gradient_checkpointing)
    _run(config["number"], job, lambda: train_trial(config["number"], job, runtime, tune.report))


def run_trainer_trial(config: dict[str, Any], job: TrialJob) -> None:
    """Tune's trainable: start the Ray trainer of distillation, which passes on what its first worker reports."""
    trial = {"number": config["number"], "job": job}
    directory = Path(trial_spec(job, config["number"]).run_dir)

    def train() -> None:
        with guarded([directory], job.runtime.num_workers, job.runtime.hang_timeout_s):
            run_workers(_train_worker, trial, job.runtime, [TuneReportCallback()])

    _run(config["number"], job, train)


def _run(number: int, job: TrialJob, train: Callable[[], None]) -> None:
    extend_python_path(job.python_path)
    known = Ledger(Path(job.sweep_dir)).trials[number].reports
    for step, objective in sorted(known.items()):
        tune.report({STEP: step, OBJECTIVE: objective})
    try:
        train()
    except BusyError:  # what an earlier sitting left behind still ends: Tune tries again
        raise
    except ValueError as error:  # of the configuration or the data: trying again would not mend it
        tune.report({STEP: max(known, default=0), OBJECTIVE: math.nan, FAILURE: str(error)})


def _train_worker(trial: dict[str, Any]) -> str:
    """Runs in every worker of the trainer; the text of a user's error, as in ``ray_runtime``."""
    number, job = trial["number"], trial["job"]
    extend_python_path(job.python_path)
    torch.set_num_threads(job.runtime.threads_per_worker)
    return watched(
        trial_spec(job, number),
        job.runtime,
        lambda runtime: train_trial(number, job, runtime, ray.train.report),
        again=(BusyError,),  # goes away by itself
    )


def train_trial(number: int, job: TrialJob, runtime: Runtime, report: Report) -> None:
    """Do trial ``number``, or what is left of it, up to its last step or until the ledger says that it is stopped."""
    ledger = Ledger(Path(job.sweep_dir))
    spec, known = trial_spec(job, number), ledger.trials[number].reports
    score = partial(_score, spec)
    scored = ScoredRuntime(runtime, score, report, lambda: ledger.latest(number).status == "stopped")
    try:
        model_dir = train_stage(spec, scored)
    except StoppedError:
        return
    if job.tuning.num_steps not in {*known, *scored.steps}:  # interrupted between last checkpoint and score
        scored.tell(job.tuning.num_steps, load_planner(model_dir)[0].to(runtime.device))


def _score(spec: StageSpec, planner: Any) -> float:
    return development_score(spec.tables_dir, spec.shards_dir, spec.config["window"]["command"])(planner)


class ScoredRuntime:
    """A runtime that scores the planner at each checkpoint and reports that; see ``training.runtime.Runtime``.

    ``is_stopped`` is asked at every step by the first worker; all workers then raise ``StoppedError`` together.
    """

    def __init__(
        self, inner: Runtime, score: Callable[[Any], float], report: Report, is_stopped: Callable[[], bool]
    ) -> None:
        self.device, self.rank, self.world_size = inner.device, inner.rank, inner.world_size
        self.reading, self.observe, self.beat = inner.reading, inner.observe, inner.beat
        self.steps: list[int] = []
        """Reported so far."""
        self._inner, self._score, self._report, self._is_stopped = inner, score, report, is_stopped
        self._planner: Any = None

    def wrap(self, model: torch.nn.Module, precision: Precision = "fp32") -> Alone:
        """As the inner runtime does; the planner that trains is remembered."""
        wrapped = self._inner.wrap(model, precision)
        self._planner = wrapped.model.planner
        return wrapped

    def gather(self, values: Mapping[str, float]) -> Sequence[Mapping[str, float]]:
        """What every worker passed; raises ``StoppedError`` in all of them when the trial is stopped."""
        is_stopped = self.rank == 0 and self._is_stopped()
        gathered = self._inner.gather({**values, STOPPED: 1.0} if is_stopped else values)
        if any(STOPPED in others for others in gathered):
            raise StoppedError
        return gathered

    def report(self, metrics: Mapping[str, float]) -> None:
        """Score and report."""
        self.beat(None, "report")
        self.tell(int(metrics["step"]), self._planner)

    def tell(self, step: int, planner: Any) -> None:
        """The objective of ``planner`` after ``step`` steps: the first worker scores, all report."""
        self.steps.append(step)
        self._report({STEP: step, OBJECTIVE: self._score(planner) if self.rank == 0 else math.nan})
