"""Keyframes of going around a standing vehicle in the lane (a long-tail set of TOKEN), until it is passed.

The lane is the ego's heading when the vehicle stands in its way, straight on: on a bend a car at the kerb stands on
that line too, so the ego must return to it, heading the same way, within 12 s. What is passed in a bend is not found.
"""

from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float
from pydantic import Field

from dima_pipeline.contracts.frames import EGO_WIDTH_M, STEP_S
from dima_pipeline.geometry import to_frame
from dima_pipeline.plugins import config_dataclass
from dima_pipeline.slices._tracks import FRONT_M, Track, by_sample, ego_tracks, sample_rows

VEHICLES = ("car", "truck", "bus", "trailer", "construction_vehicle")


@config_dataclass
class Config:
    """What counts as overtaking."""

    max_standing_mps: float = Field(0.3, gt=0)
    max_ahead_m: float = Field(30.0, gt=0)
    """To the nearest vehicle that stands in the way."""
    max_row_m: float = Field(20.0, ge=0)
    """How far beyond it others may stand that are passed in one go."""
    min_overlap_m: float = Field(0.3, ge=0)
    """How far the vehicle reaches into the strip that the ego would sweep straight on."""
    min_aside_m: float = Field(1.2, gt=0)
    """How far the ego is beside its line when it passes."""
    max_return_m: float = Field(1.0, gt=0)
    max_turn_deg: float = Field(15.0, gt=0)
    """Of the heading after the return."""
    within_s: float = Field(12.0, gt=0)


class Overtaking:
    """See the module."""

    def __init__(self, config: Config) -> None:
        self.config = config

    def members(self, tables: Any) -> pd.Series:
        """Bool by sample_token."""
        agents = self._in_the_way(tables)
        obstacles = agents.groupby(sample_rows(agents, tables)).indices
        places = agents[["x_m", "length_m"]].to_numpy(float)
        is_member = np.zeros(len(tables.samples), bool)
        for track in ego_tracks(tables):
            for at, row in enumerate(track.rows):
                if row in obstacles:
                    for end_m in places[obstacles[row]] @ np.array([1.0, 0.5]):
                        is_member[track.rows[at : self._passed(track, at, float(end_m))]] = True
        return by_sample(is_member, tables)

    def _in_the_way(self, tables: Any) -> pd.DataFrame:
        """Standing vehicles that the ego would hit if it drove straight on."""
        config, agents = self.config, tables.agents
        first = tables.agent_futures[(tables.agent_futures.step == 1) & tables.agent_futures.valid.astype(bool)]
        keys = ["sample_token", "instance_token"]
        moved = agents[keys].merge(first, on=keys, how="left")[["x_m", "y_m"]].to_numpy(float)
        next_mps = np.linalg.norm(moved - agents[["x_m", "y_m"]].to_numpy(float), axis=1) / STEP_S
        speed = np.fmax(np.hypot(agents.vx_mps.to_numpy(float), agents.vy_mps.to_numpy(float)), next_mps)
        overlap = (EGO_WIDTH_M + agents.width_m) / 2 - agents.y_m.abs()
        found = agents.category.isin(VEHICLES) & agents.x_m.between(FRONT_M, config.max_ahead_m + config.max_row_m)
        standing = agents[found & (overlap >= config.min_overlap_m) & (speed <= config.max_standing_mps)]
        nearest_m = standing.groupby("sample_token").x_m.transform("min")
        return standing[(nearest_m <= config.max_ahead_m) & (standing.x_m <= nearest_m + config.max_row_m)]

    def _passed(self, track: Track, at: int, end_m: float) -> int:
        """The first keyframe beyond what ends ``end_m`` ahead of ``at``; ``at`` where the ego does not go around it
        and return to its line in time."""
        config = self.config
        later = (track.time_s >= track.time_s[at]) & (track.time_s <= track.time_s[at] + config.within_s)
        pose = np.array([*track.xy[at], track.yaw[at]])
        way: Float[np.ndarray, "T 2"] = to_frame(track.xy[later], pose)
        beyond = np.flatnonzero(way[:, 0] > end_m)
        if not len(beyond):
            return at
        aside = np.abs(np.interp(end_m, way[: beyond[0] + 1, 0], way[: beyond[0] + 1, 1]))
        turn_deg = np.abs(np.degrees(track.yaw[later] - track.yaw[at]))
        returned = (np.abs(way[:, 1]) <= config.max_return_m) & (turn_deg <= config.max_turn_deg)
        goes_around = aside >= config.min_aside_m and returned[beyond[0] :].any()
        return at + int(beyond[0]) if goes_around else at


build = Overtaking
