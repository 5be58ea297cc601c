"""Every answer that can be counted or measured is worked out a second time, from the tables and from the question.

The parser shares no code with the annotators (only the tables), so a slip in a rule shows up as ``failed``. Answers
that make no such claim stay ``unchecked``.
"""

import math
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from dima_pipeline.contracts.batch import VqaPair

NUMBER_WORDS = {"none": (0, 0), "one": (1, 1), "two": (2, 2), "several": (3, 10**6)}
SECTOR_DEG = {"front": 0, "front left": 60, "back left": 120, "back": 180, "back right": -120, "front right": -60}
VEHICLE_NAMES = {"car", "truck", "bus", "trailer", "construction_vehicle"}
BUILDING_NAMES = {"construction_vehicle", "traffic_cone", "barrier"}
STEER_DEG = {"going straight": (0, 5), "slightly steering": (5, 20), "steering": (20, 360)}
PACE_MPS = {
    "not moving": (0, 0.5),
    "driving slowly": (0.5, 3),
    "driving with normal speed": (3, 8),
    "driving fast": (8, 12),
    "driving very fast": (12, 1e9),
}


@dataclass(frozen=True)
class Evidence:
    """The rows of one keyframe that claims are checked against."""

    agents: pd.DataFrame
    """Seen agents, with their ``bearing_deg`` and ``range_m``."""
    ego: pd.DataFrame
    """Future steps of the driven path, by step."""
    futures: pd.DataFrame
    """Valid future steps of the seen agents."""
    lines: pd.DataFrame

    def in_sector(self, name: str) -> pd.DataFrame:
        """Seen agents within 30 degrees of the middle of a sector."""
        off = (self.agents.bearing_deg - SECTOR_DEG[name] + 180) % 360 - 180
        return self.agents[off.between(-30, 30, inclusive="left")]


Checker = Callable[[Evidence, re.Match[str], str], bool]


def check_pairs(pairs: Iterable[VqaPair], tables: Any) -> Iterator[str]:
    """``passed``, ``failed`` or ``unchecked`` for every pair."""
    evidence = _Evidences(tables)
    for pair in pairs:
        found = ((checker, pattern.search(pair.question)) for pattern, checker in CHECKERS)
        claim = next(((checker, match) for checker, match in found if match), None)
        if claim is None:
            yield "unchecked"
        else:
            checker, match = claim
            agrees = checker(evidence[pair.sample_token], match, pair.answer.strip().rstrip(".").lower())
            yield "passed" if agrees else "failed"


class _Evidences(dict[str, Evidence]):
    """Evidence by sample_token, made when first asked for."""

    def __init__(self, tables: Any) -> None:
        super().__init__()
        agents = tables.agents
        hidden = np.where(agents.visibility.notna(), agents.visibility < 2, agents.num_lidar_points.fillna(1) < 1)
        agents = agents[(agents.x_m.abs() <= 30) & (agents.y_m.abs() <= 15) & ~hidden]
        bearing = np.degrees([math.atan2(y, x) for x, y in zip(agents.x_m, agents.y_m, strict=True)])
        agents = agents.assign(bearing_deg=bearing, range_m=np.sqrt(agents.x_m**2 + agents.y_m**2))
        futures = tables.agent_futures[tables.agent_futures.valid.astype(bool)]
        paths = tables.ego_paths[tables.ego_paths.step > 0]
        self._groups = [
            (table, table.groupby("sample_token", sort=False).indices)
            for table in (agents, paths, futures, tables.map_elements)
        ]

    def __missing__(self, token: str) -> Evidence:
        parts = [table.take(rows.get(token, np.array([], int))) for table, rows in self._groups]
        self[token] = Evidence(parts[0], parts[1].sort_values("step"), parts[2], parts[3])
        return self[token]


def _categories(text: str) -> set[str]:
    """``cars, trucks and construction vehicles`` -> category names; empty for none and nothing."""
    words = [part.strip() for part in re.split(r",| and ", text) if part.strip() not in ("none", "nothing")]
    return {("bus" if word == "buses" else word.removesuffix("s")).replace(" ", "_") for word in words}


