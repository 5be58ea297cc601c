"""Tuning as one call: a sweep over changes of ``distillation``, taken up where it was however it was ended."""

import json
import shutil
import time
from dataclasses import asdict
from pathlib import Path

import pandas as pd
from rich.console import Console

import dima_pipeline
from dima_pipeline.distributed.ray_runtime import launch
from dima_pipeline.distributed.ray_start import python_path
from dima_pipeline.distributed.sweep_config import TuningConfig
from dima_pipeline.distributed.sweep_ledger import Ledger, Trial
from dima_pipeline.distributed.sweep_plots import plot_sweep
from dima_pipeline.distributed.sweep_run import num_left, run_trials
from dima_pipeline.distributed.sweep_space import FILE, parameters_file, present_values
from dima_pipeline.distributed.sweep_trial import TrialJob
from dima_pipeline.storage.lock import exclusive
from dima_pipeline.storage.manifest import digest, write_manifest
from dima_pipeline.storage.runtime import RuntimeConfig
from dima_pipeline.training.config import DistillationConfig, digest_of
from dima_pipeline.training.loop import read_log
from dima_pipeline.training.stages import StageSpec, plan_stages
from dima_pipeline.training.windows import TrainingTables

SCORING = (
    *("distributed/sweep_trial.py", "distributed/sweep_score.py", "evaluation/planners.py", "evaluation/driven.py"),
    *("metrics/planning_l2.py", "metrics/_open_loop.py", "scoring/protocols.py"),
)
"""Code that decides what a trial says, beside that which decides what a stage results in."""
COLUMNS = {
    **{"trial": "int64", "config": "str", "objective": "float64", "step": "int64", "status": "str"},
    **{"is_default": "bool", "is_best": "bool"},
}


def sweep(
    tuning: TuningConfig,
    config: DistillationConfig,
    runtime: RuntimeConfig,
    data: tuple[TrainingTables, Path],
    directory: Path,
) -> pd.DataFrame:
    """Do the sweep, or what is left of it; plots and the best configuration are written into ``directory``.

    ``data`` are tables and image shards. Returns ``contracts.result_tables.SweepTrials``. Raises ``ValueError``, before
    anything starts, for a space that does not fit ``config``, and at the end where no trial finished.
    """
    if not tuning.num_trials:
        (directory / FILE).write_text(parameters_file({}, config, "No sweep was made: tuning.num_trials is 0."))
        write_manifest(directory, kind="sweep", num_trials=0)
        return pd.DataFrame({name: pd.Series(dtype=dtype) for name, dtype in COLUMNS.items()})
    default = present_values(tuning, config)
    stages = plan_stages(config, *data, Path(runtime.work_dir))
    ledger = Ledger(Path(runtime.work_dir).resolve() / "sweeps" / sweep_name(tuning, stages["joint"]))
    with exclusive(ledger.directory, "tunes"):
        if num_left(ledger, tuning.num_trials):
            launch([stages[stage] for stage in stages if stage == "pretraining"], runtime)
            job = TrialJob(
                sweep_dir=str(ledger.directory),
                joint=stages["joint"],
                tuning=tuning,
                runtime=runtime,
                python_path=python_path(),
            )
            run_trials(ledger, default, job, _Lines(ledger, tuning.num_trials))
    trials = trials_table(ledger)
    best = best_trial(ledger)
    (directory / FILE).write_text(parameters_file(best.values, config, _headline(ledger, best)))
    plot_sweep(ledger.trials, best.number, tuning, directory)
    write_manifest(directory, kind="sweep", num_trials=len(trials), best=best.number)
    for trial in ledger.trials:
        shutil.rmtree(ledger.run_dir(trial.number) / "checkpoints", ignore_errors=True)
    return trials


def sweep_name(tuning: TuningConfig, joint: StageSpec) -> str:
    """Digest of all that decides what a trial says; how many there are and how they run does not."""
    execution = ("num_trials", "max_concurrent", "trials")
    settings = {name: value for name, value in asdict(tuning).items() if name not in execution}
    root = Path(dima_pipeline.__file__).parent
    code = [digest(root / name) for name in SCORING]
    return digest_of({"joint": joint.name, "settings": settings, "code": code})[:16]


def best_trial(ledger: Ledger) -> Trial:
    """The finished trial with the lowest objective; ``ValueError`` with the first error where none finished."""
    finished = [trial for trial in ledger.trials if trial.status == "finished"]
    if not finished:
        errors = [trial.error for trial in ledger.trials if trial.error]
        raise ValueError(
            f"all {len(ledger.trials)} trials of the sweep failed, the first one so: {errors[0]}; "
            f"remove {ledger.directory} to try the same sweep again"
        )
    return min(finished, key=lambda trial: (trial.objective, trial.number))


def trials_table(ledger: Ledger) -> pd.DataFrame:
    """``contracts.result_tables.SweepTrials``."""
    unfinished = [trial.number for trial in ledger.trials if trial.status == "running"]
    assert not unfinished, f"Tune came back without an end of trials {unfinished}"
    best = best_trial(ledger)
    rows = []
    for trial in ledger.trials:
        log = read_log(ledger.run_dir(trial.number) / "log.jsonl")
        step = log[-1]["step"] + 1 if log else 0
        values = json.dumps(trial.values, sort_keys=True)
        is_default, is_best = trial.number == 0, trial is best
        rows.append((trial.number, values, trial.objective, step, trial.status, is_default, is_best))
    return pd.DataFrame(rows, columns=list(COLUMNS)).astype(COLUMNS)


def _headline(ledger: Ledger, best: Trial) -> str:
    default = ledger.trials[0]
    before = "failed" if default.objective is None else f"{default.objective:.3f} m"
    return (
        f"Trial {best.number} of {len(ledger.trials)}: planning L2 on development scenes {best.objective:.3f} m after "
        f"{max(best.reports)} steps, the default {before}.\n"
        "Put these keys into conf/<environment>/parameters_distillation.yml, or copy the file where that one is empty."
    )


class _Lines:
    """A printed line for every trial that ends."""

    def __init__(self, ledger: Ledger, num_trials: int) -> None:
        self._ledger, self._num_trials = ledger, max(num_trials, len(ledger.trials))
        self._console = Console(stderr=True)
        self._started_s, self._num_left = time.monotonic(), num_left(ledger, num_trials)

    def __call__(self, trial: Trial) -> None:
        left = num_left(self._ledger, self._num_trials)
        left_s = (time.monotonic() - self._started_s) * left / max(self._num_left - left, 1)
        objective = "" if trial.objective is None else f" at {trial.objective:.3f} m"
        done = self._num_trials - left
        text = f"Tuning: {done} of {self._num_trials} trials, about {left_s:.0f} s left; trial {trial.number} "
        self._console.print(f"{text}{trial.status}{objective} {trial.error}".rstrip(), highlight=False, markup=False)
