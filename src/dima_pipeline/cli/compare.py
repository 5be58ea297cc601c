"""``dima compare``: two nuScenes-format roots side by side, such as a generated world and a recording.

The large differences are named at the end. Numbers of licensed recordings belong on a screen, not into a repository.
"""

import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from dima_pipeline.cli.errors import clear_errors

if TYPE_CHECKING:
    from dima_pipeline.curation.root_statistics import Difference, RootStatistics


@click.command("compare")
@click.argument("first")
@click.argument("second")
@click.option("--max-scenes", type=click.IntRange(min=1), help="Read only so many scenes of each, evenly chosen.")
@click.option("--json", "json_path", type=click.Path(path_type=Path), help="Write the numbers to this file, too.")
def compare_command(first: str, second: str, max_scenes: int | None, json_path: Path | None) -> None:
    """Statistics of the nuScenes-format roots FIRST and SECOND side by side: motion, agents, sizes, commands, light.

    A root is ROOT or ROOT:VERSION, such as /data/nuscenes:v1.0-mini; the version may be left out where there is one.
    """
    clear_errors(_compare, (ValueError,))([first, second], max_scenes, json_path)


def _compare(roots: list[str], max_scenes: int | None, json_path: Path | None) -> None:
    from dima_pipeline.curation.root_statistics import compare_statistics

    places = [root_and_version(root) for root in roots]
    if json_path is not None and not json_path.absolute().parent.is_dir():
        raise ValueError(f"--json {json_path}: there is no folder {json_path.absolute().parent}")
    first, second = (_measure(*place, max_scenes) for place in places)
    differences = compare_statistics(first, second)
    show(roots, (first, second), differences)
    if json_path is not None:
        rows = [asdict(row) | {"is_large": row.is_large} for row in differences]
        content = {"roots": roots, "num_scenes": [first.num_scenes, second.num_scenes], "differences": rows}
        json_path.write_text(json.dumps(_finite(content), indent=1, allow_nan=False) + "\n")


def root_and_version(text: str) -> tuple[Path, str]:
    """The folder and the version that ``ROOT`` or ``ROOT:VERSION`` names; raises ``ValueError`` for none or several."""
    path, colon, version = text.rpartition(":")
    if colon and not Path(text).is_dir():
        return Path(path), version
    root = Path(text)
    versions = sorted(table.parent.name for table in root.glob("[!.]*/scene.json"))
    if len(versions) != 1:
        found = f"holds {', '.join(versions)}: choose one as {text}:{versions[0]}" if versions else "holds no version"
        raise ValueError(f"{root} {found if root.is_dir() else 'is no folder'}")
    return root, versions[0]


def _measure(root: Path, version: str, max_scenes: int | None) -> "RootStatistics":
    from rich.progress import track

    from dima_pipeline.curation.root_statistics import root_statistics
    from dima_pipeline.datasets.nuscenes import Config, NuScenesDataset

    dataset = NuScenesDataset(Config(version=version, require_maps=False), dataroot=root)
    names = dataset.scene_names()
    if max_scenes is not None and len(names) > max_scenes:
        names = [names[place * len(names) // max_scenes] for place in range(max_scenes)]
    from rich.console import Console

    console = Console(stderr=True)
    return root_statistics(dataset.tables(name) for name in track(names, f"reading {root.name}", console=console))


def _finite(content: object) -> object:
    """JSON has no infinity: null."""
    if isinstance(content, dict):
        return {key: _finite(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [_finite(value) for value in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content


def show(
    roots: list[str], measured: tuple["RootStatistics", "RootStatistics"], differences: list["Difference"]
) -> None:
    """Print a table of all quantities, and the large differences in words."""
    from rich.console import Console
    from rich.table import Table

    console = Console(width=None if Console().is_terminal else 150)
    names = [
        f"{letter}: {one.num_scenes} scenes, {one.num_keyframes} keyframes"
        for letter, one in zip("AB", measured, strict=True)
    ]
    table = Table("", *names, "shift", "distance", title=f"A {roots[0]}   B {roots[1]}")
    for row in differences:
        style = "bold" if row.is_large else ""
        distance = "" if row.is_share else f"{row.wasserstein:.2f} ({row.scaled:.2f} sd)"
        table.add_row(row.name, in_words(row, 0), in_words(row, 1), _shift(row), distance, style=style)
    console.print(table)
    console.print("values: median (quartiles); shift: difference of medians over the larger interquartile range;")
    console.print("distance: earth mover's, and over the standard deviation of both together; shares: difference")
    large = sorted((row for row in differences if row.is_large), key=lambda row: -row.scaled)
    console.print(f"\nLarge differences ({len(large)} of {len(differences)}), the largest first:")
    for row in large:
        console.print(f"  {row.name}: {in_words(row, 0)} against {in_words(row, 1)}", markup=False, highlight=False)


def in_words(row: "Difference", root: int) -> str:
    """The median and quartiles, or the share, of one of the two roots."""
    low, middle, high = (row.first, row.second)[root]
    if row.is_share:
        return f"{middle:.1%} of {(row.num_first, row.num_second)[root]}"
    return f"{middle:.2f} ({low:.2f} … {high:.2f})"


def _shift(row: "Difference") -> str:
    return f"{100 * row.shift:+.1f} points" if row.is_share else f"{row.shift:+.2f}"
