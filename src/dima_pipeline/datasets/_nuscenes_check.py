"""Reads the JSON tables of a nuScenes-format version folder and refuses broken ones with one clear message.

Every reference between tables is looked up once, so that a cut or hand-edited table is named here, with its token, and
not met as a ``KeyError`` in the middle of a run. Sweeps are checked and then dropped: only keyframes are used.
"""

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from dima_pipeline.contracts.frames import CAMERAS

Row = dict[str, Any]
Table = dict[str, Row]

REQUIRED: dict[str, frozenset[str]] = {
    "category": frozenset({"token", "name"}),
    "attribute": frozenset({"token", "name"}),
    "visibility": frozenset({"token", "level"}),
    "sensor": frozenset({"token", "channel"}),
    "log": frozenset({"token", "location"}),
    "calibrated_sensor": frozenset({"token", "sensor_token", "translation", "rotation", "camera_intrinsic"}),
    "instance": frozenset({"token", "category_token", "first_annotation_token", "last_annotation_token"}),
    "scene": frozenset({"token", "name", "log_token", "nbr_samples", "first_sample_token", "last_sample_token"}),
    "sample": frozenset({"token", "timestamp", "scene_token", "prev", "next"}),
    "ego_pose": frozenset({"token", "translation", "rotation"}),
    "sample_data": frozenset(
        {"token", "sample_token", "ego_pose_token", "calibrated_sensor_token", "is_key_frame", "filename"}
        | {"width", "height", "prev", "next"}
    ),
    "sample_annotation": frozenset(
        {"token", "sample_token", "instance_token", "translation", "size", "rotation", "prev", "next"}
    ),
}
"""Tables that ingestion reads and the fields it uses; ``map`` (raster file names) is not among them."""

REFERENCES = (
    ("calibrated_sensor", "sensor_token", "sensor"),
    ("instance", "category_token", "category"),
    ("scene", "log_token", "log"),
    ("scene", "first_sample_token", "sample"),
    ("scene", "last_sample_token", "sample"),
    ("sample", "scene_token", "scene"),
    ("sample_data", "sample_token", "sample"),
    ("sample_data", "ego_pose_token", "ego_pose"),
    ("sample_data", "calibrated_sensor_token", "calibrated_sensor"),
    ("sample_annotation", "sample_token", "sample"),
    ("sample_annotation", "instance_token", "instance"),
    ("instance", "first_annotation_token", "sample_annotation"),
    ("instance", "last_annotation_token", "sample_annotation"),
)
CHAINS = ("sample", "sample_data", "sample_annotation")
"""Tables whose ``prev`` and ``next`` are a token of the same table, or empty at the ends."""

SAFE_NAME = re.compile(r"\w[\w.+-]*")
"""Scene names, scene tokens and locations become file names."""


@dataclass(frozen=True)
class Records:
    """Checked rows of one version, indexed for reading scene by scene."""

    directory: Path
    scenes: Table
    """By scene name, in file order."""
    samples: Table
    logs: Table
    sensor_rows: dict[str, Table]
    """sample_token -> channel -> keyframe row of ``sample_data`` (cameras and the reference sensor)."""
    ego_poses: Table
    calibrations: Table
    annotations: dict[str, list[Row]]
    """sample_token -> boxes."""
    categories: dict[str, str]
    """instance_token -> category name."""
    attributes: dict[str, str]
    visibility_levels: dict[str, str]

    def scene_samples(self, scene_name: str) -> list[Row]:
        """The keyframes of a scene, in order."""
        rows = [self.samples[self.scenes[scene_name]["first_sample_token"]]]
        while rows[-1]["next"]:
            rows.append(self.samples[rows[-1]["next"]])
        return rows

    def location(self, scene_name: str) -> str:
        """The location (map name) a scene was recorded in."""
        return self.logs[self.scenes[scene_name]["log_token"]]["location"]


