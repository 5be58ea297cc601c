"""Recordings in TIER IV's T4 format (before 1.0): a folder a scene, with tables much like those of nuScenes.

A scene is turned into nuScenes records, thinned to 2 Hz, and the nuScenes reader does the rest. How the formats differ,
and what is made of it, stands in ``docs/t4.md``. https://github.com/tier4/t4-devkit
"""

import logging
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from jaxtyping import Bool, Int

from dima_pipeline.contracts.frames import AGENT_CATEGORIES, CAMERAS, STEP_S
from dima_pipeline.datasets import SceneTables, nuscenes
from dima_pipeline.datasets._nuscenes_check import Links, Records, Table, check_keyframes, check_tables
from dima_pipeline.datasets._nuscenes_columns import (
    Columns,
    Row,
    check_tables_are_there,
    check_values,
    is_safe_file,
    read_tables,
)
from dima_pipeline.datasets._nuscenes_findings import Findings, of_scene, shown
from dima_pipeline.datasets._nuscenes_json import read_spans
from dima_pipeline.datasets._nuscenes_store import read_stamps
from dima_pipeline.datasets._nuscenes_tables import agent_category, keyframe_at_steps
from dima_pipeline.datasets._nuscenes_values import check_records
from dima_pipeline.datasets._t4_motion import annotated_velocities, motion
from dima_pipeline.plugins import config_dataclass, unknown

logger = logging.getLogger(__name__)

CLASSES = {
    **dict.fromkeys(("vehicle", "police_car", "police", "ambulance", "emergency (ambulance & police)"), "car"),
    **dict.fromkeys(("fire_truck", "fire"), "truck"),
    **dict.fromkeys(("adult", "child", "construction_worker", "police_officer"), "pedestrian"),
    **{"bus (bendy & rigid)": "bus", "motorbike": "motorcycle", "trafficcone": "traffic_cone"},
}
"""Last words of T4 names, such as ``police`` of ``vehicle.police``, beside our own and those of nuScenes."""
VISIBILITY = {"full": "v80-100", "most": "v60-80", "partial": "v40-60", "none": "v0-40"}
"""Name in T4 -> name in nuScenes, as T4 itself translates its older names."""


@config_dataclass
class Config:
    """How the datasets of the dataroot were recorded. All options hold for all of them."""

    version: str = ""
    """Version folder of every dataset, e.g. ``0``; empty for the newest, or where there are no version folders."""
    reference_channel: str = "LIDAR_CONCAT"
    """Sensor whose ego pose is the pose of a keyframe; ``LIDAR_TOP`` or a camera in other recordings."""
    cameras: dict[str, str] = field(default_factory=dict)
    """Recorded channel of each of our cameras whose name differs, e.g. ``{CAM_FRONT: CAM_FRONT_WIDE}``."""
    thin_to_2_hz: bool = True
    """Keep one keyframe each half second of recordings that are annotated more often."""
    distortion: Literal["error", "ignore"] = "error"
    """Distortion coefficients that are not zero: refuse the scene, or (for rectified images) warn and ignore them."""
    linked_roots: list[str] = field(default_factory=list)
    """Folders besides the dataroot that links in it may lead to, e.g. another disk that the datasets lie on."""

    def __post_init__(self) -> None:
        """Refuse unknown cameras, and one channel for two; pydantic reports it under the parameter's name."""
        for camera in (camera for camera in self.cameras if camera not in CAMERAS):
            raise ValueError(unknown("camera", camera, list(CAMERAS)))
        if len(set(self.channels().values())) < len(CAMERAS):
            raise ValueError(f"cameras name one channel for two cameras: {self.channels()}")

    def channels(self) -> dict[str, str]:
        """Recorded channel by camera, in the order of ``CAMERAS``."""
        return {camera: self.cameras.get(camera, camera) for camera in CAMERAS}

    def recorded(self) -> tuple[str, ...]:
        """The recorded channels that are read."""
        return tuple(dict.fromkeys((*self.channels().values(), self.reference_channel)))


