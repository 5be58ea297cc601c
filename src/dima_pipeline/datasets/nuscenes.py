"""Recordings in the nuScenes format: mini, trainval, test, generated worlds, and own logs converted to it.

The tables are read once, checked, and turned into the project's frames scene by scene with numpy; from the devkit come
category names, lane curves and official splits. Caesar et al., "nuScenes", CVPR 2020.
"""

from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from dima_pipeline.contracts.frames import CAMERAS, MAP_KINDS
from dima_pipeline.datasets import SceneTables
from dima_pipeline.datasets._nuscenes_can import CanBus, read_can_bus
from dima_pipeline.datasets._nuscenes_check import Records, Row
from dima_pipeline.datasets._nuscenes_map import Area, Line, TownMap, read_layers
from dima_pipeline.datasets._nuscenes_route import LaneGraph, command_on_route, look_ahead_m
from dima_pipeline.datasets._nuscenes_store import RecordStore
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

MAX_PIXELS = 50_000_000
"""A larger image is taken for damage or an attack, and not decoded."""


@config_dataclass
class Config:
    """Which version folder of the dataroot to read."""

    version: str
    """Name of the folder with the JSON tables, e.g. ``v1.0-mini``."""
    require_maps: bool = True
    """Refuse a location without map expansion; otherwise its scenes have no map elements and no lane graph."""
    reference_channel: str = "LIDAR_TOP"
    """Sensor whose ego pose is the pose of a keyframe; ``CAM_FRONT`` for recordings without LIDAR."""


class NuScenesDataset:
    """One version of a nuScenes-format dataroot.

    Raises ``ValueError`` that names the path, table or token for a wrong root, a broken table or a missing map.
    """

    def __init__(self, config: Config, *, dataroot: Path) -> None:
        self.config = config
        self.dataroot = Path(dataroot)
        self.unmapped: Counter[str] = Counter()
        """Boxes left out of ``agents`` in the scenes read so far, by category name."""
        self._store = RecordStore.open(_version_folder(self.dataroot, config.version), config.reference_channel)
        self._towns: dict[str, tuple[TownMap, LaneGraph] | None] = {}
        if config.require_maps:
            self._check_maps()

    def scene_names(self) -> list[str]:
        """Names of all scenes, in the order of ``scene.json``."""
        return self._store.scene_names()

    def camera_files(self, scene_name: str) -> list[Path]:
        """Paths of all camera files of a scene, keyframe by keyframe in the order of ``CAMERAS``."""
        records = self.records(scene_name)
        tokens = [sample["token"] for sample in records.scene_samples(scene_name)]
        rows = records.sensor_rows
        return [self.dataroot / rows[token][camera]["filename"] for token in tokens for camera in CAMERAS]

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
        """The rows of one scene's tables as they are recorded."""
        return self._store.records(scene_name)

    def images(self, sample: pd.Series, image_size: tuple[int, int] | None = None) -> dict[str, np.ndarray | None]:
        """Images of a row of ``samples`` by camera, uint8 (H, W, 3) RGB; None where the file is missing.

        At the recorded size, or resized to ``image_size`` (height, width), which is faster than resizing afterwards.
        Raises ``ValueError`` for a file that is damaged or not of the size that the tables promise.
        """
        images: dict[str, np.ndarray | None] = {}
        for camera in CAMERAS:
            name = camera.lower()
            path = self.dataroot / sample[f"{name}_file"]
            size = (sample[f"{name}_width"], sample[f"{name}_height"])
            images[camera] = read_image(path, size, image_size) if path.is_file() else None
        return images

    def ground(self, location: str, center_xy: np.ndarray, radius_m: float) -> tuple[list[Area], list[Line]]:
        """What the ground looks like around a global place, for replay: areas (kind, exterior (N, 2), holes (M, 2)) of
        kinds road, intersection, walkway, crossing, carpark, and lines (kind, points (N, 2)) of kinds divider,
        road_divider, boundary, stop_line; clipped to a square, empty without map."""
        town = self._town(location)
        return ([], []) if town is None else town[0].ground(np.asarray(center_xy, float), radius_m)

    def _map_path(self, location: str) -> Path:
        return self.dataroot / "maps" / "expansion" / f"{location}.json"

    def _check_maps(self) -> None:
        for location in sorted({self._store.location(name) for name in self.scene_names()}):
            if not self._map_path(location).is_file():
                raise ValueError(
                    f"{self._map_path(location)} is missing: unpack the map expansion (1.3 or later) into the "
                    "dataroot, or set the data set's require_maps: false to go without map elements"
                )

    def _town(self, location: str) -> tuple[TownMap, LaneGraph] | None:
        if location not in self._towns:
            path = self._map_path(location)
            self._towns[location] = None
            if path.is_file():
                layers = read_layers(path)
                self._towns[location] = TownMap(layers), LaneGraph(layers.lanes, layers.outgoing)
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


def read_image(path: Path, size: tuple[int, int], image_size: tuple[int, int] | None = None) -> np.ndarray:
    """Decode a JPEG or PNG of ``size`` (width, height) as RGB, resized to ``image_size`` (height, width) if given.

    Raises ``ValueError`` that names a file that is cut short, damaged, too large or of another size.
    """
    try:
        with Image.open(path, formats=("JPEG", "PNG")) as image:
            if image.size != size:
                raise ValueError(
                    f"{path} is {image.size} pixels, sample_data.json says {size}: calibration would be off"
                )
            if image.size[0] * image.size[1] > MAX_PIXELS:
                raise ValueError(f"{path} claims {image.size} pixels, more than {MAX_PIXELS:,}: not decoded")
            if image_size is None:
                return np.asarray(image.convert("RGB"))
            target = (image_size[1], image_size[0])
            # A JPEG decoder scales by 1/2, 1/4 or 1/8 for less than the price of the full image; ``box`` is the part
            # of the scaled image that the recorded one covers, to a fraction of a pixel.
            draft = image.draft("RGB", target)
            box = draft[1] if draft else (0, 0, *image.size)
            return np.asarray(image.convert("RGB").resize(target, Image.Resampling.BILINEAR, box=box))
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"{path} cannot be decoded ({error}): copy it again") from None
