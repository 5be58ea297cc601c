"""The sensors of the recording car: six cameras and a lidar, mounted as in nuScenes, and what their rays meet.

One slab test of rays against upright boxes serves both: lidar returns, and the occlusion behind visibility levels.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float, Int

from dima_pipeline.contracts.frames import CAMERAS, LIDAR_AHEAD_OF_EGO_M
from dima_pipeline.geometry import invert_rigid, quaternion_from_yaw, rigid, rotation_from_quaternion

Array = np.ndarray
LIDAR_TRANSLATION = (LIDAR_AHEAD_OF_EGO_M, 0.0, 1.84)
LIDAR_YAW_RAD = -np.pi / 2
"""The lidar's x axis points to the right of the car, as in nuScenes."""
LIDAR_RANGE_M = 70.0
NUM_RINGS, NUM_AZIMUTHS = 24, 60
NO_HIT, GROUND = -2, -1
_YAWS_DEG = {
    "CAM_FRONT": 0.0,
    "CAM_FRONT_RIGHT": -55.0,
    "CAM_FRONT_LEFT": 55.0,
    "CAM_BACK": 180.0,
    "CAM_BACK_LEFT": 110.0,
    "CAM_BACK_RIGHT": -110.0,
}
_PLACES_M = {
    "CAM_FRONT": (1.70, 0.0, 1.51),
    "CAM_FRONT_RIGHT": (1.55, -0.49, 1.50),
    "CAM_FRONT_LEFT": (1.52, 0.49, 1.51),
    "CAM_BACK": (0.03, 0.0, 1.58),
    "CAM_BACK_LEFT": (1.04, 0.48, 1.59),
    "CAM_BACK_RIGHT": (1.01, -0.48, 1.56),
}
_OPTICAL_WXYZ = (0.5, -0.5, 0.5, -0.5)
"""Camera axes (x right, y down, z ahead) in a frame with x ahead, y left, z up."""


@dataclass(frozen=True)
class Camera:
    """A pinhole camera on the car."""

    channel: str
    translation: tuple[float, float, float]
    rotation_wxyz: tuple[float, float, float, float]
    intrinsics: Float[Array, "3 3"]
    size: tuple[int, int]
    """Width and height, pixels."""

    @cached_property
    def camera_from_ego(self) -> Float[Array, "4 4"]:
        """Transform from the ego frame."""
        return invert_rigid(rigid(rotation_from_quaternion(np.array(self.rotation_wxyz)), np.array(self.translation)))

    def sees(self, points: Float[Array, "N 3"]) -> Bool[Array, "N"]:
        """Whether ego points lie in the image."""
        local = points @ self.camera_from_ego[:3, :3].T + self.camera_from_ego[:3, 3]
        depth = local[:, 2]
        pixel = local @ self.intrinsics.T / np.maximum(depth, 1e-6)[:, None]
        inside = (pixel[:, 0] >= 0) & (pixel[:, 0] < self.size[0]) & (pixel[:, 1] >= 0) & (pixel[:, 1] < self.size[1])
        return (depth > 0.3) & inside


def camera_rig(width: int, height: int) -> tuple[Camera, ...]:
    """The six cameras for images of ``width`` x ``height`` pixels; square pixels, the back one sees wider."""
    cameras = []
    for channel in CAMERAS:
        focal = (810.0 if channel == "CAM_BACK" else 1266.0) / 1600.0 * width
        intrinsics = np.array([[focal, 0.0, width / 2], [0.0, focal, height * 0.54], [0.0, 0.0, 1.0]])
        rotation = _multiply(quaternion_from_yaw(np.deg2rad(_YAWS_DEG[channel])), np.array(_OPTICAL_WXYZ))
        wxyz = tuple(float(v) for v in rotation)
        cameras.append(Camera(channel, _PLACES_M[channel], wxyz, intrinsics, (width, height)))  # type: ignore[arg-type]
    return tuple(cameras)


def _multiply(a: Float[Array, "4"], b: Float[Array, "4"]) -> Float[Array, "4"]:
    w, v = a[0] * b[0] - a[1:] @ b[1:], a[0] * b[1:] + b[0] * a[1:] + np.cross(a[1:], b[1:])
    return np.array([w, *v])


