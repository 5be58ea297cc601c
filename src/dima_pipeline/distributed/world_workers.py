"""Where scenes of a generated world are drawn (``world.generate``): in this process, or by Ray actors."""

from collections.abc import Iterator, Sequence

from dima_pipeline.distributed.scene_actors import is_alone, scene_actors
from dima_pipeline.storage.runtime import RuntimeConfig
from dima_pipeline.world.recording import SceneJob
from dima_pipeline.world.spreading import Work, in_this_process


class WorldWorkers:
    """A ``world.spreading.Spread`` of a runtime."""

    def __init__(self, runtime: RuntimeConfig) -> None:
        self.runtime = runtime

    def __call__(self, work: Work, jobs: Sequence[SceneJob]) -> Iterator[int]:
        """Numbers of the scenes as they are done."""
        if is_alone(self.runtime):
            yield from in_this_process(work, jobs)
            return
        with scene_actors(self.runtime, work) as spread:
            yield from spread("__call__", jobs)
