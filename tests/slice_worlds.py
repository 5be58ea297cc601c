"""Slices judged on generated scenes without pictures: what they say of the tables against what the simulator knows.

Counted are keyframes and events: a member is right if a true keyframe lies within one keyframe of it, a true
keyframe is found if a member does, and so is an event (consecutive keyframes) if any of its keyframes is.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import numpy as np
import pandas as pd

import slice_truth as true
from dima_pipeline.curation.splits import synthetic_scene_names
from dima_pipeline.datasets import DATASETS, SceneTables
from dima_pipeline.slices import SLICES
from dima_pipeline.world.config import WorldConfig
from dima_pipeline.world.generate import play_scene, scene_jobs, write_root
from slice_truth import Play, Truth, play_of, spells

NUM_KEYFRAMES = 32
CASES: dict[str, tuple[dict[str, object], Callable[[Play], Truth]]] = {
    "turning": ({"name": "turning"}, true.turning),
    "rare_command": ({"name": "rare_command"}, true.rare_command),
    "resume_from_stop": ({"name": "resume_from_stop"}, true.resume_from_stop),
    "overtaking": ({"name": "overtaking"}, true.overtaking),
    "three_point_turn": ({"name": "three_point_turn"}, true.three_point_turn),
    "construction": ({"name": "construction"}, true.construction),
    "close_pedestrian": ({"name": "close_pedestrian"}, true.close_pedestrian),
    "short_ttc": ({"name": "short_ttc"}, true.short_ttc),
    "hard_brake": ({"name": "hard_brake"}, true.hard_brake),
    "cut_in": ({"name": "cut_in"}, true.cut_in),
    "dense": ({"name": "dense"}, true.dense),
    "dense, of ten": ({"name": "dense", "min_agents": 10}, true.dense_of_ten),
    "kinematic_outlier": ({"name": "kinematic_outlier"}, true.kinematic_outlier),
    "night": ({"name": "night"}, true.night),
    "rain": ({"name": "rain"}, true.rain),
}
"""What is judged: options of a slice, and its truth."""


class Score(NamedTuple):
    """What a slice found of what is true: keyframes and events, each right if a true one lies within one keyframe."""

    true: int
    found: int
    precision: float
    recall: float
    true_events: int
    found_events: int
    event_precision: float
    event_recall: float


def score(pairs: list[tuple[np.ndarray, Truth]]) -> Score:
    """Of (members, truth) of scenes, each bool by keyframe. NaN where there is nothing to be right about."""
    hits, counts = np.zeros(4), np.zeros(4)
    for members, truth in pairs:
        surely, possibly = truth if isinstance(truth, tuple) else (truth, truth)
        for place, (asked, answer) in enumerate(((members, possibly), (surely, members))):
            wide = answer | np.append(answer[1:], False) | np.append(False, answer[:-1])
            runs = spells(asked)
            counts[[place, place + 2]] += asked.sum(), len(runs)
            hits[[place, place + 2]] += (asked & wide).sum(), sum(wide[first : last + 1].any() for first, last in runs)
    shares = np.divide(hits, counts, out=np.full(4, np.nan), where=counts > 0)
    found, true, found_events, true_events = counts.astype(int).tolist()
    return Score(true, found, shares[0], shares[1], true_events, found_events, shares[2], shares[3])


@dataclass(frozen=True)
class World:
    """Scenes of one split: their tables, and by name their keyframes in order and what truly happened."""

    tables: SimpleNamespace
    tokens: dict[str, list[str]]
    plays: dict[str, Play]


def world(folder: Path, split: str, seed: int, num_scenes: int) -> World:
    """The first scenes of a split, in the towns that no scene of another split shows; written into ``folder``."""
    num = {f"num_{name}_scenes": num_scenes if name == split else 0 for name in ("train", "val")}
    config = WorldConfig(seed=seed, num_keyframes=NUM_KEYFRAMES, image_width=48, image_height=27, **num)
    jobs = scene_jobs(config, synthetic_scene_names())
    write_root(config, folder, jobs, with_images=False)
    dataset = DATASETS.build(DATASETS.parse({"name": "nuscenes", "version": config.version}), dataroot=folder)
    parts = [dataset.tables(job.name) for job in jobs]
    names = [field.name for field in fields(SceneTables)]
    tables = {name: pd.concat([getattr(part, name) for part in parts], ignore_index=True) for name in names}
    tokens = {
        job.name: part.samples.sort_values("index").sample_token.tolist() for job, part in zip(jobs, parts, strict=True)
    }
    plays = {job.name: play_of(play_scene(config, job), NUM_KEYFRAMES) for job in jobs}
    return World(SimpleNamespace(**tables), tokens, plays)


def members_and_truth(world: World, case: str) -> list[tuple[np.ndarray, Truth]]:
    """What the slice of a case of ``CASES`` says and what is true, scene by scene, bool by keyframe."""
    options, truth = CASES[case]
    members = SLICES.build(SLICES.parse(options)).members(world.tables)
    return [(members[world.tokens[name]].to_numpy(bool), truth(play)) for name, play in world.plays.items()]
