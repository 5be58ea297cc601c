"""Ways to spoil the hand-made root, for tests of broken tables, CAN bus files and maps.

A case says what is done to a root and all that must be found: ``broken_tables.py`` has those of tables as such,
``broken_scenes.py`` those of what scenes hold, ``read_broken_roots.py`` reads them.
"""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nuscenes_root import LOCATION, VERSION, edit_json

SCENE, OTHER = "scene-0061", "scene-0103"
KEYFRAME, NEXT_KEYFRAME = f"{SCENE}-3", f"{SCENE}-4"
READING = f"data-CAM_BACK-{KEYFRAME}"
POSE, LIDAR_POSE = f"pose-{READING}", f"pose-data-LIDAR_TOP-{KEYFRAME}"
BOX = "slow-3"
MAP = f"maps/expansion/{LOCATION}.json"
CAN = f"can_bus/{SCENE}_pose.json"
ENDLESS = "x" * 10_000

Spoil = Callable[[Path], object]
Found = tuple[str, str, str]
"""check, table and token."""


@dataclass(frozen=True)
class Case:
    """What is done to a root, and all that must be found; nothing where it can be used."""

    spoil: Spoil
    found: tuple[Found, ...]
    says: str = ""
    """Part of the message."""


def refused(spoil: Spoil, *found: Found, says: str = "") -> Case:
    """A root that is refused."""
    return Case(spoil, found, says)


def used(spoil: Spoil) -> Case:
    """A root that is odd, but can be read."""
    return Case(spoil, ())


def edit(name: str, change: Callable[[Any], Any]) -> Spoil:
    """Changes a table, or a file by its path below the root."""
    return lambda root: edit_json(place(root, name), change)


def place(root: Path, name: str) -> Path:
    """Of a table, or of a file by its path below the root."""
    return root / name if "/" in name else root / VERSION / f"{name}.json"


def put(name: str, token: str, /, **values: Any) -> Spoil:
    """Sets fields of a record."""
    return edit(name, lambda rows: next(row for row in rows if row["token"] == token).update(values))


def put_all(name: str, /, **values: Any) -> Spoil:
    """Sets fields of all records, each ``@`` to the number of the record."""

    def change(rows: list) -> None:
        for number, row in enumerate(rows):
            row.update({field: number if value == "@" else value for field, value in values.items()})

    return edit(name, change)


def drop(name: str, token: str) -> Spoil:
    """Deletes a record."""
    return edit(name, lambda rows: [row for row in rows if row["token"] != token])


def lack(name: str, field: str) -> Spoil:
    """Deletes a field of the first record."""
    return edit(name, lambda rows: rows[0].pop(field) and None)


def again(name: str) -> Spoil:
    """Repeats the first record."""
    return edit(name, lambda rows: [*rows, rows[0]])


def write(name: str, content: bytes) -> Spoil:
    """Replaces a file."""
    return lambda root: place(root, name).write_bytes(content)


def rewrite(name: str, change: Callable[[bytes], bytes]) -> Spoil:
    """Changes the bytes of a file."""
    return lambda root: place(root, name).write_bytes(change(place(root, name).read_bytes()))


def spell(name: str, token: str, field: str, text: str) -> Spoil:
    """Sets a field to JSON that Python would not write."""

    def spoil(root: Path) -> None:
        put(name, token, **{field: "@"})(root)
        rewrite(name, lambda content: content.replace(b'"@"', text.encode()))(root)

    return spoil


def chain(name: str, *links: tuple[str, str, str]) -> Spoil:
    """Sets ``prev`` or ``next``: (token, field, target)."""
    return together(*(put(name, token, **{field: target}) for token, field, target in links))


def together(*spoils: Spoil) -> Spoil:
    """One after the other."""

    def spoil(root: Path) -> None:
        for one in spoils:
            one(root)

    return spoil


def make(name: str, kind: Callable[[Path], object]) -> Spoil:
    """Replaces a file by what ``kind`` makes at its path."""

    def spoil(root: Path) -> None:
        place(root, name).unlink()
        kind(place(root, name))

    return spoil


def move(name: str, target: str) -> Spoil:
    """Moves a table out of the root and leaves a link to it."""

    def spoil(root: Path) -> None:
        path = place(root, name)
        path.symlink_to(shutil.move(path, root.parent / target))

    return spoil


def times(scene_name: str, *values: Any) -> Spoil:
    """Sets the timestamps of the last keyframes of a scene."""
    first = 10 - len(values)
    return together(
        *(put("sample", f"{scene_name}-{first + index}", timestamp=value) for index, value in enumerate(values))
    )


def messages(change: Callable[[dict], Any]) -> Spoil:
    """Changes each message of the CAN bus."""
    return edit(CAN, lambda rows: [change(row) for row in rows] and None)


def node(name: str, /, **values: Any) -> Spoil:
    """Sets fields of a node of the map."""
    return edit(MAP, lambda town: next(row for row in town["node"] if row["token"] == name).update(values))


def bow_tie(town: dict) -> None:
    """Makes a polygon of the map cross itself."""
    tokens = next(row for row in town["polygon"] if row["token"] == "polygon-road")["exterior_node_tokens"]
    tokens[1], tokens[2] = tokens[2], tokens[1]


def arc(**values: Any) -> Spoil:
    """Sets fields of a connector of the map."""
    return edit(MAP, lambda town: town["arcline_path_3"]["turn"][0].update(values))


def twins(rows: list) -> list:
    """A second box of an instance in a keyframe."""
    twin = {**next(row for row in rows if row["token"] == BOX), "token": "twin", "prev": "", "next": ""}
    return [*rows, twin]


def stray(rows: list) -> list:
    """A keyframe that no scene leads to."""
    return [*rows, {**rows[0], "token": "stray", "prev": "", "next": ""}]


def lost(table: str, token: str) -> Found:
    """A record of a table refers to one that is not there."""
    return ("dangling_token", table, token)


def copy(root: Path, target: Path) -> Path:
    """Of all but the pictures, which say nothing here."""
    return Path(shutil.copytree(root, target, ignore=shutil.ignore_patterns("samples")))
