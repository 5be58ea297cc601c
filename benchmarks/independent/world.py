"""The tables of a folder as keyframes: what the checker may know about the moment a pair speaks of.

Nothing here comes from the code that wrote the pairs: only the columns that ``contracts/tables.py`` declares.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

TABLES = ("scenes", "samples", "agents", "ego_paths", "agent_futures", "map_elements", "world_truth")
NUM_STEPS = 6
STEP_S = 0.5


@dataclass(frozen=True)
class Box:
    """One annotated box: metres, radians, m/s in the ego frame; ``future`` is 6 x (x, y, yaw) with its mask."""

    token: str
    category: str
    attribute: str | None
    visibility: float
    center: np.ndarray
    yaw: float
    size: tuple[float, float]
    velocity: np.ndarray
    future: np.ndarray
    future_valid: np.ndarray

    @property
    def distance(self) -> float:
        """From the ego origin to the centre of the box, in metres over ground."""
        return float(np.hypot(*self.center[:2]))

    @property
    def azimuth(self) -> float:
        """Angle from straight ahead in degrees, positive to the left, within ±180."""
        return float(np.degrees(np.arctan2(self.center[1], self.center[0])))

    @property
    def speed(self) -> float:
        """Speed over ground in m/s; NaN where the table has no velocity."""
        return float(np.hypot(*self.velocity))

    def track(self) -> tuple[np.ndarray, np.ndarray]:
        """Poses now and at the 6 future steps (7 x 3) and their mask."""
        now = np.array([[self.center[0], self.center[1], self.yaw]])
        return np.concatenate([now, self.future]), np.concatenate([[True], self.future_valid])


@dataclass(frozen=True)
class Interval:
    """What the world's truth says about a stretch of time that covers the keyframe; no token: the scene or the ego."""

    kind: str
    value: str
    token: str | None


@dataclass(frozen=True)
class Keyframe:
    """One keyframe with everything the tables say about it."""

    token: str
    row: Mapping[str, Any]
    description: str
    boxes: tuple[Box, ...]
    path: np.ndarray
    path_valid: np.ndarray
    past: np.ndarray
    past_valid: np.ndarray
    polylines: Mapping[str, list[np.ndarray]]
    intervals: tuple[Interval, ...]
    speeds: tuple[float, ...]
    """Recorded speeds of this keyframe and those after it, in m/s."""

    def speed_in(self, steps: int) -> float | None:
        """The speed recorded so many keyframes later; None beyond the end or without a CAN bus."""
        value = self.speeds[steps] if steps < len(self.speeds) else float("nan")
        return None if np.isnan(value) else value

    @property
    def speed(self) -> float:
        """Signed speed of the ego in m/s."""
        return float(self.row["speed_mps"])

    @cached_property
    def by_token(self) -> dict[str, Box]:
        """Boxes by instance token."""
        return {box.token: box for box in self.boxes}

    def ego_track(self) -> tuple[np.ndarray, np.ndarray]:
        """Poses of the ego now and at the 6 future steps (7 x 3) and their mask."""
        return np.concatenate([np.zeros((1, 3)), self.path]), np.concatenate([[True], self.path_valid])

    def values(self, kind: str, token: str | None = None) -> set[str]:
        """What the truth says now, of one kind, about an instance (or about the scene)."""
        return {i.value for i in self.intervals if i.kind == kind and i.token == token}


