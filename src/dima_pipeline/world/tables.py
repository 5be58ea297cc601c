"""The thirteen nuScenes tables of a root: fixed rows, and the rows of all scenes in scene order."""

import json
from pathlib import Path
from typing import Any

from dima_pipeline.contracts.frames import CAMERAS
from dima_pipeline.world.categories import ATTRIBUTES, CATEGORIES, VISIBILITY_LEVELS
from dima_pipeline.world.map_layers import map_file
from dima_pipeline.world.recording import token
from dima_pipeline.world.roads import Town
from dima_pipeline.world.towns import CANVAS_EDGES

Row = dict[str, Any]
SCENE_TABLES = (
    "log", "scene", "sample", "sample_data", "sample_annotation", "instance", "ego_pose", "calibrated_sensor",
)  # fmt: skip


def write_tables(directory: Path, version: str, scenes: list[dict[str, list[Row]]], towns: list[Town]) -> None:
    """Write ``<version>/*.json``, and beside the tables ``towns.json`` and ``world_truth.json``."""
    tables = fixed_tables()
    for name in (*SCENE_TABLES, "world_truth"):
        tables[name] = [row for scene in scenes for row in scene.get(name, [])]
    tables["map"] = [_map_row(location, tables["log"]) for location in CANVAS_EDGES]
    tables["towns"] = [_town_row(town) for town in towns]
    folder = directory / version
    folder.mkdir(parents=True)
    for name, rows in tables.items():
        (folder / f"{name}.json").write_text(json.dumps(rows, indent=0))


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
