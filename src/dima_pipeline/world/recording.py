"""Records one scene: sensor files, CAN bus, and the rows of the nuScenes tables that belong to it."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from dima_pipeline.geometry import (
    invert_rigid,
    quaternion_from_yaw,
    rigid,
    rotation_from_quaternion,
    to_frame,
    wrap_angle,
)
from dima_pipeline.world.can_bus import write_can_bus
from dima_pipeline.world.categories import attribute
from dima_pipeline.world.config import WorldConfig
from dima_pipeline.world.drama import Drama
from dima_pipeline.world.greenery import near, street_trees
from dima_pipeline.world.ground import SIGHT_M, actor_boxes, building_boxes, ground_areas, ground_lines, signal_heads
from dima_pipeline.world.render_noise import expose
from dima_pipeline.world.renderer import Backdrop, RenderBox, Renderer
from dima_pipeline.world.sensors import (
    LIDAR_TRANSLATION,
    LIDAR_YAW_RAD,
    Camera,
    camera_rig,
    scan,
    visibility_level,
    visible_share,
)
from dima_pipeline.world.simulation import TIME_STEP_S

Array = np.ndarray
Row = dict[str, Any]
KEYFRAME_S = 0.5
FIRST_US = 1_533_000_000_000_000
SCENE_GAP_US = 600_000_000
SWEEP_RANGE_M = 70.0


@dataclass(frozen=True)
class SceneJob:
    """Which scene to record: its official name, split, place in the split and place in the world."""

    name: str
    split: str
    index: int
    number: int

    @property
    def start_us(self) -> int:
        """Time stamp of the first keyframe."""
        return FIRST_US + self.number * SCENE_GAP_US


def token(*parts: object) -> str:
    """A nuScenes-like token that depends on ``parts`` alone."""
    return hashlib.md5("/".join(map(str, parts)).encode(), usedforsecurity=False).hexdigest()


def record(
    config: WorldConfig, job: SceneJob, drama: Drama, directory: Path, renderer: Renderer | None
) -> dict[str, list[Row]]:
    """Write the files of a scene below ``directory`` and return its rows by table.

    Without a renderer the images are left black: only the geometry is of interest then.
    """
    recorder = _Recorder(config, job, drama, directory, renderer)
    recorder.run()
    return recorder.tables


class _Recorder:
    """Collects the rows of one scene, keyframe by keyframe."""

    def __init__(
        self, config: WorldConfig, job: SceneJob, drama: Drama, directory: Path, renderer: Renderer | None
    ) -> None:
        self.config, self.job, self.drama, self.directory, self.renderer = config, job, drama, directory, renderer
        self.rig = camera_rig(config.image_width, config.image_height)
        self.backdrop = Backdrop(drama.light, drama.weather)  # type: ignore[arg-type]
        self.rng = np.random.default_rng([config.seed, job.number, 7])
        self.tables: dict[str, list[Row]] = {}
        vehicle = "n015" if drama.town.location.startswith("singapore") else "n008"
        self.logfile = f"{vehicle}-{job.name}"
        ticks = np.arange(config.num_keyframes) * round(KEYFRAME_S / TIME_STEP_S)
        assert ticks[-1] < len(drama.tracks.times_s)
        self.ticks = ticks
        driven = drama.tracks.ego_poses[ticks]
        self.ego_poses = drama.town.placement.poses(driven)
        self.houses = building_boxes(drama.town, driven[:, :2])

    def token(self, *parts: object) -> str:
        """A token of this scene."""
        return token(self.config.seed, self.job.name, *parts)

    def add(self, table: str, **row: Any) -> None:
        """Append a row."""
        self.tables.setdefault(table, []).append(row)

    def run(self) -> None:
        """Record everything."""
        self._scene_rows()
        write_can_bus(self.directory / "can_bus", self.job.name, self.drama, self.job.start_us)
        if self.renderer is not None:
            self.renderer.set_ground(ground_areas(self.drama.town), ground_lines(self.drama.town), self.backdrop)
            self.renderer.set_trees(near(street_trees(self.drama.town), self.ego_poses[:, :2], SIGHT_M))
        seen = [self._keyframe(index) for index in range(len(self.ticks))]
        self._annotation_rows(seen)
        self._truth_rows()

    def _scene_rows(self) -> None:
        num = len(self.ticks)
        log = self.token("log")
        self.add(
            "log", token=log, logfile=self.logfile, vehicle=self.logfile[:4], date_captured="2018-07-31",
            location=self.drama.town.location,
        )  # fmt: skip
        self.add(
            "scene", token=self.token("scene"), log_token=log, nbr_samples=num, name=self.job.name,
            first_sample_token=self.token("sample", 0), last_sample_token=self.token("sample", num - 1),
            description=describe(self.drama),
        )  # fmt: skip
        for camera in self.rig:
            self._sensor_row(camera.channel, camera.translation, camera.rotation_wxyz, camera.intrinsics.tolist())
        wxyz = tuple(float(v) for v in quaternion_from_yaw(np.array(LIDAR_YAW_RAD)))
        self._sensor_row("LIDAR_TOP", LIDAR_TRANSLATION, wxyz, [])

    def _sensor_row(self, channel: str, place: Any, rotation: Any, intrinsics: list[list[float]]) -> None:
        self.add(
            "calibrated_sensor", token=self.token("sensor", channel), sensor_token=token("sensor", channel),
            translation=list(place), rotation=list(rotation), camera_intrinsic=intrinsics,
        )  # fmt: skip

    def _keyframe(self, index: int) -> dict[int, Row]:
        """Write the files of a keyframe; return what an annotator would note, by place of the actor."""
        boxes = actor_boxes(self.drama, int(self.ticks[index]))
        ego = self.ego_poses[index]
        places = np.array([box.center[:2] for box in boxes]).reshape(-1, 2)
        near = np.linalg.norm(places - ego[:2], axis=1) <= self.config.annotation_range_m
        targets = [box for box, is_near in zip(boxes, near, strict=True) if is_near]
        others = [box for box, is_near in zip(boxes, near, strict=True) if not is_near] + self.houses
        scene = in_ego_frame([*targets, *others], ego)
        close = np.linalg.norm(scene[:, :2], axis=1) < SWEEP_RANGE_M + 10
        close[: len(targets)] = True
        kinds = [box.category for box, is_close in zip([*targets, *others], close, strict=True) if is_close]
        points, counts = scan(scene[close], len(targets), self.rng, kinds)
        levels = visibility_level(visible_share(scene[close], len(targets), self.rig, kinds))
        self._sample_row(index)
        if self.renderer is not None:
            self.renderer.set_boxes([*boxes, *self.houses])
            self.renderer.set_signals(signal_heads(self.drama, int(self.ticks[index])))
        for camera in self.rig:
            self._data_row(index, camera.channel, "jpg", partial(self._photograph, camera, index))
        self._data_row(index, "LIDAR_TOP", "pcd.bin", lambda path: path.write_bytes(points.tobytes()))
        noted = zip(targets, levels, counts, strict=True)
        return {box.instance_id: {"box": box, "level": int(level), "num": int(num)} for box, level, num in noted}

    def _photograph(self, camera: Camera, index: int, path: Path) -> None:
        width, height = camera.size
        pixels = np.zeros((height, width, 3), np.uint8)
        if self.renderer is not None:
            pixels = self.renderer.render(camera.intrinsics, camera_from_world(camera, self.ego_poses[index]))
            rng = np.random.default_rng([self.config.seed, self.job.number, index, self.rig.index(camera)])
            pixels = expose(pixels, self.backdrop, rng)
        Image.fromarray(pixels).save(path, quality=self.config.jpeg_quality)

    def _time_us(self, index: int) -> int:
        return self.job.start_us + round(index * KEYFRAME_S * 1e6)

    def _link(self, index: int, *parts: object) -> Row:
        """``prev`` and ``next`` of the ``index``-th row of a chain over all keyframes."""
        last = len(self.ticks) - 1
        return {
            "prev": self.token(*parts, index - 1) if index > 0 else "",
            "next": self.token(*parts, index + 1) if index < last else "",
        }

    def _sample_row(self, index: int) -> None:
        self.add(
            "sample", token=self.token("sample", index), timestamp=self._time_us(index),
            scene_token=self.token("scene"), **self._link(index, "sample"),
        )  # fmt: skip

    def _data_row(self, index: int, channel: str, ending: str, write: Callable[[Path], object]) -> None:
        time = self._time_us(index)
        file = f"samples/{channel}/{self.logfile}__{channel}__{time}.{ending}"
        write(self.directory / file)
        x, y, yaw = (float(v) for v in self.ego_poses[index])
        pose = self.token("pose", channel, index)
        quaternion = [float(q) for q in quaternion_from_yaw(np.array(yaw))]
        self.add("ego_pose", token=pose, timestamp=time, rotation=quaternion, translation=[x, y, 0.0])
        is_image = ending == "jpg"
        self.add(
            "sample_data", token=self.token("data", channel, index), sample_token=self.token("sample", index),
            ego_pose_token=pose, calibrated_sensor_token=self.token("sensor", channel), timestamp=time,
            fileformat="jpg" if is_image else "pcd", is_key_frame=True,
            height=self.config.image_height if is_image else 0, width=self.config.image_width if is_image else 0,
            filename=file, **self._link(index, "data", channel),
        )  # fmt: skip

    def _annotation_rows(self, seen: list[dict[int, Row]]) -> None:
        """Chains of boxes; what no sensor ever met is not annotated."""
        for place in range(1, len(self.drama.actors)):
            chain = [index for index, noted in enumerate(seen) if place in noted]
            if not any(seen[index][place]["num"] > 0 for index in chain):
                continue
            name = self.drama.actors[place].name
            tokens = [self.token("box", name, index) for index in chain]
            self.add(
                "instance", token=self.token("instance", name), nbr_annotations=len(chain),
                category_token=token("category", self.drama.actors[place].category),
                first_annotation_token=tokens[0], last_annotation_token=tokens[-1],
            )  # fmt: skip
            for step, index in enumerate(chain):
                before = tokens[step - 1] if step else ""
                after = tokens[step + 1] if step + 1 < len(chain) else ""
                self._box_row(index, place, seen[index][place], {"token": tokens[step], "prev": before, "next": after})

    def _box_row(self, index: int, place: int, noted: Row, links: Row) -> None:
        actor, box = self.drama.actors[place], noted["box"]
        speed = float(self.drama.tracks.speeds[self.ticks[index], place])
        name = attribute(actor.category, speed, actor.intention)
        length, width, height = box.size
        self.add(
            "sample_annotation", **links, sample_token=self.token("sample", index),
            instance_token=self.token("instance", actor.name), visibility_token=str(noted["level"]),
            attribute_tokens=[token("attribute", name)] if name else [],
            translation=[float(v) for v in box.center], size=[width, length, height],
            rotation=[float(q) for q in quaternion_from_yaw(np.array(box.yaw))],
            num_lidar_pts=noted["num"], num_radar_pts=0,
        )  # fmt: skip

    def _truth_rows(self) -> None:
        known = {row["token"] for row in self.tables.get("instance", [])}
        for row in self.drama.intervals:
            instance = self.token("instance", row.actor) if row.actor else None
            if row.actor is None or instance in known:
                self.add(
                    "world_truth", scene_token=self.token("scene"), instance_token=instance, kind=row.kind,
                    value=row.value, begin_timestamp_us=self.job.start_us + round(row.begin_s * 1e6),
                    end_timestamp_us=self.job.start_us + round(row.end_s * 1e6),
                )  # fmt: skip


def in_ego_frame(boxes: list[RenderBox], ego: Array) -> Array:
    """Boxes (B, 7): x, y, z of the centre, yaw, length, width, height in the frame of the ego pose."""
    if not boxes:
        return np.zeros((0, 7))
    centers = np.array([box.center for box in boxes])
    yaws = wrap_angle(np.array([box.yaw for box in boxes]) - ego[2])
    return np.column_stack([to_frame(centers[:, :2], ego), centers[:, 2], yaws, [box.size for box in boxes]])


def camera_from_world(camera: Camera, ego: Array) -> Array:
    """Transform (4, 4) from the canvas to a camera of a car at pose x, y, yaw."""
    world_from_ego = rigid(rotation_from_quaternion(quaternion_from_yaw(ego[2])), np.array([ego[0], ego[1], 0.0]))
    return np.asarray(camera.camera_from_ego @ invert_rigid(world_from_ego))


_PHRASES = {
    "overtaking": "overtake parked vehicle",
    "three_point_turn": "three-point turn",
    "resume_from_stop": "stop and resume",
    "crossing_pedestrian": "ped crossing crosswalk",
    "lead_vehicle": "following a vehicle",
    "turn_left": "turn left",
    "turn_right": "turn right",
    "curve": "curved road",
}


def describe(drama: Drama) -> str:
    """A description in nuScenes' style, such as ``Night, rain, turn left, parked cars``."""
    words = ["Night"] if drama.light == "night" else ["Dusk"] if drama.light == "dusk" else []
    words += [drama.weather] if drama.weather in ("rain", "fog") else []
    words += [_PHRASES.get(event, event.replace("_", " ")) for event in sorted(drama.events())]
    if sum(actor.intention == "parked" for actor in drama.actors) > 2:
        words.append("parked cars")
    if sum(actor.is_walker for actor in drama.actors) > 3:
        words.append("peds on sidewalk")
    words = words or ["Drive straight"]
    return ", ".join([words[0].capitalize(), *words[1:]])
