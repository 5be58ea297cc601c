"""Writes the report: one HTML file with everything inside it, readable offline and on a phone.

No script, no request to anywhere: pictures are data URIs, charts inline SVG, and a content security policy says so.
"""

import base64
import io
import json
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from PIL import Image

from dima_pipeline.reporting import (
    answers,
    charts,
    commands,
    drift,
    grounding,
    protocols,
    results,
    run,
    sweep,
    verdicts,
    wording,
)
from dima_pipeline.reporting.facts import ReportFacts
from dima_pipeline.storage.manifest import write_manifest

PAGE = "index.html"
PICTURE_BUDGET_BYTES = 4_000_000
"""All pictures together, before base64 makes them a third larger: the page stays below 6 MB."""
PICTURE_WIDTH = 1200
QUALITIES = (82, 70, 55, 40, 25)


def render_report(facts: ReportFacts, directory: Path) -> Path:
    """Write ``index.html`` (and the manifest that makes the directory whole) into ``directory``; returns the page.

    Raises ``ValueError`` where the scores lack the planner the report is about.
    """
    present = list(facts.summaries["planner"].unique())
    if facts.planner not in present:
        raise ValueError(f"the scores have no planner '{facts.planner}' to report on; they have {present}")
    text = _templates().get_template("report.html.j2").render(**_content(facts))
    directory.mkdir(parents=True, exist_ok=True)
    page = directory / PAGE
    page.write_text(text, encoding="utf-8")
    write_manifest(directory, kind="report", licence=facts.licence)
    return page


@cache
def _templates() -> Environment:
    loader = PackageLoader("dima_pipeline.reporting")
    return Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)


def _content(facts: ReportFacts) -> dict[str, Any]:
    """Every name the templates use, section by section."""
    return {
        "facts": facts,
        "chart_size": (charts.WIDTH, charts.HEIGHT),
        "number": wording.number,
        **_top(facts),
        **_scores(facts),
        **_around(facts),
    }


def _top(facts: ReportFacts) -> dict[str, Any]:
    """The overview, and what was trained on what."""
    around = [sweep.sweep_verdict(facts), drift.drift_verdict(facts)]
    findings = [*verdicts.verdicts(facts), *(verdict for verdict in around if verdict is not None)]
    return {
        "opening": run.opening(facts),
        "overall": verdicts.overall(facts),
        "verdicts": findings,
        "advice": [verdict.advice for verdict in findings if verdict.advice],
        "stations": run.stations(facts),
        "data": run.data_rows(facts),
        "images": run.images_in_words(facts, facts.samples),
        "models": run.models_in_words(facts),
        "held_out": run.held_out(facts),
        "findings": run.finding_rows(facts.findings),
        "overlap": run.overlap_in_words(facts.overlap),
        "stages": run.stage_rows(facts),
        "grounding": grounding.grounding_rows(facts),
        "grounded": grounding.grounding_in_words(facts),
    }


def _scores(facts: ReportFacts) -> dict[str, Any]:
    """How good the planner and its teacher are."""
    planners = results.shown_planners(facts)
    return {
        "counted": results.counted(facts),
        "differences": list(zip(results.difference_rows(facts), charts.difference_strips(facts), strict=True)),
        "surprise": verdicts.surprise(facts),
        "distances": results.result_rows(facts, "planning_l2", "m"),
        "collisions": results.result_rows(facts, "box_collision", "%"),
        "horizon_chart": charts.horizon_chart(facts),
        "protocol_rows": protocols.protocol_rows(facts),
        "driving_names": [protocols.DRIVING[name] for name in protocols.driving_metrics(facts)],
        "driving_rows": protocols.driving_rows(facts),
        "slices": list(zip(results.slice_rows(facts), charts.slice_strips(facts), strict=True)),
        "slice_planners": [results.label(name, facts)[0] for name in planners],
        "slice_rules": results.slice_rules(facts),
        "slice_verdict": verdicts.slice_verdict(facts),
        "small_slices": results.small_slices(facts),
        "pictures": load_pictures(facts.pictures) if facts.pictures else [],
        "answers": answers.answer_rows(facts),
        "questions": answers.question_rows(facts),
        "latencies": run.latency_rows(facts),
    }


def _around(facts: ReportFacts) -> dict[str, Any]:
    """Training curves, sweep, drift and how to go on."""
    return {
        "training": charts.training_charts(facts.training_log),
        "main_terms": charts.MAIN_TERMS,
        "curves": charts.stage_names(facts.training_log),
        "sweep_verdict": sweep.sweep_verdict(facts),
        "sweep_chart": charts.sweep_chart(facts.sweep_trials),
        "sweep_statuses": sweep.status_rows(facts),
        "changed": sweep.changed_rows(facts),
        "search": commands.search(facts.run),
        "adopt_sweep": commands.adopt_sweep(facts.run),
        "drift_verdict": drift.drift_verdict(facts),
        "drift_groups": drift.drift_groups(facts),
        "drifted": drift.drifted_rows(facts),
        "heat": drift.heat_rows(facts),
        "command_groups": commands.command_groups(facts.run),
    }


def load_pictures(directory: Path) -> list[dict[str, Any]]:
    """The entries of ``pictures.json`` with their files as data URIs; raises ``ValueError`` for a missing index."""
    index = directory / "pictures.json"
    if not index.is_file():
        raise ValueError(f"{index} does not exist: run the evaluation pipeline again")
    entries: list[dict[str, Any]] = json.loads(index.read_text(encoding="utf-8"))
    budget = PICTURE_BUDGET_BYTES // max(2 * len(entries), 1)
    for entry in entries:
        for view in ("cameras", "above"):
            entry[view] = as_data_uri(directory / entry[view], budget)
    return entries


def as_data_uri(path: Path, budget_bytes: int) -> str:
    """A picture as WebP data URI of at most ``budget_bytes`` where the lowest quality allows it."""
    with Image.open(path) as opened:
        picture = opened.convert("RGB")
    if picture.width > PICTURE_WIDTH:
        picture = picture.resize((PICTURE_WIDTH, round(picture.height * PICTURE_WIDTH / picture.width)))
    for quality in QUALITIES:
        buffer = io.BytesIO()
        picture.save(buffer, "WEBP", quality=quality)
        if buffer.tell() <= budget_bytes:
            break
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode()
