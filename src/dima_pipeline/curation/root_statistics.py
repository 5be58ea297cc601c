"""What two recordings are like, number beside number: motion of the ego, agents, sizes, commands, light and weather.

All motion is read off poses half a second apart, so that roots with and without CAN bus are measured alike.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import pandas as pd
from jaxtyping import Float
from scipy.stats import wasserstein_distance

from dima_pipeline.contracts.frames import AGENT_CATEGORIES, COMMANDS, STEP_S
from dima_pipeline.datasets import SceneTables
from dima_pipeline.geometry import rotation_from_quaternion, wrap_angle, yaw_from_rotation

Array = np.ndarray

STOP_MPS: Final = 0.2
MOVING_MPS: Final = 0.5
SIZED: Final = ("car", "truck", "bus", "pedestrian", "bicycle", "motorcycle")
"""Categories whose sizes and speeds are compared."""
WORDS: Final = {
    "night": r"\bnight\b",
    "dusk or dawn": r"\b(dusk|dawn|sunset)\b",
    "rain": r"\brain(y|ing)?\b",
    "fog": r"\bfog(gy)?\b",
}
"""Light and weather in descriptions of scenes; where it was raining before, it is not raining."""
LARGE_SHIFT, LARGE_WASSERSTEIN, LARGE_POINTS = 0.75, 0.5, 0.1
MIN_VALUES: Final = 30
"""Fewer values in a root say nothing about it."""


@dataclass
class RootStatistics:
    """Values and shares of a root, by what they measure."""

    values: dict[str, Float[Array, "N"]]
    shares: dict[str, tuple[int, int]]
    """How many of how many."""
    num_scenes: int
    num_keyframes: int


@dataclass
class _Collected:
    values: dict[str, list[Array]] = field(default_factory=lambda: defaultdict(list))
    hits: Counter[str] = field(default_factory=Counter)
    totals: Counter[str] = field(default_factory=Counter)
    num_scenes: int = 0
    num_keyframes: int = 0

    def share(self, name: str, mask: Array | pd.Series) -> None:
        self.hits[name] += int(np.sum(np.asarray(mask, bool)))
        self.totals[name] += len(mask)


def root_statistics(scenes: Iterable[SceneTables]) -> RootStatistics:
    """The statistics of a root from the tables of its scenes; raises ``ValueError`` where there is no scene."""
    found = _Collected()
    for tables in scenes:
        found.num_scenes += 1
        found.num_keyframes += len(tables.samples)
        _add_ego(found, tables.samples)
        _add_agents(found, tables.samples, tables.agents)
        _add_words(found, tables)
    if not found.num_scenes:
        raise ValueError("there is no scene to measure")
    values = {name: np.concatenate(parts) for name, parts in found.values.items()}
    shares = {name: (found.hits[name], total) for name, total in found.totals.items()}
    return RootStatistics(values, shares, found.num_scenes, found.num_keyframes)


def ego_motion(samples: pd.DataFrame) -> dict[str, Float[Array, "..."]]:
    """Speed (m/s, negative in reverse), acceleration (m/s²) and yaw rate (rad/s) between the keyframes of a scene."""
    ordered = samples.sort_values("index")
    xy = ordered[["ego_x_m", "ego_y_m"]].to_numpy(float)
    quaternions = ordered[[f"ego_q{axis}" for axis in "wxyz"]].to_numpy(float)
    yaw = np.asarray(yaw_from_rotation(rotation_from_quaternion(quaternions)))
    seconds = np.diff(ordered["timestamp_us"].to_numpy(float)) / 1e6
    middle = yaw[:-1] + wrap_angle(np.diff(yaw)) / 2
    step = np.diff(xy, axis=0)
    speed = (step[:, 0] * np.cos(middle) + step[:, 1] * np.sin(middle)) / seconds
    between = (seconds[:-1] + seconds[1:]) / 2
    return {
        "speed": speed,
        "acceleration": np.diff(speed) / between,
        "yaw rate": wrap_angle(np.diff(yaw)) / seconds,
    }


def _add_ego(found: _Collected, samples: pd.DataFrame) -> None:
    motion = ego_motion(samples)
    for name, unit in (("speed", "m/s"), ("acceleration", "m/s²"), ("yaw rate", "rad/s")):
        found.values[f"ego {name} ({unit})"].append(motion[name])
    found.values["ego turning, |yaw rate| (rad/s)"].append(np.abs(motion["yaw rate"]))
    stands = np.abs(motion["speed"]) < STOP_MPS
    found.share("ego stands", stands)
    found.share("ego drives backwards", motion["speed"] < -STOP_MPS)
    starts = np.flatnonzero(np.diff(np.concatenate([[0], stands.astype(int)])) == 1)
    found.values["stops of the ego per minute"].append(np.array([len(starts) * 60 / (STEP_S * len(samples))]))
    for kind in ("driven", "route"):
        for command in COMMANDS:
            found.share(f"command ({kind}) {command}", samples[f"command_{kind}"] == command)


def _add_agents(found: _Collected, samples: pd.DataFrame, agents: pd.DataFrame) -> None:
    tokens = samples["sample_token"]
    found.values["agents in a keyframe"].append(_per_keyframe(agents, tokens))
    speed = np.hypot(agents["vx_mps"].to_numpy(float), agents["vy_mps"].to_numpy(float))
    distance = np.hypot(agents["x_m"].to_numpy(float), agents["y_m"].to_numpy(float))
    found.values["distance of agents (m)"].append(distance)
    found.values["LIDAR points in a box"].append(agents["num_lidar_points"].dropna().to_numpy(float))
    for level in (1.0, 2.0, 3.0, 4.0):
        found.share(f"visibility level {level:.0f}", agents["visibility"].dropna() == level)
    for attribute in ("vehicle.moving", "vehicle.stopped", "vehicle.parked"):
        known = [name for name in agents["attribute"].dropna() if name.startswith("vehicle.")]
        found.share(attribute, np.array([name == attribute for name in known], bool))
    for category in AGENT_CATEGORIES:
        of_kind = (agents["category"] == category).to_numpy()
        found.values[f"{category} in a keyframe"].append(_per_keyframe(agents[of_kind], tokens))
        if category in SIZED:
            _add_kind(found, category, agents[of_kind], speed[of_kind], distance[of_kind])


def _per_keyframe(agents: pd.DataFrame, tokens: pd.Series) -> Array:
    return agents["sample_token"].value_counts().reindex(tokens, fill_value=0).to_numpy(float)


def _add_kind(found: _Collected, category: str, agents: pd.DataFrame, speed: Array, distance: Array) -> None:
    for side in ("length", "width", "height"):
        found.values[f"{category} {side} (m)"].append(agents[f"{side}_m"].to_numpy(float))
    moves = speed > MOVING_MPS
    found.values[f"{category} speed where it moves (m/s)"].append(speed[moves])
    found.values[f"{category} distance (m)"].append(distance)
    found.share(f"{category} moves", moves[np.isfinite(speed)])


def _add_words(found: _Collected, tables: SceneTables) -> None:
    text = re.sub(r"after\s+(the\s+)?rain", "", " ".join(tables.scenes["description"]), flags=re.IGNORECASE)
    for word, pattern in WORDS.items():
        found.share(f"scenes with {word}", np.array([bool(re.search(pattern, text, re.IGNORECASE))]))


@dataclass(frozen=True)
class Difference:
    """One quantity of two roots."""

    name: str
    first: tuple[float, float, float]
    """Quartiles: 25, 50, 75 %; of a share the share alone, three times."""
    second: tuple[float, float, float]
    num_first: int
    num_second: int
    shift: float
    """Of values: difference of the medians over the larger of both interquartile ranges (infinite where both are 0);
    of shares: difference."""
    wasserstein: float
    """Earth mover's distance in units of the quantity; of shares the difference without its sign."""
    scaled: float
    """The same over the standard deviation of both together; of shares as ``wasserstein``."""
    is_share: bool

    @property
    def is_large(self) -> bool:
        """Worth a name, where both roots have enough values to tell."""
        if min(self.num_first, self.num_second) < (1 if self.name.startswith("scenes") else MIN_VALUES):
            return False
        if self.is_share:
            return abs(self.shift) >= LARGE_POINTS
        moved = abs(self.shift) >= LARGE_SHIFT and self.wasserstein > 0
        return moved or self.scaled >= LARGE_WASSERSTEIN


