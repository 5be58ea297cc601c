"""Node of the ``ingestion`` pipeline."""

from pathlib import Path
from typing import Any

from dima_pipeline.curation.config import IngestionConfig
from dima_pipeline.storage.runtime import RuntimeConfig


def ingest_recordings(dataroot: Path, config: IngestionConfig, runtime: RuntimeConfig) -> tuple[Any, ...]:
    """Tables (in the order of ``datasets.SceneTables``), image shards, VAD's infos and geographic overlap."""
    from dima_pipeline.curation.ingest import ingest
    from dima_pipeline.pipelines.progress import progress

    with progress("Ingesting scenes") as report:
        staging = runtime.staging("ingestion")
        made = ingest(config, dataroot, staging, lambda now: report(now.num_done, now.num_total))
    tables = made.tables
    return (
        tables.scenes,
        tables.samples,
        tables.agents,
        tables.ego_paths,
        tables.agent_futures,
        tables.map_elements,
        made.shards,
        made.vad_infos,
        made.overlap,
    )
