"""Which samples a step sees: a pure function of seed and samples consumed so far, so that a resumed run, and a run with
another number of workers, consumes the same samples in the same order, each exactly once an epoch."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
from jaxtyping import Int

CURSOR = ("seed", "num_samples", "epoch", "position")


@dataclass(frozen=True)
class Draw:
    """Samples of one step: ``indices`` into the data set and the ``epochs`` they belong to, both (B,)."""

    indices: Int[np.ndarray, "B"]
    epochs: Int[np.ndarray, "B"]

    def shard(self, rank: int, world_size: int) -> "Draw":
        """The part of one worker; raises ``ValueError`` where the batch does not split evenly.

        Uneven parts would weigh samples differently, because gradients are averaged over workers.
        """
        return self.parts(rank, world_size)[0]

    def parts(self, rank: int, world_size: int, num_micro_batches: int = 1) -> list["Draw"]:
        """The part of one worker in micro-batches of one size; raises ``ValueError`` where there is none such."""
        size, rest = divmod(len(self.indices), world_size * num_micro_batches)
        if rest:
            micro = f" of {num_micro_batches} micro-batches each" if num_micro_batches > 1 else ""
            raise ValueError(f"batch_size {len(self.indices)} does not split among {world_size} workers{micro} evenly")
        begins = [(rank * num_micro_batches + number) * size for number in range(num_micro_batches)]
        return [Draw(self.indices[begin : begin + size], self.epochs[begin : begin + size]) for begin in begins]


@dataclass(frozen=True)
class Sampler:
    """An endless stream of shuffled epochs, cut into global batches; a batch may span two epochs.

    ``consumed`` samples were drawn before ``first_step``: by a run that is resumed, perhaps with another batch size.
    """

    num_samples: int
    batch_size: int
    seed: int
    first_step: int = 0
    consumed: int = 0

    def draw(self, step: int) -> Draw:
        """The global batch of ``step`` (from ``first_step``)."""
        begin = self._consumed_before(step)
        epochs, offsets = np.divmod(np.arange(begin, begin + self.batch_size), self.num_samples)
        order = {int(epoch): _permutation(self.seed, int(epoch), self.num_samples) for epoch in np.unique(epochs)}
        indices = [order[int(epoch)][offset] for epoch, offset in zip(epochs, offsets, strict=True)]
        return Draw(np.array(indices, np.int64), epochs)

    def cursor(self, step: int) -> dict[str, int]:
        """JSON values that say what was consumed before ``step``: whole epochs, and ``position`` samples of the next.

        A step that was skipped has consumed its samples.
        """
        epoch, position = divmod(self._consumed_before(step), self.num_samples)
        return dict(zip(CURSOR, (self.seed, self.num_samples, epoch, position), strict=True))

    def resumed(self, cursor: Any, step: int) -> "Sampler":
        """The sampler that goes on at ``step`` where ``cursor`` ended.

        Raises ``ValueError`` for a cursor of another seed or of data of another size, whose epoch nobody could
        complete, and for what is no cursor.
        """
        known = _checked(cursor)
        for name, what in (("num_samples", "training samples"), ("seed", "as seed of the order of samples")):
            if known[name] != getattr(self, name):
                raise ValueError(
                    f"the checkpoint was made with {known[name]} {what}, now it is {getattr(self, name)}: its epoch "
                    "cannot be completed; train under another run name, or with the data and the seed it was made with"
                )
        consumed = known["epoch"] * self.num_samples + known["position"]
        return replace(self, first_step=step, consumed=consumed)

    def _consumed_before(self, step: int) -> int:
        assert step >= self.first_step, (step, self.first_step)
        return self.consumed + (step - self.first_step) * self.batch_size


@lru_cache(maxsize=4)
def _permutation(seed: int, epoch: int, num_samples: int) -> Int[np.ndarray, "N"]:
    return np.random.default_rng([seed, epoch]).permutation(num_samples)


def _checked(cursor: Any) -> Mapping[str, int]:
    """``cursor`` with its four numbers, none of them negative and the position within the epoch."""
    values = [cursor.get(name) for name in CURSOR] if isinstance(cursor, Mapping) else [None]
    is_sound = all(type(value) is int and value >= 0 for value in values)
    if not is_sound or cursor["position"] >= cursor["num_samples"]:
        raise ValueError(
            f"the checkpoint does not say which samples were consumed (its cursor is {cursor!r}): "
            "train under another run name"
        )
    return cursor
