"""Recordings in the nuScenes format: mini, trainval, test, generated worlds, and own logs converted to it.

The tables are read once, checked, and turned into the project's frames scene by scene with numpy; from the devkit come
category names, lane curves and official splits. Caesar et al., "nuScenes", CVPR 2020.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from dima_pipeline.contracts.frames import CAMERAS, MAP_KINDS
from dima_pipeline.datasets import SceneTables
from dima_pipeline.datasets._files import check_inside, find_outside, outside_error, read_image
from dima_pipeline.datasets._nuscenes_can import MESSAGES, CanBus, read_can_bus
from dima_pipeline.datasets._nuscenes_check import Records, Row
from dima_pipeline.datasets._nuscenes_map import Area, Line, TownMap, read_layers
from dima_pipeline.datasets._nuscenes_route import LaneGraph, command_on_route, look_ahead_m
from dima_pipeline.datasets._nuscenes_store import LidarSweeps, RecordStore
from dima_pipeline.datasets._nuscenes_tables import (
    SceneFrames,
    camera_columns,
    driven_commands,
    ego_paths,
    scene_agents,
    scene_frames,
    speeds,
)
from dima_pipeline.geometry import rotation_from_quaternion, yaw_from_rotation
from dima_pipeline.plugins import config_dataclass, unknown
from dima_pipeline.storage.manifest import digest


@config_dataclass
class Config:
    """Which version folder of the dataroot to read."""

    version: str
    """Name of the folder with the JSON tables, e.g. ``v1.0-mini``."""
    require_maps: bool = True
    """Refuse a location without map expansion; otherwise its scenes have no map elements and no lane graph."""
    reference_channel: str = "LIDAR_TOP"
    """Sensor whose ego pose is the pose of a keyframe; ``CAM_FRONT`` for recordings without LIDAR."""
    linked_roots: list[str] = field(default_factory=list)
    """Folders besides the dataroot that links in it may lead to, e.g. another disk that ``samples`` lies on."""


class NuScenesDataset:
    """One version of a nuScenes-format dataroot.

    Raises ``ValueError`` that names the path, table or token for a wrong root, a broken table or a missing map.
    """

    def __init__(self, config: Config, *, dataroot: Path, cache_dir: Path | None = None) -> None:
        self.config = config
        self.dataroot = Path(dataroot)
        self.unmapped: Counter[str] = Counter()
        """Boxes left out of ``agents`` in the scenes read so far, by category name."""
        folder = _version_folder(self.dataroot, config.version)
        self._check_inside(folder.glob("*.json"))
        self._store = RecordStore.open(folder, config.reference_channel, cache_dir)
        self._last: Records | None = None
        self._towns: dict[str, tuple[TownMap, LaneGraph] | None] = {}
        if config.require_maps:
            self._check_maps()

    def __getstate__(self) -> dict[str, Any]:
        """Without maps and records, which every process reads for itself."""
        return {**self.__dict__, "_towns": {}, "_last": None}

    def scene_names(self) -> list[str]:
        """Names of all scenes, in the order of ``scene.json``."""
        return self._store.scene_names()

    def camera_files(self, scene_name: str) -> list[Path]:
        """Paths of all camera files of a scene, keyframe by keyframe in the order of ``CAMERAS``.

        Raises ``BrokenRecording`` where links lead out of the dataroot and the linked roots.
        """
        records = self.records(scene_name)
        samples = [sample["token"] for sample in records.scene_samples(scene_name)]
        rows = [records.sensor_rows[token][camera] for token in samples for camera in CAMERAS]
        files = {self.dataroot / row["filename"]: row["token"] for row in rows}
        outside = find_outside(files, self.roots)
        if outside:
            raise outside_error(outside, self.roots, scene_name, files[next(iter(outside))])
        return [self.dataroot / row["filename"] for row in rows]

    def fingerprint(self, scene_name: str) -> str:
        """Of the scene's records, its CAN messages and its map."""
        files = [*self._can_files(scene_name), self._map_path(self._store.location(scene_name))]
        return f"{self._store.digest(scene_name)} {[_content(path) for path in files]}"

    def tables(self, scene_name: str) -> SceneTables:
        """The tables of one scene, with split ``train``; ``curation.splits`` knows the official ones."""
        records = self.records(scene_name)
        frames = scene_frames(records, scene_name, self.config.reference_channel)
        boxes = scene_agents(records, frames)
        self.unmapped.update(boxes.unmapped)
        paths = ego_paths(frames)
        return SceneTables(
            scenes=self._scene_row(records.scenes[scene_name], frames),
            samples=self._samples(records, frames, paths),
            agents=boxes.agents,
            ego_paths=paths,
            agent_futures=boxes.futures,
            map_elements=self._map_elements(frames),
        )

    def records(self, scene_name: str) -> Records:
        """The rows of one scene's tables as they are recorded; the last scene is kept."""
        if self._last is None or scene_name not in self._last.scenes:
            self._last = self._store.records(scene_name)
        return self._last

    def sweeps(self, scene_name: str) -> LidarSweeps | None:
        """The readings of LIDAR_TOP of a scene, at the keyframes and between, for VAD's infos; None where they are not
        read. Raises ``ValueError`` for a file name that leads out of the dataroot."""
        return self._store.sweeps(scene_name)

    def images(self, sample: pd.Series, image_size: tuple[int, int] | None = None) -> dict[str, np.ndarray | None]:
        """Images of a row of ``samples`` by camera, uint8 (H, W, 3) RGB; None where the file is missing.

        At the recorded size, or resized to ``image_size`` (height, width), which is faster than resizing afterwards.
        Raises ``ValueError`` for a file that is damaged, not of the size that the tables promise, or outside the
        dataroot and the linked roots.
        """
        images: dict[str, np.ndarray | None] = {}
        files = [self.dataroot / sample[f"{camera.lower()}_file"] for camera in CAMERAS]
        self._check_inside(files)
        for camera, path in zip(CAMERAS, files, strict=True):
            name = camera.lower()
            size = (sample[f"{name}_width"], sample[f"{name}_height"])
            images[camera] = read_image(path, size, image_size) if path.is_file() else None
        return images

    def ground(self, location: str, center_xy: np.ndarray, radius_m: float) -> tuple[list[Area], list[Line]]:
        """What the ground looks like around a global place, for replay: areas (kind, exterior (N, 2), holes (M, 2)) of
        kinds road, intersection, walkway, crossing, carpark, and lines (kind, points (N, 2)) of kinds divider,
        road_divider, boundary, stop_line; clipped to a square, empty without map."""
        town = self._town(location)
        return ([], []) if town is None else town[0].ground(np.asarray(center_xy, float), radius_m)

    @property
    def roots(self) -> list[Path]:
        """The dataroot and the folders that its links may lead to."""
        return [self.dataroot, *map(Path, self.config.linked_roots)]

    def _check_inside(self, paths: Iterable[Path]) -> None:
        for path in paths:
            check_inside(path, self.roots)

    def _map_path(self, location: str) -> Path:
        path = self.dataroot / "maps" / "expansion" / f"{location}.json"
        check_inside(path, self.roots)
        return path

    def _can_files(self, scene_name: str) -> list[Path]:
        """Of all kinds that are read, here and for VAD's infos, there or not."""
        files = [self.dataroot / "can_bus" / f"{scene_name}_{kind}.json" for kind in MESSAGES]
        self._check_inside(files)
        return files

    def _check_maps(self) -> None:
        for location in sorted({self._store.location(name) for name in self.scene_names()}):
            if not self._map_path(location).is_file():
                raise ValueError(
                    f"{self._map_path(location)} is missing: unpack the map expansion (1.3 or later) into the "
                    "dataroot, or set the data set's require_maps: false to go without map elements"
                )

    def _town(self, location: str) -> tuple[TownMap, LaneGraph] | None:
        if location not in self._towns:
            path, town = self._map_path(location), None
            if path.is_file():
                layers = read_layers(path)
                town = TownMap(layers), LaneGraph(layers.lanes, layers.outgoing)
            self._towns[location] = town
        return self._towns[location]

    def _scene_row(self, scene: Row, frames: SceneFrames) -> pd.DataFrame:
        row = {
            "scene_token": frames.token,
            "name": frames.name,
            "log_token": scene["log_token"],
            "location": self._store.location(frames.name),
            "description": scene.get("description", ""),
            "split": "train",
            "num_samples": len(frames.samples),
            "first_timestamp_us": frames.times_us[0],
            "last_timestamp_us": frames.times_us[-1],
        }
        return pd.DataFrame([row])

    def _samples(self, records: Records, frames: SceneFrames, paths: pd.DataFrame) -> pd.DataFrame:
        self._can_files(frames.name)  # which checks where they lie
        can = read_can_bus(self.dataroot, frames.name, frames.times_us)
        pose_names = ("ego_x_m", "ego_y_m", "ego_z_m", "ego_qw", "ego_qx", "ego_qy", "ego_qz")
        motion_names = ("speed_mps", "acceleration_mps2", "yaw_rate_radps", "steering_rad")
        columns = {
            "sample_token": frames.tokens,
            "scene_token": frames.token,
            "index": np.arange(len(frames.samples)),
            "timestamp_us": frames.times_us,
            "prev": [row["prev"] or None for row in frames.samples],
            "next": [row["next"] or None for row in frames.samples],
            **dict(zip(pose_names, frames.pose.T, strict=True)),
            **dict(zip(motion_names, can.motion.T, strict=True)),
            "command_driven": driven_commands(paths, len(frames.samples)),
            "command_route": self._route_commands(frames, can),
            **camera_columns(records, frames, self.dataroot),
        }
        return pd.DataFrame(columns)

    def _route_commands(self, frames: SceneFrames, can: CanBus) -> list[str]:
        """Along the planned route where there is one and the ego is on it, else along the lane graph."""
        town = self._town(self._store.location(frames.name))
        commands = []
        for pose, speed_mps in zip(planar_poses(frames), speeds(frames, can.motion[:, 0]), strict=True):
            distance_m = look_ahead_m(speed_mps)
            command = "unknown" if can.route is None else command_on_route(can.route, pose, distance_m)
            if command == "unknown" and town is not None:
                command = town[1].command(pose, distance_m)
            commands.append(command)
        return commands

    def _map_elements(self, frames: SceneFrames) -> pd.DataFrame:
        town = self._town(self._store.location(frames.name))
        tokens: list[str] = []
        kinds: list[str] = []
        points: list[np.ndarray] = []
        for token, pose in zip(frames.tokens, planar_poses(frames), strict=True):
            if town is not None:
                kind, lines = town[0].elements(pose)
                tokens += [token] * len(kind)
                kinds += [MAP_KINDS[index] for index in kind]
                points += list(lines.reshape(len(kind), -1))
        return pd.DataFrame({"sample_token": tokens, "kind": kinds, "points": points}, dtype=object)


