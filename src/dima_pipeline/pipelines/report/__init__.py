"""The `report` pipeline."""

from dima_pipeline.pipelines.report.pipeline import create_pipeline

__all__ = ["create_pipeline"]
