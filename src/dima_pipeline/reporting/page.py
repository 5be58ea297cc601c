"""Writes the report: one HTML file with everything inside it, readable offline and on a phone.

No script, no request to anywhere: pictures are data URIs, charts inline SVG, and a content security policy says so.
"""

import base64
import io
import json
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from PIL import Image

from dima_pipeline.reporting import charts, sections
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
    environment = Environment(
        loader=PackageLoader("dima_pipeline.reporting"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    text = environment.get_template("report.html.j2").render(**_content(facts))
    directory.mkdir(parents=True, exist_ok=True)
    page = directory / PAGE
    page.write_text(text, encoding="utf-8")
    write_manifest(directory, kind="report", licence=facts.licence)
    return page


def _content(facts: ReportFacts) -> dict[str, Any]:
    """Every name the template uses."""
    return {
        "facts": facts,
        "verdicts": sections.verdicts(facts),
        "data": sections.data_rows(facts),
        "counted": sections.counted(facts),
        "distances": sections.result_rows(facts, "planning_l2", "m"),
        "collisions": sections.result_rows(facts, "box_collision", "%"),
        "horizon_chart": charts.horizon_chart(facts),
        "answers": sections.answer_rows(facts),
        "questions": sections.question_rows(facts),
        "slices": sections.slice_rows(facts),
        "slice_planners": sections.slice_planners(facts),
        "training": charts.training_charts(facts.training_log),
        "stages": charts.stage_names(facts.training_log),
        "latencies": sections.latency_rows(facts),
        "pictures": load_pictures(facts.pictures) if facts.pictures else [],
        "number": sections.number,
        "chart_size": (charts.WIDTH, charts.HEIGHT),
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
