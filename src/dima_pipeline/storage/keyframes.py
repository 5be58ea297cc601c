"""The tables of one keyframe as arrays, grouped once per scene.

Annotators, scene edits and slices ask about one keyframe at a time; grouping here, with integer codes and no loop
over rows, keeps them from searching the tables again and again.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float

from dima_pipeline.contracts.frames import (
    CAMERAS,
    MAP_KINDS,
    NUM_FUTURE_STEPS,
    NUM_PAST_STEPS,
    NUM_POLYLINE_POINTS,
    PERCEPTION_RANGE_M,
    STEP_S,
)

Array = np.ndarray
MIN_VISIBILITY = 2
"""nuScenes level 2 is 40 % visible: what is hidden more than that is not spoken of."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Keyframe:
    """One keyframe in its ego frame. N agents, M polylines of a kind; invalid steps are zero."""

    sample: Any
    """The row of ``samples`` as a named tuple."""
    description: str
    """Of the scene."""
    speed_mps: float
    """From the CAN bus, else from the driven path; signed, NaN where neither is known."""
    instances: tuple[str, ...]
    categories: tuple[str, ...]
    attributes: tuple[str | None, ...]
    position: Float[Array, "N 3"]
    box: Float[Array, "N 5"]
    """x, y, yaw, length, width."""
    velocity: Float[Array, "N 2"]
    """Measured, else from the first future step, else NaN."""
    is_visible: Bool[Array, "N"]
    """Inside the perception range and seen: by visibility, else by LIDAR points, else assumed."""
    is_doubtful: Bool[Array, "N"]
    """Not so, but LIDAR points hit it, or may have: somebody else may see it."""
    future: Float[Array, "N 6 3"]
    """x, y, yaw."""
    future_valid: Bool[Array, "N 6"]
    ego_past: Float[Array, "4 3"]
    """Steps -4 ... -1."""
    ego_past_valid: Bool[Array, "4"]
    ego_future: Float[Array, "6 3"]
    ego_future_valid: Bool[Array, "6"]
    later_mps: Float[Array, "6"]
    """``speed_mps`` of the six keyframes that follow, NaN beyond the last one."""
    polylines: dict[str, Float[Array, "M 20 2"]]
    """By kind, every kind of ``frames.MAP_KINDS``."""

    @property
    def sample_token(self) -> str:
        """Token of the keyframe."""
        return str(self.sample.sample_token)

    @property
    def has_future(self) -> bool:
        """Whether the driven path is known for all six steps."""
        return bool(self.ego_future_valid.all())

    def expected_path(self, beyond_m: float) -> Float[Array, "P 2"]:
        """The driven path from the ego on, prolonged straight by ``beyond_m``; straight ahead where it is unknown."""
        known = self.ego_future[self.ego_future_valid]
        points = np.concatenate([np.zeros((1, 2)), known[:, :2]])
        yaw = float(known[-1, 2]) if len(known) else 0.0
        beyond = points[-1] + beyond_m * np.array([np.cos(yaw), np.sin(yaw)])
        return np.concatenate([points, beyond[None]])

    def camera(self, name: str) -> tuple[Float[Array, "3 3"], Float[Array, "4 4"], tuple[int, int]]:
        """Intrinsics, ``camera_from_ego`` and (width, height) of a camera of ``frames.CAMERAS``."""
        assert name in CAMERAS, name
        column = name.lower()
        intrinsics = np.asarray(getattr(self.sample, f"{column}_intrinsics"), float).reshape(3, 3)
        camera_from_ego = np.asarray(getattr(self.sample, f"{column}_camera_from_ego"), float).reshape(4, 4)
        size = (int(getattr(self.sample, f"{column}_width")), int(getattr(self.sample, f"{column}_height")))
        return intrinsics, camera_from_ego, size


