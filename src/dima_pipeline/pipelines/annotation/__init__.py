"""The `annotation` pipeline."""

from dima_pipeline.pipelines.annotation.pipeline import create_pipeline

__all__ = ["create_pipeline"]
