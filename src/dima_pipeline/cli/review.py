"""``dima review``: pairs to look at for Label Studio, decisions back from it, and how far annotators agree.

docs/review.md says how it all goes together.
"""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dima_pipeline.cli.errors import clear_errors, kedro_errors
from dima_pipeline.cli.tables import Environment, open_environment

if TYPE_CHECKING:
    import pandas as pd

    from dima_pipeline.curation.review_queue import ReviewConfig

TABLES = ("scenes", "samples", "agents", "ego_paths", "agent_futures", "map_elements", "vqa_pairs", "slice_members")
IMAGES = "images"

environment_option = click.option(
    "--env", "environment", default="synthetic", show_default=True, help="Environment below conf/."
)
decisions_option = click.option(
    "--decisions",
    type=click.Path(path_type=Path),
    help="File of decisions; without it review/decisions.jsonl in the environment's data folder.",
)


@click.group("review")
def review_command() -> None:
    """Have people review question-answer pairs in Label Studio."""


@review_command.command("export")
@environment_option
@click.option("--out", type=click.Path(path_type=Path), required=True, help="A new folder.")
@click.option("--num", type=click.IntRange(min=1), default=200, show_default=True, help="Number of tasks.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of the random sample and of ties.")
@click.option("--annotators", type=click.IntRange(min=1), default=1, show_default=True, help="Wanted for each pair.")
@click.option("--share", "shares", multiple=True, help="As failed=0.5: share of a tier; may be given again.")
@decisions_option
def export_command(
    environment: str,
    *,
    out: Path,
    num: int,
    seed: int,
    annotators: int,
    shares: tuple[str, ...],
    decisions: Path | None,
) -> None:
    """Write tasks.json, labeling_config.xml and images/ for Label Studio into the new folder OUT.

    Tiers, most urgent first: failed, flagged, rare_slice, llm_unchecked, audit.
    """

    def export() -> None:
        config = review_config(num, seed, annotators, shares)
        _check_out(out)
        _export(open_environment(environment), out, config, decisions)

    clear_errors(export, kedro_errors())()


def review_config(num: int, seed: int, annotators: int, shares: tuple[str, ...]) -> "ReviewConfig":
    """Raises ``ValueError`` for a share that is none, and for shares of more than 1 together."""
    from pydantic import ValidationError

    from dima_pipeline.curation.review_queue import TIERS, ReviewConfig
    from dima_pipeline.plugins import unknown

    found: dict[str, Any] = {}
    for share in shares:
        tier, equals, value = share.partition("=")
        if tier not in TIERS:
            raise ValueError(unknown("tier", tier, list(TIERS), where=f"--share {share}"))
        if not equals:
            raise ValueError(f"--share {share}: write {tier}=0.5")
        found[f"{tier}_share"] = value
    try:
        return ReviewConfig(num_tasks=num, seed=seed, num_annotators=annotators, **found)
    except ValidationError as error:
        problems = "; ".join(problem["msg"].removeprefix("Value error, ") for problem in error.errors())
        raise ValueError(f"--share {' '.join(shares)}: {problems}") from None


def _check_out(out: Path) -> None:
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ValueError(f"{out} is there and not empty: name a new folder")


def _export(environment: Environment, out: Path, config: "ReviewConfig", decisions_path: Path | None) -> None:
    from dima_pipeline.curation.review import no_decisions, read_decisions
    from dima_pipeline.curation.review_queue import review_queue

    path = decisions_path or default_decisions(environment)
    decisions = read_decisions(path) if path.exists() or decisions_path else no_decisions()
    tables = environment.tables(TABLES)
    queue = review_queue(tables["vqa_pairs"], tables["slice_members"], decisions, config)
    if queue.empty:
        raise ValueError("no pair is left to review: every one has been decided upon, or there is none")
    write_export(environment, out, queue, tables)
    counts = queue["tier"].value_counts(sort=False)
    click.echo(f"{out}: {len(queue)} tasks ({', '.join(f'{num} {tier}' for tier, num in counts.items())})")
    click.echo(
        f"Label Studio: LABEL_STUDIO_LOCAL_FILES_SERVING_ENABLED=true, and as document root {out.resolve().parent}"
    )
    click.echo(
        f"In the project: labeling_config.xml, a local storage with the path {out.resolve() / IMAGES}, tasks.json"
    )


def default_decisions(environment: Environment) -> Path:
    """Where decisions lie: beside the outputs of the environment, but no output, so that no run removes them."""
    return environment.data_dir / "review" / "decisions.jsonl"


