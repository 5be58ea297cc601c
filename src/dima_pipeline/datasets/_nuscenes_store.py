"""Reads recordings scene by scene without holding their tables: the JSON files stay the store.

The tables are read once, block by block, and checked; what is kept says in which bytes of which file the records of
each scene lie (45 MB for trainval). A scene is then read from there, exactly as ``json.loads`` gives it. With a
``cache_dir`` those places are memory-mapped files, which a second process opens without reading the tables.
"""

import hashlib
import json
import shutil
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Int

from dima_pipeline.contracts.frames import CAMERAS
from dima_pipeline.datasets._nuscenes_check import (
    Links,
    Records,
    Table,
    check_keyframes,
    check_tables,
    read_json,
)
from dima_pipeline.datasets._nuscenes_columns import (
    FIELDS,
    Columns,
    Row,
    check_values,
    is_safe_file,
    read_tables,
)
from dima_pipeline.datasets._nuscenes_findings import Findings, of_scene, shown
from dima_pipeline.datasets._nuscenes_json import read_spans, span_bytes
from dima_pipeline.datasets._nuscenes_values import check_poses, check_records
from dima_pipeline.plugins import unknown

SMALL = ("category", "attribute", "visibility", "sensor", "log")
"""Tables that are held whole, as is ``scene``."""
PLACED = ("sample", "sample_data", "ego_pose", "calibrated_sensor", "sample_annotation", "instance")
"""Tables of which only the records of a scene are held."""
SWEEPS = {"lidar_data": "sample_data", "lidar_pose": "ego_pose"}
"""Further places, and their tables: all readings of ``LIDAR`` of a scene, at the keyframes and between."""
PLACES = {**{name: name for name in PLACED}, **SWEEPS}
LIDAR = "LIDAR_TOP"
CACHE_FORMAT = 2


@dataclass(frozen=True)
class LidarSweeps:
    """Rows of ``sample_data`` of ``LIDAR``, at the keyframes of a scene and between, and their ego poses, by token."""

    rows: Table
    ego_poses: Table


@dataclass(frozen=True)
class Places:
    """Where the records of a table lie, scene by scene."""

    spans: Int[np.ndarray, "R 2"]
    """First byte of a record in the file, and the byte after its last."""
    bounds: Int[np.ndarray, "scenes+1"]
    """Scene s has the rows ``bounds[s]`` ... ``bounds[s + 1]`` of ``spans``."""

    def scene(self, number: int) -> Int[np.ndarray, "R 2"]:
        """The spans of one scene."""
        return np.asarray(self.spans[self.bounds[number] : self.bounds[number + 1]])


Stamps = dict[str, tuple[int, int]]
"""Table -> size in bytes and time of the last change (ns)."""


