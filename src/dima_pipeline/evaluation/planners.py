"""Runs an exported planner over scenes in driving order, with its memory, also with the images of other scenes."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any, Protocol

import numpy as np
import pandas as pd
from jaxtyping import Float

from dima_pipeline.contracts.batch import BevMemory, Plan, SceneBatch
from dima_pipeline.datasets import SceneTables
from dima_pipeline.evaluation.baselines import constant_turn_rate_and_velocity, constant_velocity, go_straight
from dima_pipeline.evaluation.config import EvaluationConfig
from dima_pipeline.evaluation.ego_mlp import ego_mlp
from dima_pipeline.evaluation.plans import plan_rows, split_samples
from dima_pipeline.evaluation.shuffling import other_scenes
from dima_pipeline.storage.scene_reader import SceneReader

SHUFFLED = "_shuffled"
"""Suffix of a planner that was shown images of other scenes."""


Read = Callable[[list[str]], SceneBatch]


class RunsPlans(Protocol):
    """What is asked of a bundle: ``serving.bundle.PlannerBundle``."""

    def plan(self, batch: SceneBatch, memory: BevMemory | None) -> tuple[Plan, BevMemory]:
        """Plans for a batch of keyframes; ``memory`` None at the start of scenes."""


def lockstep(samples: pd.DataFrame, num_parallel: int) -> Iterator[tuple[list[str], bool]]:
    """Batches of sample_tokens that walk through ``num_parallel`` scenes side by side, and whether scenes begin.

    Row i of a batch continues row i of the one before it; a scene that ends takes the last row away.
    """
    ordered = samples.sort_values(["scene_token", "index"])
    scenes = [group.tolist() for _, group in ordered.groupby("scene_token", sort=True)["sample_token"]]
    scenes.sort(key=len, reverse=True)
    for first in range(0, len(scenes), num_parallel):
        group = scenes[first : first + num_parallel]
        for index in range(len(group[0])):
            yield [scene[index] for scene in group if index < len(scene)], index == 0


def keep_rows(memory: Any, num_rows: int) -> BevMemory:
    """The first ``num_rows`` rows of a memory: those whose scenes go on."""
    return BevMemory(bev=memory.bev[:num_rows], is_valid=memory.is_valid[:num_rows])


def plan_scenes(
    bundle: RunsPlans, reader: SceneReader, samples: pd.DataFrame, *, planner: str, num_parallel: int = 8
) -> pd.DataFrame:
    """Rows of the ``plans`` table for all keyframes of ``samples``, each planned with the memory of those before."""
    tokens, trajectory, _ = _plan(bundle, reader.batch, samples, num_parallel)
    return plan_rows(planner, tokens, trajectory)


def plan_with_features(
    bundle: RunsPlans, reader: SceneReader, samples: pd.DataFrame, *, num_parallel: int = 8
) -> tuple[Float[np.ndarray, "N T 2"], Float[np.ndarray, "N F"]]:
    """Trajectories and the planner's ego features (``Plan.features``), in the order of ``samples``."""
    tokens, trajectory, features = _plan(bundle, reader.batch, samples, num_parallel)
    order = pd.Index(tokens).get_indexer(pd.Index(samples["sample_token"]))
    return trajectory[order], features[order]


def plan_shuffled(
    bundle: RunsPlans,
    reader: SceneReader,
    samples: pd.DataFrame,
    *,
    planner: str,
    rng: np.random.Generator,
    num_parallel: int = 8,
) -> pd.DataFrame:
    """As ``plan_scenes``, but each keyframe shows the images of a keyframe of another scene.

    Calibration, command and ego motion stay: what gets worse is what the planner had from looking. Raises
    ``ValueError`` for one scene alone.
    """
    tokens = samples["sample_token"].to_numpy(object)
    shown = dict(zip(tokens, tokens[other_scenes(samples["scene_token"].tolist(), rng)], strict=True))

    def read(tokens: list[str]) -> SceneBatch:
        other = reader.batch([shown[token] for token in tokens])
        return replace(reader.batch(tokens), images=other.images, camera_valid=other.camera_valid)

    planned, trajectory, _ = _plan(bundle, read, samples, num_parallel)
    return plan_rows(planner, planned, trajectory)


def _plan(
    bundle: RunsPlans, read: Read, samples: pd.DataFrame, num_parallel: int
) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Tokens in the order they were planned in, their trajectories and features."""
    planned: list[str] = []
    plans = []
    memory: BevMemory | None = None
    for tokens, begins in lockstep(samples, num_parallel):
        known = None if begins or memory is None else keep_rows(memory, len(tokens))
        plan, memory = bundle.plan(read(tokens), known)
        planned += tokens
        plans.append(plan)
    trajectory, features = (np.concatenate([getattr(p, name) for p in plans]) for name in ("trajectory", "features"))
    return planned, trajectory, features


def plan_all(
    bundles: Mapping[str, RunsPlans],
    reader: SceneReader,
    tables: SceneTables,
    config: EvaluationConfig,
    others: Mapping[str, RunsPlans] | None = None,
) -> pd.DataFrame:
    """The ``plans`` table of an evaluation: every bundle by name, with its own and with shuffled images, ``others``
    with their own alone, and the four baselines that see nothing.

    Raises ``ValueError`` where the split or the training split has no scene.
    """
    samples = split_samples(tables, config.split)
    rules = constant_velocity, constant_turn_rate_and_velocity, go_straight
    frames = [rule(tables, config.split) for rule in rules]
    frames.append(ego_mlp(tables, config.split, config.ego_mlp, config.seed))
    for name, bundle in bundles.items():
        parallel = config.num_parallel_scenes
        frames.append(plan_scenes(bundle, reader, samples, planner=name, num_parallel=parallel))
        rng = np.random.default_rng(config.seed)
        shuffled = plan_shuffled(bundle, reader, samples, planner=f"{name}{SHUFFLED}", rng=rng, num_parallel=parallel)
        frames.append(shuffled)
    for name, other in (others or {}).items():
        frames.append(plan_scenes(other, reader, samples, planner=name, num_parallel=config.num_parallel_scenes))
    return pd.concat(frames, ignore_index=True)
