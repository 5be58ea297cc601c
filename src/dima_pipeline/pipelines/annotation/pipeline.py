"""Wiring of the ``annotation`` pipeline: tables become language, edits and slices."""

from kedro.pipeline import Pipeline, node

from dima_pipeline.pipelines.annotation.nodes import annotate_scenes
from dima_pipeline.pipelines.ingestion.pipeline import TABLES


def create_pipeline() -> Pipeline:
    """Tables in; pairs with the rates of their checks, edits and slice members out."""
    return Pipeline(
        [
            node(
                annotate_scenes,
                ["params:annotation", "world_truth", *TABLES],
                ["vqa_pairs", "scene_edits", "slice_members", "grounding_rates"],
                name="annotate_scenes",
            )
        ]
    )
