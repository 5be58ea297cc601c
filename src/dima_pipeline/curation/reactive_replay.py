"""Replay in which vehicles react: each follows its logged path and timetable, and brakes for what is ahead of it.

So the ego may drive otherwise than it did in the log, e.g. in a closed loop. People, parked vehicles and things keep to
their log. IDM: Treiber, Hennecke, Helbing, Phys. Rev. E 62, 2000.
"""

from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from dima_pipeline.curation.replay import level_pose
from dima_pipeline.datasets import SceneTables
from dima_pipeline.geometry import box_corners, ego_boxes, from_frame, quaternion_from_yaw, to_frame, wrap_angle
from dima_pipeline.world.driver_models import idm

Array = np.ndarray

TICK_S: Final = 0.1
SIGHT_M: Final = 50.0
GRID_M: Final = 0.5
MARGIN_M: Final = 0.3
"""Beside a vehicle: what is further to its side is passed."""
CATCH_UP_S: Final = 2.0
"""In which who is late for its timetable would like to make up for it."""
MIN_PATH_M: Final = 2.0
"""Who moves less in the whole log is parked, and shakes only with its annotations."""
REACTIVE: Final = ("car", "truck", "bus", "construction_vehicle", "motorcycle", "bicycle")


def react(tables: SceneTables, ego: Float[Array, "N 3"] | None = None) -> SceneTables:
    """One scene with agents that react to each other and to an ego at global x, y, yaw in each keyframe.

    ``ego`` is the logged one where None. Samples and agents are those of the new scene (an agent is there in the
    keyframes of its log); paths, futures and map elements are empty, since they belong to the logged ego. Raises
    ``ValueError`` for tables of several scenes or an ``ego`` of another length.
    """
    samples = tables.samples.sort_values("index", ignore_index=True)
    if samples["scene_token"].nunique() != 1:
        raise ValueError(f"replay reacts one scene at a time, got {samples['scene_token'].nunique()}")
    logged = np.stack([level_pose(sample) for _, sample in samples.iterrows()])
    driven = logged if ego is None else np.asarray(ego, float)
    if driven.shape != logged.shape or not np.isfinite(driven).all():
        raise ValueError(f"ego must hold a finite x, y, yaw for each of {len(logged)} keyframes, got {driven.shape}")
    rows = tables.agents.reset_index(drop=True)
    at = pd.Series(samples.index, index=samples["sample_token"])
    keyframe = at.loc[rows["sample_token"]].to_numpy()
    times = (samples["timestamp_us"].to_numpy(float) - samples["timestamp_us"].iloc[0]) / 1e6
    tracks = _tracks(rows, keyframe, _global(rows, logged[keyframe]), times)
    poses, speeds = _simulate(tracks, times, driven, len(rows))
    return replace_frames(tables, samples, rows, driven, (keyframe, poses, speeds))


def _global(rows: pd.DataFrame, ego: Float[Array, "A 3"]) -> Float[Array, "A 3"]:
    local = rows[["x_m", "y_m", "yaw_rad"]].to_numpy(float)
    places = [from_frame(place[None, :2], pose)[0] for place, pose in zip(local, ego, strict=True)]
    return np.column_stack([np.reshape(places, (-1, 2)), local[:, 2] + ego[:, 2]])


@dataclass
class _Track:
    """The log of an agent, and where it is now."""

    rows: Int[Array, "M"]
    times: Float[Array, "M"]
    poses: Float[Array, "M 3"]
    along: Float[Array, "M"]
    length: float
    width: float
    reacts: bool
    place: float = 0.0
    speed: float = 0.0

    def is_there(self, time: float) -> bool:
        return bool(self.times[0] - 1e-6 <= time <= self.times[-1] + 1e-6)

    def due(self, time: float) -> tuple[float, float]:
        """Place (m) and speed (m/s) of the timetable."""
        before, now = np.interp([time - TICK_S, time + TICK_S], self.times, self.along)
        span = np.diff(np.clip([time - TICK_S, time + TICK_S], self.times[0], self.times[-1]))[0]
        return float(np.interp(time, self.times, self.along)), float((now - before) / max(span, 1e-6))

    def pose(self, along: float | Array) -> Array:
        """x, y, yaw at places of the path; straight on beyond its end."""
        along = np.asarray(along, float)
        known = np.stack([np.interp(along, self.along, values) for values in self.poses.T], -1)
        beyond = np.maximum(along - self.along[-1], 0.0)
        heading = self.poses[-1, 2]
        known[..., 0] += beyond * np.cos(heading)
        known[..., 1] += beyond * np.sin(heading)
        return known


def _tracks(rows: pd.DataFrame, keyframe: Array, poses: Array, times: Array) -> list[_Track]:
    tracks = []
    for _, of_agent in rows.groupby("instance_token", sort=True):
        index = of_agent.index.to_numpy()[np.argsort(keyframe[of_agent.index], kind="stable")]
        path = poses[index].copy()
        path[:, 2] = np.unwrap(path[:, 2])
        along = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(path[:, :2], axis=0), axis=1))])
        first = of_agent.iloc[0]
        reacts = first["category"] in REACTIVE and along[-1] > MIN_PATH_M
        # Interpolation needs places that rise.
        along = along + 1e-6 * np.arange(len(along))
        tracks.append(_Track(index, times[keyframe[index]], path, along, first["length_m"], first["width_m"], reacts))
    return tracks