class T4Dataset(nuscenes.NuScenesDataset):
    """All T4 datasets below a dataroot, each a scene of that name; or the one dataset that the dataroot is.

    There is no map: lanelet2 is not read, so no map elements, and ``command_route`` is ``unknown``.
    Raises ``ValueError`` that names the path, table or token for a wrong root or a broken table.
    """

    def __init__(self, config: Config, *, dataroot: Path, cache_dir: Path | None = None) -> None:
        del cache_dir  # a dataset is read whole
        # Not super().__init__, which opens the one version folder of a nuScenes root.
        channel, linked = config.reference_channel, config.linked_roots
        self.config = nuscenes.Config(version="", require_maps=False, reference_channel=channel, linked_roots=linked)
        self.dataroot = Path(dataroot)
        self.unmapped = Counter()
        self._store = self  # type: ignore[assignment]  # all that is asked of it: scene_names, records, location
        self._towns = {}
        self._options = config
        self._folders = find_datasets(self.dataroot, config.version)
        self._last = None
        findings = Findings()
        for folder in self._folders.values():
            self._check_inside((folder / "annotation").glob("*.json"))
            check_tables_are_there(folder / "annotation", findings)
        findings.stop()

    def scene_names(self) -> list[str]:
        """Ids of all datasets, sorted."""
        return list(self._folders)

    def fingerprint(self, scene_name: str) -> str:
        """Of the scene's tables, by their sizes and times of change."""
        return repr(sorted(read_stamps(self._folders[scene_name] / "annotation").items()))

    def records(self, scene_name: str) -> Records:
        """The rows of one scene as those of nuScenes; the last scene is kept."""
        if scene_name not in self._folders:
            raise ValueError(unknown("scene", scene_name, self.scene_names(), where=str(self.dataroot)))
        if self._last is None or scene_name not in self._last.scenes:
            with of_scene(scene_name):
                self._last = read_scene(self.dataroot, scene_name, self._folders[scene_name], self._options)
        return self._last

    def sweeps(self, scene_name: str) -> None:
        """None: what lies between the keyframes is not read."""

    def location(self, scene_name: str) -> str:
        """Where a scene was recorded; ``unknown`` in most recordings."""
        return self.records(scene_name).location(scene_name)

    def tables(self, scene_name: str) -> SceneTables:
        """The tables of one scene; motion is that of ``ego_pose`` and ``vehicle_state``, velocities the annotated ones
        where there are any, and an image that was lost in recording has source ``missing``."""
        tables, records = super().tables(scene_name), self.records(scene_name)
        samples = tables.samples.assign(**_sources(records, tables.samples))
        with of_scene(scene_name):
            moved = motion(records, samples, self.config.reference_channel)
            agents = tables.agents.assign(**annotated_velocities(records, samples, tables.agents))
        for name, values in moved.items():
            samples[name] = samples[name].fillna(pd.Series(values, samples.index))
        return replace(tables, samples=samples, agents=agents)

    def images(self, sample: pd.Series, image_size: tuple[int, int] | None = None) -> dict[str, np.ndarray | None]:
        """As of nuScenes; None too for the blank file that stands for a lost image."""
        lost = {f"{name}_file": "" for name in map(str.lower, CAMERAS) if sample[f"{name}_source"] == "missing"}
        return super().images(pd.Series({**sample, **lost}), image_size)


build = T4Dataset


def find_datasets(dataroot: Path, version: str = "") -> dict[str, Path]:
    """Dataset id -> folder that holds its ``annotation``, by name; all of a dataroot, or the dataroot itself.

    Raises ``ValueError`` for a root without datasets, a folder that is none, and a version that is not there.
    """
    if not dataroot.is_dir():
        raise ValueError(f"dataroot {dataroot} is no folder: set DIMA_DATAROOT to where the T4 datasets lie")
    is_dataset = any((folder / "annotation").is_dir() for folder in (dataroot, *_numbered(dataroot)))
    children = (path for path in dataroot.iterdir() if path.is_dir() and not path.name.startswith("."))
    folders = [dataroot] if is_dataset else sorted(children)
    if not folders:
        raise ValueError(f"{dataroot} holds no T4 dataset: expected folders like <dataset id>/<version>/annotation")
    return {folder.absolute().name: _version_folder(folder, version) for folder in folders}


