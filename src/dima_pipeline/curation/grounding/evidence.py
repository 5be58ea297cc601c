"""What claims about one keyframe are checked against: its rows of the tables in plain lists, grouped once.

Shares no code with the annotators: a slip in how they read the tables must not be repeated here.
"""

import math
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from dima_pipeline.contracts.frames import NUM_FUTURE_STEPS, PERCEPTION_RANGE_M, STEP_S


class Pose(NamedTuple):
    """Where something is at a future step."""

    step: int
    x: float
    y: float
    yaw: float


@dataclass(frozen=True, eq=False)
class Thing:
    """An annotated box, in the ego frame; angles in degrees where named so."""

    instance: str
    category: str
    attribute: str
    """Empty where unknown."""
    x: float
    y: float
    z: float
    yaw: float
    length: float
    width: float
    vx: float
    vy: float
    """Measured, else to the first future step, else NaN."""
    is_seen: bool
    """Inside the perception range and not hidden."""
    is_doubtful: bool
    """Not seen, but LIDAR points hit it, or may have."""
    future: tuple[Pose, ...]
    """Known steps 1 ... 6."""

    @property
    def range_m(self) -> float:
        """From the origin of the ego frame to the centre."""
        return math.sqrt(self.x * self.x + self.y * self.y)

    @property
    def bearing_deg(self) -> float:
        """Counter-clockwise from ahead."""
        return math.degrees(math.atan2(self.y, self.x))

    @property
    def speed_mps(self) -> float:
        """NaN where unknown."""
        return math.hypot(self.vx, self.vy)


@dataclass(frozen=True, eq=False)
class Evidence:
    """All that the tables hold of one keyframe."""

    sample: Any
    """The row of ``samples`` as a mapping."""
    description: str
    things: list[Thing]
    path: tuple[Pose, ...]
    """The driven path's known steps 1 ... 6."""
    past: tuple[Pose, ...]
    lines: dict[str, list[np.ndarray]]
    """By kind, each (20, 2)."""
    truth: list[tuple[str, str, str]]
    """Kind, value and instance (or empty) of the intervals of the world's truth that hold now."""
    has_truth: bool
    later_mps: list[float]
    """Speed of the ego at the keyframes that follow, six at most."""
    rolled_out: dict[str, Any] = field(default_factory=dict)
    """Kept by ``danger`` for the next question about the keyframe."""

    @cached_property
    def pose_at(self) -> dict[int, Pose]:
        """The driven path by step."""
        return {pose.step: pose for pose in self.path}

    def gap_m(self, thing: "Thing", step: int) -> float:
        """From an object's centre to the ego at a step (0: now); NaN where either is unknown."""
        if step == 0:
            return thing.range_m
        other = next((pose for pose in thing.future if pose.step == step), None)
        mine = self.pose_at.get(step)
        return math.hypot(other.x - mine.x, other.y - mine.y) if other and mine else math.nan

    @cached_property
    def seen(self) -> list[Thing]:
        """Things that are seen."""
        return [thing for thing in self.things if thing.is_seen]

    @cached_property
    def speed_mps(self) -> float:
        """Signed speed of the ego: CAN bus, else from the driven path, else NaN."""
        return _speed_mps(self.sample, [*self.path, *self.past])

    @property
    def has_future(self) -> bool:
        """Whether the driven path is known for 3 s."""
        return len(self.path) == 6

    @cached_property
    def step_mps(self) -> list[float]:
        """Speed of the driven path between its known steps."""
        places = [(0.0, 0.0), *((pose.x, pose.y) for pose in self.path)]
        return [math.dist(*pair) / STEP_S for pair in pairwise(places)]