@dataclass(frozen=True)
class RecordStore:
    """The checked tables of one version folder; cheap to pickle, and safe to read from many processes."""

    directory: Path
    reference_channel: str
    small: dict[str, Table]
    """Rows by token of the tables in ``SMALL``."""
    scenes: Table
    """By scene name, in the order of ``scene.json``."""
    places: dict[str, Places]
    """By the names in ``PLACES``."""
    stamps: Stamps

    @classmethod
    def open(
        cls, directory: Path, reference_channel: str = "LIDAR_TOP", cache_dir: Path | None = None
    ) -> "RecordStore":
        """Read and check the tables of a version folder such as ``.../v1.0-mini``.

        With ``cache_dir``, what was found is kept there and mapped the next time, as long as no table changes.
        Raises ``BrokenRecording`` with all that is found: missing, cut or malformed tables, missing fields and those of
        another type, duplicate and dangling tokens, broken chains, file names that lead out of the dataroot, keyframes
        without their camera or reference rows. What rests on a table or token that is broken is not looked at.
        """
        stamps = read_stamps(directory)
        folder = cache_dir and cache_dir / _digest(directory, reference_channel, stamps)
        kept = folder and load_places(folder, stamps)
        places = kept or find_places(directory, reference_channel)
        small = {name: {row["token"]: row for row in read_json(directory / f"{name}.json")} for name in SMALL}
        scenes = {row["name"]: row for row in read_json(directory / "scene.json")}
        if read_stamps(directory) != stamps:
            raise ValueError(f"{directory} changed while it was read: start again when it is complete")
        if folder and not kept:
            save_places(folder, places)
        return cls(directory, reference_channel, small, scenes, places, stamps)

    def scene_names(self) -> list[str]:
        """Names of all scenes, in the order of ``scene.json``."""
        return list(self.scenes)

    def location(self, scene_name: str) -> str:
        """The location (map name) a scene was recorded in."""
        return self.small["log"][self._scene(scene_name)["log_token"]]["location"]

    def records(self, scene_name: str) -> Records:
        """The rows of one scene.

        Raises ``BrokenRecording`` with all that is found in its fields, and ``ValueError`` for tables that changed
        since ``open``.
        """
        scene, number = self._scene(scene_name), self._number(scene_name)
        with of_scene(scene_name):
            findings = Findings()
            rows = {name: self._rows(name, number, findings) for name in PLACED}
            findings.stop()
            try:
                records = self._index(scene, rows)
            except KeyError as error:  # not seen since the tables were checked, but never to be met unnamed
                token = shown(error.args[0])
                raise ValueError(
                    f"{self.directory}: {scene_name} does not hold token {token}: delete the cache and start again"
                ) from None
            check_records(records, findings)
            findings.stop()
            return records

    def sweeps(self, scene_name: str) -> LidarSweeps:
        """The readings of ``LIDAR`` of one scene; none where it was not recorded.

        Raises ``ValueError`` for a file name that leads out of the dataroot, and as ``records``.
        """
        number = self._number(scene_name)
        with of_scene(scene_name):
            findings = Findings()
            rows, poses = (self._rows(name, number, findings) for name in SWEEPS)
            findings.stop()
            check_poses(poses, self.directory / "ego_pose.json", findings)
            _check_files(rows, self.directory / "sample_data.json", findings)
            findings.stop()
        return LidarSweeps({row["token"]: row for row in rows}, {pose["token"]: pose for pose in poses})

    def digest(self, scene_name: str) -> str:
        """SHA-256 of the bytes of all records that ``records`` and ``sweeps`` read."""
        scene, number = self._scene(scene_name), self._number(scene_name)
        hasher = hashlib.sha256(json.dumps([scene, self.small], sort_keys=True).encode())
        for name, places in self.places.items():
            for content in span_bytes(self.directory / f"{PLACES[name]}.json", places.scene(number)):
                hasher.update(content)
        return hasher.hexdigest()

    def _scene(self, scene_name: str) -> Row:
        if scene_name not in self.scenes:
            raise ValueError(unknown("scene", scene_name, self.scene_names(), where=str(self.directory)))
        return self.scenes[scene_name]

    def _number(self, scene_name: str) -> int:
        """Place of a scene in ``scene.json``; raises ``ValueError`` for tables that changed since ``open``."""
        self._scene(scene_name)
        if read_stamps(self.directory) != self.stamps:
            raise ValueError(f"{self.directory} changed since it was opened: start again")
        return list(self.scenes).index(scene_name)

    def _rows(self, name: str, number: int, findings: Findings) -> list[Row]:
        path = self.directory / f"{PLACES[name]}.json"
        rows = read_spans(path, self.places[name].scene(number))
        check_values(path, PLACES[name], rows, findings)
        return rows

    def _index(self, scene: Row, rows: dict[str, list[Row]]) -> Records:
        samples, ego_poses, calibrations, instances = (
            {row["token"]: row for row in rows[name]}
            for name in ("sample", "ego_pose", "calibrated_sensor", "instance")
        )
        channels = {token: self.small["sensor"][row["sensor_token"]]["channel"] for token, row in calibrations.items()}
        categories = {token: self.small["category"][row["category_token"]]["name"] for token, row in instances.items()}
        sensor_rows: dict[str, Table] = {token: {} for token in samples}
        for row in rows["sample_data"]:
            _ = ego_poses[row["ego_pose_token"]]
            sensor_rows[row["sample_token"]][channels[row["calibrated_sensor_token"]]] = row
        annotations: dict[str, list[Row]] = {token: [] for token in samples}
        for row in rows["sample_annotation"]:
            _ = categories[row["instance_token"]]
            annotations[row["sample_token"]].append(row)
        return Records(
            directory=self.directory,
            scenes={scene["name"]: scene},
            samples=samples,
            logs={scene["log_token"]: self.small["log"][scene["log_token"]]},
            sensor_rows=sensor_rows,
            ego_poses=ego_poses,
            calibrations=calibrations,
            annotations=annotations,
            categories=categories,
            attributes={token: row["name"] for token, row in self.small["attribute"].items()},
            visibility_levels={token: row["level"] for token, row in self.small["visibility"].items()},
        )


def read_stamps(directory: Path) -> Stamps:
    """Size and time of change of every table that is there."""
    paths = {name: directory / f"{name}.json" for name in FIELDS}
    return {name: (path.stat().st_size, path.stat().st_mtime_ns) for name, path in paths.items() if path.is_file()}


