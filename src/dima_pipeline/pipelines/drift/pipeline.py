"""Wiring of the ``drift`` pipeline: bundle, images and tables become features, their drift and a verdict."""

from kedro.pipeline import Pipeline, node

from dima_pipeline.pipelines.drift import nodes
from dima_pipeline.pipelines.ingestion.pipeline import TABLES

SETTINGS = "params:drift"


def create_pipeline() -> Pipeline:
    """A planner bundle and tables in, the drift of the current window and Evidently's page out."""
    return Pipeline(
        [
            node(
                nodes.describe_keyframes,
                ["planner_bundle", "image_shards", SETTINGS, *TABLES],
                "keyframe_features",
                name="describe_keyframes",
            ),
            node(
                nodes.compare_windows,
                ["keyframe_features", "scenes", "slice_members", SETTINGS, "params:runtime"],
                ["drift_scores", "drift_report", "drift_verdict"],
                name="compare_windows",
            ),
            node(nodes.judge_drift, ["drift_verdict", "drift_scores", SETTINGS], None, name="judge_drift"),
        ]
    )
