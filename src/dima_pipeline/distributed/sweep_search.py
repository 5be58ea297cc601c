"""Optuna's proposals and ASHA's decisions, both told by the ledger what happened before this sitting."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, FloatDistribution
from optuna.trial import FrozenTrial, TrialState
from ray.tune.schedulers import ASHAScheduler, TrialScheduler
from ray.tune.search import Searcher

from dima_pipeline.distributed.sweep_config import TuningConfig
from dima_pipeline.distributed.sweep_ledger import Ledger, Status, Trial

OBJECTIVE, STEP, FAILURE = "objective", "step", "failure"
"""What a trial reports: metres, optimiser steps, and the text of an error that ends it."""
STATES: dict[Status, TrialState] = {
    "running": TrialState.RUNNING,
    "finished": TrialState.COMPLETE,
    "stopped": TrialState.PRUNED,
    "failed": TrialState.FAIL,
}


def propose(
    trials: Sequence[Trial], default: Mapping[str, Any], space: Mapping[str, BaseDistribution], tuning: TuningConfig
) -> dict[str, Any]:
    """The values of the next trial: a function of the trials so far, so that a resumed sweep draws nothing twice.

    The first one is ``default``; after ``num_random`` ended ones TPE proposes, which also keeps away from trials that
    run and takes stopped ones for what they reached.
    """
    if not trials:
        return dict(default)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    seed = int(np.random.SeedSequence([tuning.seed, len(trials)]).generate_state(1)[0])
    sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=tuning.num_random, constant_liar=True)
    study = optuna.create_study(direction="minimize", sampler=sampler)
    study.add_trials([_frozen(trial, space) for trial in trials])
    return {path: _readable(value, space[path]) for path, value in study.ask(dict(space)).params.items()}


def _readable(value: Any, distribution: BaseDistribution) -> Any:
    """A float with four digits: more say nothing, and people read the parameters file."""
    if not isinstance(distribution, FloatDistribution):
        return value
    return min(max(float(f"{value:.4g}"), distribution.low), distribution.high)


def _frozen(trial: Trial, space: Mapping[str, BaseDistribution]) -> FrozenTrial:
    return optuna.trial.create_trial(
        state=STATES[trial.status],
        value=trial.objective if trial.status == "finished" else None,
        params=trial.values,
        distributions=dict(space),
        intermediate_values=trial.reports,
    )


class LedgerSearch(Searcher):
    """Hands out trials that an earlier sitting left unfinished, then new ones, and writes down what Tune says of them.

    ``propose`` makes values for a new trial; ``show`` is called with every trial that ends.
    """

    def __init__(
        self, ledger: Ledger, num_steps: int, propose: Callable[[], dict[str, Any]], show: Callable[[Trial], None]
    ) -> None:
        super().__init__(metric=OBJECTIVE, mode="min")
        self._ledger, self._num_steps, self._propose, self._show = ledger, num_steps, propose, show
        self._unfinished = [trial.number for trial in ledger.trials if trial.status == "running"]
        self._number_of: dict[str, int] = {}

    def suggest(self, trial_id: str) -> dict[str, Any]:
        """The number of a trial: the ledger knows the rest."""
        number = self._unfinished.pop(0) if self._unfinished else self._ledger.add(self._propose()).number
        self._number_of[trial_id] = number
        return {"number": number}

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Write down a report."""
        if np.isfinite(result[OBJECTIVE]):
            self._ledger.report(self._number_of[trial_id], result[STEP], result[OBJECTIVE])

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Write down how the trial ended, unless the scheduler did."""
        trial = self._ledger.trials[self._number_of[trial_id]]
        if trial.status == "running" and self._num_steps in trial.reports:
            trial = self._ledger.end(trial.number, "finished")
        elif trial.status == "running":
            text = (result or {}).get(FAILURE) or "it ended more often than runtime.max_failures allows; see Ray's logs"
            trial = self._ledger.end(trial.number, "failed", text)
        self._show(trial)

    def save(self, checkpoint_path: str) -> None:
        """Tune asks for a file; the ledger is what counts."""
        Path(checkpoint_path).write_text(str(self._ledger.directory))

    def __getstate__(self) -> dict[str, Any]:
        """Tune pickles it into a folder that nobody reads."""
        return {}


class Asha(ASHAScheduler):
    """ASHA that writes "stopped" into the ledger, where the trial finds it, instead of letting Tune kill the trial.

    A killed trial that started a Ray trainer would leave the placement group of its workers behind, and with it their
    CPUs and GPUs (ray 2.60). The present configuration runs to its end: better than it means better after as many
    steps. Reports of trials that ended in an earlier sitting are known from the start; those of the others come again
    with the trial.
    """

    def __init__(self, ledger: Ledger, tuning: TuningConfig) -> None:
        super().__init__(
            time_attr=STEP,
            metric=OBJECTIVE,
            mode="min",
            max_t=tuning.num_steps,
            grace_period=tuning.grace_period,
            reduction_factor=tuning.reduction_factor,
        )
        self._ledger = ledger
        for trial in ledger.trials:
            if trial.status != "running":
                seen = SimpleNamespace(trial_id=f"ended-{trial.number}", config={"number": trial.number})
                self.on_trial_add(None, seen)  # type: ignore[arg-type]  # only the id is looked at
                for step, objective in sorted(trial.reports.items()):
                    self.on_trial_result(None, seen, {STEP: step, OBJECTIVE: objective})

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """Decide by the ledger; Tune goes on until the trial returns."""
        number, step = trial.config["number"], result[STEP]
        is_last = super().on_trial_result(tune_controller, trial, result) == TrialScheduler.STOP
        is_running = self._ledger.trials[number].status == "running"
        if is_last and is_running and number > 0 and step < self._max_t:
            self._ledger.report(number, step, result[OBJECTIVE])
            self._ledger.end(number, "stopped")
        return TrialScheduler.CONTINUE