def write_export(environment: Environment, out: Path, queue: "pd.DataFrame", tables: "dict[str, pd.DataFrame]") -> None:
    """The folder ``out``: whole, with a manifest, or not there."""
    from dima_pipeline.cli.review_pictures import ReviewPictures
    from dima_pipeline.curation.review_tasks import labeling_config, review_tasks
    from dima_pipeline.storage.image_shards import ImageShards
    from dima_pipeline.storage.manifest import publish, write_manifest

    staged = out.with_name(f".{out.name}.partial")
    shutil.rmtree(staged, ignore_errors=True)
    (staged / IMAGES).mkdir(parents=True)
    try:
        shards = ImageShards(environment.load("image_shards"))
        pictures = ReviewPictures(staged / IMAGES, tables, shards, dataroot(environment))
        addresses = {
            row["pair_id"]: {key: f"{out.name}/{IMAGES}/{name}" for key, name in pictures.of_pair(row).items()}
            for row in queue.to_dict("records")
        }
        facts = {"environment": environment.name, "licence": environment.licence}
        tasks = review_tasks(queue, tables["samples"], tables["scenes"], addresses, facts=facts)
        (staged / "tasks.json").write_text(json.dumps(tasks, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        (staged / "labeling_config.xml").write_text(labeling_config(), encoding="utf-8")
        write_manifest(staged, kind="review_tasks", num_tasks=len(tasks), **facts)
        publish(staged, out)
    finally:
        shutil.rmtree(staged, ignore_errors=True)


def dataroot(environment: Environment) -> Path | None:
    """The recordings, where they are at hand."""
    from kedro.io import DatasetError

    try:
        return Path(environment.load("dataroot"))
    except (ValueError, DatasetError):
        return None


@review_command.command("import")
@click.argument("file", type=click.Path(path_type=Path))
@environment_option
@decisions_option
def import_command(file: Path, environment: str, decisions: Path | None) -> None:
    """Add the decisions in FILE, which Label Studio exported as JSON, to those of the environment.

    All of the file or none of it; what was imported before is not added twice.
    """
    _with_environment(environment, lambda found: _import(found, file, decisions or default_decisions(found)))


def _with_environment(name: str, command: Callable[[Environment], None]) -> None:
    clear_errors(lambda: command(open_environment(name)), kedro_errors())()


def _import(environment: Environment, file: Path, path: Path) -> None:
    from dima_pipeline.curation.review import add_decisions, read_decisions
    from dima_pipeline.curation.review_import import read_export

    export = read_export(file, environment.name)
    num_added = add_decisions(path, export.decisions)
    num_known = len(export.decisions) - num_added
    click.echo(f"{path}: {num_added} decisions added, {num_known} were there already")
    click.echo(f"{file}: {export.num_tasks} tasks, {export.num_open} without a decision, {export.num_skipped} skipped")
    if path.is_file():
        for line in standing(environment, path, read_decisions(path)):
            click.echo(line)


def standing(environment: Environment, path: Path, decisions: "pd.DataFrame") -> list[str]:
    """What all decisions come to: outcomes, disputes, and decisions whose pair is gone."""
    from dima_pipeline.curation.review import DISPUTED, LABELS, outcomes, stale_decisions

    found = outcomes(decisions)
    counts = found["decision"].value_counts()
    said = ", ".join(f"{counts.get(label, 0)} {label}" for label in (*LABELS, DISPUTED))
    lines = [f"{len(found)} pairs are decided upon: {said}"]
    applied = environment.parameters["annotation"].decisions_file
    if environment.catalog.exists("vqa_pairs"):
        stale = stale_decisions(environment.load("vqa_pairs"), decisions, is_applied=applied is not None)
        num = stale["pair_id"].nunique()
        lines.append(f"{num} of them are stale: no pair of vqa_pairs says that any more; they are kept")
    if applied is None:
        shown = path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
        lines.append(f"annotation does not use them yet: set annotation.decisions_file to {shown}")
    return lines


@review_command.command("agreement")
@environment_option
@decisions_option
@click.option("--json", "json_path", type=click.Path(path_type=Path), help="Write the numbers to this file, too.")
def agreement_command(environment: str, decisions: Path | None, json_path: Path | None) -> None:
    """Cohen's kappa of every two annotators, and the decisions by tier."""
    _with_environment(environment, lambda found: _agreement(found, decisions or default_decisions(found), json_path))


def _agreement(environment: Environment, path: Path, json_path: Path | None) -> None:
    from dima_pipeline.curation.review import read_decisions
    from dima_pipeline.curation.review_agreement import agreement, decisions_by_tier

    decisions = read_decisions(path)
    pairs, tiers = agreement(decisions), decisions_by_tier(decisions)
    _show("Agreement over accept, fix, reject", pairs)
    _show("Decisions by tier (audit: an estimate for all pairs that are trained on)", tiers)
    for line in standing(environment, path, decisions):
        click.echo(line)
    if json_path is not None:
        content = {name: json.loads(frame.to_json(orient="records")) for name, frame in _named(pairs, tiers)}
        json_path.write_text(json.dumps(content, indent=1) + "\n")


def _named(pairs: "pd.DataFrame", tiers: "pd.DataFrame") -> "list[tuple[str, pd.DataFrame]]":
    return [("agreement", pairs), ("tiers", tiers)]


def _show(title: str, frame: "pd.DataFrame") -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(*map(str, frame.columns), title=title)
    for row in frame.itertuples(index=False):
        table.add_row(*(f"{value:.3f}" if isinstance(value, float) else escape(str(value)) for value in row))
    Console().print(table)
