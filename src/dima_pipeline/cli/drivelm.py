"""``dima drivelm``: pairs out in DriveLM's form, and what of a DriveLM file can be used with a data set."""

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import click

from dima_pipeline.cli.compare import root_and_version
from dima_pipeline.cli.errors import clear_errors, kedro_errors

if TYPE_CHECKING:
    import pandas as pd

    from dima_pipeline.annotations._drivelm_pairs import FaultCount
    from dima_pipeline.curation.drivelm import Fleet, Written

FILE = click.Path(path_type=Path)
TABLES = ("scenes", "samples", "agents")


@click.group("drivelm")
def drivelm_group() -> None:
    """Questions and answers in the form of DriveLM's v1_0_train_nus.json; docs/drivelm.md says how they come in."""


@drivelm_group.command("export")
@click.option("--vqa", required=True, type=FILE, help="vqa_pairs.parquet of an annotation.")
@click.option(
    "--tables", required=True, type=FILE, help="Folder of scenes, samples and agents.parquet, as 02_intermediate."
)
@click.option("--original", type=FILE, help="The DriveLM file that pairs came from: all else it holds is kept.")
@click.option("--source", "sources", multiple=True, help="Only pairs of this source; may be given again.")
@click.option("--out", required=True, type=FILE, help="The JSON file to write.")
def export_command(vqa: Path, tables: Path, original: Path | None, sources: tuple[str, ...], out: Path) -> None:
    """Write the pairs of an annotation as a DriveLM file."""
    clear_errors(_export, kedro_errors())(vqa, tables, original, list(sources), out)


@drivelm_group.command("check")
@click.argument("file", type=FILE)
@click.option("--tables", type=FILE, help="Folder of scenes, samples and agents.parquet, as 02_intermediate.")
@click.option("--dataroot", help="Or recordings: ROOT or ROOT:VERSION in the nuScenes format.")
def check_command(file: Path, tables: Path | None, dataroot: str | None) -> None:
    """Tell what of FILE becomes pairs, and which of its tags mean an agent; without tables, the form alone."""
    clear_errors(_check, kedro_errors())(file, tables, dataroot)


def _export(vqa: Path, folder: Path, original: Path | None, sources: list[str], out: Path) -> None:
    from dima_pipeline.curation import drivelm
    from dima_pipeline.storage.manifest import durably_open

    if not out.absolute().parent.is_dir():
        raise ValueError(f"--out {out}: there is no folder {out.absolute().parent}")
    if out.is_dir() or out.resolve() in {path.resolve() for path in (vqa, original) if path}:
        raise ValueError(f"--out {out} would replace what is read: name another file")
    pairs, licence = read_table(vqa)
    if missing := [name for name in (*drivelm.Row._fields, "sample_token", "check") if name not in pairs]:
        raise ValueError(f"{vqa} holds no pairs: it has no column '{missing[0]}'; name a vqa_pairs.parquet")
    if sources:
        pairs = pairs[pairs.source.isin(sources)]
    written = drivelm.Written()
    fleet = drivelm.fleet_of(read_tables(folder), pairs)
    try:
        with durably_open(out) as file:
            for piece in _pieces(fleet, original, written):
                file.write(piece)
    except OSError as error:
        raise ValueError(f"{out} cannot be written: {error.strerror}") from None
    click.echo(f"{out}: {written.num_scenes} scenes, {written.num_frames} frames, {written.num_pairs} pairs")
    click.echo(f"licence of the pairs: {licence}")
    if written.num_left_out:
        click.echo(f"{written.num_left_out} pairs of {original} are left out: {vqa} has them no longer")
    _show(written.faults)


def _pieces(fleet: "Fleet", original: Path | None, written: "Written") -> Iterator[bytes]:
    """The file, a scene a line."""
    from dima_pipeline.curation import drivelm

    before = "{\n"
    for token, content in drivelm.export(fleet, original, written):
        text = drivelm.scene_text(token, content, written)
        if text is not None:
            yield f"{before}{text}".encode()
            before = ",\n"
    yield b"{}\n" if before == "{\n" else b"\n}\n"


def _check(file: Path, folder: Path | None, dataroot: str | None) -> None:
    from dima_pipeline.curation.drivelm_report import check_file

    if folder is not None and dataroot is not None:
        raise ValueError("--tables and --dataroot: one of them is enough")
    is_joined = folder is not None or dataroot is not None
    scenes = iter([read_tables(folder)]) if folder is not None else _recorded(str(dataroot)) if dataroot else None
    found = check_file(file, scenes)
    click.echo(f"{file}: {found.num_scenes} scenes, {found.num_frames} frames, {found.num_questions} questions")
    click.echo(f"  {found.num_pairs} become pairs, {found.num_questions - found.num_pairs} stay in the file alone")
    if is_joined:
        click.echo(f"  {found.num_joined_frames} frames are keyframes here: {found.num_joined_pairs} pairs,")
        click.echo(
            f"  {found.num_flagged_pairs} of them flagged; {found.num_resolved} of {found.num_tags} tags mean an agent"
        )
        for line in found.unresolved.lines():
            click.echo(f"  tags: {line}")
    _show(found.faults)


def _show(faults: "FaultCount") -> None:
    for line in faults.lines():
        click.echo(f"warning: {line}", err=True)


def _recorded(root: str) -> Iterator[Any]:
    from dima_pipeline.datasets.nuscenes import Config, NuScenesDataset

    folder, version = root_and_version(root)
    dataset = NuScenesDataset(Config(version=version, require_maps=False), dataroot=folder)
    return (dataset.tables(name) for name in dataset.scene_names())


def read_tables(folder: Path) -> SimpleNamespace:
    """Scenes, samples and agents of a folder; raises ``ValueError`` for one that does not hold them."""
    return SimpleNamespace(**{name: read_table(folder / f"{name}.parquet")[0] for name in TABLES})


def read_table(path: Path) -> "tuple[pd.DataFrame, str]":
    """A table of a run and its licence; raises ``ValueError`` for a missing or foreign file."""
    from dima_pipeline.pipelines.datasets import LICENCE, TableDataset

    frame = TableDataset(filepath=str(path), licence="").load()
    return frame, str(frame.attrs[LICENCE])
