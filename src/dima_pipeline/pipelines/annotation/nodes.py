"""Node of the ``annotation`` pipeline."""

from dima_pipeline.curation.annotation_config import AnnotationConfig
from dima_pipeline.pipelines.hints import Table


def annotate_scenes(config: AnnotationConfig, world_truth: Table, *tables: Table) -> tuple[Table, ...]:
    """Pairs, scene edits, slice members and rates of checks of the tables (in the order of ``SceneTables``)."""
    from dima_pipeline.curation.annotate import annotate
    from dima_pipeline.datasets import SceneTables

    return annotate(config, SceneTables(*tables), world_truth)
