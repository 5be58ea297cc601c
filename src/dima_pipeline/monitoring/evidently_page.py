"""Evidently's page and JSON about two windows; the one module that imports Evidently, and only a node imports it.

A slice is compared by columns of its own that are empty outside of it, so one page holds all tests.
"""

import json
import os
import re
from pathlib import Path
from typing import Any

# Evidently reports use to its maker where this is not set (0.7.23: from its user interface alone, which is not used).
os.environ.setdefault("DO_NOT_TRACK", "1")

import pandas as pd
from evidently import DataDefinition, Dataset, Report
from evidently.core.container import MetricContainer, MetricOrContainer
from evidently.core.report import Snapshot
from evidently.metrics import DriftedColumnsCount
from evidently.presets import DataDriftPreset
from evidently.tests.numerical_tests import LessThanMetricTest
from evidently.widgets import header_text

from dima_pipeline.monitoring.calibration import METHOD
from dima_pipeline.monitoring.config import DriftConfig
from dima_pipeline.monitoring.drift import ALL, drifted_features, num_tolerated, subsets
from dima_pipeline.storage.manifest import write_manifest

PAGE, FACTS = "index.html", "drift.json"
HEAD = (
    '<head><title>Drift</title><meta http-equiv="Content-Security-Policy" content="default-src \'none\'; '
    "script-src 'unsafe-inline'; style-src 'unsafe-inline'; font-src data:; img-src data: blob:\">"
)
"""Lets the browser refuse every request to the outside."""
MADE_UP_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}|metric_[0-9a-f]{32}")


class Section(MetricContainer):
    """A headline above what is drawn of one subset of keyframes."""

    title: str
    below: list[Any]

    def generate_metrics(self, context: Any) -> list[MetricOrContainer]:
        """The metrics of the section."""
        return self.below

    def render(self, context: Any, child_widgets: Any = None) -> list[Any]:
        """The headline, then what the metrics draw."""
        return [header_text(label=self.title), *super().render(context, child_widgets)]


def write_page(
    directory: Path,
    windows: pd.DataFrame,
    scores: pd.DataFrame,
    *,
    slice_members: pd.DataFrame,
    verdict: dict[str, Any],
    config: DriftConfig,
) -> None:
    """Fill an empty ``directory``: ``index.html`` needs nothing from outside, ``drift.json`` holds all numbers."""
    snapshot = run_report(windows, scores, slice_members, config)
    rows = json.loads(scores.to_json(orient="records"))
    content = {"verdict": verdict, "scores": rows, "evidently": json.loads(snapshot.json())}
    (directory / FACTS).write_text(json.dumps(content, indent=1) + "\n")
    (directory / PAGE).write_text(offline(snapshot.get_html_str(as_iframe=False)))
    write_manifest(directory, kind="drift_report")


def run_report(
    windows: pd.DataFrame, scores: pd.DataFrame, slice_members: pd.DataFrame, config: DriftConfig
) -> Snapshot:
    """Evidently's comparison: each judged feature against its threshold, over all keyframes and by slice."""
    columns: dict[str, pd.Series] = {}
    sections = []
    for name, rows in subsets(windows, slice_members).items():
        judged = scores[(scores["slice"] == name) & ~scores["too_few"]]
        prefix = "" if name == ALL else f"{name}: "
        columns |= {prefix + feature: rows[feature].reindex(windows.index) for feature in judged["feature"]}
        sections.append(_section(name, rows, judged.assign(column=prefix + judged["feature"]), config))
    table = pd.DataFrame(columns, index=windows.index)
    definition = DataDefinition(numerical_columns=list(columns))
    current, reference = (
        Dataset.from_pandas(table[inside].reset_index(drop=True), data_definition=definition)
        for inside in (windows["is_current"], ~windows["is_current"])
    )
    return Report(sections, include_tests=True).run(current, reference)


def _section(name: str, rows: pd.DataFrame, judged: pd.DataFrame, config: DriftConfig) -> Section:
    num_current = int(rows["is_current"].sum())
    title = "Every keyframe" if name == ALL else f"Slice {name}"
    title += f": {num_current} current against {len(rows) - num_current} reference keyframes"
    if judged.empty:
        return Section(title=f"{title}, too few to judge", below=[])
    # Evidently finds drift from a share on; this one lies between what is tolerated and one feature more.
    limit = round((num_tolerated(len(judged), config) + 0.5) / len(judged), 4)
    thresholds = dict(zip(judged["column"], judged["threshold"], strict=True))
    asked = {"columns": list(thresholds), "method": METHOD, "per_column_threshold": thresholds, "drift_share": limit}
    title += f"; drifted: {drifted_features(judged) or 'nothing'}"
    if name == ALL:
        return Section(title=title, below=[DataDriftPreset(**asked)])
    test = LessThanMetricTest(threshold=limit, alias=f"Slice {name}")
    return Section(title=title, below=[DriftedColumnsCount(**asked, share_tests=[test])])


def offline(page: str) -> str:
    """``page`` with a policy that forbids requests, and with its random identifiers numbered: the same every time."""
    numbers: dict[str, str] = {}
    numbered = MADE_UP_ID.sub(lambda found: numbers.setdefault(found[0], f"id_{len(numbers)}"), page)
    return numbered.replace("<head>", HEAD, 1)
