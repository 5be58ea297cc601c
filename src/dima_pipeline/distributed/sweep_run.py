"""One sitting of a sweep: Ray Tune runs the trials that are left and tells the ledger.

Tune gets an empty folder each time: an old snapshot of its own never stands in the way.
"""

import logging
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from ray import tune
from ray.tune.logger import JsonLoggerCallback

from dima_pipeline.distributed.ray_start import start_ray
from dima_pipeline.distributed.sweep_ledger import Ledger, Trial
from dima_pipeline.distributed.sweep_search import Asha, LedgerSearch, propose
from dima_pipeline.distributed.sweep_space import distributions
from dima_pipeline.distributed.sweep_trial import TrialJob, run_function_trial, run_trainer_trial

logger = logging.getLogger(__name__)

QUIET = {
    # Ctrl-C would end a sweep as if it were complete, with its running trials marked as stopped.
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    # The new output says where the folder is that we remove, whatever `verbose` says.
    "RAY_AIR_NEW_OUTPUT": "0",
}


def run_trials(ledger: Ledger, default: dict[str, Any], job: TrialJob, show: Callable[[Trial], None]) -> None:
    """Do the trials that an earlier sitting left unfinished and those that are missing to ``num_trials``."""
    tuning, runtime = job.tuning, job.runtime
    os.environ.update(QUIET)
    start_ray(runtime)
    space = distributions(tuning.space)
    search = LedgerSearch(ledger, tuning.num_steps, lambda: propose(ledger.trials, default, space, tuning), show)
    storage = ledger.directory / "ray"
    shutil.rmtree(storage, ignore_errors=True)
    # The trainers of trials keep their state there too.
    job = replace(job, runtime=replace(runtime, work_dir=str(storage)))
    tuner = tune.Tuner(
        _trainable(job),
        tune_config=tune.TuneConfig(
            search_alg=search,
            scheduler=Asha(ledger, tuning),
            num_samples=num_left(ledger, tuning.num_trials),
            max_concurrent_trials=tuning.max_concurrent,
            reuse_actors=tuning.trials == "function",
        ),
        run_config=tune.RunConfig(
            name="trials",
            storage_path=str(storage),
            failure_config=tune.FailureConfig(max_failures=runtime.max_failures),
            callbacks=[JsonLoggerCallback()],  # the one logger that Tune's own result needs
            verbose=0,
        ),
    )
    try:
        for error in tuner.fit().errors:
            logger.warning("a trial failed: %s", error)
    finally:
        shutil.rmtree(storage, ignore_errors=True)


def num_left(ledger: Ledger, num_trials: int) -> int:
    """Trials to run: those without an end, and those that were never proposed."""
    num_ended = sum(trial.status != "running" for trial in ledger.trials)
    return max(num_trials, len(ledger.trials)) - num_ended


def _trainable(job: TrialJob) -> Any:
    if job.tuning.trials == "trainer":
        # Its workers have resources of their own; zero is refused.
        return tune.with_resources(tune.with_parameters(run_trainer_trial, job=job), {"CPU": 0.01})
    resources = {"CPU": 1.0, "GPU": float(job.runtime.device == "cuda")}
    return tune.with_resources(tune.with_parameters(run_function_trial, job=job), resources)