def keyframes(tables: Any) -> Iterator[Keyframe]:
    """The keyframes of ``tables`` (fields of ``datasets.SceneTables``), in the order of ``tables.samples``.

    Raises ``ValueError`` naming the table and a sample_token that ``samples`` does not have.
    """
    tokens = pd.Index(tables.samples.sample_token)
    agents = tables.agents
    rows = _rows_by_sample(tokens, agents, "agents")
    future, future_valid = _agent_futures(agents, tables.agent_futures)
    velocity = _velocities(agents, future, future_valid)
    past, past_valid, ahead, ahead_valid = _ego_paths(tokens, tables.ego_paths)
    columns = {
        "position": agents[["x_m", "y_m", "z_m"]].to_numpy(float),
        "box": agents[["x_m", "y_m", "yaw_rad", "length_m", "width_m"]].to_numpy(float),
        "velocity": velocity,
        "is_visible": seen(agents),
        "is_doubtful": ~seen(agents) & ~(agents.num_lidar_points == 0).to_numpy(bool),
        "future": future,
        "future_valid": future_valid,
    }
    names = {name: agents[name].to_numpy(object) for name in ("instance_token", "category", "attribute")}
    polylines = _polylines(tokens, tables.map_elements)
    descriptions = tables.scenes.set_index("scene_token").description
    speeds = _speeds(tables.samples.speed_mps.to_numpy(float), past, past_valid, ahead, ahead_valid)
    later = _later(tables.samples, speeds)
    for at, sample in enumerate(tables.samples.itertuples(index=False)):
        mine = rows[at]
        yield Keyframe(
            sample=sample,
            description=str(descriptions[sample.scene_token]),
            speed_mps=float(speeds[at]),
            instances=tuple(names["instance_token"][mine]),
            categories=tuple(names["category"][mine]),
            attributes=tuple(None if pd.isna(value) else str(value) for value in names["attribute"][mine]),
            ego_past=past[at],
            ego_past_valid=past_valid[at],
            ego_future=ahead[at],
            ego_future_valid=ahead_valid[at],
            later_mps=later[at],
            polylines=polylines[at],
            **{name: values[mine] for name, values in columns.items()},
        )


def seen(agents: pd.DataFrame) -> Bool[Array, "N"]:
    """Which rows of ``agents`` lie in the perception range and are not hidden."""
    x_min, y_min, x_max, y_max = PERCEPTION_RANGE_M
    inside = agents.x_m.between(x_min, x_max) & agents.y_m.between(y_min, y_max)
    by_points = agents.num_lidar_points.isna() | (agents.num_lidar_points > 0)
    return (inside & by_points.where(agents.visibility.isna(), agents.visibility >= MIN_VISIBILITY)).to_numpy(bool)


def ego_paths_by_sample(tables: Any) -> tuple[Array, Array, Array, Array]:
    """Past (S, 4, 3) and its validity (S, 4), future (S, 6, 3) and its validity (S, 6), in the order of ``samples``."""
    return _ego_paths(pd.Index(tables.samples.sample_token), tables.ego_paths)


def ego_speeds(tables: Any) -> Float[Array, "S"]:
    """Signed speed of every row of ``samples`` in m/s: CAN bus, else the driven path, else NaN."""
    return _speeds(tables.samples.speed_mps.to_numpy(float), *ego_paths_by_sample(tables))


def agent_velocities(tables: Any) -> Float[Array, "N 2"]:
    """Velocity of every row of ``agents`` in m/s: measured, else to the first future step, else NaN."""
    return _velocities(tables.agents, *_agent_futures(tables.agents, tables.agent_futures))


def _rows_by_sample(tokens: pd.Index, table: pd.DataFrame, name: str) -> list[Array]:
    codes = tokens.get_indexer(pd.Index(table.sample_token))
    if (codes < 0).any():
        raise ValueError(f"{name}: sample_token '{table.sample_token.iloc[int(np.argmin(codes))]}' is not in samples")
    order = np.argsort(codes, kind="stable")
    return np.split(order, np.searchsorted(codes[order], np.arange(1, len(tokens))))