class World:
    """The tables of one folder, looked up by keyframe. Raises ``ValueError`` where a table is missing."""

    def __init__(self, folder: Path) -> None:
        missing = [name for name in (*TABLES, "vqa_pairs") if not (folder / f"{name}.parquet").is_file()]
        if missing:
            raise ValueError(f"{folder} has no table {', '.join(missing)}")
        frames = {name: pd.read_parquet(folder / f"{name}.parquet") for name in (*TABLES, "vqa_pairs")}
        self.pairs = frames["vqa_pairs"]
        rows: list[dict[str, Any]] = [{str(k): v for k, v in r.items()} for r in frames["samples"].to_dict("records")]
        self._samples = {str(row["sample_token"]): row for row in rows}
        self._descriptions = dict(zip(frames["scenes"].scene_token, frames["scenes"].description, strict=True))
        self._truth = dict(list(frames["world_truth"].groupby("scene_token")))
        self._groups = {
            name: (frames[name], frames[name].groupby("sample_token", sort=False).indices)
            for name in ("agents", "ego_paths", "agent_futures", "map_elements")
        }
        self._cache: dict[str, Keyframe] = {}

    def keyframe(self, token: str) -> Keyframe:
        """The keyframe of a sample token; raises ``KeyError`` for a token that ``samples`` does not hold."""
        if token not in self._cache:
            self._cache[token] = self._build(token)
        return self._cache[token]

    def _rows(self, table: str, token: str) -> pd.DataFrame:
        frame, indices = self._groups[table]
        return frame.iloc[indices.get(token, [])]

    def _speeds(self, row: Mapping[str, Any]) -> tuple[float, ...]:
        speeds: list[float] = []
        following: Mapping[str, Any] | None = row
        while following is not None and len(speeds) <= NUM_STEPS:
            speeds.append(float(following["speed_mps"]))
            following = self._samples.get(following["next"])
        return tuple(speeds)

    def _build(self, token: str) -> Keyframe:
        row = self._samples[token]
        poses, valid = _steps(self._rows("ego_paths", token), range(1, NUM_STEPS + 1))
        past, past_valid = _steps(self._rows("ego_paths", token), range(-4, 0))
        polylines: dict[str, list[np.ndarray]] = {}
        for element in self._rows("map_elements", token).to_dict("records"):
            polylines.setdefault(element["kind"], []).append(np.asarray(element["points"], float).reshape(-1, 2))
        return Keyframe(
            token=token,
            row=row,
            description=self._descriptions[row["scene_token"]],
            boxes=_boxes(self._rows("agents", token), self._rows("agent_futures", token)),
            path=poses,
            path_valid=valid,
            past=past,
            past_valid=past_valid,
            polylines=polylines,
            intervals=_intervals(self._truth.get(row["scene_token"]), row["timestamp_us"]),
            speeds=self._speeds(row),
        )


def _steps(rows: pd.DataFrame, steps: range) -> tuple[np.ndarray, np.ndarray]:
    """Poses (x, y, yaw) of the wanted steps in order, and their mask."""
    poses, valid = np.zeros((len(steps), 3)), np.zeros(len(steps), bool)
    columns = (rows[name].to_numpy() for name in ("step", "x_m", "y_m", "yaw_rad", "valid"))
    for step, x, y, yaw, is_valid in zip(*columns, strict=True):
        if step in steps:
            poses[step - steps.start] = x, y, yaw
            valid[step - steps.start] = is_valid
    return poses, valid


def _boxes(rows: pd.DataFrame, futures: pd.DataFrame) -> tuple[Box, ...]:
    """The boxes of a keyframe with their futures."""
    of_instance = dict(list(futures.groupby("instance_token", sort=False)))
    boxes = []
    for row in rows.to_dict("records"):
        future, valid = _steps(of_instance.get(row["instance_token"], futures.iloc[:0]), range(1, NUM_STEPS + 1))
        boxes.append(
            Box(
                token=row["instance_token"],
                category=row["category"],
                attribute=row["attribute"] if isinstance(row["attribute"], str) else None,
                visibility=float(row["visibility"]),
                center=np.array([row["x_m"], row["y_m"], row["z_m"]]),
                yaw=row["yaw_rad"],
                size=(row["length_m"], row["width_m"]),
                velocity=np.array([row["vx_mps"], row["vy_mps"]]),
                future=future,
                future_valid=valid,
            )
        )
    return tuple(boxes)


def _intervals(truth: pd.DataFrame | None, timestamp_us: int) -> tuple[Interval, ...]:
    """The truth's intervals that cover a moment, both ends included."""
    if truth is None:
        return ()
    now = truth[(truth.begin_timestamp_us <= timestamp_us) & (truth.end_timestamp_us >= timestamp_us)]
    tokens = [token if isinstance(token, str) else None for token in now.instance_token]
    return tuple(Interval(k, v, t) for k, v, t in zip(now.kind, now.value, tokens, strict=True))
