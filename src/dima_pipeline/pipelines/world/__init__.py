"""The `world` pipeline."""

from dima_pipeline.pipelines.world.pipeline import create_pipeline

__all__ = ["create_pipeline"]
