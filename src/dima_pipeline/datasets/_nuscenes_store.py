"""Reads recordings scene by scene without holding their tables: the JSON files stay the store.

The tables are read once, block by block, and checked; what is kept says in which bytes of which file the records of
each scene lie (35 MB for trainval). A scene is then read from there, exactly as ``json.loads`` gives it. With a
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
    Records,
    Table,
    check_boxes,
    check_chains,
    check_keyframes,
    check_references,
    check_scenes,
    read_json,
)
from dima_pipeline.datasets._nuscenes_columns import FIELDS, Row, check_values, read_tables, shown
from dima_pipeline.datasets._nuscenes_json import read_spans
from dima_pipeline.plugins import unknown

SMALL = ("category", "attribute", "visibility", "sensor", "log")
"""Tables that are held whole, as is ``scene``."""
PLACED = ("sample", "sample_data", "ego_pose", "calibrated_sensor", "sample_annotation", "instance")
"""Tables of which only the records of a scene are held."""
CACHE_FORMAT = 1


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
    """Of the tables in ``PLACED``."""
    stamps: Stamps

    @classmethod
    def open(
        cls, directory: Path, reference_channel: str = "LIDAR_TOP", cache_dir: Path | None = None
    ) -> "RecordStore":
        """Read and check the tables of a version folder such as ``.../v1.0-mini``.

        With ``cache_dir``, what was found is kept there and mapped the next time, as long as no table changes.
        Raises ``ValueError`` that names the table and the token: a missing, cut or malformed table, a missing field or
        one of another type, a duplicate or dangling token, a broken chain, a file name that leads out of the dataroot,
        a keyframe without its camera or reference rows.
        """
        stamps = read_stamps(directory)
        folder = cache_dir and cache_dir / _digest(directory, reference_channel, stamps)
        kept = folder and load_places(folder, stamps)
        places = kept or find_places(directory, reference_channel)
        small = {name: {row["token"]: row for row in read_json(directory / f"{name}.json")} for name in SMALL}
        scenes = {row["name"]: row for row in read_json(directory / "scene.json")}
        check_values(directory / "scene.json", "scene", list(scenes.values()))
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

        Raises ``ValueError`` for a field of another type, with its token, and for tables that changed since ``open``.
        """
        if read_stamps(self.directory) != self.stamps:
            raise ValueError(f"{self.directory} changed since it was opened: start again")
        scene = self._scene(scene_name)
        number = list(self.scenes).index(scene_name)
        rows = {name: self._rows(name, number) for name in PLACED}
        try:
            return self._index(scene, rows)
        except KeyError as error:  # not seen since the tables were checked, but never to be met unnamed
            token = shown(error.args[0])
            raise ValueError(
                f"{self.directory}: {scene_name} does not hold token {token}: delete the cache and start again"
            ) from None

    def _scene(self, scene_name: str) -> Row:
        if scene_name not in self.scenes:
            raise ValueError(unknown("scene", scene_name, self.scene_names(), where=str(self.directory)))
        return self.scenes[scene_name]

    def _rows(self, name: str, number: int) -> list[Row]:
        path = self.directory / f"{name}.json"
        rows = read_spans(path, self.places[name].scene(number))
        check_values(path, name, rows)
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
            channel = channels[row["calibrated_sensor_token"]]
            if channel in CAMERAS and not (row["width"] and row["height"]):
                raise ValueError(f"{self.directory}/sample_data.json: {row['filename']} has no width and height")
            sensor_rows[row["sample_token"]][channel] = row
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
    """Size and time of change of every table; raises ``ValueError`` that names those that are missing."""
    paths = {name: directory / f"{name}.json" for name in FIELDS}
    missing = [path.name for path in paths.values() if not path.is_file()]
    if missing:
        raise ValueError(f"{directory} lacks {', '.join(missing)}: unpack the metadata of this version again")
    return {name: (path.stat().st_size, path.stat().st_mtime_ns) for name, path in paths.items()}


def find_places(directory: Path, reference_channel: str) -> dict[str, Places]:
    """Check all tables and find out which records each scene needs; raises ``ValueError`` as ``RecordStore.open``."""
    tables = read_tables(directory)
    links = check_references(tables)
    scenes = check_scenes(tables, links)
    check_chains(tables, links)
    channels = tuple(dict.fromkeys((*CAMERAS, reference_channel)))
    keyframes = check_keyframes(tables, links, channels)
    check_boxes(tables, links)
    of_sample = np.empty(len(tables["sample"].spans), np.int64)
    for number, rows in enumerate(scenes):
        of_sample[rows] = number
    data, box_scene = keyframes.ravel(), of_sample[links["sample_annotation", "sample_token"]]
    data_scene = np.repeat(of_sample, len(channels))
    needed = {
        "sample": (of_sample, np.arange(len(of_sample))),
        "sample_data": (data_scene, data),
        "ego_pose": (data_scene, links["sample_data", "ego_pose_token"][data]),
        "calibrated_sensor": (data_scene, links["sample_data", "calibrated_sensor_token"][data]),
        "sample_annotation": (box_scene, np.arange(len(box_scene))),
        "instance": (box_scene, links["sample_annotation", "instance_token"]),
    }
    return {name: _place(tables[name].spans, *needed[name], len(scenes)) for name in PLACED}


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
            for name in PLACED
        }
    except (OSError, ValueError, EOFError):
        return None
    return places if all(_is_sound(places[name], stamps[name][0]) for name in PLACED) else None


def _is_sound(places: Places, num_bytes: int) -> bool:
    spans, bounds = places.spans, places.bounds
    return (
        (spans.dtype == bounds.dtype == np.int64 and spans.ndim == 2 and spans.shape[1] == 2 and bounds.ndim == 1)
        and bool(bounds[:1] == 0 and bounds[-1] == len(spans) and (np.diff(bounds) >= 0).all())
        and bool((spans[:, 0] >= 0).all() and (spans[:, 0] < spans[:, 1]).all() and (spans[:, 1] <= num_bytes).all())
    )
