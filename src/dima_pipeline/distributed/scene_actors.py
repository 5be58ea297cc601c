"""Work spread over Ray actors scene by scene, on this machine or on the cluster that ``RAY_ADDRESS`` names.

An actor holds what the work needs and takes one scene after the other; one that dies is started again, and its scene is
done anew. On a cluster, folders that are read and written lie on a filesystem that all nodes share.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import ray
from ray.exceptions import RayActorError, RayTaskError

from dima_pipeline.distributed.ray_start import extend_python_path, python_path, start_ray
from dima_pipeline.storage.runtime import RuntimeConfig

MAX_RESTARTS = 2
"""Of an actor: a scene that kills its process every time is not tried for ever."""

SpreadOver = Callable[[str, Sequence[Any]], Iterator[Any]]
"""``spread(method, scenes)``: what a method of the held object gives for each scene, as they are done."""


def is_alone(runtime: RuntimeConfig) -> bool:
    """Whether this process does everything, without Ray."""
    return runtime.num_processes == 1 and not os.environ.get("RAY_ADDRESS")


@contextmanager
def scene_actors(runtime: RuntimeConfig, held: Any) -> Iterator[SpreadOver]:
    """Start ``runtime.num_processes`` actors that hold ``held``, and end them afterwards.

    ``spread`` raises what a method raises, and ``ValueError`` for a scene whose process dies every time.
    """
    start_ray(runtime)
    actor = ray.remote(num_cpus=1, max_restarts=MAX_RESTARTS, max_task_retries=MAX_RESTARTS)(_SceneActor)
    shared, paths = [ray.put(held)], python_path()
    actors: list[Any] = [actor.remote(paths) for _ in range(runtime.num_processes)]
    try:
        yield lambda method, scenes: _spread(actors, shared, method, scenes)
    finally:
        for one in actors:
            ray.kill(one)


class _SceneActor:
    def __init__(self, paths: Sequence[str]) -> None:
        extend_python_path(paths)
        self.held: Any = None

    def run(self, shared: Sequence[Any], method: str, scene: Any) -> Any:
        """``shared`` holds the object in Ray's store: in a list, for it to be unpacked here, and once."""
        if self.held is None:
            self.held = ray.get(shared[0])
        return getattr(self.held, method)(scene)


def _spread(actors: Sequence[Any], shared: Sequence[Any], method: str, scenes: Sequence[Any]) -> Iterator[Any]:
    left = iter(scenes)
    working: dict[Any, tuple[Any, Any]] = {}

    def give(actor: Any) -> None:
        if (scene := next(left, None)) is not None:
            working[actor.run.remote(shared, method, scene)] = (actor, scene)

    for actor in actors:
        give(actor)
    while working:
        (done,), _ = ray.wait(list(working))
        actor, scene = working.pop(done)
        yield _result(done, getattr(scene, "name", scene))
        give(actor)


def _result(done: Any, scene_name: str) -> Any:
    try:
        return ray.get(done)
    except RayTaskError as error:
        raise error.cause from None
    except RayActorError as error:
        raise ValueError(
            f"the process that worked on {scene_name} died {MAX_RESTARTS + 1} times, most likely for lack of memory: "
            "lower runtime.num_processes and run again"
        ) from error
