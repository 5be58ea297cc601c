"""Rigid transforms, oriented boxes and polylines in numpy; leading dimensions broadcast."""

import numpy as np
from jaxtyping import Bool, Float

from dima_pipeline.contracts.frames import EGO_CENTER_AHEAD_M, EGO_LENGTH_M, EGO_WIDTH_M

Array = np.ndarray


def wrap_angle(angle_rad: Float[Array, "..."]) -> Float[Array, "..."]:
    """The same angle in [-pi, pi)."""
    return (np.asarray(angle_rad) + np.pi) % (2 * np.pi) - np.pi


def rotation_from_quaternion(wxyz: Float[Array, "... 4"]) -> Float[Array, "... 3 3"]:
    """Rotation matrix of a unit quaternion w, x, y, z (normalised here)."""
    q = np.asarray(wxyz, float)
    w, x, y, z = np.moveaxis(q / np.linalg.norm(q, axis=-1, keepdims=True), -1, 0)
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    return np.stack([np.stack(row, -1) for row in rows], -2)


def quaternion_from_yaw(yaw_rad: Float[Array, "..."]) -> Float[Array, "... 4"]:
    """Quaternion w, x, y, z of a turn about z."""
    half = np.asarray(yaw_rad, float) / 2
    zero = np.zeros_like(half)
    return np.stack([np.cos(half), zero, zero, np.sin(half)], -1)


def yaw_from_rotation(rotation: Float[Array, "... 3 3"]) -> Float[Array, "..."]:
    """Heading of the rotated x axis in the x-y plane, counter-clockwise, rad."""
    return np.arctan2(rotation[..., 1, 0], rotation[..., 0, 0])


def rigid(rotation: Float[Array, "... 3 3"], translation: Float[Array, "... 3"]) -> Float[Array, "... 4 4"]:
    """Homogeneous transform ``x -> rotation @ x + translation``."""
    translation = np.asarray(translation, float)
    matrix = np.zeros((*translation.shape[:-1], 4, 4))
    matrix[..., :3, :3] = rotation
    matrix[..., :3, 3] = translation
    matrix[..., 3, 3] = 1
    return matrix


def invert_rigid(matrix: Float[Array, "... 4 4"]) -> Float[Array, "... 4 4"]:
    """Inverse of a rigid transform."""
    rotation = np.swapaxes(matrix[..., :3, :3], -1, -2)
    return rigid(rotation, -np.einsum("...ij,...j->...i", rotation, matrix[..., :3, 3]))


def image_from_ego(
    intrinsics: Float[Array, "... 3 3"], camera_from_ego: Float[Array, "... 4 4"], scale: tuple[float, float] = (1, 1)
) -> Float[Array, "... 3 4"]:
    """Projection of ego points to pixels of an image resized by ``scale`` (x, y).

    A pixel centre lies at integer + 0.5 after the resize as before it, so intrinsics scale without an offset.
    """
    resize = np.diag([scale[0], scale[1], 1.0])
    return resize @ intrinsics @ camera_from_ego[..., :3, :]


def project(
    image_from_ego: Float[Array, "3 4"], points: Float[Array, "N 3"]
) -> tuple[Float[Array, "N 2"], Float[Array, "N"]]:
    """Pixels (u, v) and depths (m) of ego points; pixels are meaningful where depth > 0."""
    homogeneous = points @ image_from_ego[:, :3].T + image_from_ego[:, 3]
    depth = homogeneous[:, 2]
    return homogeneous[:, :2] / np.where(np.abs(depth) < 1e-9, 1e-9, depth)[:, None], depth


def to_frame(xy: Float[Array, "... 2"], origin: Float[Array, "3"]) -> Float[Array, "... 2"]:
    """Points of the plane in the frame whose pose (x, y, yaw) in the points' frame is ``origin``."""
    cos, sin = np.cos(origin[2]), np.sin(origin[2])
    return (np.asarray(xy, float) - origin[:2]) @ np.array([[cos, -sin], [sin, cos]])


def from_frame(xy: Float[Array, "... 2"], origin: Float[Array, "3"]) -> Float[Array, "... 2"]:
    """Inverse of ``to_frame``."""
    cos, sin = np.cos(origin[2]), np.sin(origin[2])
    return np.asarray(xy, float) @ np.array([[cos, sin], [-sin, cos]]) + origin[:2]


