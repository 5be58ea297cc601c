"""What the slice rules share: answers by sample_token, the ego's track through a scene, distances to its path."""

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int

from dima_pipeline.contracts.frames import EGO_CENTER_AHEAD_M, EGO_LENGTH_M, STEP_S
from dima_pipeline.geometry import distance_to_polyline, rotation_from_quaternion, wrap_angle, yaw_from_rotation
from dima_pipeline.storage.keyframes import agent_velocities, ego_paths_by_sample, ego_speeds

Array = np.ndarray
MOVABLE = ("car", "truck", "bus", "trailer", "construction_vehicle", "pedestrian", "motorcycle", "bicycle")
"""Categories of who can move, whether or not he does."""
FRONT_M = EGO_CENTER_AHEAD_M + EGO_LENGTH_M / 2
"""From the origin of the ego frame to the front bumper."""
PARKED = ("vehicle.parked", "cycle.without_rider")
"""Attributes of nuScenes."""
MOVING_MPS = 0.5
MAX_TURN_RADPS = 1.0
"""Of a vehicle: a tight turn at walking pace, or a bend taken at the limit of its tyres."""


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


def runs(mask: Bool[Array, "N"]) -> list[tuple[int, int]]:
    """First and last index of each run of true values."""
    edges = np.diff(np.concatenate([[0], mask.astype(int), [0]]))
    return list(zip(np.flatnonzero(edges > 0).tolist(), (np.flatnonzero(edges < 0) - 1).tolist(), strict=True))


def sample_rows(table: pd.DataFrame, tables: Any) -> Int[Array, "N"]:
    """Row of ``samples`` for every row of a table."""
    return pd.Index(tables.samples.sample_token).get_indexer(table.sample_token)


def is_parked(tables: Any) -> Bool[Array, "N"]:
    """Which rows of ``agents`` are vehicles or cycles with nobody in or on them: by the attribute, and where that is
    unknown, what has wheels and does not move."""
    agents = tables.agents
    stands = np.nan_to_num(np.linalg.norm(agent_velocities(tables), axis=1)) < MOVING_MPS
    unknown = agents.attribute.isna().to_numpy(bool) & stands & (agents.category != "pedestrian").to_numpy(bool)
    return agents.attribute.isin(PARKED).to_numpy(bool) | unknown


def distance_to_paths(agents: pd.DataFrame, tables: Any, beyond_m: float) -> Float[Array, "N"]:
    """Distance of box centres to the driven path of their keyframe, the path prolonged straight by ``beyond_m``."""
    _, _, ahead, valid = ego_paths_by_sample(tables)
    poses = np.concatenate([np.zeros((len(ahead), 1, 3)), ahead], axis=1)
    # Unknown steps repeat the last known place: a segment of no length adds no distance.
    last = np.maximum.accumulate(np.where(valid, np.arange(1, valid.shape[1] + 1), 0), axis=1)
    poses[:, 1:] = np.take_along_axis(poses, last[..., None], axis=1)
    end = poses[:, -1]
    beyond = end[:, :2] + beyond_m * np.stack([np.cos(end[:, 2]), np.sin(end[:, 2])], -1)
    lines = np.concatenate([_rounded(poses), beyond[:, None]], axis=1)
    return distance_to_polyline(agents[["x_m", "y_m"]].to_numpy(float), lines[sample_rows(agents, tables)])


def _rounded(poses: Float[Array, "S T 3"]) -> Float[Array, "S U 2"]:
    """Places of poses and, between any two, the middle of the arc: in a bend the chord cuts the corner by 0.3 m."""
    chord = np.diff(poses[..., :2], axis=1)
    bulge = np.tan(wrap_angle(np.diff(poses[..., 2], axis=1)) / 4)[..., None] / 2
    middle = poses[:, :-1, :2] + chord / 2 + bulge * np.stack([chord[..., 1], -chord[..., 0]], -1)
    parts = np.stack([poses[:, :-1, :2], middle], 2).reshape(len(poses), -1, 2)
    return np.concatenate([parts, poses[:, -1:, :2]], axis=1)


def ego_turn_rates(tables: Any) -> Float[Array, "S"]:
    """Turn rate of every row of ``samples`` in rad/s: CAN bus, else the driven path around it, else NaN."""
    past, past_valid, ahead, ahead_valid = ego_paths_by_sample(tables)
    sides = np.stack([-past[:, -1, 2], ahead[:, 0, 2]], 1) / STEP_S
    known = np.stack([past_valid[:, -1], ahead_valid[:, 0]], 1)
    derived = (sides * known).sum(1) / np.where(known.any(1), known.sum(1), np.nan)
    measured = tables.samples.yaw_rate_radps.to_numpy(float)
    return np.where(np.isnan(measured), derived, measured)


def agent_motions(tables: Any) -> tuple[Float[Array, "N 2"], Float[Array, "N"]]:
    """Velocity (m/s) and turn rate (rad/s) of every row of ``agents``, both to its next keyframe.

    The velocity is the measured one where that is unknown, else 0: a measured velocity is the mean over the second
    around a keyframe, half of what somebody has who has just set off. The turn rate is 0 on foot, where it is unknown,
    and where it is more than a vehicle can turn: then the annotated heading has flipped.
    """
    agents, keys = tables.agents, ["sample_token", "instance_token"]
    first = tables.agent_futures[(tables.agent_futures.step == 1) & tables.agent_futures.valid.astype(bool)]
    there = agents[keys].merge(first, on=keys, how="left")[["x_m", "y_m", "yaw_rad"]].to_numpy(float)
    moved = (there - agents[["x_m", "y_m", "yaw_rad"]].to_numpy(float)) / STEP_S
    velocity = np.where(np.isnan(moved[:, :2]), agent_velocities(tables), moved[:, :2])
    rate = wrap_angle(np.nan_to_num(moved[:, 2]) * STEP_S) / STEP_S
    turns = (agents.category != "pedestrian").to_numpy(bool) & (np.abs(rate) <= MAX_TURN_RADPS)
    return np.nan_to_num(velocity), np.where(turns, rate, 0.0)


def rolled_out(
    speed_mps: Float[Array, "N"], turn_radps: Float[Array, "N"], seconds: Float[Array, "T"]
) -> Float[Array, "N T 3"]:
    """x, y, yaw after so many seconds at constant speed and turn rate, from the origin along x."""
    turned = turn_radps[:, None] * seconds
    # A chord is shorter than its arc by sin(a) / a of half the turn.
    chord = speed_mps[:, None] * seconds * np.sinc(turned / 2 / np.pi)
    return np.stack([chord * np.cos(turned / 2), chord * np.sin(turned / 2), turned], -1)
