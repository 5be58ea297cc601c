"""Checks the tables of a nuScenes-format version folder, and collects what is wrong with them.

Every reference between tables is looked up once, all rows of a table in one go, so that a cut or hand-edited table is
named here, with its token, and not met as a ``KeyError`` in the middle of a run. A check leaves out what another one
has found, and all that rests on it: one fault, one finding.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from dima_pipeline.datasets._nuscenes_chains import SampleChains, check_chains
from dima_pipeline.datasets._nuscenes_columns import EMPTY, FIELDS, LINKS, LOST, MAX_NAME_BYTES, Columns, Links, Row
from dima_pipeline.datasets._nuscenes_findings import Findings, broken, shown

Table = dict[str, Row]
REQUIRED = {name: frozenset(fields) for name, fields in FIELDS.items()}
"""Tables that ingestion reads and the fields it needs."""
SAFE_NAME = re.compile(r"\w[\w.+-]*")
"""Scene names, scene tokens and locations become file names."""
MAX_NUMBER = 1e9
"""Larger numbers in poses and sizes are damage; coordinates that count from the equator have seven digits."""


def check_tables(tables: Mapping[str, Columns], findings: Findings) -> tuple[Links, list[list[int]]]:
    """All that can be said of tables whatever the sensors: references, scenes (see ``check_scenes``), chains, boxes."""
    clear = {name for name, table in tables.items() if _is_clear(table, findings)}
    links = check_references(tables, clear, findings)
    scenes = check_scenes(tables, links, findings)
    check_chains(tables, links, findings)
    if "sample_annotation" in clear:
        check_boxes(tables, links, findings)
    return links, scenes


def _is_clear(table: Columns, findings: Findings) -> bool:
    """Whether each token stands once; raises ``ValueError`` in the unlikely case that the hashes of two collide."""
    tokens = table.values["token"]
    is_again = pd.Index(tokens).duplicated()
    if not is_again.any():
        return True
    again = int(is_again.argmax())
    one, other = (table.record(row)["token"] for row in (int((tokens == tokens[again]).argmax()), again))
    if one != other:  # once in ten million readings of trainval
        raise ValueError(f"{table.path}: the hashes of {shown(one)} and {shown(other)} collide: read it again")
    message = f"{table.path}: token {shown(one)} stands for more than one record"
    findings.add("duplicate_token", table.path, message, token=one, num=int(is_again.sum()))
    return False


def check_references(tables: Mapping[str, Columns], clear: Iterable[str], findings: Findings) -> Links:
    """Every token that one table says of another must exist; tokens of tables that are not ``clear`` are not looked
    up."""
    known = {name: pd.Index(tables[name].values["token"]) for name in clear}
    return {
        (name, field): _rows_of(tables[name], field, target, known[target], findings)
        for name, field, target in LINKS
        if name in tables and target in known
    }


def _rows_of(table: Columns, field: str, target: str, known: pd.Index, findings: Findings) -> Int[np.ndarray, "R"]:
    wanted = table.values[field]
    rows = known.get_indexer(pd.Index(wanted)).astype(np.int32)
    is_lost = rows < 0
    if field in ("prev", "next"):
        is_lost &= wanted != EMPTY
    if is_lost.any():
        row = table.record(int(is_lost.argmax()))
        message = (
            f"{table.path}: {field} '{shown(row[field])}' of record {shown(row['token'])} is not in {target}.json: "
            "the tables are incomplete or of different versions"
        )
        findings.add("dangling_token", table.path, message, token=row["token"], num=int(is_lost.sum()))
    rows[is_lost] = LOST
    return rows


def check_scenes(tables: Mapping[str, Columns], links: Links, findings: Findings) -> list[list[int]]:
    """Rows of ``sample`` scene by scene, in order, where every scene is one chain of its own keyframes and has names
    that can be file names; of no use where there are findings."""
    if "scene" not in tables:
        return []
    scenes = tables["scene"].records()
    _check_names(tables, links, scenes, findings)
    wanted = [("sample", field) for field in ("scene_token", "prev", "next")]
    if not links.keys() >= {*wanted, *(("scene", f"{end}_sample_token") for end in ("first", "last"))}:
        return []
    samples = SampleChains(tables, links, findings)
    chains = [samples.chain(number, scene) for number, scene in enumerate(scenes)]
    found = [rows for rows in chains if rows is not None]
    is_stray = links["sample", "scene_token"] != LOST
    is_stray[[row for rows in found for row in rows]] = False
    if is_stray.any() and len(found) == len(chains):
        token = tables["sample"].record(int(is_stray.argmax()))["token"]
        message = f"{tables['sample'].path}: no scene leads to sample {shown(token)}"
        findings.add("stray_sample", tables["sample"].path, message, token=token, num=int(is_stray.sum()))
    return found


def _check_names(tables: Mapping[str, Columns], links: Links, scenes: Sequence[Row], findings: Findings) -> None:
    """Scene names, scene tokens and locations can be file names, and no two scenes have the same."""
    path = tables["scene"].path
    for field in ("name", "token"):
        _check_file_names(path, f"scene {field}", [(scene["token"], scene[field]) for scene in scenes], findings)
    unique = pd.DataFrame(scenes, columns=["name", "token"]).drop_duplicates("token")
    again = unique[unique.duplicated("name")]
    if len(again):
        name, token = again.iloc[0]
        message = f"{path}: there is more than one scene '{shown(name)}'"
        findings.add("duplicate_name", path, message, token=token, num=len(again))
    if ("scene", "log_token") in links:
        logs, used = tables["log"].records(), set(links["scene", "log_token"].tolist())
        places = [(log["token"], log["location"]) for number, log in enumerate(logs) if number in used]
        _check_file_names(tables["log"].path, "location", places, findings)


def _check_file_names(path: Path, what: str, names: Sequence[tuple[str, str]], findings: Findings) -> None:
    """``names`` are (token, name)."""
    unsafe = [pair for pair in names if not is_safe_name(pair[1])]
    if unsafe:
        token, name = unsafe[0]
        message = (
            f"{path}: {what} '{shown(name)}' cannot be a file name: use letters, digits, '_', '-', '.', "
            f"{MAX_NAME_BYTES} bytes at most"
        )
        findings.add("unsafe_name", path, message, token=token, num=len(unsafe))


def is_safe_name(name: str) -> bool:
    """Whether a name can be (part of) a file name."""
    return bool(SAFE_NAME.fullmatch(name)) and len(name.encode()) <= MAX_NAME_BYTES


def check_keyframes(
    tables: Mapping[str, Columns],
    links: Links,
    scenes: Sequence[Sequence[int]],
    channels: Sequence[str],
    findings: Findings,
) -> Int[np.ndarray, "samples channels"]:
    """Row of ``sample_data`` for each keyframe and channel; those of ``scenes`` have one, with a safe file name."""
    wanted = [("calibrated_sensor", "sensor_token"), ("sample_data", "calibrated_sensor_token")]
    if not links.keys() >= {*wanted, ("sample_data", "sample_token")}:
        return np.full((0, len(channels)), -1)
    number = {channel: index for index, channel in enumerate(channels)}
    of_sensor = [number.get(row["channel"], -1) for row in tables["sensor"].records()]
    of_calibration = _looked_up(of_sensor, links[wanted[0]])
    channel = _looked_up(of_calibration, links[wanted[1]])
    sample, table = links["sample_data", "sample_token"], tables["sample_data"]
    used = np.flatnonzero(table.values["is_key_frame"] & (channel >= 0) & (sample >= 0))
    rows = np.full((len(tables["sample"].spans), len(channels)), -1)
    rows[sample[used], channel[used]] = used
    if not any((links[link] == LOST).any() for link in (*wanted, ("sample_data", "sample_token"))):
        numbers = np.sort([row for scene in scenes for row in scene]).astype(np.int64)
        _check_complete(tables, numbers, rows[numbers], channels, findings)
    is_unsafe = (rows >= 0) & ~table.values["is_safe"][rows]
    if is_unsafe.any():
        row = table.record(int(rows[is_unsafe][0]))
        message = (
            f"{table.path}: file '{shown(row['filename'])}' of {shown(row['token'])} leaves the dataroot or cannot be "
            "a file name"
        )
        findings.add("unsafe_file_name", table.path, message, token=row["token"], num=int(is_unsafe.sum()))
    return rows


def _looked_up(values: Sequence[int] | np.ndarray, rows: Int[np.ndarray, "R"]) -> Int[np.ndarray, "R"]:
    """``values`` of ``rows``, -1 for ``LOST`` ones."""
    return np.append(np.asarray(values, np.int64), [-1, -1])[rows]


def _check_complete(
    tables: Mapping[str, Columns],
    samples: Int[np.ndarray, "K"],
    rows: Int[np.ndarray, "K channels"],
    channels: Sequence[str],
    findings: Findings,
) -> None:
    is_incomplete = (rows < 0).any(1)
    if not is_incomplete.any():
        return
    first = int(is_incomplete.argmax())
    lacking = [name for name, row in zip(channels, rows[first], strict=True) if row < 0]
    hint = "; without a LIDAR set the data set's reference_channel: CAM_FRONT" if "LIDAR_TOP" in lacking else ""
    token, path = tables["sample"].record(int(samples[first]))["token"], tables["sample_data"].path
    message = f"{path}: sample {shown(token)} has no keyframe row of {', '.join(lacking)}{hint}"
    findings.add("missing_keyframe_row", path, message, token=token, num=int(is_incomplete.sum()))


def check_boxes(tables: Mapping[str, Columns], links: Links, findings: Findings) -> None:
    """An instance has one box in a keyframe."""
    if not links.keys() >= {("sample_annotation", "sample_token"), ("sample_annotation", "instance_token")}:
        return
    sample, instance = (links["sample_annotation", f"{name}_token"].astype(np.int64) for name in ("sample", "instance"))
    known = np.flatnonzero((sample >= 0) & (instance >= 0))
    pair = sample[known] * (len(tables["instance"].spans) + 1) + instance[known]
    is_twice = pd.Index(pair).duplicated()
    if is_twice.any():
        table = tables["sample_annotation"]
        row = table.record(int(known[is_twice.argmax()]))
        message = (
            f"{table.path}: instance {shown(row['instance_token'])} has two boxes in sample "
            f"{shown(row['sample_token'])}"
        )
        findings.add("duplicate_box", table.path, message, token=row["token"], num=int(is_twice.sum()))


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


def read_json(path: Path, table: str = "", check: str = "malformed_table") -> Any:
    """Parse a JSON file; raises ``BrokenRecording`` with ``check``, and ``table`` or the file's stem."""
    try:
        if not path.is_file():  # opening a pipe would wait for ever
            reason = "is no file"
        else:
            return json.loads(path.read_bytes())
    except OSError as error:
        reason = f"cannot be read: {error.strerror}"
    except (ValueError, RecursionError) as error:
        reason = f"is no valid JSON ({error}): was it cut short? Unpack it again"
    raise broken(check, table or path, f"{path} {reason}")


