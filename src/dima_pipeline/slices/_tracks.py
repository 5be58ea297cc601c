"""What the slice rules share: answers by sample_token, the ego's track through a scene, distances to its path."""

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int

from dima_pipeline.contracts.frames import EGO_CENTER_AHEAD_M, EGO_LENGTH_M
from dima_pipeline.geometry import distance_to_polyline, rotation_from_quaternion, yaw_from_rotation
from dima_pipeline.storage.keyframes import ego_paths_by_sample, ego_speeds

Array = np.ndarray
MOVABLE = ("car", "truck", "bus", "trailer", "construction_vehicle", "pedestrian", "motorcycle", "bicycle")
"""Categories of who can move, whether or not he does."""
FRONT_M = EGO_CENTER_AHEAD_M + EGO_LENGTH_M / 2
"""From the origin of the ego frame to the front bumper."""


class Track(NamedTuple):
    """The ego's way through one scene, in time order. N keyframes."""

    rows: Int[Array, "N"]
    """Rows of ``samples``."""
    time_s: Float[Array, "N"]
    xy: Float[Array, "N 2"]
    """Global, m."""
    yaw: Float[Array, "N"]
    """Global and unwrapped, rad."""
    speed_mps: Float[Array, "N"]
    """Signed; NaN where unknown."""


def by_sample(is_member: Bool[Array, "S"], tables: Any) -> pd.Series:
    """Answers in the order of ``samples`` as a Series by sample_token."""
    return pd.Series(np.asarray(is_member, bool), index=pd.Index(tables.samples.sample_token, name="sample_token"))


def described(tables: Any, pattern: str) -> pd.Series:
    """Keyframes of the scenes whose description matches, whatever the case."""
    found = {
        row.scene_token: re.search(pattern, row.description, re.IGNORECASE) is not None
        for row in tables.scenes.itertuples()
    }
    return by_sample(tables.samples.scene_token.map(found).to_numpy(bool), tables)


def ego_tracks(tables: Any) -> Iterator[Track]:
    """The track of every scene."""
    samples = tables.samples
    speed = ego_speeds(tables)
    xy = samples[["ego_x_m", "ego_y_m"]].to_numpy(float)
    yaw = yaw_from_rotation(rotation_from_quaternion(samples[["ego_qw", "ego_qx", "ego_qy", "ego_qz"]].to_numpy(float)))
    time = samples.timestamp_us.to_numpy(float) / 1e6
    for rows in samples.groupby("scene_token", sort=False).indices.values():
        ordered = rows[np.argsort(time[rows], kind="stable")]
        yield Track(ordered, time[ordered], xy[ordered], np.unwrap(yaw[ordered]), speed[ordered])


def sample_rows(table: pd.DataFrame, tables: Any) -> Int[Array, "N"]:
    """Row of ``samples`` for every row of a table."""
    return pd.Index(tables.samples.sample_token).get_indexer(table.sample_token)


def distance_to_paths(agents: pd.DataFrame, tables: Any, beyond_m: float) -> Float[Array, "N"]:
    """Distance of box centres to the driven path of their keyframe, the path prolonged straight by ``beyond_m``."""
    _, _, ahead, valid = ego_paths_by_sample(tables)
    poses = np.concatenate([np.zeros((len(ahead), 1, 3)), ahead], axis=1)
    # Unknown steps repeat the last known place: a segment of no length adds no distance.
    last = np.maximum.accumulate(np.where(valid, np.arange(1, valid.shape[1] + 1), 0), axis=1)
    poses[:, 1:] = np.take_along_axis(poses, last[..., None], axis=1)
    end = poses[:, -1]
    beyond = end[:, :2] + beyond_m * np.stack([np.cos(end[:, 2]), np.sin(end[:, 2])], -1)
    lines = np.concatenate([poses[..., :2], beyond[:, None]], axis=1)
    return distance_to_polyline(agents[["x_m", "y_m"]].to_numpy(float), lines[sample_rows(agents, tables)])