def _simulate(
    tracks: list[_Track], times: Float[Array, "N"], driven: Float[Array, "N 3"], num_rows: int
) -> tuple[Float[Array, "A 3"], Float[Array, "A"]]:
    """Global pose and speed of each row of ``agents``; the speed of who does not react is NaN."""
    poses, speeds = np.zeros((num_rows, 3)), np.full(num_rows, np.nan)
    turned = np.column_stack([driven[:, :2], np.unwrap(driven[:, 2])])
    ticks = np.unique(np.concatenate([np.arange(times[0], times[-1], TICK_S), times]))
    for track in tracks:
        track.place, track.speed = track.due(float(track.times[0]))[0], track.due(float(track.times[0]))[1]
    for time, step in zip(ticks, np.diff(ticks, append=ticks[-1]), strict=True):
        there = [track for track in tracks if track.is_there(time)]
        for track in there:
            if not track.reacts:
                track.place, track.speed = track.due(time)
            for row in track.rows[np.abs(track.times - time) < 1e-6]:
                poses[row] = track.pose(track.place)
                speeds[row] = track.speed if track.reacts else np.nan
        ego = np.array([np.interp(time, times, values) for values in turned.T])
        later = np.array([np.interp(time + TICK_S, times, values) for values in turned.T])
        _step(there, time, step, ego_boxes(ego[None])[0], (later - ego)[:2] / TICK_S)
    return poses, speeds


def _step(there: list[_Track], time: float, step: float, ego_box: Float[Array, "5"], ego_velocity: Array) -> None:
    """Move who reacts on by ``step``; all look at the same moment."""
    poses = np.array([track.pose(track.place) for track in there]).reshape(-1, 3)
    sizes = np.array([[track.length, track.width] for track in there]).reshape(-1, 2)
    boxes = np.vstack([np.column_stack([poses, sizes]), ego_box])
    headings = np.stack([np.cos(poses[:, 2]), np.sin(poses[:, 2])], -1)
    velocities = np.vstack([headings * np.array([track.speed for track in there])[:, None], ego_velocity])
    accelerations = {}
    for index, track in enumerate(there):
        if track.reacts:
            gap, lead = _ahead(track, index, boxes, velocities)
            place, speed = track.due(time)
            wanted = float(np.clip(speed + (place - track.place) / CATCH_UP_S, 0.1, 1.3 * speed + 3.0))
            accelerations[index] = idm(track.speed, wanted, gap, lead)
    for index, acceleration in accelerations.items():
        track = there[index]
        speed = max(track.speed + acceleration * step, 0.0)
        track.place += (track.speed + speed) / 2 * step
        track.speed = speed


def _ahead(
    track: _Track, index: int, boxes: Float[Array, "B 5"], velocities: Float[Array, "B 2"]
) -> tuple[float, float]:
    """Gap (m) to the nearest box in the way of a track, and its speed (m/s) along it; infinite where it is free."""
    reach = track.length / 2 + np.arange(0.0, SIGHT_M, GRID_M)
    line = track.pose(track.place + reach)
    near = np.linalg.norm(boxes[:, :2] - line[0, :2], axis=1) < SIGHT_M + 15.0
    near[index] = False
    here = track.pose(track.place)
    forward = (boxes[:, :2] - here[:2]) @ np.array([np.cos(here[2]), np.sin(here[2])])
    candidates = np.flatnonzero(near & (forward > 0))
    if not len(candidates):
        return float("inf"), 0.0
    outlines = np.concatenate([box_corners(boxes[candidates]), boxes[candidates, None, :2]], 1)
    away = np.linalg.norm(outlines[:, :, None] - line[None, None, :, :2], axis=-1)
    in_way = away.min(1) < track.width / 2 + MARGIN_M
    blocked = in_way.any(1)
    if not blocked.any():
        return float("inf"), 0.0
    first = np.where(blocked, in_way.argmax(1), len(line))
    nearest = int(first.argmin())
    heading = line[first[nearest], 2]
    lead = velocities[candidates[nearest]] @ np.array([np.cos(heading), np.sin(heading)])
    return float(max(first[nearest] * GRID_M, 0.1)), float(max(lead, 0.0))


def replace_frames(
    tables: SceneTables,
    samples: pd.DataFrame,
    rows: pd.DataFrame,
    driven: Float[Array, "N 3"],
    placed: tuple[Int[Array, "A"], Float[Array, "A 3"], Float[Array, "A"]],
) -> SceneTables:
    """The tables with the ego at ``driven`` and agents ``placed``: keyframe, global pose and speed of each row."""
    keyframe, poses, speeds = placed
    frames = driven[keyframe]
    old_yaw = np.array([level_pose(samples.iloc[at])[2] for at in range(len(samples))])[keyframe]
    local = np.array([to_frame(pose[:2], frame) for pose, frame in zip(poses, frames, strict=True)]).reshape(-1, 2)
    yaw = wrap_angle(poses[:, 2] - frames[:, 2])
    turned = old_yaw - frames[:, 2]
    vx, vy = (rows[name].to_numpy(float) for name in ("vx_mps", "vy_mps"))
    reacts = np.isfinite(speeds)
    new_vx = np.where(reacts, speeds * np.cos(yaw), vx * np.cos(turned) - vy * np.sin(turned))
    new_vy = np.where(reacts, speeds * np.sin(yaw), vx * np.sin(turned) + vy * np.cos(turned))
    agents = rows.assign(x_m=local[:, 0], y_m=local[:, 1], yaw_rad=yaw, vx_mps=new_vx, vy_mps=new_vy)
    quaternions = quaternion_from_yaw(driven[:, 2])
    pose_columns = dict(zip(("ego_qw", "ego_qx", "ego_qy", "ego_qz"), quaternions.T, strict=True))
    samples = samples.assign(ego_x_m=driven[:, 0], ego_y_m=driven[:, 1], **pose_columns)
    return replace(
        tables,
        samples=samples,
        agents=agents,
        ego_paths=tables.ego_paths.iloc[:0],
        agent_futures=tables.agent_futures.iloc[:0],
        map_elements=tables.map_elements.iloc[:0],
    )
