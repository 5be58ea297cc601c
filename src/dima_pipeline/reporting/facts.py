"""What a report is made of: the tables of a run and a few names. Nothing here is computed."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from dima_pipeline.reporting.config import ReportConfig


@dataclass(frozen=True, kw_only=True)
class ReportFacts:
    """The tables of ``contracts.tables`` that the page shows, and what they were made from."""

    run: ReportConfig
    licence: str
    """Of the data; one that excludes commercial use is said loudly."""
    scenes: pd.DataFrame
    samples: pd.DataFrame
    slice_members: pd.DataFrame
    overlap: pd.DataFrame
    """``GeographicOverlap``."""
    findings: pd.DataFrame
    """``AuditFindings``."""
    summaries: pd.DataFrame
    """``ScoreSummaries``."""
    differences: pd.DataFrame
    """``ScoreDifferences`` of ``planner`` to the others."""
    vqa_scores: pd.DataFrame
    training_log: pd.DataFrame
    latencies: pd.DataFrame
    sweep_trials: pd.DataFrame
    """No row where no sweep was made."""
    drift_scores: pd.DataFrame
    drift_verdict: Mapping[str, Any]
    card: Mapping[str, Any]
    """``card.json`` of the planner bundle."""
    training: Mapping[str, Any]
    """``DistillationConfig`` as JSON: what the models were really trained with."""
    grounding: pd.DataFrame | None = None
    """``GroundingRates``; None where annotation saved none."""
    pictures: Path | None = None
    """Directory with ``pictures.json``."""
    split: str = "val"
    min_samples: int = 20
    """A slice with fewer scored keyframes was marked ``too_few``."""
    min_events: int = 2
    min_scenes: int = 8
    """Fewer scenes carry no interval."""
    planner: str = "planner"
    control: str = "control"

    @property
    def is_non_commercial(self) -> bool:
        """Whether the licence of the data excludes commercial use."""
        words = self.licence.lower().replace("-", " ").replace("_", " ")
        return "noncommercial" in words or "non commercial" in words or "nc" in words.split()
