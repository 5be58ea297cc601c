"""Nodes of the ``ingestion`` pipeline."""

from pathlib import Path
from typing import Any

from dima_pipeline.curation.config import IngestionConfig
from dima_pipeline.pipelines.hints import Table
from dima_pipeline.storage.runtime import RuntimeConfig

MAX_SHOWN = 10
"""Errors that are logged; the table has them all."""


def audit_recordings(dataroot: Path, config: IngestionConfig, runtime: RuntimeConfig) -> Table:
    """What is wrong or odd in the recordings: kept as a table also where errors stop the run after it."""
    import logging

    from dima_pipeline.curation.audit import audit_in_words
    from dima_pipeline.curation.ingest import audit
    from dima_pipeline.distributed.scene_workers import SceneWorkers
    from dima_pipeline.pipelines.progress import progress

    with progress("Auditing scenes") as report:
        workers = SceneWorkers(runtime)
        findings = audit(config, dataroot, runtime.kept("ingestion"), workers=workers, report=report)
    logger = logging.getLogger(__name__)
    logger.info("%s", audit_in_words(findings))
    for message in findings.loc[findings["severity"] == "error", "message"].head(MAX_SHOWN):
        logger.error("%s", message)
    return findings


def ingest_recordings(
    dataroot: Path, findings: Table, config: IngestionConfig, runtime: RuntimeConfig
) -> tuple[Any, ...]:
    """Tables (in the order of ``datasets.SceneTables``), image shards, VAD's infos and geographic overlap."""
    from dima_pipeline.curation.audit import raise_errors
    from dima_pipeline.curation.ingest import ingest
    from dima_pipeline.distributed.scene_workers import SceneWorkers
    from dima_pipeline.pipelines.progress import progress

    raise_errors(findings)
    with progress("Ingesting scenes") as report:
        made = ingest(config, dataroot, runtime.kept("ingestion"), workers=SceneWorkers(runtime), report=report)
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