def read_records(directory: Path, reference_channel: str = "LIDAR_TOP") -> Records:
    """Read and check the tables of a version folder such as ``.../v1.0-mini``.

    Raises ``ValueError`` that names the table and the token: a missing, cut or malformed table, a missing field, a
    duplicate or dangling token, a broken chain, or a keyframe without its camera or reference rows.
    """
    missing = [f"{name}.json" for name in REQUIRED if not (directory / f"{name}.json").is_file()]
    if missing:
        raise ValueError(f"{directory} lacks {', '.join(missing)}: unpack the metadata of this version again")
    tables = {name: read_table(directory / f"{name}.json", required) for name, required in REQUIRED.items()}
    check_references(directory, tables)
    check_scenes(directory, tables)
    channels = (*CAMERAS, reference_channel)
    return _index(directory, tables, channels)


def read_json(path: Path) -> Any:
    """Parse a JSON file; raises ``ValueError`` that names it."""
    try:
        return json.loads(path.read_bytes())
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is no valid JSON ({error}): was it cut short? Unpack it again") from None


def read_table(path: Path, required: Iterable[str]) -> Table:
    """Rows by token; raises ``ValueError`` for anything but a list of records with the ``required`` fields."""
    rows = read_json(path)
    if not isinstance(rows, list):
        raise ValueError(f"{path} holds a {type(rows).__name__}, expected a list of records")
    fields = frozenset(required)
    for position, row in enumerate(rows):
        if not isinstance(row, dict) or not fields <= row.keys():
            lacking = sorted(fields - row.keys()) if isinstance(row, dict) else "its fields"
            raise ValueError(f"{path}: record {position} lacks {lacking}")
    table = {row["token"]: row for row in rows}
    if len(table) != len(rows):
        seen: set[str] = set()
        twice = next(row["token"] for row in rows if row["token"] in seen or seen.add(row["token"]))  # type: ignore[func-returns-value]
        raise ValueError(f"{path}: token {twice} stands for more than one record")
    return table


def check_references(directory: Path, tables: dict[str, Table]) -> None:
    """Every token that one table says of another must exist; raises ``ValueError`` naming the first that does not."""
    for name, field, target in REFERENCES:
        _check_reference(directory, (name, field, target), tables)
    for name in CHAINS:
        for field in ("prev", "next"):
            _check_reference(directory, (name, field, name), tables, may_be_empty=True)


def _check_reference(
    directory: Path, reference: tuple[str, str, str], tables: dict[str, Table], may_be_empty: bool = False
) -> None:
    name, field, target = reference
    known = tables[target]
    for row in tables[name].values():
        token = row[field]
        if token not in known and not (may_be_empty and token == ""):
            raise ValueError(
                f"{directory / name}.json: {field} '{token}' of record {row['token']} is not in {target}.json: "
                "the tables are incomplete or of different versions"
            )


def check_scenes(directory: Path, tables: dict[str, Table]) -> None:
    """Each scene is one chain of its own keyframes; raises ``ValueError`` naming the scene that is not."""
    place, names = directory / "scene.json", set()
    for scene in tables["scene"].values():
        for field, value in (("name", scene["name"]), ("token", scene["token"])):
            _check_name(place, f"scene {field}", value)
        if scene["name"] in names:
            raise ValueError(f"{place}: there is more than one scene '{scene['name']}'")
        names.add(scene["name"])
        _check_name(directory / "log.json", "location", tables["log"][scene["log_token"]]["location"])
        _check_chain(place, scene, tables["sample"])


def _check_name(place: Path, what: str, value: str) -> None:
    if not SAFE_NAME.fullmatch(value):
        raise ValueError(f"{place}: {what} '{value}' cannot be a file name: use letters, digits, '_', '-', '.'")


def _check_chain(place: Path, scene: Row, samples: Table) -> None:
    token, previous, length = scene["first_sample_token"], "", 0
    while token:
        row = samples[token]
        length += 1
        if row["scene_token"] != scene["token"] or row["prev"] != previous or length > len(samples):
            raise ValueError(
                f"{place}: the keyframes of {scene['name']} are no chain at sample {token}: check its prev"
            )
        if length > 1 and row["timestamp"] <= samples[previous]["timestamp"]:
            raise ValueError(f"{place}: sample {token} of {scene['name']} is not later than the keyframe before it")
        previous, token = token, row["next"]
    if previous != scene["last_sample_token"] or length != scene["nbr_samples"]:
        raise ValueError(
            f"{place}: {scene['name']} promises {scene['nbr_samples']} keyframes up to {scene['last_sample_token']}, "
            f"sample.json chains {length} up to {previous}"
        )


