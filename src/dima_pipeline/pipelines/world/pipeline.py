"""Wiring of the ``world`` pipeline: the generated dataroot."""

from kedro.pipeline import Pipeline, node

from dima_pipeline.pipelines.world.nodes import generate_world


def create_pipeline() -> Pipeline:
    """Parameters in, a dataroot out."""
    return Pipeline(
        [node(generate_world, ["params:world", "params:runtime"], ["dataroot", "world_truth"], name="generate_world")]
    )
