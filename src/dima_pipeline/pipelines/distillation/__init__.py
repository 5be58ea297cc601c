"""The `distillation` pipeline."""

from dima_pipeline.pipelines.distillation.pipeline import create_pipeline

__all__ = ["create_pipeline"]
