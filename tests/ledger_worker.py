"""One of several workers that train together over gloo and write which samples they consumed.

``python ledger_worker.py directory rank world_size fail_at``: reading fails at that call, a negative one means never.
"""

import sys
from pathlib import Path

import torch
import torch.distributed as dist

from dima_pipeline.training.config import StageConfig
from dima_pipeline.training.loading import Reading
from dima_pipeline.training.loop import Run, fit
from dima_pipeline.training.runtime import GroupRuntime
from parallel_workers import TinyData, TinyObjective

STAGE = StageConfig(num_steps=16, batch_size=6, checkpoint_every=3, warmup_steps=1)
"""Six epochs of the sixteen samples."""


def main(directory: Path, rank: int, world_size: int, fail_at: int) -> None:
    """Train until the end or the failure."""
    torch.set_num_threads(1)
    rendezvous = (directory / f"rendezvous_{world_size}_{fail_at}").as_uri()
    dist.init_process_group("gloo", init_method=rendezvous, rank=rank, world_size=world_size)
    data = TinyData(fail_at if fail_at >= 0 else None)
    runtime = GroupRuntime("cpu", reading=Reading(log_samples=True))
    try:
        fit(TinyObjective(), data, Run(stage=STAGE, seed=3, digest="d", directory=directory / "run"), runtime)
    except OSError as error:
        sys.stdout.write(str(error))
    dist.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]).absolute(), *map(int, sys.argv[2:]))
