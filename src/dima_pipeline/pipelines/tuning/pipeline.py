"""Wiring of the ``tuning`` pipeline: from what ``distillation`` reads to a parameters file for its next run."""

from kedro.pipeline import Pipeline, node

from dima_pipeline.pipelines.ingestion.pipeline import TABLES
from dima_pipeline.pipelines.tuning.nodes import tune_distillation


def create_pipeline() -> Pipeline:
    """Tables and shards in, trials and the best configuration out."""
    settings = {
        "tuning": "params:tuning",
        "config": "params:distillation",
        "runtime": "params:runtime",
        "image_shards": "image_shards",
    }
    tables = {name: name for name in [*TABLES, "vqa_pairs", "scene_edits"]}
    outputs = ["sweep_trials", "sweep"]
    return Pipeline([node(tune_distillation, settings | tables, outputs, name="tune_distillation")])
