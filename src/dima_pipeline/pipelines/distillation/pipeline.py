"""Wiring of the ``distillation`` pipeline: tables and images become a planner, a control and a teacher."""

from kedro.pipeline import Pipeline, node

from dima_pipeline.pipelines.distillation.nodes import distill_planner
from dima_pipeline.pipelines.ingestion.pipeline import TABLES


def create_pipeline() -> Pipeline:
    """Tables and shards in, models out."""
    settings = {"config": "params:distillation", "runtime": "params:runtime", "image_shards": "image_shards"}
    tables = {name: name for name in [*TABLES, "vqa_pairs", "scene_edits"]}
    outputs = ["joint_model", "control_model", "training_log"]
    return Pipeline([node(distill_planner, settings | tables, outputs, name="distill_planner")])