def box_corners(boxes: Float[Array, "... 5"]) -> Float[Array, "... 4 2"]:
    """Corners of boxes x, y, yaw, length, width: front left, rear left, rear right, front right."""
    x, y, yaw, length, width = np.moveaxis(np.asarray(boxes, float), -1, 0)
    along = np.stack([length, -length, -length, length], -1) / 2
    across = np.stack([width, width, -width, -width], -1) / 2
    cos, sin = np.cos(yaw)[..., None], np.sin(yaw)[..., None]
    return np.stack([x[..., None] + cos * along - sin * across, y[..., None] + sin * along + cos * across], -1)


def boxes_overlap(
    first: Float[Array, "... 5"], second: Float[Array, "... 5"], touch_m: float | None = None
) -> Bool[Array, "..."]:
    """Whether oriented boxes x, y, yaw, length, width share area (separating axes, exact).

    With ``touch_m`` closed boxes: those count too that touch, or are no more than ``touch_m`` apart along an axis.
    """
    first, second = np.broadcast_arrays(np.asarray(first, float), np.asarray(second, float))
    corners = np.stack([box_corners(first), box_corners(second)], -3)
    yaws = np.stack([first[..., 2], first[..., 2] + np.pi / 2, second[..., 2], second[..., 2] + np.pi / 2], -1)
    axes = np.stack([np.cos(yaws), np.sin(yaws)], -1)
    spans = np.einsum("...bcd,...ad->...bac", corners, axes)
    low, high = spans.min(-1), spans.max(-1)
    gap = np.maximum(low[..., 0, :] - high[..., 1, :], low[..., 1, :] - high[..., 0, :]).max(-1)
    return gap < 0 if touch_m is None else gap <= touch_m


def resample_polyline(points: Float[Array, "N 2"], num_points: int) -> Float[Array, "num_points 2"]:
    """Points at equal distances along a polyline, ends included."""
    points = np.asarray(points, float)
    along = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))])
    targets = np.linspace(0.0, along[-1], num_points)
    return np.stack([np.interp(targets, along, points[:, axis]) for axis in (0, 1)], -1)


def path_headings(
    path: Float[Array, "... T 2"], min_step_m: float = 0.05, *, start_rad: float = 0.0, may_reverse: bool = True
) -> Float[Array, "... T"]:
    """Heading tangent to a path that starts at the origin heading along ``start_rad``; kept where a step is shorter
    than ``min_step_m``. Opposite to the tangent where the path reverses (turns by more than 90 degrees in a step),
    unless it may not."""
    path = np.asarray(path, float)
    steps = np.diff(np.concatenate([np.zeros_like(path[..., :1, :]), path], -2), axis=-2)
    moved = np.linalg.norm(steps, axis=-1) >= min_step_m
    tangent = np.arctan2(steps[..., 1], steps[..., 0])
    headings = np.zeros(path.shape[:-1])
    previous = np.full(path.shape[:-2], start_rad)
    for step in range(path.shape[-2]):
        reverses = may_reverse & (np.abs(wrap_angle(tangent[..., step] - previous)) > np.pi / 2)
        ahead = np.where(reverses, wrap_angle(tangent[..., step] + np.pi), tangent[..., step])
        previous = np.where(moved[..., step], ahead, previous)
        headings[..., step] = previous
    return headings


def distance_to_polyline(points: Float[Array, "... 2"], polyline: Float[Array, "... P 2"]) -> Float[Array, "..."]:
    """Distance of points to the nearest place of a polyline of two or more points; one line for all or one each."""
    points, polyline = np.asarray(points, float)[..., None, :], np.asarray(polyline, float)
    start, along = polyline[..., :-1, :], np.diff(polyline, axis=-2)
    length2 = np.maximum((along**2).sum(-1), 1e-12)
    share = np.clip(((points - start) * along).sum(-1) / length2, 0.0, 1.0)
    return np.linalg.norm(points - start - share[..., None] * along, axis=-1).min(-1)


def ego_boxes(path: Float[Array, "... 3"], ahead_m: float = EGO_CENTER_AHEAD_M) -> Float[Array, "... 5"]:
    """Footprints x, y, yaw, length, width of the ego whose frame stands at x, y, yaw, their centres ``ahead_m`` ahead
    of it."""
    path = np.asarray(path, float)
    yaw = path[..., 2]
    centre = path[..., :2] + ahead_m * np.stack([np.cos(yaw), np.sin(yaw)], -1)
    size = np.broadcast_to([EGO_LENGTH_M, EGO_WIDTH_M], centre.shape)
    return np.concatenate([centre, yaw[..., None], size], -1)
