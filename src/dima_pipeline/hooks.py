"""What Kedro does around a run: choose the pipelines of the environment and say how far the run is."""

import logging
import os
import time
from typing import Any

from kedro.framework.context import KedroContext
from kedro.framework.hooks import hook_impl
from kedro.framework.project import pipelines
from kedro.pipeline import Pipeline
from kedro.pipeline.node import Node

log = logging.getLogger(__name__)

DATAROOT_VARIABLE = "DIMA_DATAROOT"


def dataroot_from_environment() -> str:
    """Resolver ``${dataroot:}``: the value of ``DIMA_DATAROOT``, empty where it is not set.

    A missing value is an error only where the recordings are read (``pipelines.datasets.RecordedRoot``).
    """
    return os.environ.get(DATAROOT_VARIABLE, "")


class RunHooks:
    """Leaves ``world`` out where recordings are given, and logs each node with its place in the run."""

    def __init__(self) -> None:
        self._num_nodes = 0
        self._num_done = 0
        self._started_s = 0.0

    @hook_impl
    def after_context_created(self, context: KedroContext) -> None:
        """``kedro run`` in an environment that does not generate its data runs all pipelines but ``world``."""
        generates_world = context.config_loader["globals"]["generates_world"]
        if not generates_world and {"__default__", "world"} <= set(pipelines):
            pipelines["__default__"] = pipelines["__default__"] - pipelines["world"]

    @hook_impl
    def before_pipeline_run(self, pipeline: Pipeline) -> None:
        """Count what there is to do."""
        self._num_nodes, self._num_done = len(pipeline.nodes), 0

    @hook_impl
    def before_node_run(self, node: Node) -> None:
        """Say what runs now and how much is left."""
        left = self._num_nodes - self._num_done - 1
        log.info("[%d/%d] %s (%d to go after it)", self._num_done + 1, self._num_nodes, node.name, left)
        self._started_s = time.monotonic()

    @hook_impl
    def after_node_run(self, node: Node, outputs: dict[str, Any]) -> None:
        """Say how long it took."""
        self._num_done += 1
        seconds = time.monotonic() - self._started_s
        log.info("[%d/%d] %s done in %.0f s", self._num_done, self._num_nodes, node.name, seconds)
