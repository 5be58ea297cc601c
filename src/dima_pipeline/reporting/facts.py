"""What a report is made of: the tables of a run and a few names. Nothing here is computed."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

DEFAULT_COMMANDS = {
    "kedro run --pipelines=distillation": "train planner, control and teacher again, after a change under conf/",
    "kedro run --pipelines=evaluation": "score, time and picture again, and write this page",
    "DIMA_DATAROOT=/path/to/nuscenes kedro run --env nuscenes_mini": "the same on recordings in the nuScenes format",
    "dima verify data/synthetic/06_models/planner_bundle": "check that a bundle is whole before it goes anywhere",
}


@dataclass(frozen=True, kw_only=True)
class ReportFacts:
    """The tables of ``contracts.tables`` that the page shows, and what they were made from."""

    title: str
    dataset: str
    """In words: which data set, e.g. "generated world"."""
    licence: str
    """Of the data; one that excludes commercial use is said loudly."""
    scenes: pd.DataFrame
    samples: pd.DataFrame
    summaries: pd.DataFrame
    """``ScoreSummaries``."""
    differences: pd.DataFrame
    """``ScoreDifferences`` of ``planner`` to the others."""
    vqa_scores: pd.DataFrame
    training_log: pd.DataFrame
    latencies: pd.DataFrame
    pictures: Path | None = None
    """Directory with ``pictures.json``."""
    split: str = "val"
    planner: str = "planner"
    control: str = "control"
    commands: Mapping[str, str] = field(default_factory=lambda: DEFAULT_COMMANDS)
    """Command line -> what it does."""
    identity: Mapping[str, str] = field(default_factory=dict)
    """What tells this run from others: digests, seed, versions."""

    @property
    def is_non_commercial(self) -> bool:
        """Whether the licence of the data excludes commercial use."""
        words = self.licence.lower().replace("-", " ").replace("_", " ")
        return "noncommercial" in words or "non commercial" in words or "nc" in words.split()
