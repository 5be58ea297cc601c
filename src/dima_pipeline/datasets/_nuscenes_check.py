"""Checks the tables of a nuScenes-format version folder and refuses broken ones with one clear message.

Every reference between tables is looked up once, all rows of a table in one go, so that a cut or hand-edited table is
named here, with its token, and not met as a ``KeyError`` in the middle of a run.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Bool, Int

from dima_pipeline.datasets._nuscenes_columns import CHAINS, EMPTY, FIELDS, LINKS, MAX_NAME_BYTES, Columns, Row, shown

Table = dict[str, Row]
REQUIRED = {name: frozenset(fields) for name, fields in FIELDS.items()}
"""Tables that ingestion reads and the fields it needs."""
SAFE_NAME = re.compile(r"\w[\w.+-]*")
"""Scene names, scene tokens and locations become file names."""

Links = dict[tuple[str, str], Int[np.ndarray, "R"]]
"""(table, field) -> row of the target table for each row of the table, -1 for an empty ``prev`` or ``next``."""


def check_references(tables: Mapping[str, Columns]) -> Links:
    """Every token that one table says of another must exist; raises ``ValueError`` naming the first that does not."""
    known = {name: pd.Index(tables[name].values["token"]) for name in {target for _, _, target in LINKS}}
    return {(name, field): _rows_of(tables[name], field, target, known[target]) for name, field, target in LINKS}


def _rows_of(table: Columns, field: str, target: str, known: pd.Index) -> Int[np.ndarray, "R"]:
    wanted = table.values[field]
    rows = known.get_indexer(pd.Index(wanted))
    is_lost = rows < 0
    if field in ("prev", "next"):
        is_lost &= wanted != EMPTY
    if is_lost.any():
        row = table.record(int(is_lost.argmax()))
        raise ValueError(
            f"{table.path}: {field} '{shown(row[field])}' of record {shown(row['token'])} is not in {target}.json: "
            f"the tables are incomplete or of different versions{_more(is_lost)}"
        )
    return rows.astype(np.int32)


def _more(is_bad: Bool[np.ndarray, "R"]) -> str:
    num_more = int(is_bad.sum()) - 1
    return f" ({num_more:,} more like it)" if num_more else ""


def check_scenes(tables: Mapping[str, Columns], links: Links) -> list[list[int]]:
    """Rows of ``sample`` scene by scene, in order; raises ``ValueError`` naming the scene that is not one chain of its
    own keyframes, or whose name cannot be a file name."""
    place, names, samples = tables["scene"].path, set(), _Samples(tables, links)
    logs = tables["log"].records()
    scenes = []
    for number, scene in enumerate(tables["scene"].records()):
        for field in ("name", "token"):
            _check_name(place, f"scene {field}", scene[field])
        if scene["name"] in names:
            raise ValueError(f"{place}: there is more than one scene '{scene['name']}'")
        names.add(scene["name"])
        location = logs[links["scene", "log_token"][number]]["location"]
        _check_name(tables["log"].path, "location", location)
        scenes.append(samples.chain(number, scene))
    is_stray = np.ones(len(tables["sample"].spans), bool)
    is_stray[[row for rows in scenes for row in rows]] = False
    if is_stray.any():
        token = tables["sample"].record(int(is_stray.argmax()))["token"]
        raise ValueError(f"{tables['sample'].path}: no scene leads to sample {shown(token)}{_more(is_stray)}")
    return scenes


def _check_name(place: Path, what: str, value: str) -> None:
    if not SAFE_NAME.fullmatch(value) or len(value.encode()) > MAX_NAME_BYTES:
        raise ValueError(
            f"{place}: {what} '{shown(value)}' cannot be a file name: use letters, digits, '_', '-', '.', "
            f"{MAX_NAME_BYTES} bytes at most"
        )


class _Samples:
    """Links and times of ``sample`` as lists, for walking."""

    def __init__(self, tables: Mapping[str, Columns], links: Links) -> None:
        self.place, self.table = tables["scene"].path, tables["sample"]
        self.scene, self.previous, self.following = (
            links["sample", field].tolist() for field in ("scene_token", "prev", "next")
        )
        self.first, self.last = (links["scene", f"{end}_sample_token"].tolist() for end in ("first", "last"))
        self.times_us = self.table.values["timestamp"].tolist()

    def chain(self, number: int, scene: Row) -> list[int]:
        """The rows of a scene from its first to its last keyframe."""
        rows: list[int] = []
        row, before = self.first[number], -1
        while row >= 0:
            # A circle comes back to a row whose prev is not the row before it.
            if self.scene[row] != number or self.previous[row] != before:
                token = self._token(row)
                raise ValueError(
                    f"{self.place}: the keyframes of {scene['name']} are no chain at sample {token}: check its prev"
                )
            if rows and self.times_us[row] <= self.times_us[before]:
                raise ValueError(
                    f"{self.place}: sample {self._token(row)} of {scene['name']} is not later than the keyframe "
                    "before it"
                )
            rows.append(row)
            row, before = self.following[row], row
        if before != self.last[number] or len(rows) != scene["nbr_samples"]:
            raise ValueError(
                f"{self.place}: {scene['name']} promises {scene['nbr_samples']} keyframes up to "
                f"{self._token(self.last[number])}, sample.json chains {len(rows)} up to {self._token(before)}"
            )
        return rows

    def _token(self, row: int) -> str:
        return shown(self.table.record(row)["token"])


def check_chains(tables: Mapping[str, Columns], links: Links) -> None:
    """``prev`` and ``next`` of the tables in ``CHAINS`` point at each other and never round in a circle; raises
    ``ValueError`` naming the record."""
    for name in CHAINS:
        table = tables[name]
        ends = {"prev": links[name, "prev"], "next": links[name, "next"]}
        for field, back in (("next", "prev"), ("prev", "next")):
            is_torn = (ends[field] >= 0) & (ends[back][ends[field]] != np.arange(len(table.spans)))
            if is_torn.any():
                row = table.record(int(is_torn.argmax()))
                raise ValueError(
                    f"{table.path}: {field} of record {shown(row['token'])} is {shown(row[field])}, whose {back} is "
                    f"another record{_more(is_torn)}"
                )
        is_circle = _on_circle(ends["next"])
        if is_circle.any():
            token = table.record(int(is_circle.argmax()))["token"]
            raise ValueError(f"{table.path}: prev and next lead from record {shown(token)} round in a circle")


def _on_circle(following: Int[np.ndarray, "R"]) -> Bool[np.ndarray, "R"]:
    """Rows from which ``following`` never comes to an end, by doubling the steps."""
    end = len(following)
    ahead = np.append(np.where(following < 0, end, following), end)
    num_steps = 1
    while num_steps <= end and (ahead < end).any():
        ahead, num_steps = ahead[ahead], 2 * num_steps
    return ahead[:end] < end


def check_keyframes(
    tables: Mapping[str, Columns], links: Links, channels: Sequence[str]
) -> Int[np.ndarray, "samples channels"]:
    """Row of ``sample_data`` for each keyframe and channel; raises ``ValueError`` naming the keyframe that lacks one or
    the file that does not lie in the dataroot."""
    number = {channel: index for index, channel in enumerate(channels)}
    of_sensor = np.array([number.get(row["channel"], -1) for row in tables["sensor"].records()], np.int64)
    of_calibration = of_sensor[links["calibrated_sensor", "sensor_token"]]
    channel = of_calibration[links["sample_data", "calibrated_sensor_token"]]
    used = np.flatnonzero(tables["sample_data"].values["is_key_frame"] & (channel >= 0))
    rows = np.full((len(tables["sample"].spans), len(channels)), -1)
    rows[links["sample_data", "sample_token"][used], channel[used]] = used
    table = tables["sample_data"]
    if (rows < 0).any():
        sample = int((rows < 0).any(1).argmax())
        lacking = [name for name, row in zip(channels, rows[sample], strict=True) if row < 0]
        hint = "; without a LIDAR set the data set's reference_channel: CAM_FRONT" if "LIDAR_TOP" in lacking else ""
        token = shown(tables["sample"].record(sample)["token"])
        raise ValueError(f"{table.path}: sample {token} has no keyframe row of {', '.join(lacking)}{hint}")
    is_unsafe = ~table.values["is_safe"][rows]
    if is_unsafe.any():
        row = table.record(int(rows[is_unsafe][0]))
        raise ValueError(
            f"{table.path}: file '{shown(row['filename'])}' of {shown(row['token'])} leaves the dataroot or cannot be "
            "a file name"
        )
    return rows


def check_boxes(tables: Mapping[str, Columns], links: Links) -> None:
    """An instance has one box in a keyframe; raises ``ValueError`` naming the first that has two."""
    sample, instance = (links["sample_annotation", f"{name}_token"] for name in ("sample", "instance"))
    pair = sample.astype(np.int64) * (len(tables["instance"].spans) + 1) + instance
    is_twice = pd.Index(pair).duplicated()
    if is_twice.any():
        row = tables["sample_annotation"].record(int(is_twice.argmax()))
        raise ValueError(
            f"{tables['sample_annotation'].path}: instance {shown(row['instance_token'])} has two boxes in sample "
            f"{shown(row['sample_token'])}{_more(is_twice)}"
        )


@dataclass(frozen=True)
class Records:
    """The rows that belong to a scene, indexed."""

    directory: Path
    scenes: Table
    """By scene name."""
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


def read_json(path: Path) -> Any:
    """Parse a JSON file; raises ``ValueError`` that names it."""
    try:
        return json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is no valid JSON ({error}): was it cut short? Unpack it again") from None


def vectors(rows: Sequence[Row], field: str, length: int, table: Path) -> np.ndarray:
    """``field`` of all ``rows`` as an array (N, length); raises ``ValueError`` naming the first row that is no vector
    of ``length`` finite numbers."""
    try:
        values = np.array([row[field] for row in rows], float).reshape(len(rows), -1)
    except (TypeError, ValueError, OverflowError):
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
    except (TypeError, ValueError, OverflowError):
        return False
    return array.size == length and bool(np.isfinite(array).all())