class Evidences(dict[str, Evidence]):
    """Evidence by sample_token, made when first asked for. ``tables`` as ``datasets.SceneTables``."""

    def __init__(self, tables: Any) -> None:
        super().__init__()
        self._samples = {row["sample_token"]: row for row in tables.samples.to_dict("records")}
        self._scenes = dict(zip(tables.scenes.scene_token, tables.scenes.description, strict=True))
        self._agents = _rows_of(_with_seen(tables.agents), _AGENT)
        futures = tables.agent_futures[tables.agent_futures.valid.astype(bool)].sort_values("step", kind="stable")
        self._futures = _rows_of(futures, ["instance_token", "step", "x_m", "y_m", "yaw_rad"])
        paths = tables.ego_paths[tables.ego_paths.valid.astype(bool)].sort_values("step", kind="stable")
        self._paths = _rows_of(paths, ["step", "x_m", "y_m", "yaw_rad"])
        self._lines = _rows_of(tables.map_elements, ["kind", "points"])
        truth = getattr(tables, "world_truth", None)
        self._truth = _truth_of(truth)
        self._has_truth = truth is not None and len(truth) > 0

    def __missing__(self, token: str) -> Evidence:
        futures: dict[str, list[Pose]] = {}
        for instance, *pose in self._futures.get(token, []):
            futures.setdefault(instance, []).append(Pose(*pose))
        things = [_thing(row, tuple(futures.get(row[0], ()))) for row in self._agents.get(token, [])]
        poses = [Pose(*row) for row in self._paths.get(token, [])]
        lines: dict[str, list[np.ndarray]] = {}
        for kind, points in self._lines.get(token, []):
            lines.setdefault(kind, []).append(np.asarray(points, float).reshape(-1, 2))
        sample = self._samples[token]
        now = sample["timestamp_us"]
        self[token] = Evidence(
            sample=sample,
            description=str(self._scenes.get(sample["scene_token"], "")),
            things=things,
            path=tuple(pose for pose in poses if pose.step > 0),
            past=tuple(pose for pose in poses if pose.step < 0),
            lines=lines,
            truth=[row[:3] for row in self._truth.get(sample["scene_token"], []) if row[3] <= now <= row[4]],
            has_truth=self._has_truth,
            later_mps=self._later_mps(sample),
        )
        return self[token]

    def _later_mps(self, sample: Any) -> list[float]:
        found: list[float] = []
        while len(found) < NUM_FUTURE_STEPS and (sample := self._samples.get(sample["next"])):
            poses = [Pose(*row) for row in self._paths.get(sample["sample_token"], [])]
            found.append(_speed_mps(sample, poses))
        return found

    def has(self, token: str) -> bool:
        """Whether the tables know a keyframe."""
        return token in self._samples


_AGENT = [
    *("instance_token", "category", "attribute", "x_m", "y_m", "z_m", "yaw_rad"),
    *("length_m", "width_m", "vx_mps", "vy_mps", "is_seen", "is_doubtful"),
]


def _speed_mps(sample: Any, poses: list[Pose]) -> float:
    if not math.isnan(sample["speed_mps"]):
        return float(sample["speed_mps"])
    sides = [pose.x / (STEP_S * pose.step) for pose in poses if pose.step in (1, -1)]
    return sum(sides) / len(sides) if sides else math.nan


def _with_seen(agents: pd.DataFrame) -> pd.DataFrame:
    x_min, y_min, x_max, y_max = PERCEPTION_RANGE_M
    x, y, level = (agents[name].to_numpy(float) for name in ("x_m", "y_m", "visibility"))
    points = agents.num_lidar_points.to_numpy(float)
    # nuScenes: level 2 is 40 % visible. Without a level the LIDAR tells, without a LIDAR everything is seen.
    is_hidden = np.where(np.isnan(level), points < 1, level < 2)
    inside = (x >= x_min) & (x <= x_max) & (y >= y_min) & (y <= y_max)
    is_seen = inside & ~is_hidden
    return agents.assign(is_seen=is_seen, is_doubtful=~is_seen & ~(points == 0))


def _rows_of(table: pd.DataFrame, columns: list[str]) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {}
    for token, *values in zip(table.sample_token, *(table[name].tolist() for name in columns), strict=True):
        found.setdefault(token, []).append(tuple(values))
    return found


def _truth_of(truth: pd.DataFrame | None) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {}
    if truth is None or truth.empty:
        return found
    columns = ["kind", "value", "instance_token", "begin_timestamp_us", "end_timestamp_us"]
    for scene, kind, value, instance, begin, end in zip(
        truth.scene_token, *(truth[name].tolist() for name in columns), strict=True
    ):
        known = instance if isinstance(instance, str) else ""
        found.setdefault(scene, []).append((kind, value, known, begin, end))
    return found


def _thing(row: tuple[Any, ...], future: tuple[Pose, ...]) -> Thing:
    instance, category, attribute, x, y, z, yaw, length, width, vx, vy, is_seen, is_doubtful = row
    if math.isnan(vx) or math.isnan(vy):
        first = next((pose for pose in future if pose.step == 1), None)
        vx, vy = ((first.x - x) / STEP_S, (first.y - y) / STEP_S) if first else (math.nan, math.nan)
    known = attribute if isinstance(attribute, str) else ""
    seen = {"is_seen": bool(is_seen), "is_doubtful": bool(is_doubtful)}
    return Thing(instance, category, known, x, y, z, yaw, length, width, vx, vy, future=future, **seen)
