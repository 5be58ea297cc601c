"""The `tuning` pipeline."""

from dima_pipeline.pipelines.tuning.pipeline import create_pipeline

__all__ = ["create_pipeline"]