def vectors(rows: Sequence[Row], field: str, length: int, table: Path) -> Float[np.ndarray, "N length"]:
    """``field`` of all ``rows``; raises ``BrokenRecording`` where one is no vector of ``length`` finite numbers."""
    findings = Findings()
    values = find_vectors(rows, field, length, table, findings)
    findings.stop()
    return values


def find_vectors(
    rows: Sequence[Row], field: str, length: int, table: Path, findings: Findings
) -> Float[np.ndarray, "N length"]:
    """``field`` of all ``rows``; NaN where it is no vector of ``length`` numbers of at most ``MAX_NUMBER``."""
    try:
        values = np.array([row[field] for row in rows], float).reshape(-1, length)
    except (TypeError, ValueError, OverflowError):
        values = np.empty((0, length))
    if len(values) == len(rows) and (np.abs(values) <= MAX_NUMBER).all():
        return values
    parts = [_numbers(row[field], length) for row in rows]
    is_ragged = np.array([len(part) != length for part in parts])
    is_finite = np.array([bool((np.abs(part) <= MAX_NUMBER).all()) for part in parts])
    for check, is_bad in (("wrong_length", is_ragged), ("not_finite", ~is_ragged & ~is_finite)):
        if is_bad.any():
            bad = rows[int(is_bad.argmax())]
            message = (
                f"{table}: {field} of record {shown(bad['token'])} is {shown(bad[field])}, expected {length} finite "
                "numbers"
            )
            findings.add(check, table, message, token=bad["token"], num=int(is_bad.sum()))
    is_sound = ~is_ragged & is_finite
    return np.array([part if good else np.full(length, np.nan) for part, good in zip(parts, is_sound, strict=True)])


def _numbers(value: Any, length: int) -> Float[np.ndarray, "K"]:
    """The numbers in a value, however nested; none where it is something else."""
    try:
        return np.array(value, float).ravel()
    except OverflowError:  # an integer that no float holds
        return np.full(length, np.inf)
    except (TypeError, ValueError):
        return np.empty(0)