def _numbered(folder: Path) -> list[Path]:
    """Version folders, oldest first."""
    numbered = [path for path in folder.iterdir() if re.fullmatch("[0-9]+", path.name) and path.is_dir()]
    return sorted(numbered, key=lambda path: int(path.name))


def _version_folder(folder: Path, version: str) -> Path:
    numbered = _numbered(folder)
    if version and version not in (path.name for path in numbered):
        raise ValueError(unknown("version", version, [path.name for path in numbered], where=str(folder)))
    chosen = folder / version if version else [folder, *numbered][-1]
    if (chosen / "manifest.json").is_file():
        raise ValueError(f"{chosen} is a T4 dataset of format 1.0 (manifest.json), which is not read: export it as 0.x")
    if not (chosen / "annotation").is_dir():
        raise ValueError(f"{chosen} has no folder annotation: complete this T4 dataset, or move it out of the dataroot")
    return chosen


def read_scene(dataroot: Path, name: str, folder: Path, config: Config) -> Records:
    """The records of the T4 dataset in ``folder`` as of a nuScenes scene ``name``, with our names of cameras, classes
    and visibility, file names from ``dataroot`` on, and keyframes at 2 Hz.

    Raises ``ValueError`` for a broken table, no or several scenes, no keyframes, a missing sensor, and distortion.
    """
    tables = _Tables.read(folder / "annotation", name)
    readings = tables.readings(config.recorded())
    kept = tables.order
    if config.thin_to_2_hz:
        has_boxes = np.isin(kept, tables.links["sample_annotation", "sample_token"])
        kept = kept[two_hertz(tables.columns["sample"].values["timestamp"][kept], has_boxes)]
    samples = _chained(tables.rows("sample", kept))
    calibrations = tables.pointed_at("sample_data", "calibrated_sensor", readings[kept])
    _check_distortion(tables.columns["calibrated_sensor"].path, calibrations.values(), config.distortion)
    boxes = np.flatnonzero(np.isin(tables.links["sample_annotation", "sample_token"], kept))
    instances = tables.pointed_at("sample_annotation", "instance", boxes)
    kinds = {row["token"]: agent_class(row["name"]) for row in tables.columns["category"].records()}
    scene = tables.columns["scene"].records()[0]
    scene |= {"first_sample_token": samples[0]["token"], "last_sample_token": samples[-1]["token"]}
    scene |= {"nbr_samples": len(samples), "description": scene.get("description") or ""}
    records = Records(
        directory=folder / "annotation",
        scenes={name: scene},
        samples={row["token"]: row for row in samples},
        logs={row["token"]: row for row in tables.columns["log"].records()},
        sensor_rows=_sensor_rows(tables, readings[kept], config, folder.relative_to(dataroot)),
        ego_poses=tables.pointed_at("sample_data", "ego_pose", readings[kept]),
        calibrations=calibrations,
        annotations=_annotations(tables.rows("sample_annotation", boxes), samples),
        categories={token: kinds[row["category_token"]] for token, row in instances.items()},
        attributes={row["token"]: row["name"] for row in tables.columns["attribute"].records()},
        visibility_levels=_levels(tables.columns["visibility"].records()),
    )
    findings = Findings()
    check_records(records, findings)
    findings.stop()
    return records


@dataclass(frozen=True)
class _Fixed(Columns):
    """A table in which a field has one value for all records."""

    field: str
    value: str

    def records(self) -> list[Row]:
        return [{**row, self.field: self.value} for row in super().records()]


