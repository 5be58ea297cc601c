"""The one training loop: it knows neither Ray nor what it trains.

Samples, learning rate and random numbers of a step are functions of seed and step alone, so that a run that was
interrupted and resumed equals the uninterrupted one bit for bit on the CPU.
"""

import json
import math
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from dima_pipeline.contracts.batch import TrainingBatch
from dima_pipeline.models.tensors import to_tensors
from dima_pipeline.storage.lock import exclusive
from dima_pipeline.storage.manifest import write_durably
from dima_pipeline.training.checkpoints import Checkpoint, CheckpointStore, load_trainable, trainable_state
from dima_pipeline.training.config import StageConfig
from dima_pipeline.training.measuring import Meter
from dima_pipeline.training.runtime import Runtime, mean_terms
from dima_pipeline.training.sampling import Sampler

LOG = "log.jsonl"
LOCK_PATIENCE_S = 30.0


class Batches(Protocol):
    """What ``fit`` draws from, e.g. ``windows.WindowDataset``."""

    def __len__(self) -> int: ...

    def batch(self, indices: np.ndarray, epochs: np.ndarray | None = None) -> TrainingBatch:
        """The samples ``indices`` in numpy."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """One optimisation: what to do, and the folder of its log and checkpoints."""

    stage: StageConfig
    seed: int
    digest: str
    """Of everything that decides the result: a checkpoint with another one is refused."""
    directory: Path
    weights: Any = None
    """Passed to the model unchanged."""


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
    trainer = _Trainer(model, run, runtime)
    sampler = Sampler(len(data), run.stage.batch_size, run.seed)
    # Workers of a driver that was killed live on for some seconds and are awaited.
    alone = exclusive(run.directory, "trains", LOCK_PATIENCE_S) if runtime.rank == 0 else nullcontext()
    with alone:
        runtime.gather({})  # nobody looks for a checkpoint before the folder is ours
        first_step = trainer.resume()
        return _train(trainer, data, sampler, first_step)


def _train(trainer: "_Trainer", data: Batches, sampler: Sampler, first_step: int) -> FitResult:
    run, runtime = trainer.run, trainer.runtime
    with _log(run.directory / LOG, first_step, is_written=runtime.rank == 0) as write:
        meter, measured = Meter(run.stage.batch_size, runtime.device), {}
        for step, batch, waited_s in _prefetch(data, sampler, range(first_step, run.stage.num_steps), runtime):
            started_s = time.perf_counter()
            terms = trainer.step(step, batch)
            seconds = round(time.perf_counter() - started_s, 4)
            meter.step_done(waited_s)
            is_last = step + 1 == run.stage.num_steps
            if is_last or step % run.stage.log_every == 0:
                measured = {"seconds": seconds, **meter.read()}
                line = {"step": step, **measured, "terms": terms}
                write(line)
                runtime.observe(line)
            if is_last or (step + 1) % run.stage.checkpoint_every == 0:
                trainer.save(step + 1)
                runtime.report({"step": step + 1, **measured, **terms})
    return FitResult(first_step=first_step, num_steps=run.stage.num_steps, num_bad_steps=trainer.num_bad_steps)


class _Trainer:
    """The mutable state of a run: model, optimiser and the number of skipped steps."""

    def __init__(self, model: torch.nn.Module, run: Run, runtime: Runtime) -> None:
        self.run, self.runtime, self.model = run, runtime, model
        self.num_bad_steps = 0
        self.wrapped = runtime.wrap(model)
        self.optimizer = build_optimizer(model, run.stage)
        self.generator = torch.Generator(device="cpu")
        self.store = CheckpointStore(run.directory / "checkpoints", run.stage.keep_last)

    def resume(self) -> int:
        """Continue from the newest sound checkpoint; the step to do next."""
        checkpoint = self.store.latest()
        found = [values["step"] for values in self.runtime.gather({"step": checkpoint.step if checkpoint else 0})]
        assert len(set(found)) == 1, f"the workers see different newest checkpoints in {self.store.directory}: {found}"
        if checkpoint is None:
            return 0
        if checkpoint.facts["digest"] != self.run.digest:
            raise ValueError(
                f"{self.store.directory} holds checkpoints of another configuration or other data: "
                "choose another run name or remove the folder"
            )
        load_trainable(self.model, checkpoint.model)
        self.optimizer.load_state_dict(checkpoint.optimizer)
        self.num_bad_steps = checkpoint.facts["num_bad_steps"]
        return checkpoint.step

    def step(self, step: int, batch: TrainingBatch) -> dict[str, float]:
        """One optimiser step; the mean terms over all workers, ``learning_rate`` and ``gradient_norm`` among them."""
        stage = self.run.stage
        share = schedule(step, stage)
        for group in self.optimizer.param_groups:
            group["lr"] = share * group["peak_lr"]
        self._seed(step)
        before = [buffer.clone() for buffer in self.model.buffers()]
        self.wrapped.train()
        self.optimizer.zero_grad(set_to_none=True)
        losses = self.wrapped(to_tensors(batch, self.runtime.device), self.generator, self.run.weights)
        terms = mean_terms(self.runtime.gather({name: float(value.detach()) for name, value in losses.items()}))
        norm = math.nan
        if all(math.isfinite(value) for value in terms.values()):
            losses["total"].backward()
            # Gradients are averaged over workers by now: all of them see the same norm and decide alike.
            norm = float(torch.nn.utils.clip_grad_norm_(self._parameters(), stage.clip_norm))
        if math.isfinite(norm):
            self.optimizer.step()
        else:
            # The forward pass may have written what is not finite into running statistics.
            for buffer, value in zip(self.model.buffers(), before, strict=True):
                buffer.copy_(value)
            self._count_bad_step(step, terms)
        return {**terms, "gradient_norm": norm, "learning_rate": share * stage.learning_rate}

    def _parameters(self) -> list[torch.nn.Parameter]:
        return [parameter for group in self.optimizer.param_groups for parameter in group["params"]]

    def _seed(self, step: int) -> None:
        """Random numbers of this step and rank, independent of what was drawn before."""
        entropy = np.random.SeedSequence([self.run.seed, step, self.runtime.rank]).generate_state(1, np.uint64)[0]
        self.generator.manual_seed(int(entropy >> np.uint64(1)))
        torch.manual_seed(int(entropy >> np.uint64(1)))

    def _count_bad_step(self, step: int, terms: Mapping[str, float]) -> None:
        self.num_bad_steps += 1
        if self.num_bad_steps > self.run.stage.max_bad_steps:
            bad = [name for name, value in terms.items() if not math.isfinite(value)] or ["the gradient"]
            raise ValueError(
                f"step {step}: {', '.join(bad)} not finite, for the {self.num_bad_steps}th time in this run "
                f"(max_bad_steps {self.run.stage.max_bad_steps}): lower learning_rate or look at the data"
            )

    def save(self, num_steps: int) -> None:
        """A checkpoint after ``num_steps`` steps, written by the first worker."""
        if self.runtime.rank == 0:
            facts = {"digest": self.run.digest, "seed": self.run.seed, "num_bad_steps": self.num_bad_steps}
            model, optimizer = trainable_state(self.model), self.optimizer.state_dict()
            self.store.save(Checkpoint(step=num_steps, model=model, optimizer=optimizer, facts=facts))


def build_optimizer(model: torch.nn.Module, stage: StageConfig) -> torch.optim.AdamW:
    """AdamW over all trainable parameters; biases, norms and other vectors do not decay.

    Each group has a ``peak_lr``: that of the part of the model its parameters belong to, else ``learning_rate``.
    """
    rates = {str(part): rate for part, rate in stage.learning_rates.items()}
    groups: dict[tuple[float, float], list[torch.nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            decay = stage.weight_decay if parameter.ndim >= 2 else 0.0
            rate = rates.get(name.partition(".")[0], stage.learning_rate)
            groups.setdefault((rate, decay), []).append(parameter)
    return torch.optim.AdamW(
        [
            {"params": parameters, "lr": rate, "peak_lr": rate, "weight_decay": decay}
            for (rate, decay), parameters in groups.items()
        ]
    )


def schedule(step: int, stage: StageConfig) -> float:
    """Share of the peak learning rate: linear warm-up, then a cosine down to zero after the last step."""
    if step < stage.warmup_steps:
        return (step + 1) / stage.warmup_steps
    done = (step - stage.warmup_steps) / max(stage.num_steps - stage.warmup_steps, 1)
    return 0.5 * (1 + math.cos(math.pi * done))


def _prefetch(
    data: Batches, sampler: Sampler, steps: range, runtime: Runtime
) -> Iterator[tuple[int, TrainingBatch, float]]:
    """Batches of this worker and the seconds each was waited for; the next one is read in a thread meanwhile."""

    def read(step: int) -> TrainingBatch:
        draw = sampler.draw(step).shard(runtime.rank, runtime.world_size)
        return data.batch(draw.indices, draw.epochs)

    with ThreadPoolExecutor(1, thread_name_prefix="prefetch") as pool:
        ahead = pool.submit(read, steps.start) if len(steps) else None
        for step in steps:
            assert ahead is not None
            started_s = time.perf_counter()
            batch = ahead.result()
            waited_s = time.perf_counter() - started_s
            ahead = pool.submit(read, step + 1) if step + 1 in steps else None
            yield step, batch, waited_s


@contextmanager
def _log(path: Path, first_step: int, is_written: bool) -> Iterator[Any]:
    """A function that appends a JSON line to ``path``; lines of steps that will be repeated are removed first."""
    if not is_written:
        yield lambda line: None
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    kept = [line for line in read_log(path) if line["step"] < first_step]
    write_durably(path, "".join(f"{json.dumps(line)}\n" for line in kept).encode())
    with path.open("a") as file:

        def write(line: Mapping[str, Any]) -> None:
            file.write(json.dumps(line) + "\n")
            file.flush()

        yield write


def read_log(path: Path) -> list[dict[str, Any]]:
    """Lines of a log, without a last one that was cut short."""
    if not path.is_file():
        return []
    complete = path.read_text().rpartition("\n")[0]
    return [json.loads(line) for line in complete.splitlines()]
