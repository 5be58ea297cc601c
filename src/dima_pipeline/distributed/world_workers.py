"""Scenes of a generated world drawn side by side by Ray actors, here or on the cluster that ``RAY_ADDRESS`` names.

An actor keeps its renderer and takes one scene after the other; one that dies is started again, and the scene is drawn
anew. On a cluster the work folder lies on a filesystem that all nodes share.
"""

import os
from collections.abc import Iterator, Sequence
from typing import Any

import ray
from ray.exceptions import RayActorError, RayTaskError

from dima_pipeline.distributed.ray_start import extend_python_path, python_path, start_ray
from dima_pipeline.storage.runtime import RuntimeConfig
from dima_pipeline.world.recording import SceneJob
from dima_pipeline.world.spreading import Work, in_this_process

MAX_RESTARTS = 2
"""Of an actor: a scene that kills its process every time is not tried for ever."""


class _WorldWorker:
    def __init__(self, paths: Sequence[str]) -> None:
        extend_python_path(paths)

    def run(self, shared: Sequence[Any], job: SceneJob) -> int:
        """``shared`` holds the work in Ray's store: in a list, for it to be unpacked here."""
        work: Work = ray.get(shared[0])
        return work(job)


class WorldWorkers:
    """``runtime.num_processes`` actors, as a ``world.spreading.Spread``."""

    def __init__(self, runtime: RuntimeConfig) -> None:
        self.runtime = runtime

    def __call__(self, work: Work, jobs: Sequence[SceneJob]) -> Iterator[int]:
        """Start the actors and end them; one process and no cluster is this process, without Ray."""
        if self.runtime.num_processes == 1 and not os.environ.get("RAY_ADDRESS"):
            yield from in_this_process(work, jobs)
            return
        start_ray(self.runtime)
        actor = ray.remote(num_cpus=1, max_restarts=MAX_RESTARTS, max_task_retries=MAX_RESTARTS)(_WorldWorker)
        shared, paths = [ray.put(work)], python_path()
        actors: list[Any] = [actor.remote(paths) for _ in range(min(self.runtime.num_processes, len(jobs)))]
        try:
            yield from _spread(actors, shared, jobs)
        finally:
            for one in actors:
                ray.kill(one)


def _spread(actors: Sequence[Any], shared: Sequence[Any], jobs: Sequence[SceneJob]) -> Iterator[int]:
    """Numbers of the scenes as they are done; every actor has one scene at a time."""
    left = iter(jobs)
    working: dict[Any, tuple[Any, SceneJob]] = {}

    def give(actor: Any) -> None:
        if (job := next(left, None)) is not None:
            working[actor.run.remote(shared, job)] = (actor, job)

    for actor in actors:
        give(actor)
    while working:
        (done,), _ = ray.wait(list(working))
        actor, job = working.pop(done)
        yield _result(done, job)
        give(actor)


def _result(done: Any, job: SceneJob) -> int:
    try:
        number: int = ray.get(done)
    except RayTaskError as error:
        raise error.cause from None
    except RayActorError as error:
        raise ValueError(
            f"the process that drew {job.name} died {MAX_RESTARTS + 1} times, most likely for lack of memory: "
            "lower runtime.num_processes or the size of the images and run again"
        ) from error
    return number