@dataclass(frozen=True)
class _Tables:
    """The checked tables of a dataset."""

    columns: dict[str, Columns]
    links: Links
    order: Int[np.ndarray, "N"]
    """Rows of ``sample`` from the first keyframe to the last."""

    @classmethod
    def read(cls, directory: Path, name: str) -> "_Tables":
        findings = Findings()
        columns = read_tables(directory, findings)
        findings.stop()
        num_scenes, num_samples = (len(columns[table].spans) for table in ("scene", "sample"))
        if num_scenes != 1 or num_samples == 0:
            raise ValueError(
                f"{directory} holds {num_scenes} scenes with {num_samples} keyframes, expected 1 with some"
            )
        instances, log = columns["instance"], columns["log"]
        # Instances that are marked in images only have no box to refer to.
        has_box = np.isin(instances.values["token"], columns["sample_annotation"].values["instance_token"])
        values = {field: column[has_box] for field, column in instances.values.items()}
        columns["instance"] = replace(instances, spans=instances.spans[has_box], values=values)
        place = re.sub(r"\W+", "_", log.records()[0]["location"]).strip("_") if len(log.spans) else ""
        columns["log"] = _Fixed(**vars(log), field="location", value=place or "unknown")
        columns["scene"] = _Fixed(**vars(columns["scene"]), field="name", value=name)
        links, scenes = check_tables(columns, findings)
        findings.stop()
        return cls(columns, links, np.array(scenes[0]))

    def rows(self, name: str, numbers: Int[np.ndarray, "R"]) -> list[Row]:
        table, findings = self.columns[name], Findings()
        rows = read_spans(table.path, table.spans[numbers])
        check_values(table.path, name, rows, findings)
        findings.stop()
        return rows

    def pointed_at(self, name: str, target: str, numbers: Int[np.ndarray, "..."]) -> dict[str, Row]:
        """Records of ``target`` by token that rows of table ``name`` refer to."""
        return {row["token"]: row for row in self.rows(target, np.unique(self.links[name, f"{target}_token"][numbers]))}

    def readings(self, channels: Sequence[str]) -> Int[np.ndarray, "samples channels"]:
        """Row of ``sample_data`` for each row of ``sample`` and channel; raises ``ValueError`` where there is none."""
        sensor = self.columns["sensor"]
        present = [row["channel"] for row in sensor.records()]
        for channel in (channel for channel in channels if channel not in present):
            text = unknown("sensor", channel, present, where=str(sensor.path))
            raise ValueError(f"{text}: set the data set's reference_channel or cameras to what was recorded")
        tables, findings = {**self.columns, "sample_data": self._with_lost_images()}, Findings()
        rows = check_keyframes(tables, self.links, [self.order.tolist()], channels, findings)
        findings.stop()
        return rows

    def _with_lost_images(self) -> Columns:
        """A lost image has a row that is no keyframe; it counts as one where its sensor has no other."""
        table = self.columns["sample_data"]
        sensor = self.links["calibrated_sensor", "sensor_token"][self.links["sample_data", "calibrated_sensor_token"]]
        place = self.links["sample_data", "sample_token"] * np.int64(len(self.columns["sensor"].spans)) + sensor
        is_key = table.values["is_key_frame"]
        stands_in = ~np.isin(place, place[is_key])
        return replace(table, values={**table.values, "is_key_frame": is_key | stands_in})


