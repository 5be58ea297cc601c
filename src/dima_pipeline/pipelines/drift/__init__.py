"""The `drift` pipeline."""

from dima_pipeline.pipelines.drift.pipeline import create_pipeline

__all__ = ["create_pipeline"]