def cast_rays(
    origin: Float[Array, "3"], directions: Float[Array, "R 3"], boxes: Float[Array, "B 7"]
) -> tuple[Float[Array, "R"], Int[Array, "R"]]:
    """Distance along each ray to what it meets first, and the box's index, ``GROUND`` (z = 0) or ``NO_HIT``.

    ``boxes``: x, y, z of the centre, yaw, length, width, height. Boxes around the origin are not met.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        down = np.where(directions[:, 2] < -1e-6, -origin[2] / directions[:, 2], np.inf)
    hit = np.where(np.isfinite(down), GROUND, NO_HIT)
    if len(boxes) == 0:
        return down, hit
    cos, sin = np.cos(boxes[:, 3]), np.sin(boxes[:, 3])
    away = boxes[:, :3] - origin
    center = (cos * away[:, 0] + sin * away[:, 1], -sin * away[:, 0] + cos * away[:, 1], away[:, 2])
    x, y, z = directions.T
    rays = (
        cos[:, None] * x + sin[:, None] * y,
        cos[:, None] * y - sin[:, None] * x,
        np.broadcast_to(z, (len(boxes), len(z))),
    )
    enter, leave = np.zeros((len(boxes), len(x))), np.full((len(boxes), len(x)), np.inf)
    for axis in range(3):
        with np.errstate(divide="ignore", invalid="ignore"):
            inverse = 1.0 / np.where(np.abs(rays[axis]) < 1e-9, 1e-9, rays[axis])
        first = (center[axis] - boxes[:, 4 + axis] / 2)[:, None] * inverse
        second = (center[axis] + boxes[:, 4 + axis] / 2)[:, None] * inverse
        enter = np.maximum(enter, np.minimum(first, second))
        leave = np.minimum(leave, np.maximum(first, second))
    distance = np.where((enter <= leave) & (enter > 0), enter, np.inf)
    best = distance.argmin(0)
    nearest = distance[best, np.arange(len(x))]
    return np.minimum(nearest, down), np.where(nearest < down, best, hit)


def scan(
    boxes: Float[Array, "B 7"], num_targets: int, rng: np.random.Generator
) -> tuple[Float[Array, "N 5"], Int[Array, "num_targets"]]:
    """Lidar returns x, y, z (lidar frame), intensity, ring; and returns on each of the first ``num_targets`` boxes.

    ``boxes`` in the ego frame, annotated ones first. A coarse sweep fills ground and walls; further rays go to the
    annotated boxes in proportion to their apparent size, as a dense sweep would.
    """
    origin = np.array(LIDAR_TRANSLATION)
    directions = np.concatenate([_sweep(), _aimed(boxes[:num_targets], origin, rng)])
    distance, hit = cast_rays(origin, directions, boxes)
    kept = np.isfinite(distance) & (distance < LIDAR_RANGE_M) & (distance > 1.5)
    directions, distance, hit = directions[kept], distance[kept], hit[kept]
    # A centimetre into the box: a return on the very face would be lost to rounding.
    points = directions * (distance + np.where(hit >= 0, 0.01, 0.0))[:, None]
    elevation = np.rad2deg(np.arcsin(np.clip(directions[:, 2], -1, 1)))
    ring = np.clip(np.round((elevation + 30.67) / 1.333), 0, 31)
    # The lidar's axes are the ego's turned by -90 degrees: x right, y ahead.
    columns = (-points[:, 1], points[:, 0], points[:, 2], np.where(hit == GROUND, 12.0, 40.0), ring)
    counts = np.bincount(hit[(hit >= 0) & (hit < num_targets)], minlength=num_targets)[:num_targets]
    return np.stack(columns, -1).astype(np.float32), counts


def _sweep() -> Float[Array, "R 3"]:
    elevation, azimuth = np.meshgrid(
        np.deg2rad(np.linspace(-28.0, 6.0, NUM_RINGS)), np.linspace(-np.pi, np.pi, NUM_AZIMUTHS, endpoint=False)
    )
    flat, turn = np.cos(elevation).ravel(), azimuth.ravel()
    return np.stack([flat * np.cos(turn), flat * np.sin(turn), np.sin(elevation).ravel()], -1)


def _aimed(boxes: Float[Array, "A 7"], origin: Float[Array, "3"], rng: np.random.Generator) -> Float[Array, "R 3"]:
    if len(boxes) == 0:
        return np.zeros((0, 3))
    away = np.linalg.norm(boxes[:, :3] - origin, axis=1)
    counts = np.clip((500 * boxes[:, 4:6].max(1) * boxes[:, 6] / away**2).round().astype(int), 3, 50)
    which = np.repeat(np.arange(len(boxes)), counts)
    places = box_points(boxes[which], rng.uniform(-0.47, 0.47, (len(which), 1, 3)))[:, 0] - origin
    return places / np.linalg.norm(places, axis=1, keepdims=True)


def box_points(boxes: Float[Array, "A 7"], shares: Float[Array, "A P 3"]) -> Float[Array, "A P 3"]:
    """Points in boxes given as shares of length, width and height from the centre."""
    local = shares * boxes[:, None, 4:7]
    cos, sin = np.cos(boxes[:, 3])[:, None], np.sin(boxes[:, 3])[:, None]
    x = boxes[:, None, 0] + cos * local[..., 0] - sin * local[..., 1]
    y = boxes[:, None, 1] + sin * local[..., 0] + cos * local[..., 1]
    return np.stack([x, y, boxes[:, None, 2] + local[..., 2]], -1)


_CORNERS = np.stack(np.meshgrid([-1, 1], [-1, 1], [-1, 1]), -1).reshape(-1, 3) * 0.42
_FACES = np.concatenate([np.eye(3), -np.eye(3)]) * 0.45
PROBES = np.concatenate([np.zeros((1, 3)), _CORNERS, _FACES])
"""Where a box is looked at: its centre, near its corners, and on its faces."""


def visible_share(boxes: Float[Array, "B 7"], num_targets: int, rig: tuple[Camera, ...]) -> Float[Array, "num_targets"]:
    """Share of each of the first ``num_targets`` boxes (ego frame) that some camera sees past all other boxes."""
    seen = np.zeros((num_targets, len(PROBES)), bool)
    if num_targets == 0:
        return np.zeros(0)
    points = box_points(boxes[:num_targets], np.broadcast_to(PROBES, (num_targets, *PROBES.shape)))
    owner = np.repeat(np.arange(num_targets), len(PROBES))
    for camera in rig:
        index = np.flatnonzero(camera.sees(points.reshape(-1, 3)))
        away = points.reshape(-1, 3)[index] - np.array(camera.translation)
        reach = np.linalg.norm(away, axis=1)
        distance, hit = cast_rays(np.array(camera.translation), away / np.maximum(reach, 1e-9)[:, None], boxes)
        seen.reshape(-1)[index] |= (hit == owner[index]) | (distance > reach)
    return seen.mean(1)


def visibility_level(share: Float[Array, "N"]) -> Int[Array, "N"]:
    """nuScenes level 1 (0-40 %) ... 4 (80-100 %)."""
    return np.searchsorted(np.array([0.4, 0.6, 0.8]), share, side="right") + 1
