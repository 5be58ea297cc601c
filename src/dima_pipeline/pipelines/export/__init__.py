"""The `export` pipeline."""

from dima_pipeline.pipelines.export.pipeline import create_pipeline

__all__ = ["create_pipeline"]
