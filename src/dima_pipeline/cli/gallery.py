"""``dima gallery``: contact sheets to look at: of a generated world's events, of a recording replayed or reacting."""

import html
import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from dima_pipeline.cli.compare import root_and_version
from dima_pipeline.cli.errors import clear_errors

if TYPE_CHECKING:
    import pandas as pd

SHOWN = ("events", "replay", "reaction")
STYLE = "body{font:16px system-ui,sans-serif;margin:2em auto;max-width:1900px}img{max-width:100%}p{color:#444}"


@click.command("gallery")
@click.argument("root")
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--per-kind", type=click.IntRange(1, 20), default=1, show_default=True, help="Sheets of each kind.")
@click.option("--show", type=click.Choice(list(SHOWN)), default="events", show_default=True)
@click.option("--scene", "scenes", multiple=True, help="Not of events: only this scene; may be given again.")
def gallery_command(root: str, out: Path, per_kind: int, show: str, scenes: tuple[str, ...]) -> None:
    """Contact sheets of the nuScenes-format ROOT (or ROOT:VERSION) as PNG files and index.html in the new folder OUT.

    events: each kind of event of a generated world at five instants, six cameras and the view from above. replay: the
    first keyframe with recorded images of each scene beside its replay, boxes over both. reaction: each scene as
    logged, beside a replay in which the ego brakes to a halt and the others follow their logged paths by IDM.
    """
    clear_errors(_gallery, (ValueError,))(root, out, per_kind, show, list(scenes))


def _gallery(root: str, out: Path, per_kind: int, show: str, scenes: list[str]) -> None:
    from dima_pipeline.cli.event_sheets import write_event_sheets
    from dima_pipeline.cli.reaction_sheets import write_reaction_sheets
    from dima_pipeline.cli.replay_sheets import write_replay_sheets
    from dima_pipeline.datasets.nuscenes import Config, NuScenesDataset
    from dima_pipeline.plugins import unknown

    folder, version = root_and_version(root)
    dataset = NuScenesDataset(Config(version=version, require_maps=False), dataroot=folder)
    for name in scenes:
        if name not in dataset.scene_names():
            raise ValueError(unknown("scene", name, dataset.scene_names(), where=root))
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ValueError(f"{out} is there and not empty: name a new folder")
    truth = read_truth(folder / version) if show == "events" else None
    out.mkdir(parents=True, exist_ok=True)
    if truth is None:
        write = write_replay_sheets if show == "replay" else write_reaction_sheets
        entries = write(dataset, out, scenes or dataset.scene_names())
    else:
        entries = write_event_sheets(dataset, truth, out, per_kind)
    (out / "index.html").write_text(page(f"{folder.name} {version}", entries), encoding="utf-8")
    click.echo(f"{len(entries)} sheets: {out / 'index.html'}")


def read_truth(folder: Path) -> "pd.DataFrame":
    """``world_truth.json`` of a version folder; raises ``ValueError`` for a root that was not generated."""
    import pandas as pd

    from dima_pipeline.contracts.tables import WorldTruth

    path = folder / "world_truth.json"
    if not path.is_file():
        raise ValueError(f"{path} is missing: only a generated world knows its events; of recordings, --show replay")
    return WorldTruth.validate(pd.DataFrame(json.loads(path.read_text())))


def page(title: str, entries: list[dict[str, str]]) -> str:
    """An HTML page of sheets, one below the other."""
    parts = [f"<!doctype html><meta charset=utf-8><title>{html.escape(title)}</title><style>{STYLE}</style>"]
    parts.append(f"<h1>{html.escape(title)}</h1>")
    for entry in entries:
        file, heading, text = (html.escape(entry[key]) for key in ("file", "heading", "text"))
        parts.append(
            f'<h2>{heading}</h2><p>{text}</p><a href="{file}"><img src="{file}" alt="{heading}" loading=lazy></a>'
        )
    return "\n".join(parts) + "\n"
