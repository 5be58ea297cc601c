"""The sensors of the recording car: six cameras and a lidar, mounted as in nuScenes, and what their rays meet.

One slab test of rays against upright boxes serves both: lidar returns, and the occlusion behind visibility levels.
Panda3D's software pipe hands out no depth buffer, and drawing ids all around costs more than casting the rays.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float, Int

from dima_pipeline.contracts.frames import CAMERAS, LIDAR_AHEAD_OF_EGO_M
from dima_pipeline.geometry import invert_rigid, quaternion_from_yaw, rigid, rotation_from_quaternion
from dima_pipeline.world.solids import solid_parts

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
    box, ray = _may_meet(boxes[:, :3] - origin, np.linalg.norm(boxes[:, 4:7], axis=1) / 2, directions)
    distance = _entries(boxes[box], origin, directions[ray])
    nearest = np.full(len(directions), np.inf)
    np.minimum.at(nearest, ray, distance)
    best = np.zeros(len(directions), np.int64)
    is_nearest = distance <= nearest[ray]
    # written last to first: of boxes equally near the first one stays
    best[ray[is_nearest][::-1]] = box[is_nearest][::-1]
    return np.minimum(nearest, down), np.where(nearest < down, best, hit)


def _may_meet(
    centers: Float[Array, "B 3"], radii: Float[Array, "B"], directions: Float[Array, "R 3"]
) -> tuple[Int[Array, "K"], Int[Array, "K"]]:
    """Pairs of box and ray (unit vectors) where the ray passes the sphere around the box: few of all pairs."""
    ahead = centers @ directions.T
    reach = (centers**2).sum(1) - radii**2
    box, ray = np.nonzero((ahead * np.abs(ahead) >= reach[:, None] - 1e-6) | (reach[:, None] <= 0))
    return box, ray


def _entries(
    boxes: Float[Array, "K 7"], origin: Float[Array, "3"], directions: Float[Array, "K 3"]
) -> Float[Array, "K"]:
    """Distance at which each ray enters its own box; infinite where it does not, or begins inside."""
    cos, sin = np.cos(boxes[:, 3]), np.sin(boxes[:, 3])
    away = boxes[:, :3] - origin
    center = (cos * away[:, 0] + sin * away[:, 1], cos * away[:, 1] - sin * away[:, 0], away[:, 2])
    x, y, z = directions.T
    rays = (cos * x + sin * y, cos * y - sin * x, z)
    enter, leave = np.zeros(len(boxes)), np.full(len(boxes), np.inf)
    for axis in range(3):
        inverse = 1.0 / np.where(np.abs(rays[axis]) < 1e-9, 1e-9, rays[axis])
        first = (center[axis] - boxes[:, 4 + axis] / 2) * inverse
        second = (center[axis] + boxes[:, 4 + axis] / 2) * inverse
        enter = np.maximum(enter, np.minimum(first, second))
        leave = np.minimum(leave, np.maximum(first, second))
    return np.where((enter <= leave) & (enter > 0), enter, np.inf)


def scan(
    boxes: Float[Array, "B 7"],
    num_targets: int,
    rng: np.random.Generator,
    categories: Sequence[str] | None = None,
) -> tuple[Float[Array, "N 5"], Int[Array, "num_targets"]]:
    """Lidar returns x, y, z (lidar frame), intensity, ring; and returns on each of the first ``num_targets`` boxes.

    ``boxes`` in the ego frame, annotated ones first; ``categories`` of all tell what of them is solid. A coarse sweep
    fills ground and walls; further rays go to the annotated boxes in proportion to their apparent size, as a dense
    sweep would.
    """
    origin = np.array(LIDAR_TRANSLATION)
    directions = np.concatenate([_sweep(), _aimed(boxes[:num_targets], origin, rng)])
    parts, owner = solid_parts(boxes, categories)
    distance, hit = cast_rays(origin, directions, parts)
    hit = np.where(hit >= 0, np.append(owner, -1)[np.maximum(hit, -1)], hit)
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


PROBES_A_SIDE = 4
"""Rays to a face of a part of a box: 4 x 4. More do not agree better with the pixels."""


def _probes() -> tuple[Float[Array, "P 3"], Float[Array, "P 3"]]:
    """Places on the six faces of a unit box, a square grid on each, and the outward normals there."""
    steps = (np.arange(PROBES_A_SIDE) + 0.5) / PROBES_A_SIDE - 0.5
    across, up = (grid.ravel() for grid in np.meshgrid(steps, steps))
    places, normals = [], []
    for axis in range(3):
        for side in (-1.0, 1.0):
            place, normal = np.zeros((len(up), 3)), np.zeros((len(up), 3))
            place[:, axis], place[:, (axis + 1) % 3], place[:, (axis + 2) % 3] = side / 2, across, up
            normal[:, axis] = side
            places.append(place)
            normals.append(normal)
    return np.concatenate(places), np.concatenate(normals)


PROBES, PROBE_NORMALS = _probes()
"""Where a box is looked at."""


def visible_share(
    boxes: Float[Array, "B 7"], num_targets: int, rig: tuple[Camera, ...], categories: Sequence[str] | None = None
) -> Float[Array, "num_targets"]:
    """Share of the area in the pictures that each of the first ``num_targets`` boxes (ego frame) keeps past all others.

    Rays go to places on the faces that look at a camera, each worth the area of picture around it. What lies outside
    of all pictures does not count; a box that is in none has a share of 0. ``categories`` of all boxes tell what of
    them is solid.
    """
    seen, whole = np.zeros(num_targets), np.zeros(num_targets)
    if num_targets == 0:
        return seen
    parts, owner_of = solid_parts(boxes, categories)
    points, normals, areas, probed = _probed(parts[owner_of < num_targets])
    for camera in rig:
        eye = np.array(camera.translation)
        facing = ((eye - points) * normals).sum(1)
        index = np.flatnonzero((facing > 0) & camera.sees(points))
        if not len(index):
            continue
        away = points[index] - eye
        reach = np.linalg.norm(away, axis=1)
        ahead = camera.camera_from_ego[2, :3]
        near = np.flatnonzero(_may_hide(parts, eye, ahead, reach.max()))
        distance, hit = cast_rays(eye, away / reach[:, None], parts[near])
        owner = owner_of[probed[index]]
        met = np.append(owner_of[near], -1)[np.maximum(hit, -1)]
        is_free = (distance > reach - 1e-3) | (met == owner)
        worth = areas[index] * facing[index] / (away @ ahead) ** 3 * camera.intrinsics[0, 0] ** 2
        whole += np.bincount(owner, worth, num_targets)
        seen += np.bincount(owner, worth * is_free, num_targets)
    return seen / np.maximum(whole, 1e-12)


def _probed(
    parts: Float[Array, "P 7"],
) -> tuple[Float[Array, "K 3"], Float[Array, "K 3"], Float[Array, "K"], Int[Array, "K"]]:
    """Places on the faces of boxes, the outward normals and the area (m2) around them, and the box of each."""
    shape = (len(parts), *PROBES.shape)
    points = box_points(parts, np.broadcast_to(PROBES, shape))
    cos, sin = np.cos(parts[:, 3])[:, None], np.sin(parts[:, 3])[:, None]
    x, y, z = PROBE_NORMALS.T
    normals = np.stack([cos * x - sin * y, sin * x + cos * y, np.broadcast_to(z, shape[:2])], -1)
    thickness = parts[:, 4:7] @ np.abs(PROBE_NORMALS).T
    areas = parts[:, 4:7].prod(1)[:, None] / thickness / PROBES_A_SIDE**2
    return points.reshape(-1, 3), normals.reshape(-1, 3), areas.ravel(), np.repeat(np.arange(len(parts)), len(PROBES))


def _may_hide(
    parts: Float[Array, "P 7"], eye: Float[Array, "3"], ahead: Float[Array, "3"], reach_m: float
) -> Bool[Array, "P"]:
    """Whether boxes reach in front of a camera and nearer than what it looks at."""
    away = parts[:, :3] - eye
    radius = np.linalg.norm(parts[:, 4:7], axis=1) / 2
    return (away @ ahead > -radius) & (np.linalg.norm(away, axis=1) < reach_m + radius)


def visibility_level(share: Float[Array, "N"]) -> Int[Array, "N"]:
    """nuScenes level 1 (0-40 %) ... 4 (80-100 %)."""
    return np.searchsorted(np.array([0.4, 0.6, 0.8]), share, side="right") + 1