def _count(evidence: Evidence, match: re.Match[str], answer: str) -> bool:
    wanted = VEHICLE_NAMES if match[1] == "vehicles" else {"pedestrian"}
    found = evidence.in_sector("front")
    number = int((found.category.isin(wanted) & (found.range_m <= 30)).sum())
    low, high = NUMBER_WORDS.get(answer, (1, 0))
    return low <= number <= high


def _band(evidence: Evidence, match: re.Match[str], answer: str) -> bool:
    found = evidence.in_sector("front")
    nearest = found[found.category.isin(VEHICLE_NAMES)].range_m.min()
    numbers = [float(number) for number in re.findall(r"\d+", answer)]
    if answer.startswith("there is none"):
        return bool(pd.isna(nearest) or nearest >= numbers[0])
    low, high = (0.0, numbers[0]) if answer.startswith("less") else (numbers[0], numbers[-1])
    return bool(low <= nearest < high)


def _direction(evidence: Evidence, match: re.Match[str], answer: str) -> bool:
    people = evidence.agents[evidence.agents.category == "pedestrian"]
    if people.empty or answer.startswith("there is no"):
        return bool(people.empty and answer.startswith("there is no"))
    sector = evidence.in_sector(answer.removeprefix("to the "))
    return bool(people.range_m.idxmin() in sector.index)


def _kinds(evidence: Evidence, match: re.Match[str], answer: str) -> bool:
    return set(evidence.in_sector(match[1]).category) == _categories(answer)


def _construction(evidence: Evidence, match: re.Match[str], answer: str) -> bool:
    return set(evidence.agents.category) & BUILDING_NAMES == _categories(answer)


def _crossing(evidence: Evidence, match: re.Match[str], answer: str) -> bool:
    lines = evidence.lines[evidence.lines.kind == "ped_crossing"].points
    points = [(line[at], line[at + 1]) for line in lines for at in range(0, len(line), 2)]
    return any(0 < x <= 25 and -6 <= y <= 6 for x, y in points) == (answer == "yes")


def _near(evidence: Evidence, match: re.Match[str], answer: str) -> bool:
    ego = evidence.ego[["step", "x_m", "y_m"]].rename(columns={"x_m": "ego_x_m", "y_m": "ego_y_m"})
    both = evidence.futures.merge(ego, on="step")
    near = both[np.hypot(both.x_m - both.ego_x_m, both.y_m - both.ego_y_m) < 5]
    seen = evidence.agents[evidence.agents.instance_token.isin(near.instance_token)]
    return set(seen.category) == _categories(answer)


def _behavior(evidence: Evidence, match: re.Match[str], answer: str) -> bool:
    said = re.fullmatch(r"the ego vehicle is (.+?)(?: to the (left|right))?\. the ego vehicle is (.+)", answer)
    if said is None or said[1] not in STEER_DEG or said[3] not in PACE_MPS:
        return False
    x, y = np.insert(evidence.ego.x_m.to_numpy(), 0, 0.0), np.insert(evidence.ego.y_m.to_numpy(), 0, 0.0)
    pace = float(np.hypot(np.diff(x), np.diff(y)).sum()) / 3.0
    low, high = PACE_MPS[said[3]]
    turn = math.degrees(math.remainder(float(evidence.ego.yaw_rad.iloc[-1]), math.tau))
    least, most = STEER_DEG[said[1]]
    is_side_right = said[2] is None or said[2] == ("left" if turn > 0 else "right")
    return low <= pace < high and is_side_right and (said[3] == "not moving" or least <= abs(turn) < most)


_SECTORS = "|".join(sorted(SECTOR_DEG, key=len, reverse=True))
CHECKERS: tuple[tuple[re.Pattern[str], Checker], ...] = (
    (re.compile(r"^How many (vehicles|pedestrians) .*front"), _count),
    (re.compile(r"nearest vehicle (?:to the front|ahead)\?$"), _band),
    (re.compile(r"nearest pedestrian\?$"), _direction),
    (re.compile(rf"^What (?:kinds of objects are|can be seen) to the ({_SECTORS}) of the ego"), _kinds),
    (re.compile(r"^Which construction objects"), _construction),
    (re.compile(r"pedestrian crossing"), _crossing),
    (re.compile(r"within 5 m of the ego vehicle in the next 3 s"), _near),
    (re.compile(r"behavior of the ego vehicle"), _behavior),
)