def compare_statistics(first: RootStatistics, second: RootStatistics) -> list[Difference]:
    """Every quantity that both roots have, values before shares, in the order of measuring."""
    values = [
        _of_values(name, first.values[name], second.values[name])
        for name in first.values
        if len(first.values[name]) and len(second.values.get(name, ()))
    ]
    return values + [
        _of_shares(name, first.shares, second.shares) for name in first.shares if _known(name, first, second)
    ]


def _known(name: str, *roots: RootStatistics) -> bool:
    return all(root.shares.get(name, (0, 0))[1] > 0 for root in roots)


def _of_values(name: str, first: Array, second: Array) -> Difference:
    first, second = first[np.isfinite(first)], second[np.isfinite(second)]
    if not (len(first) and len(second)):
        nan = (float("nan"),) * 3
        return Difference(name, nan, nan, len(first), len(second), 0.0, 0.0, 0.0, False)
    low, high = np.percentile(first, [25, 50, 75]), np.percentile(second, [25, 50, 75])
    spread = max(low[2] - low[0], high[2] - high[0])
    gap = float(low[1] - high[1])
    shift = gap / spread if spread > 0 else float(np.sign(gap)) * float("inf") if gap else 0.0
    moved = float(wasserstein_distance(first, second))
    deviation = float(np.std(np.concatenate([first, second])))
    scaled = moved / deviation if deviation > 0 else 0.0
    quartiles = (tuple(map(float, low)), tuple(map(float, high)))
    return Difference(name, quartiles[0], quartiles[1], len(first), len(second), shift, moved, scaled, False)  # type: ignore[arg-type]


def _of_shares(name: str, first: Mapping[str, tuple[int, int]], second: Mapping[str, tuple[int, int]]) -> Difference:
    (hits, total), (other_hits, other_total) = first[name], second[name]
    share, other = hits / total, other_hits / other_total
    gap = share - other
    return Difference(name, (share,) * 3, (other,) * 3, total, other_total, gap, abs(gap), abs(gap), True)
