"""Which samples a step sees: a pure function of seed and step, so that a resumed run, and a run with another number of
workers, consumes the same samples in the same order."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Int


@dataclass(frozen=True)
class Draw:
    """Samples of one step: ``indices`` into the data set and the ``epochs`` they belong to, both (B,)."""

    indices: Int[np.ndarray, "B"]
    epochs: Int[np.ndarray, "B"]

    def shard(self, rank: int, world_size: int) -> "Draw":
        """The part of one worker; raises ``ValueError`` where the batch does not split evenly.

        Uneven parts would weigh samples differently, because gradients are averaged over workers.
        """
        size, rest = divmod(len(self.indices), world_size)
        if rest:
            raise ValueError(f"batch_size {len(self.indices)} does not split among {world_size} workers evenly")
        part = slice(rank * size, (rank + 1) * size)
        return Draw(self.indices[part], self.epochs[part])


@dataclass(frozen=True)
class Sampler:
    """An endless stream of shuffled epochs, cut into global batches; a batch may span two epochs."""

    num_samples: int
    batch_size: int
    seed: int

    def draw(self, step: int) -> Draw:
        """The global batch of ``step`` (from 0)."""
        positions = np.arange(step * self.batch_size, (step + 1) * self.batch_size)
        epochs, offsets = np.divmod(positions, self.num_samples)
        order = {int(epoch): self._permutation(int(epoch)) for epoch in np.unique(epochs)}
        indices = [order[int(epoch)][offset] for epoch, offset in zip(epochs, offsets, strict=True)]
        return Draw(np.array(indices, np.int64), epochs)

    def _permutation(self, epoch: int) -> Int[np.ndarray, "N"]:
        return np.random.default_rng([self.seed, epoch]).permutation(self.num_samples)
