"""Where scenes of recordings are converted (``curation.ingest``): in this process, or by Ray actors."""

from collections.abc import Iterator
from contextlib import contextmanager

from dima_pipeline.curation.conversion import Conversion, Spread
from dima_pipeline.curation.ingest import in_this_process
from dima_pipeline.distributed.scene_actors import is_alone, scene_actors
from dima_pipeline.storage.runtime import RuntimeConfig


class SceneWorkers:
    """``curation.ingest.Workers`` of a runtime."""

    def __init__(self, runtime: RuntimeConfig) -> None:
        self.runtime = runtime

    @contextmanager
    def __call__(self, conversion: Conversion) -> Iterator[Spread]:
        """Start the actors and end them."""
        alone = is_alone(self.runtime)
        with in_this_process(conversion) if alone else scene_actors(self.runtime, conversion) as spread:
            yield spread
