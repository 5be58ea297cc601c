"""Node of the ``report`` pipeline."""

import json
from pathlib import Path
from typing import Any

from dima_pipeline.evaluation.config import EvaluationConfig
from dima_pipeline.pipelines.hints import Table
from dima_pipeline.reporting.config import ReportConfig
from dima_pipeline.storage.runtime import RuntimeConfig


def write_report(
    *,
    drift_verdict: dict[str, Any],
    pictures: Path,
    planner_bundle: Path,
    joint_model: Path,
    config: ReportConfig,
    evaluation: EvaluationConfig,
    runtime: RuntimeConfig,
    **tables: Table,
) -> Path:
    """The report page of the run."""
    from dima_pipeline.reporting.facts import ReportFacts
    from dima_pipeline.reporting.page import render_report
    from dima_pipeline.serving.bundle import read_card

    facts = ReportFacts(
        run=config,
        licence=tables["scenes"].attrs["licence"],
        drift_verdict=drift_verdict,
        card=read_card(planner_bundle).facts,
        training=json.loads((joint_model / "config.json").read_text())["config"],
        pictures=pictures,
        split=evaluation.split,
        min_samples=evaluation.min_samples,
        min_events=evaluation.min_events,
        min_scenes=evaluation.min_scenes,
        **tables,  # type: ignore[arg-type]  # the pipeline names them one by one
    )
    directory = runtime.staging("report")
    render_report(facts, directory)
    return directory