def _agent_futures(agents: pd.DataFrame, futures: pd.DataFrame) -> tuple[Array, Array]:
    known = pd.MultiIndex.from_frame(agents[["sample_token", "instance_token"]])
    rows = known.get_indexer(pd.MultiIndex.from_frame(futures[["sample_token", "instance_token"]]))
    future = np.zeros((len(agents), NUM_FUTURE_STEPS, 3))
    valid = np.zeros((len(agents), NUM_FUTURE_STEPS), bool)
    steps = futures.step.to_numpy(int) - 1
    kept = (rows >= 0) & futures.valid.to_numpy(bool)
    future[rows[kept], steps[kept]] = futures[["x_m", "y_m", "yaw_rad"]].to_numpy(float)[kept]
    valid[rows[kept], steps[kept]] = True
    return future, valid


def _velocities(agents: pd.DataFrame, future: Array, future_valid: Array) -> Array:
    measured = agents[["vx_mps", "vy_mps"]].to_numpy(float)
    moved = (future[:, 0, :2] - agents[["x_m", "y_m"]].to_numpy(float)) / STEP_S
    derived = np.where(future_valid[:, :1], moved, np.nan)
    return np.where(np.isnan(measured).any(1, keepdims=True), derived, measured)


def _ego_paths(tokens: pd.Index, paths: pd.DataFrame) -> tuple[Array, Array, Array, Array]:
    steps = np.array([*range(-NUM_PAST_STEPS, 0), *range(1, NUM_FUTURE_STEPS + 1)])
    rows = tokens.get_indexer(pd.Index(paths.sample_token))
    if (rows < 0).any():
        raise ValueError(f"ego_paths: sample_token '{paths.sample_token.iloc[int(np.argmin(rows))]}' is not in samples")
    step = paths.step.to_numpy(int)
    columns = np.searchsorted(steps, step)
    path = np.zeros((len(tokens), len(steps), 3))
    valid = np.zeros((len(tokens), len(steps)), bool)
    kept = paths.valid.to_numpy(bool) & (step != 0)
    path[rows[kept], columns[kept]] = paths[["x_m", "y_m", "yaw_rad"]].to_numpy(float)[kept]
    valid[rows[kept], columns[kept]] = True
    past = slice(0, NUM_PAST_STEPS)
    ahead = slice(NUM_PAST_STEPS, None)
    return path[:, past], valid[:, past], path[:, ahead], valid[:, ahead]


def _speeds(measured: Array, past: Array, past_valid: Array, ahead: Array, ahead_valid: Array) -> Array:
    # The keyframe is the origin heading along x, so x over time is the signed speed on either side of it.
    sides = np.stack([-past[:, -1, 0], ahead[:, 0, 0]], 1) / STEP_S
    known = np.stack([past_valid[:, -1], ahead_valid[:, 0]], 1)
    derived = (sides * known).sum(1) / np.where(known.any(1), known.sum(1), np.nan)
    return np.where(np.isnan(measured), derived, measured)


def _later(samples: pd.DataFrame, speeds: Array) -> Float[Array, "S 6"]:
    following = pd.Index(samples.sample_token).get_indexer(pd.Index(samples.next))
    row, found = np.arange(len(samples)), []
    for _ in range(NUM_FUTURE_STEPS):
        row = np.where(row >= 0, following[row], -1)
        found.append(np.where(row >= 0, speeds[row], np.nan))
    return np.stack(found, 1)


def _polylines(tokens: pd.Index, elements: pd.DataFrame) -> list[dict[str, Array]]:
    rows = _rows_by_sample(tokens, elements, "map_elements")
    points = np.array([np.asarray(row, float) for row in elements.points]).reshape(-1, NUM_POLYLINE_POINTS, 2)
    kinds = elements.kind.to_numpy(object)
    return [{kind: points[mine[kinds[mine] == kind]] for kind in MAP_KINDS} for mine in rows]
