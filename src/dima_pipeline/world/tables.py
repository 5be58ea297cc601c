"""The thirteen nuScenes tables of a root: fixed rows, and the rows of all scenes in scene order."""

import json
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TextIO

from dima_pipeline.contracts.frames import CAMERAS
from dima_pipeline.world.categories import ATTRIBUTES, CATEGORIES, VISIBILITY_LEVELS
from dima_pipeline.world.map_layers import map_file
from dima_pipeline.world.recording import token
from dima_pipeline.world.roads import Town
from dima_pipeline.world.towns import CANVAS_EDGES

Row = dict[str, Any]
SCENE_TABLES = (
    "log", "scene", "sample", "sample_data", "sample_annotation", "instance", "ego_pose", "calibrated_sensor",
    "world_truth",
)  # fmt: skip


def write_tables(directory: Path, version: str, scenes: Iterable[dict[str, list[Row]]], towns: list[Town]) -> None:
    """Write ``<version>/*.json``, one row a line, and beside the tables ``towns.json`` and ``world_truth.json``.

    ``scenes`` are read once, one after the other. The folder appears by a rename when all tables are in it.
    """
    folder = directory / f".{version}.partial"
    folder.mkdir(parents=True)
    logs: list[Row] = []
    with ExitStack() as stack:
        files = {name: stack.enter_context((folder / f"{name}.json").open("w")) for name in SCENE_TABLES}
        tables = {name: _RowWriter(file) for name, file in files.items()}
        for scene in scenes:
            for name, table in tables.items():
                table.add(scene.get(name, []))
            logs += scene["log"]
        for table in tables.values():
            table.close()
    fixed = fixed_tables()
    fixed["map"] = [_map_row(location, logs) for location in CANVAS_EDGES]
    fixed["towns"] = [_town_row(town) for town in towns]
    for name, rows in fixed.items():
        with (folder / f"{name}.json").open("w") as file:
            writer = _RowWriter(file)
            writer.add(rows)
            writer.close()
    folder.rename(directory / version)


class _RowWriter:
    """A JSON list that is written row by row."""

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self._before = "[\n"

    def add(self, rows: Iterable[Row]) -> None:
        for row in rows:
            self._file.write(self._before + json.dumps(row))
            self._before = ",\n"

    def close(self) -> None:
        """End the list; the file stays open."""
        self._file.write("[]\n" if self._before == "[\n" else "\n]\n")


def fixed_tables() -> dict[str, list[Row]]:
    """Categories, attributes, visibility levels and sensors."""
    sensors = [(channel, "camera") for channel in CAMERAS] + [("LIDAR_TOP", "lidar")]
    return {
        "category": [{"token": token("category", name), "name": name, "description": ""} for name in CATEGORIES],
        "attribute": [{"token": token("attribute", name), "name": name, "description": ""} for name in ATTRIBUTES],
        "visibility": [
            {"token": str(number), "level": level, "description": f"visibility of whole object is {level[1:]} %"}
            for number, level in enumerate(VISIBILITY_LEVELS, start=1)
        ],
        "sensor": [{"token": token("sensor", name), "channel": name, "modality": kind} for name, kind in sensors],
    }


def _map_row(location: str, logs: list[Row]) -> Row:
    here = [row["token"] for row in logs if row["location"] == location]
    name = map_file(location)
    return {"token": token("map", location), "category": "semantic_prior", "filename": name, "log_tokens": here}


def _town_row(town: Town) -> Row:
    x_min, y_min, x_max, y_max = town.bounds()
    return {
        "token": token("town", town.name),
        "name": town.name,
        "location": town.location,
        "split": town.split,
        "x_min_m": x_min,
        "y_min_m": y_min,
        "x_max_m": x_max,
        "y_max_m": y_max,
        "keeps_left": town.placement.is_mirrored,
    }
