"""One optimiser step and the state it changes: model, optimiser, the number of skipped steps.

Learning rate and random numbers of a step are functions of seed and step alone.
"""

import logging
import math
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dima_pipeline.contracts.batch import TrainingBatch
from dima_pipeline.models.tensors import to_tensors
from dima_pipeline.training.checkpoints import Checkpoint, CheckpointStore
from dima_pipeline.training.config import StageConfig
from dima_pipeline.training.encoder_gradients import encoder_gradients, watch_encoder
from dima_pipeline.training.optimizer import build_optimizer, schedule
from dima_pipeline.training.runtime import Runtime, mean_terms

logger = logging.getLogger(__name__)


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
class StepResult:
    """What one optimiser step, done or skipped, came to."""

    terms: dict[str, float]
    """Means over all workers and micro-batches, ``learning_rate`` and ``gradient_norm`` among them."""
    skipped: tuple[str, ...] = ()
    """Terms that were not finite, or ``gradient``: the step changed nothing."""
    encoder: dict[str, float] | None = None
    """What each term does to the shared encoder (``encoder_gradients``), where it was measured."""


class Trainer:
    """The mutable state of a run: model, optimiser and the number of skipped steps."""

    def __init__(self, model: torch.nn.Module, run: Run, runtime: Runtime) -> None:
        self.run, self.runtime = run, runtime
        self.num_bad_steps = 0
        self.parallel = runtime.wrap(model, run.stage.precision)
        if run.stage.gradient_norms_every and not self.parallel.can_repeat_backward:
            raise ValueError(
                "gradient_norms_every cannot be measured while the teacher is sharded: set it to 0, "
                "or runtime.parallel to ddp"
            )
        self.model = self.parallel.model
        self.optimizer = build_optimizer(self.model, run.stage)
        self.generator = torch.Generator(device="cpu")
        self.store = CheckpointStore(run.directory / "checkpoints", run.stage.keep_last, best=run.stage.best)

    def resume(self) -> tuple[int, dict[str, int] | None]:
        """Continue from the newest sound checkpoint: the step to do next, and which samples were consumed before."""
        checkpoint = self.store.latest()
        found = [values["step"] for values in self.runtime.gather({"step": checkpoint.step if checkpoint else 0})]
        if len(set(found)) > 1:
            raise ValueError(
                f"the workers see different newest checkpoints in {self.store.directory} (steps {found}): "
                "runtime.work_dir must be one folder that all machines share"
            )
        if checkpoint is None:
            return 0, None
        if checkpoint.facts["digest"] != self.run.digest:
            raise ValueError(
                f"{self.store.directory} holds checkpoints of another configuration or other data: "
                "choose another run name or remove the folder"
            )
        self.parallel.load(checkpoint.model, self.optimizer, checkpoint.optimizer)
        self.num_bad_steps = checkpoint.facts["num_bad_steps"]
        return checkpoint.step, checkpoint.facts["cursor"]

    def step(self, step: int, micro_batches: Sequence[TrainingBatch]) -> StepResult:
        """One optimiser step on the mean loss of all workers' ``micro_batches``, which are equally large."""
        share = schedule(step, self.run.stage)
        for group in self.optimizer.param_groups:
            group["lr"] = share * group["peak_lr"]
        self._seed(step)
        self.parallel.begin_step()
        before = [buffer.clone() for buffer in self.model.buffers()]
        self.optimizer.zero_grad(set_to_none=True)
        found, encoder = self._accumulate(step, micro_batches)
        everyones = self.runtime.gather(found)
        terms = mean_terms(everyones)
        bad = tuple(name for name, value in terms.items() if not math.isfinite(value))
        # All workers see the same terms and the same norm, and so decide alike.
        self.runtime.beat(step, "optimizer")
        norm = math.nan if bad else self.parallel.clip(self._parameters(), self.run.stage.clip_norm)
        if math.isfinite(norm):
            self.optimizer.step()
            if hasattr(self.model, "after_step"):
                self.model.after_step()
        else:
            # The forward pass may have written what is not finite into running statistics.
            for buffer, value in zip(self.model.buffers(), before, strict=True):
                buffer.copy_(value)
            bad = bad or ("gradient",)
            self._count_bad_step(step, bad, everyones)
        terms |= {"gradient_norm": norm, "learning_rate": share * self.run.stage.learning_rate}
        return StepResult(terms=terms, skipped=bad, encoder=encoder)

    def _accumulate(
        self, step: int, micro_batches: Sequence[TrainingBatch]
    ) -> tuple[dict[str, float], dict[str, float] | None]:
        """Add the gradients of the mean loss up, averaged over workers; the mean terms of this worker.

        A term that is a mean over fewer elements than samples (agents that are there, words of an answer) is a mean of
        means: it weighs elements of a micro-batch with few of them more, as it does among several workers.
        """
        self.parallel.module.train()
        found, encoder, every = [], None, self.run.stage.gradient_norms_every
        for number, batch in enumerate(micro_batches):
            is_last = number + 1 == len(micro_batches)
            with nullcontext() if is_last else self.parallel.no_sync():
                self.runtime.beat(step, "forward")
                if is_last and every and step % every == 0:
                    losses, encoder = self._measured(batch)
                else:
                    losses = self._forward(batch)
                self.runtime.beat(step, "backward")
                (losses["total"] / len(micro_batches)).backward()
            found.append({name: float(value.detach()) for name, value in losses.items()})
        self.parallel.average_gradients()
        return mean_terms(found), encoder

    def _measured(self, batch: TrainingBatch) -> tuple[dict[str, torch.Tensor], dict[str, float]]:
        """``_forward``, and the gradient of each term on the shared encoder, mean over the workers."""
        with watch_encoder(self.model) as tokens:
            losses = self._forward(batch)
        return losses, mean_terms(self.runtime.gather(encoder_gradients(losses, tokens, self.model)))

    def _forward(self, batch: TrainingBatch) -> dict[str, torch.Tensor]:
        """Terms in float32, whatever the models compute in; parameters stay float32 as well."""
        device, is_bf16 = self.runtime.device, self.run.stage.precision == "bf16"
        with torch.autocast(device.type, torch.bfloat16, enabled=is_bf16):
            return self.parallel.module(to_tensors(batch, device), self.generator, self.run.weights)

    def _parameters(self) -> list[torch.nn.Parameter]:
        return [parameter for group in self.optimizer.param_groups for parameter in group["params"]]

    def _seed(self, step: int) -> None:
        """Random numbers of this step and rank, independent of what was drawn before."""
        entropy = np.random.SeedSequence([self.run.seed, step, self.runtime.rank]).generate_state(1, np.uint64)[0]
        self.generator.manual_seed(int(entropy >> np.uint64(1)))
        torch.manual_seed(int(entropy >> np.uint64(1)))

    def _count_bad_step(self, step: int, bad: Sequence[str], everyones: Sequence[Mapping[str, float]]) -> None:
        """Name a skipped step in a warning; ``ValueError``, in all workers, for one too many."""
        self.num_bad_steps += 1
        limit = self.run.stage.max_bad_steps
        ranks = [rank for rank, terms in enumerate(everyones) if not all(map(math.isfinite, terms.values()))]
        where = f" (worker {', '.join(map(str, ranks))})" if ranks and len(everyones) > 1 else ""
        what = f"step {step}: {', '.join(bad)} not finite{where}"
        if self.num_bad_steps > limit:
            raise ValueError(
                f"{what}, for the {_ordinal(self.num_bad_steps)} time in this run (max_bad_steps {limit}): "
                "lower learning_rate or look at the data; the last good checkpoint is kept"
            )
        if self.runtime.rank == 0:
            logger.warning("%s: the step is skipped, %d of at most %d", what, self.num_bad_steps, limit)

    def save(self, num_steps: int, cursor: dict[str, int], terms: dict[str, float]) -> None:
        """A checkpoint after ``num_steps`` steps and the samples up to ``cursor``; all workers must call it.

        ``terms`` are those of the last step, by which the best checkpoint is chosen.
        """
        model, optimizer = self.parallel.state(), self.parallel.optimizer_state(self.optimizer)
        if self.runtime.rank == 0:
            facts = {"digest": self.run.digest, "seed": self.run.seed, "num_bad_steps": self.num_bad_steps}
            facts["cursor"] = cursor
            saved = Checkpoint(step=num_steps, model=model, optimizer=optimizer, facts=facts, metrics=terms)
            self.store.save(saved)


def _ordinal(number: int) -> str:
    is_teen = 10 < number % 100 < 20
    return f"{number}{'th' if is_teen else {1: 'st', 2: 'nd', 3: 'rd'}.get(number % 10, 'th')}"
