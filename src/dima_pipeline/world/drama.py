"""Plays scenes until one is good: the planted event happens, and nobody ever drives into anybody."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from shapely.geometry import Polygon

from dima_pipeline.geometry import box_corners
from dima_pipeline.world.config import MIN_EVENT_KEYFRAMES
from dima_pipeline.world.events import PLANTED, RECIPES
from dima_pipeline.world.roads import Town
from dima_pipeline.world.signal_plans import SignalPlan, plan_signals
from dima_pipeline.world.simulation import Actor, Tracks, overlaps, simulate
from dima_pipeline.world.staging import Stage, drop_overlapping_starts
from dima_pipeline.world.truth import Interval, find_intervals

ATTEMPTS = 40
LIGHTS: Mapping[str, float] = {"day": 0.65, "dusk": 0.15, "night": 0.2}
WEATHERS: Mapping[str, float] = {"rain": 0.2, "clear": 0.7, "fog": 0.1}
"""Shares of scenes; only their ratios count."""


@dataclass(frozen=True)
class Drama:
    """A simulated scene in the frame of its town; ``actors`` and the A axis of ``tracks`` begin with the ego."""

    recipe: str
    stage: Stage
    actors: list[Actor]
    tracks: Tracks
    intervals: list[Interval]
    light: str
    weather: str
    signals: Mapping[str, SignalPlan] = field(default_factory=dict)
    """When which traffic light shows what."""

    @property
    def town(self) -> Town:
        """Where it plays."""
        return self.stage.town

    def events(self) -> set[str]:
        """Names of the events that happen."""
        return {row.value for row in self.intervals if row.kind == "event"}


def play(
    recipe: str,
    towns: list[Town],
    rng: np.random.Generator,
    num_keyframes: int,
    *,
    lights: Mapping[str, float] = LIGHTS,
    weathers: Mapping[str, float] = WEATHERS,
) -> Drama:
    """The first good scene of a recipe in one of ``towns``; raises ``ValueError`` where none comes out."""
    light, weather = (_draw(shares, rng) for shares in (lights, weathers))
    for _ in range(ATTEMPTS):
        town = towns[int(rng.integers(len(towns)))]
        stage = RECIPES[recipe](town, rng)
        drama = stage and _run(recipe, stage, (num_keyframes - 1) * 0.5, (light, weather))
        if drama and (_is_complete(drama) or num_keyframes < MIN_EVENT_KEYFRAMES):
            return drama
    raise ValueError(
        f"world: no scene of the recipe '{recipe}' came out in {ATTEMPTS} attempts in "
        f"{[town.name for town in towns]}; try another seed"
    )


def _draw(shares: Mapping[str, float], rng: np.random.Generator) -> str:
    weights = np.array(list(shares.values()))
    return str(rng.choice(list(shares), p=weights / weights.sum()))


def _is_complete(drama: Drama) -> bool:
    """Whether the planted event happens, and to its end where half of it would be another event."""
    is_over = drama.tracks.along_m[-1, 0] >= drama.stage.must_reach_m
    return drama.recipe not in PLANTED or (drama.recipe in drama.events() and is_over)


def _run(recipe: str, stage: Stage, duration_s: float, mood: tuple[str, str]) -> Drama | None:
    """Simulate a stage, leaving out background that gets in the way; none where the script itself goes wrong."""
    drop_overlapping_starts(stage)
    signals = plan_signals(stage.town, stage.rng, stage.red)
    for _ in range(6):
        actors = [stage.ego(), *stage.actors]
        tracks = simulate(actors, duration_s, signals)
        clashes = overlaps(actors, tracks)
        if not clashes:
            intervals = find_intervals(stage, actors, tracks, mood[0])
            drama = Drama(recipe, stage, actors, tracks, intervals, *mood, signals)
            return drama if _keeps_to_the_road(drama) else None
        guilty = {_removable(actors, pair) for pair in clashes}
        if None in guilty:
            return None
        stage.actors = [actor for actor in stage.actors if actor.name not in guilty]
    return None


def _removable(actors: list[Actor], pair: tuple[int, int]) -> str | None:
    """Who of two leaves: the background, and of that the one that moves."""
    candidates = [actors[index] for index in pair if actors[index].role == "background"]
    candidates.sort(key=lambda actor: (not actor.moves, actor.name))
    return candidates[0].name if candidates else None


def _keeps_to_the_road(drama: Drama) -> bool:
    """Whether the ego's footprint stays on the drivable area."""
    road = drama.town.drivable.buffer(0.15)
    ego = drama.actors[0]
    for pose in drama.tracks.poses[::10, 0]:
        if not road.contains(Polygon(box_corners(np.array([*pose, *ego.size[:2]])))):
            return False
    return True
