"""Ways to spread the scenes of a world: this process, or a pool of processes; ``distributed.world_workers`` knows Ray.

A spread calls its work once for every job, in any order, and hands on what comes back as it comes: what the work
leaves in files is put in order afterwards, so the number of workers can decide nothing.
"""

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool

from dima_pipeline.world.recording import SceneJob

Work = Callable[[SceneJob], int]
"""Records a scene and returns its number; can be pickled."""
Spread = Callable[[Work, Sequence[SceneJob]], Iterator[int]]


def in_this_process(work: Work, jobs: Sequence[SceneJob]) -> Iterator[int]:
    """One scene after the other."""
    return map(work, jobs)


def over_processes(num_processes: int) -> Spread:
    """A pool on this machine; raises ``ValueError`` where one of its processes is killed."""

    def spread(work: Work, jobs: Sequence[SceneJob]) -> Iterator[int]:
        if min(num_processes, len(jobs)) <= 1:
            yield from in_this_process(work, jobs)
            return
        # Spawned: a forked child would share the renderer's threads and locks.
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(min(num_processes, len(jobs)), mp_context=context) as pool:
            yield from _as_done(pool, work, jobs)

    return spread


def _as_done(pool: ProcessPoolExecutor, work: Work, jobs: Sequence[SceneJob]) -> Iterator[int]:
    futures = [pool.submit(work, job) for job in jobs]
    try:
        for future in as_completed(futures):
            yield future.result()
    except BrokenProcessPool as error:
        raise ValueError(
            "a process that draws scenes was killed, most likely for lack of memory: use fewer processes or smaller "
            "images (image_width, image_height)"
        ) from error
    finally:
        for future in futures:
            future.cancel()