def find_places(directory: Path, reference_channel: str) -> dict[str, Places]:
    """Check all tables and find out which records each scene needs; raises as ``RecordStore.open``."""
    findings = Findings()
    tables = read_tables(directory, findings)
    links, scenes = check_tables(tables, findings)
    if "scene" in tables:
        check_values(tables["scene"].path, "scene", tables["scene"].records(), findings)
    channels = tuple(dict.fromkeys((*CAMERAS, reference_channel)))
    keyframes = check_keyframes(tables, links, scenes, channels, findings)
    findings.stop()
    of_sample = np.empty(len(tables["sample"].spans), np.int64)
    for number, rows in enumerate(scenes):
        of_sample[rows] = number
    data, box_scene = keyframes.ravel(), of_sample[links["sample_annotation", "sample_token"]]
    data_scene = np.repeat(of_sample, len(channels))
    lidar = _lidar_rows(tables, links)
    lidar_scene = of_sample[links["sample_data", "sample_token"][lidar]]
    needed = {
        "sample": (of_sample, np.arange(len(of_sample))),
        "sample_data": (data_scene, data),
        "ego_pose": (data_scene, links["sample_data", "ego_pose_token"][data]),
        "calibrated_sensor": (data_scene, links["sample_data", "calibrated_sensor_token"][data]),
        "sample_annotation": (box_scene, np.arange(len(box_scene))),
        "instance": (box_scene, links["sample_annotation", "instance_token"]),
        "lidar_data": (lidar_scene, lidar),
        "lidar_pose": (lidar_scene, links["sample_data", "ego_pose_token"][lidar]),
    }
    return {name: _place(tables[table].spans, *needed[name], len(scenes)) for name, table in PLACES.items()}


def _lidar_rows(tables: Mapping[str, Columns], links: Links) -> Int[np.ndarray, "R"]:
    """Rows of ``sample_data`` that are readings of ``LIDAR``, keyframes or not."""
    is_lidar = np.array([row["channel"] == LIDAR for row in tables["sensor"].records()], bool)
    of_calibration = is_lidar[links["calibrated_sensor", "sensor_token"]]
    return np.flatnonzero(of_calibration[links["sample_data", "calibrated_sensor_token"]])


def _check_files(rows: list[Row], path: Path, findings: Findings) -> None:
    """File names lie below the dataroot."""
    unsafe = [row for row in rows if not is_safe_file(row["filename"])]
    if unsafe:
        token, name = unsafe[0]["token"], shown(unsafe[0]["filename"])
        message = f"{path}: file '{name}' of {shown(token)} leaves the dataroot or cannot be a file name"
        findings.add("unsafe_file_name", path, message, token=token, num=len(unsafe))


def _place(
    spans: Int[np.ndarray, "R 2"], scene: Int[np.ndarray, "N"], row: Int[np.ndarray, "N"], num_scenes: int
) -> Places:
    """Each record once a scene, in the order of the file."""
    scene, row = np.divmod(np.unique(scene * len(spans) + row), max(len(spans), 1))
    return Places(spans[row], np.searchsorted(scene, np.arange(num_scenes + 1)))


def _digest(directory: Path, reference_channel: str, stamps: Stamps) -> str:
    """Name of a cache: another one for any other content of the tables, as far as size and time tell."""
    what = [CACHE_FORMAT, str(directory.resolve()), reference_channel, stamps]
    return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:32]


def save_places(folder: Path, places: Mapping[str, Places]) -> None:
    """Write a cache as one .npy per column, all or nothing; raises ``ValueError`` where that cannot be written."""
    draft = folder.with_name(f"{folder.name}.{uuid.uuid4().hex}.tmp")
    try:
        draft.mkdir(parents=True)
        for name, place in places.items():
            np.save(draft / f"{name}_spans.npy", place.spans, allow_pickle=False)
            np.save(draft / f"{name}_bounds.npy", place.bounds, allow_pickle=False)
        shutil.rmtree(folder, ignore_errors=True)  # a damaged one
        draft.rename(folder)
    except OSError as error:
        shutil.rmtree(draft, ignore_errors=True)
        if not folder.is_dir():  # else another process was there first
            raise ValueError(f"cache_dir {folder.parent} cannot be written: {error.strerror}") from None


def load_places(folder: Path, stamps: Stamps) -> dict[str, Places] | None:
    """Map a cache; None where there is none, or one that is damaged."""
    try:
        places = {
            name: Places(
                np.load(folder / f"{name}_spans.npy", mmap_mode="r", allow_pickle=False),
                np.load(folder / f"{name}_bounds.npy", allow_pickle=False),
            )
            for name in PLACES
        }
    except (OSError, ValueError, EOFError):
        return None
    return places if all(_is_sound(places[name], stamps[table][0]) for name, table in PLACES.items()) else None


def _is_sound(places: Places, num_bytes: int) -> bool:
    spans, bounds = places.spans, places.bounds
    return (
        (spans.dtype == bounds.dtype == np.int64 and spans.ndim == 2 and spans.shape[1] == 2 and bounds.ndim == 1)
        and bool(bounds[:1] == 0 and bounds[-1] == len(spans) and (np.diff(bounds) >= 0).all())
        and bool((spans[:, 0] >= 0).all() and (spans[:, 0] < spans[:, 1]).all() and (spans[:, 1] <= num_bytes).all())
    )
