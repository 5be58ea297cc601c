"""The one training loop: it knows neither Ray nor what it trains.

Samples, learning rate and random numbers of a step are functions of seed and step alone, so that a run that was
interrupted and resumed equals the uninterrupted one bit for bit on the CPU.
"""

import time
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch

from dima_pipeline.storage.lock import exclusive
from dima_pipeline.training.ledger import sample_log
from dima_pipeline.training.loading import Batches, prefetched
from dima_pipeline.training.measuring import Meter
from dima_pipeline.training.optimizer import build_optimizer, schedule
from dima_pipeline.training.run_log import LOG, appended, read_log
from dima_pipeline.training.runtime import Runtime
from dima_pipeline.training.sampling import Sampler
from dima_pipeline.training.trainer import Run, StepResult, Trainer

__all__ = ["LOG", "Batches", "FitResult", "Run", "build_optimizer", "fit", "read_log", "schedule"]

LOCK_PATIENCE_S = 30.0


@dataclass(frozen=True, kw_only=True)
class FitResult:
    """How a run ended."""

    first_step: int
    """Where it started: 0, or the step of the checkpoint it resumed from."""
    num_steps: int
    num_bad_steps: int


def fit(model: torch.nn.Module, data: Batches, run: Run, runtime: Runtime) -> FitResult:
    """Train ``model`` in place: ``model(batch, generator, weights)`` returns named terms with ``total`` among them.

    Raises ``ValueError`` when more than ``max_bad_steps`` steps are not finite, when the batch does not split among the
    workers, and when the folder holds checkpoints of another configuration.
    """
    trainer = Trainer(model, run, runtime)
    sampler = Sampler(len(data), run.stage.batch_size, run.seed)
    # Workers of a driver that was killed live on for some seconds and are awaited.
    alone = exclusive(run.directory, "trains", LOCK_PATIENCE_S) if runtime.rank == 0 else nullcontext()
    with alone:
        if runtime.rank == 0:
            trainer.store.claim()
        runtime.gather({})  # nobody looks for a checkpoint before the folder is ours
        first_step, cursor = trainer.resume()
        if cursor is not None:
            sampler = sampler.resumed(cursor, first_step)
        _train(trainer, data, sampler, first_step)
    runtime.beat(None, "checkpoint")  # what comes now may take as long
    trainer.parallel.finish()
    return FitResult(first_step=first_step, num_steps=run.stage.num_steps, num_bad_steps=trainer.num_bad_steps)


def _train(trainer: Trainer, data: Batches, sampler: Sampler, first_step: int) -> None:
    run, runtime = trainer.run, trainer.runtime
    stage, steps = run.stage, range(first_step, run.stage.num_steps)
    with (
        appended(run.directory / LOG, first_step, is_written=runtime.rank == 0) as write,
        sample_log(run.directory, runtime, first_step, is_written=runtime.reading.log_samples) as note,
        prefetched(
            data, sampler, steps, runtime, num_micro_batches=stage.num_micro_batches, reading=runtime.reading
        ) as loaded,
    ):
        meter, measured = Meter(stage.batch_size, runtime.device), {}
        runtime.beat(first_step, "data")
        for step, micro_batches, epochs, waited_s in loaded:
            started_s = time.perf_counter()
            result = trainer.step(step, micro_batches)
            seconds = round(time.perf_counter() - started_s, 4)
            meter.step_done(waited_s)
            note(step, micro_batches, epochs)
            is_last = step + 1 == stage.num_steps
            if is_last or step % stage.log_every == 0 or result.skipped or result.encoder is not None:
                measured = {"seconds": seconds, **meter.read()}
                line = log_line(step, measured, result)
                write(line)
                runtime.observe(line)
            if is_last or (step + 1) % stage.checkpoint_every == 0:
                runtime.beat(step, "checkpoint")
                trainer.save(step + 1, sampler.cursor(step + 1), result.terms)
                runtime.report({"step": step + 1, **measured, **result.terms})
            runtime.beat(step + 1, "data")


def log_line(step: int, measured: Mapping[str, float], result: StepResult) -> dict[str, Any]:
    """A line of the log; ``skipped`` is there where the step was, and names what was not finite, ``encoder`` where it
    was measured."""
    line: dict[str, Any] = {"step": step, **measured, "terms": result.terms}
    if result.skipped:
        line["skipped"] = list(result.skipped)
    if result.encoder is not None:
        line["encoder"] = result.encoder
    return line