build = NuScenesDataset


def _content(path: Path) -> str:
    """Digest of a file, empty where there is none; a map is read once for all its scenes."""
    if not path.is_file():
        return ""
    status = path.stat()
    return _cached_digest(path, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=64)
def _cached_digest(path: Path, _size: int, _changed_ns: int) -> str:
    return digest(path)


def planar_poses(frames: SceneFrames) -> np.ndarray:
    """Global x, y (m) and yaw (rad) of the keyframes, (N, 3)."""
    yaw = yaw_from_rotation(rotation_from_quaternion(frames.pose[:, 3:]))
    return np.column_stack([frames.pose[:, :2], yaw])


def _version_folder(dataroot: Path, version: str) -> Path:
    """Folder of the tables; raises ``ValueError`` that says what is wrong with the root or which versions it has."""
    if not dataroot.is_dir():
        raise ValueError(f"dataroot {dataroot} is no folder: set DIMA_DATAROOT to where nuScenes is unpacked")
    folder = dataroot / version
    if version and (folder / "scene.json").is_file():
        return folder
    present = sorted(path.parent.name for path in dataroot.glob("*/scene.json"))
    if not present and not folder.is_dir():
        raise ValueError(f"{dataroot} holds no nuScenes version: expected a folder like v1.0-mini with scene.json")
    if folder.is_dir() and version:
        return folder
    raise ValueError(unknown("version", version, present, where=str(dataroot)))
