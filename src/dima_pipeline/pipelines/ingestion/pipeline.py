"""Wiring of the ``ingestion`` pipeline: a dataroot is audited and becomes tables and image shards."""

from kedro.pipeline import Pipeline, node

from dima_pipeline.pipelines.ingestion.nodes import audit_recordings, ingest_recordings

TABLES = ["scenes", "samples", "agents", "ego_paths", "agent_futures", "map_elements"]
"""In the order of ``datasets.SceneTables``."""


def create_pipeline() -> Pipeline:
    """Recordings in, tables and shards out."""
    return Pipeline(
        [
            node(
                audit_recordings,
                ["dataroot", "params:ingestion", "params:runtime"],
                "audit_findings",
                name="audit_recordings",
            ),
            node(
                ingest_recordings,
                ["dataroot", "audit_findings", "params:ingestion", "params:runtime"],
                [*TABLES, "image_shards", "vad_infos", "geographic_overlap"],
                name="ingest_recordings",
            ),
        ]
    )
