"""Every answer that can be counted or measured is worked out a second time, from the tables and from the question.

The parser shares no code with the annotators (only the tables), so a slip in a rule shows up as ``failed``. Answers
that make no such claim stay ``unchecked``.
"""

import math
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

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


class Seen(NamedTuple):
    """A seen agent."""

    instance: str
    category: str
    bearing_deg: float
    range_m: float


@dataclass(frozen=True)
class Evidence:
    """What claims about one keyframe are checked against, in plain lists."""

    agents: list[Seen]
    ego: list[tuple[float, float, float]]
    """x, y, yaw of the driven path at steps 1 ... 6."""
    futures: list[tuple[str, int, float, float]]
    """Instance, step, x, y of the known future steps."""
    crossings: list[list[float]]
    """Points x, y of pedestrian crossings, flat."""

    def in_sector(self, name: str) -> list[Seen]:
        """Seen agents within 30 degrees of the middle of a sector."""
        middle = SECTOR_DEG[name]
        return [agent for agent in self.agents if -30 <= (agent.bearing_deg - middle + 180) % 360 - 180 < 30]

    def nearest(self, agents: list[Seen], categories: set[str]) -> Seen | None:
        """The nearest of some kinds."""
        return min((one for one in agents if one.category in categories), key=lambda one: one.range_m, default=None)


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
        futures = tables.agent_futures[tables.agent_futures.valid.astype(bool)]
        paths = tables.ego_paths[tables.ego_paths.step > 0].sort_values("step")
        lines = tables.map_elements[tables.map_elements.kind == "ped_crossing"]
        self._agents = _rows_of(agents, ["instance_token", "category", "x_m", "y_m"])
        self._futures = _rows_of(futures, ["instance_token", "step", "x_m", "y_m"])
        self._paths = _rows_of(paths, ["x_m", "y_m", "yaw_rad"])
        self._lines = _rows_of(lines, ["points"])

    def __missing__(self, token: str) -> Evidence:
        agents = [
            Seen(instance, category, math.degrees(math.atan2(y, x)), math.sqrt(x * x + y * y))
            for instance, category, x, y in self._agents.get(token, [])
        ]
        lines = [list(points) for (points,) in self._lines.get(token, [])]
        self[token] = Evidence(agents, self._paths.get(token, []), self._futures.get(token, []), lines)
        return self[token]


def _rows_of(table: pd.DataFrame, columns: list[str]) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {}
    for token, *values in zip(table.sample_token, *(table[name].tolist() for name in columns), strict=True):
        found.setdefault(token, []).append(tuple(values))
    return found


def _categories(text: str) -> set[str]:
    """``cars, trucks and construction vehicles`` -> category names; empty for none and nothing."""
    words = [part.strip() for part in re.split(r",| and ", text) if part.strip() not in ("none", "nothing")]
    return {("bus" if word == "buses" else word.removesuffix("s")).replace(" ", "_") for word in words}


def _count(evidence: Evidence, match: re.Match[str], answer: str) -> bool:
    wanted = VEHICLE_NAMES if match[1] == "vehicles" else {"pedestrian"}
    number = sum(one.category in wanted and one.range_m <= 30 for one in evidence.in_sector("front"))
    low, high = NUMBER_WORDS.get(answer, (1, 0))
    return low <= number <= high


def _band(evidence: Evidence, match: re.Match[str], answer: str) -> bool:
    nearest = evidence.nearest(evidence.in_sector("front"), VEHICLE_NAMES)
    gap = nearest.range_m if nearest else math.inf
    numbers = [float(number) for number in re.findall(r"\d+", answer)] or [math.nan]
    if answer.startswith("there is none"):
        return gap >= numbers[0]
    low, high = (0.0, numbers[0]) if answer.startswith("less") else (numbers[0], numbers[-1])
    return low <= gap < high


def _direction(evidence: Evidence, match: re.Match[str], answer: str) -> bool:
    nearest = evidence.nearest(evidence.agents, {"pedestrian"})
    if nearest is None or answer.startswith("there is no"):
        return nearest is None and answer.startswith("there is no")
    sector = answer.removeprefix("to the ")
    return sector in SECTOR_DEG and nearest in evidence.in_sector(sector)


def _kinds(evidence: Evidence, match: re.Match[str], answer: str) -> bool:
    return {one.category for one in evidence.in_sector(match[1])} == _categories(answer)


def _construction(evidence: Evidence, match: re.Match[str], answer: str) -> bool:
    return {one.category for one in evidence.agents} & BUILDING_NAMES == _categories(answer)


def _crossing(evidence: Evidence, match: re.Match[str], answer: str) -> bool:
    points = [(line[at], line[at + 1]) for line in evidence.crossings for at in range(0, len(line), 2)]
    return any(0 < x <= 25 and -6 <= y <= 6 for x, y in points) == (answer == "yes")


def _near(evidence: Evidence, match: re.Match[str], answer: str) -> bool:
    near = set()
    for instance, step, x, y in evidence.futures:
        ego_x, ego_y, _ = evidence.ego[step - 1]
        if math.hypot(x - ego_x, y - ego_y) < 5:
            near.add(instance)
    return {one.category for one in evidence.agents if one.instance in near} == _categories(answer)


def _behavior(evidence: Evidence, match: re.Match[str], answer: str) -> bool:
    said = re.fullmatch(r"the ego vehicle is (.+?)(?: to the (left|right))?\. the ego vehicle is (.+)", answer)
    if said is None or said[1] not in STEER_DEG or said[3] not in PACE_MPS:
        return False
    places = [(0.0, 0.0), *((x, y) for x, y, _ in evidence.ego)]
    pace = sum(math.dist(one, other) for one, other in pairwise(places)) / 3.0
    low, high = PACE_MPS[said[3]]
    turn = math.degrees(math.remainder(evidence.ego[-1][2], math.tau))
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