def _index(directory: Path, tables: dict[str, Table], channels: Sequence[str]) -> Records:
    sensors = {token: row["channel"] for token, row in tables["sensor"].items()}
    channel_of = {token: sensors[row["sensor_token"]] for token, row in tables["calibrated_sensor"].items()}
    sensor_rows: dict[str, Table] = {token: {} for token in tables["sample"]}
    for row in tables["sample_data"].values():
        channel = channel_of[row["calibrated_sensor_token"]]
        if row["is_key_frame"] and channel in channels:
            sensor_rows[row["sample_token"]][channel] = row
    _check_sensors(directory, sensor_rows, channels)
    used = {row["ego_pose_token"] for rows in sensor_rows.values() for row in rows.values()}
    return Records(
        directory=directory,
        scenes={row["name"]: row for row in tables["scene"].values()},
        samples=tables["sample"],
        logs=tables["log"],
        sensor_rows=sensor_rows,
        ego_poses={token: tables["ego_pose"][token] for token in used},
        calibrations=tables["calibrated_sensor"],
        annotations=_annotations(directory, tables),
        categories={
            token: tables["category"][row["category_token"]]["name"] for token, row in tables["instance"].items()
        },
        attributes={token: row["name"] for token, row in tables["attribute"].items()},
        visibility_levels={token: row["level"] for token, row in tables["visibility"].items()},
    )


def _annotations(directory: Path, tables: dict[str, Table]) -> dict[str, list[Row]]:
    grouped: dict[str, list[Row]] = {token: [] for token in tables["sample"]}
    seen = set()
    for row in tables["sample_annotation"].values():
        key = (row["sample_token"], row["instance_token"])
        if key in seen:
            raise ValueError(f"{directory}/sample_annotation.json: instance {key[1]} has two boxes in sample {key[0]}")
        seen.add(key)
        grouped[row["sample_token"]].append(row)
    return grouped


def _check_sensors(directory: Path, sensor_rows: dict[str, Table], channels: Sequence[str]) -> None:
    for sample_token, rows in sensor_rows.items():
        lacking = [channel for channel in channels if channel not in rows]
        if lacking:
            hint = "; without a LIDAR set the data set's reference_channel: CAM_FRONT" if "LIDAR_TOP" in lacking else ""
            raise ValueError(
                f"{directory}/sample_data.json: sample {sample_token} has no keyframe row of {', '.join(lacking)}{hint}"
            )
        for row in rows.values():
            path = PurePosixPath(row["filename"])
            if path.is_absolute() or ".." in path.parts:
                raise ValueError(f"{directory}/sample_data.json: file '{path}' of {row['token']} leaves the dataroot")


def vectors(rows: Sequence[Row], field: str, length: int, table: Path) -> np.ndarray:
    """``field`` of all ``rows`` as an array (N, length); raises ``ValueError`` naming the first row that is no vector
    of ``length`` finite numbers."""
    try:
        values = np.array([row[field] for row in rows], float).reshape(len(rows), -1)
    except (TypeError, ValueError):
        values = np.empty((len(rows), 0))
    if len(rows) == 0:
        return np.zeros((0, length))
    if values.shape[1] == length and np.isfinite(values).all():
        return values
    bad = next((row for row in rows if not _is_vector(row[field], length)), rows[0])
    raise ValueError(f"{table}: {field} of record {bad['token']} is {bad[field]}, expected {length} finite numbers")


def _is_vector(value: Any, length: int) -> bool:
    try:
        array = np.array(value, float)
    except (TypeError, ValueError):
        return False
    return array.size == length and bool(np.isfinite(array).all())
