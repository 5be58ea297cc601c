"""Log replay: draws a camera image that a recording lacks from its boxes, map and calibration.

The drawing world is the global plane levelled at the keyframe: boxes, ground and camera share one yaw-only ego pose,
so pitch and roll of the car tilt none of them against the others.
"""

import re
import zlib
from collections.abc import Callable
from typing import Final

import numpy as np
import pandas as pd
from jaxtyping import Float, UInt8

from dima_pipeline.contracts.frames import CAMERAS
from dima_pipeline.datasets import SceneTables
from dima_pipeline.geometry import from_frame, invert_rigid, rigid, rotation_from_quaternion, yaw_from_rotation
from dima_pipeline.plugins import unknown
from dima_pipeline.world.render_types import MAX_INSTANCE_ID
from dima_pipeline.world.renderer import Backdrop, GroundArea, GroundLine, RenderBox, Renderer

Array = np.ndarray
Areas = list[tuple[str, Array, tuple[Array, ...]]]
"""Kind of ``GroundArea``, exterior (N, 2), holes; global x, y (m)."""
Lines = list[tuple[str, Array]]
"""Kind of ``GroundLine``, points (N, 2); global x, y (m)."""
GroundSource = Callable[[str, Array, float], tuple[Areas, Lines]]
"""``ground(location, center_xy, radius_m)``: the map around a global place, clipped."""

GROUND_RADIUS_M: Final = 140.0
GROUND_STEP_M: Final = 40.0
"""The ground is built anew when the car has moved this far from where it was built last."""
_AFTER_RAIN: Final = re.compile(r"after\s+(the\s+)?rain", re.IGNORECASE)
_RAIN: Final = re.compile(r"\brain(y|ing)?\b", re.IGNORECASE)
_NIGHT: Final = re.compile(r"\bnight\b", re.IGNORECASE)
_DUSK: Final = re.compile(r"\b(dusk|dawn|sunset)\b", re.IGNORECASE)


class ReplayRenderer:
    """Draws cameras of recorded keyframes at ``image_size`` (H, W) without a detour over the recorded size.

    ``ground`` is the map, e.g. a data set's ``ground``. The ground is kept while the car stays near, the boxes while
    the keyframe stays the same: ask for the cameras of a keyframe one after the other.
    """

    def __init__(self, ground: GroundSource, image_size: tuple[int, int]) -> None:
        self._ground = ground
        self.image_size = image_size
        self._renderer = Renderer(width=image_size[1], height=image_size[0])
        self._place: tuple[str, Array] | None = None
        self._keyframe: str | None = None

    def render(self, tables: SceneTables, sample: pd.Series, camera: str) -> UInt8[Array, "H W 3"]:
        """The image of ``camera`` (of ``frames.CAMERAS``) at a row of ``samples``.

        Raises ``ValueError`` for an unknown camera or a scene that is not in ``tables``.
        """
        if camera not in CAMERAS:
            raise ValueError(unknown("camera", camera, list(CAMERAS)))
        ego = level_pose(sample)
        self._place_ground(tables, sample, ego[:2])
        if self._keyframe != sample["sample_token"]:
            agents = tables.agents[tables.agents["sample_token"] == sample["sample_token"]]
            self._renderer.set_boxes(agent_boxes(agents, ego))
            self._keyframe = sample["sample_token"]
        return self._renderer.render(*camera_view(sample, camera, self.image_size))

    def close(self) -> None:
        """Free the renderer."""
        self._renderer.close()

    def _place_ground(self, tables: SceneTables, sample: pd.Series, center: Float[Array, "2"]) -> None:
        scene_token = str(sample["scene_token"])
        if self._place is not None and self._place[0] == scene_token and _is_near(center, self._place[1]):
            return
        rows = tables.scenes[tables.scenes["scene_token"] == scene_token]
        if rows.empty:
            raise ValueError(f"sample '{sample['sample_token']}' names scene '{scene_token}', not a row of scenes")
        scene = rows.iloc[0]
        areas, lines = self._ground(scene["location"], center, GROUND_RADIUS_M)
        self._renderer.set_ground(
            [GroundArea(kind, exterior, holes) for kind, exterior, holes in areas],
            [GroundLine(kind, points) for kind, points in lines],
            backdrop_of(scene["description"]),
        )
        self._place = (scene_token, center)


def _is_near(center: Float[Array, "2"], other: Float[Array, "2"]) -> bool:
    return bool(np.linalg.norm(center - other) <= GROUND_STEP_M)


def backdrop_of(description: str) -> Backdrop:
    """Light and weather that a scene's description speaks of; "after rain" is not rain."""
    light = "night" if _NIGHT.search(description) else "dusk" if _DUSK.search(description) else "day"
    weather = "rain" if _RAIN.search(_AFTER_RAIN.sub("", description)) else "clear"
    return Backdrop(light=light, weather=weather)  # type: ignore[arg-type]


def level_pose(sample: pd.Series) -> Float[Array, "3"]:
    """Global x, y, yaw of the ego frame of a row of ``samples``; height, pitch and roll are left out."""
    rotation = rotation_from_quaternion(np.array([sample[f"ego_q{axis}"] for axis in "wxyz"], float))
    return np.array([sample["ego_x_m"], sample["ego_y_m"], yaw_from_rotation(rotation)], float)


def agent_boxes(agents: pd.DataFrame, ego: Float[Array, "3"]) -> list[RenderBox]:
    """Rows of ``agents`` of one keyframe as boxes in the levelled global frame.

    Instance ids are a checksum of the instance token: an agent keeps its paint through the scene.
    """
    xy = from_frame(agents[["x_m", "y_m"]].to_numpy(float), ego)
    centers = np.column_stack([xy, agents["z_m"].to_numpy(float)])
    yaws = agents["yaw_rad"].to_numpy(float) + ego[2]
    sizes = agents[["length_m", "width_m", "height_m"]].to_numpy(float)
    return [
        RenderBox(center, float(yaw), (size[0], size[1], size[2]), category, instance_id(token))
        for center, yaw, size, category, token in zip(
            centers, yaws, sizes, agents["category"], agents["instance_token"], strict=True
        )
    ]


def instance_id(instance_token: str) -> int:
    """The id that an instance is drawn with: 1 ... 2**24 - 1, the same in every process."""
    return 1 + zlib.crc32(instance_token.encode()) % MAX_INSTANCE_ID


def camera_view(
    sample: pd.Series, camera: str, image_size: tuple[int, int]
) -> tuple[Float[Array, "3 3"], Float[Array, "4 4"]]:
    """Intrinsics of an image of ``image_size`` (H, W) and the pose ``camera_from_world`` in the levelled frame."""
    name = camera.lower()
    height, width = image_size
    scale = np.array([width / sample[f"{name}_width"], height / sample[f"{name}_height"], 1.0])
    intrinsics = scale[:, None] * np.asarray(sample[f"{name}_intrinsics"], float).reshape(3, 3)
    camera_from_ego = np.asarray(sample[f"{name}_camera_from_ego"], float).reshape(4, 4)
    x, y, yaw = level_pose(sample)
    cos, sin = np.cos(yaw), np.sin(yaw)
    world_from_ego = rigid(np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]]), np.array([x, y, 0.0]))
    return intrinsics, camera_from_ego @ invert_rigid(world_from_ego)