def two_hertz(times_us: Int[np.ndarray, "N"], has_boxes: Bool[np.ndarray, "N"]) -> Int[np.ndarray, "K"]:
    """Keyframes half a second apart, the nearest in time to each; all where they are not nearer than that.

    Starts within the first half second, where most of the keyframes that are kept have boxes, so that of a recording
    at 10 Hz that is annotated at 2 Hz the annotated keyframes remain.
    """
    gap_us = np.median(np.diff(times_us)) if len(times_us) > 1 else np.inf
    if gap_us >= 0.75 * STEP_S * 1e6:
        return np.arange(len(times_us))
    steps = np.arange((times_us[-1] - times_us[0]) // round(STEP_S * 1e6) + 2)
    starts = np.flatnonzero(times_us - times_us[0] < STEP_S * 1e6 - gap_us / 2)
    is_in_scene = times_us[starts, None] + steps * STEP_S * 1e6 <= times_us[-1] + gap_us / 2
    rows = np.where(is_in_scene, keyframe_at_steps(times_us, steps)[starts], -1)
    best = rows[(has_boxes[rows] & (rows >= 0)).sum(1).argmax()]
    return best[best >= 0]


def _chained(rows: Sequence[Row]) -> list[Row]:
    """Rows in order, ``prev`` and ``next`` set to their neighbours."""
    tokens = ["", *(row["token"] for row in rows), ""]
    return [{**row, "prev": tokens[n], "next": tokens[n + 2]} for n, row in enumerate(rows)]


def _annotations(rows: Sequence[Row], samples: Sequence[Row]) -> dict[str, list[Row]]:
    """Boxes by sample token, each chained to the next one of its instance in ``samples``."""
    number = {sample["token"]: index for index, sample in enumerate(samples)}
    tracks: dict[str, list[Row]] = {}
    for row in sorted(rows, key=lambda row: number[row["sample_token"]]):
        tracks.setdefault(row["instance_token"], []).append(row)
    boxes: dict[str, list[Row]] = {token: [] for token in number}
    for track in tracks.values():
        for row in _chained(track):
            boxes[row["sample_token"]].append(row)
    return boxes


def _sensor_rows(tables: _Tables, readings: Int[np.ndarray, "N K"], config: Config, prefix: Path) -> dict[str, Table]:
    """By sample token and camera (or reference channel) the row of ``sample_data``, files from the dataroot on."""
    path = tables.columns["sample_data"].path
    rows = iter(tables.rows("sample_data", readings.ravel()))
    sensor_rows = {}
    for _ in range(len(readings)):
        row_of = {channel: next(rows) for channel in config.recorded()}
        images = {camera: _image_row(path, row_of[channel], prefix) for camera, channel in config.channels().items()}
        reference = row_of[config.reference_channel]
        sensor_rows[reference["sample_token"]] = {config.reference_channel: reference, **images}
    return sensor_rows


def _image_row(path: Path, row: Row, prefix: Path) -> Row:
    if not (is_safe_file(row["filename"]) and row["width"] and row["height"]):
        raise ValueError(f"{path}: image '{shown(row['filename'])}' leaves the dataset, or has no width and height")
    return {**row, "filename": (prefix / row["filename"]).as_posix()}


def _check_distortion(path: Path, calibrations: Iterable[Row], what: str) -> None:
    """Our projections know no distortion; raises ``ValueError`` for coefficients that are not zero, or warns once."""
    for row in calibrations:
        if np.any(np.array(row.get("camera_distortion") or 0, object) != 0):
            found = f"{path}: camera_distortion of record {shown(row['token'])} is {shown(row['camera_distortion'])}"
            if what == "error":
                raise ValueError(f"{found}: undistort the images, or set distortion: ignore where they are rectified")
            logger.warning("%s: ignored, images taken for rectified", found)
            return


def agent_class(name: str) -> str:
    """Detection class of a category name, whatever its case; the name itself where there is none."""
    word = name.lower().rsplit(".", 1)[-1]
    return word if word in AGENT_CATEGORIES else CLASSES.get(word) or agent_category(name.lower()) or name


def _levels(rows: Sequence[Row]) -> dict[str, str]:
    """nuScenes' visibility level by token. ``none`` is a level beside the other names of T4; by itself, or beside the
    older ``v0-40`` ... ``v80-100``, it says that nobody looked."""
    names = VISIBILITY if any(row["level"] in ("full", "most", "partial") for row in rows) else {}
    return {str(row["token"]): names.get(row["level"], str(row["level"])) for row in rows}


def _sources(records: Records, samples: pd.DataFrame) -> dict[str, pd.Series]:
    """Columns ``cam_front_source`` ...: ``missing`` too for what was lost or is not valid."""
    sources = {}
    for camera in CAMERAS:
        rows = (records.sensor_rows[token][camera] for token in samples["sample_token"])
        is_lost = [not row["is_key_frame"] or row.get("is_valid") is False for row in rows]
        sources[f"{camera.lower()}_source"] = samples[f"{camera.lower()}_source"].mask(np.array(is_lost), "missing")
    return sources
