"""The tables of a nuScenes-format version folder as columns: what is kept of every record while they are checked.

Tokens are kept as 64-bit hashes, and beside them the bytes of the file in which each record lies: a message, or a scene
that is read later, takes the record itself from there.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import Annotated, Any

import msgspec
import numpy as np
from jaxtyping import Int

from dima_pipeline.contracts.findings import BrokenRecording
from dima_pipeline.datasets._nuscenes_findings import Findings, shown
from dima_pipeline.datasets._nuscenes_json import field_of, read_blocks, read_spans

Row = dict[str, Any]

TOKEN = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
TIME_US = Annotated[int, msgspec.Meta(ge=0, le=2**62)]
PIXELS = Annotated[float, msgspec.Meta(ge=0, le=1e6)]
PLACE: dict[str, Any] = {"translation": list[float], "rotation": list[float]}
CHAIN = {"prev": str, "next": str}

FIELDS: dict[str, dict[str, Any]] = {
    "category": {"token": TOKEN, "name": str},
    "attribute": {"token": TOKEN, "name": str},
    "visibility": {"token": TOKEN, "level": str},
    "sensor": {"token": TOKEN, "channel": str},
    "log": {"token": TOKEN, "location": str},
    "calibrated_sensor": {"token": TOKEN, "sensor_token": str, **PLACE, "camera_intrinsic": list},
    "instance": {"token": TOKEN, "category_token": str, "first_annotation_token": str, "last_annotation_token": str},
    "scene": {"token": TOKEN, "name": str, "log_token": str, "nbr_samples": int}
    | {"first_sample_token": str, "last_sample_token": str},
    "sample": {"token": TOKEN, "timestamp": TIME_US, "scene_token": str, **CHAIN},
    "ego_pose": {"token": TOKEN, **PLACE},
    "sample_data": {"token": TOKEN, "sample_token": str, "ego_pose_token": str, "calibrated_sensor_token": str}
    | {"is_key_frame": bool, "filename": str, "width": PIXELS | None, "height": PIXELS | None, **CHAIN},
    "sample_annotation": {"token": TOKEN, "sample_token": str, "instance_token": str, "size": list[float]}
    | {**PLACE, **CHAIN},
}
"""Tables that ingestion reads and the fields it needs, with their types; ``map`` (raster files) is not among them."""
OPTIONAL: dict[str, dict[str, Any]] = {
    "scene": {"description": str},
    "sample_annotation": {"attribute_tokens": list[str] | None, "visibility_token": str | None}
    | {"num_lidar_pts": float | None},
}

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
LINKS = (*REFERENCES, *((name, field, name) for name in CHAINS for field in ("prev", "next")))
LATER = {"translation", "rotation", "size", "camera_intrinsic", "width", "height"}
"""Fields that must be there, but whose values are looked at when their scene is read."""
EMPTY = hash("")
MAX_NAME_BYTES = 200
MAX_PATH_BYTES = 1000


@dataclass(frozen=True)
class Columns:
    """What is kept of every record of a table while it is checked."""

    path: Path
    spans: Int[np.ndarray, "R 2"]
    """Bytes of the file in which the record lies."""
    values: dict[str, np.ndarray]
    """Hashes of ``token`` and of the tokens that are references, (R,); of ``sample`` also ``timestamp``; of
    ``sample_data`` also ``is_key_frame`` and ``is_safe``: false for a keyframe whose file name leaves the dataroot."""

    def record(self, row: int) -> Row:
        """A record as it stands in the file."""
        return read_spans(self.path, self.spans[row : row + 1])[0]

    def records(self) -> list[Row]:
        """All records: for small tables."""
        return read_spans(self.path, self.spans)


Links = dict[tuple[str, str], Int[np.ndarray, "R"]]
"""(table, field) -> row of the target table for each row of the table, -1 for an empty ``prev`` or ``next``, ``LOST``
for a token that is not there; only where both tables could be read and the target has each token once."""
LOST = -2


def read_tables(directory: Path, findings: Findings) -> dict[str, Columns]:
    """The columns of the tables of a version folder such as ``.../v1.0-mini``, without those that are not there, cut or
    malformed, lack a field or have one of another type."""
    check_tables_are_there(directory, findings)
    tables = {}
    for name in FIELDS:
        try:
            if (directory / f"{name}.json").exists():
                tables[name] = read_columns(directory / f"{name}.json", name)
        except BrokenRecording as error:
            findings.extend(error.findings)
    return tables


def check_tables_are_there(directory: Path, findings: Findings) -> None:
    """All tables of ``FIELDS`` exist, as files or whatever else."""
    missing = [path for path in (directory / f"{name}.json" for name in FIELDS) if not path.exists()]
    names = ", ".join(path.name for path in missing)
    for path in missing:
        findings.add("missing_table", path, f"{directory} lacks {names}: unpack the metadata of this version again")


def read_columns(path: Path, name: str) -> Columns:
    """Read one table block by block; raises ``BrokenRecording`` as ``read_blocks``."""
    fields = {field: msgspec.Raw if field in LATER else kind for field, kind in FIELDS[name].items()}
    spans, parts = [np.empty((0, 2), np.int64)], [_values(name, [])]
    for block in read_blocks(path, fields):
        spans.append(block.spans)
        parts.append(_values(name, block.rows))
    values = {field: np.concatenate([part[field] for part in parts]) for field in parts[0]}
    return Columns(path, np.concatenate(spans), values)


def _values(name: str, rows: Sequence[Any]) -> dict[str, np.ndarray]:
    size = len(rows)
    fields = ["token", *(field for table, field, _ in LINKS if table == name)]
    values = {field: np.fromiter(map(hash, map(attrgetter(field), rows)), np.int64, size) for field in fields}
    if name == "sample":
        values["timestamp"] = np.fromiter([row.timestamp for row in rows], np.int64, size)
    if name == "sample_data":
        values["is_key_frame"] = np.fromiter([row.is_key_frame for row in rows], np.bool_, size)
        is_safe = [not row.is_key_frame or is_safe_file(row.filename) for row in rows]
        values["is_safe"] = np.fromiter(is_safe, np.bool_, size)
    return values


def is_safe_file(name: str) -> bool:
    """Whether a file name is a plain path below the dataroot that a file system takes."""
    is_plain = name.isprintable() and "\\" not in name and not name.startswith("/")
    if not is_plain or (".." in name and ".." in name.split("/")):
        return False
    num_bytes = len(name.encode())
    return num_bytes <= MAX_NAME_BYTES or (
        num_bytes <= MAX_PATH_BYTES and all(len(part.encode()) <= MAX_NAME_BYTES for part in name.split("/"))
    )


def check_values(path: Path, name: str, rows: Sequence[Row], findings: Findings) -> None:
    """The fields of all ``rows`` are of their types."""
    kind = _kind(name)
    try:
        msgspec.convert(rows, list[kind])  # type: ignore[valid-type]
    except (msgspec.ValidationError, UnicodeEncodeError):
        _find_wrong_types(path, kind, rows, findings)


def _find_wrong_types(path: Path, kind: Any, rows: Sequence[Row], findings: Findings) -> None:
    wrong: dict[str, list[tuple[str, Exception]]] = {}
    for row in rows:
        try:
            msgspec.convert(row, kind)
        except (msgspec.ValidationError, UnicodeEncodeError) as error:
            wrong.setdefault(field_of(error), []).append((str(row.get("token", "")), error))
    for found in wrong.values():
        token, reason = found[0]
        message = f"{path}: record {shown(token)} has a field of another type: {reason}"
        findings.add("wrong_type", path, message, token=token, num=len(found))


def _kind(name: str) -> Any:
    optional = [(field, kind, None) for field, kind in OPTIONAL.get(name, {}).items()]
    return msgspec.defstruct(name, [*FIELDS[name].items(), *optional])
