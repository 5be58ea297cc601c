"""Scenes converted side by side by Ray actors, on this machine or on the cluster that ``RAY_ADDRESS`` names.

An actor holds the data set and takes one scene after the other; one that dies is started again. On a cluster the
dataroot and the work folder lie on a filesystem that all nodes share.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import ray
from ray.exceptions import RayActorError, RayTaskError

from dima_pipeline.curation.conversion import Conversion, Spread
from dima_pipeline.curation.ingest import in_this_process
from dima_pipeline.distributed.ray_start import extend_python_path, python_path, start_ray
from dima_pipeline.storage.runtime import RuntimeConfig

MAX_RESTARTS = 2
"""Of an actor: a scene that kills its process every time is not tried for ever."""


class _SceneWorker:
    def __init__(self, paths: Sequence[str]) -> None:
        extend_python_path(paths)
        self.conversion: Conversion | None = None

    def run(self, shared: Sequence[Any], step: str, scene_name: str) -> Any:
        """``shared`` holds the conversion in Ray's store: in a list, for it to be unpacked here, and once."""
        if self.conversion is None:
            self.conversion = ray.get(shared[0])
        return getattr(self.conversion, step)(scene_name)


class SceneWorkers:
    """``runtime.num_processes`` actors; made for one conversion."""

    def __init__(self, runtime: RuntimeConfig) -> None:
        self.runtime = runtime

    @contextmanager
    def __call__(self, conversion: Conversion) -> Iterator[Spread]:
        """Start the actors and end them; one process and no cluster is this process, without Ray."""
        if self.runtime.num_processes == 1 and not os.environ.get("RAY_ADDRESS"):
            with in_this_process(conversion) as spread:
                yield spread
            return
        start_ray(self.runtime)
        actor = ray.remote(num_cpus=1, max_restarts=MAX_RESTARTS, max_task_retries=MAX_RESTARTS)(_SceneWorker)
        shared, paths = [ray.put(conversion)], python_path()
        actors: list[Any] = [actor.remote(paths) for _ in range(self.runtime.num_processes)]
        try:
            yield lambda step, scene_names: _spread(actors, shared, step, scene_names)
        finally:
            for one in actors:
                ray.kill(one)


def _spread(actors: Sequence[Any], shared: Sequence[Any], step: str, scene_names: Sequence[str]) -> Iterator[Any]:
    """What ``step`` gives for each scene as it is done; every actor has one scene at a time."""
    left = iter(scene_names)
    working: dict[Any, tuple[Any, str]] = {}

    def give(actor: Any) -> None:
        if (name := next(left, None)) is not None:
            working[actor.run.remote(shared, step, name)] = (actor, name)

    for actor in actors:
        give(actor)
    while working:
        (done,), _ = ray.wait(list(working))
        actor, name = working.pop(done)
        yield _result(done, name)
        give(actor)


def _result(done: Any, scene_name: str) -> Any:
    try:
        return ray.get(done)
    except RayTaskError as error:
        raise error.cause from None
    except RayActorError as error:
        raise ValueError(
            f"the process that converted {scene_name} died {MAX_RESTARTS + 1} times, most likely for lack of memory: "
            "lower runtime.num_processes and run again; finished scenes are kept"
        ) from error
