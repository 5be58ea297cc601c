"""Wiring of the ``export`` pipeline: trained planners become bundles without an LLM."""

from kedro.pipeline import Pipeline, node

from dima_pipeline.pipelines.export.nodes import export_model


def create_pipeline() -> Pipeline:
    """Models in, bundles out."""
    given = ["samples", "image_shards", "params:runtime"]
    return Pipeline(
        [
            node(export_model, ["joint_model", *given], "planner_bundle", name="export_planner"),
            node(export_model, ["control_model", *given], "control_bundle", name="export_control"),
        ]
    )
