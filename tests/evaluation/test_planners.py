"""Running a bundle over scenes: driving order, memory, and what it is shown. The bundle plans what it saw."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from dima_pipeline.contracts import result_tables
from dima_pipeline.contracts.batch import BevMemory, Plan, SceneBatch
from dima_pipeline.datasets import SceneTables
from dima_pipeline.evaluation.config import EgoMlpConfig, EvaluationConfig
from dima_pipeline.evaluation.latency import NUM_WARM_UP, measure_latency
from dima_pipeline.evaluation.planners import lockstep, plan_all, plan_scenes, plan_shuffled, plan_with_features
from dima_pipeline.reporting.results import BASELINES
from dima_pipeline.storage.scene_reader import SceneReader
from evaluation_scenes import as_tables, make_fleet, write_shards
from hand_scenes import HandScene, straight


class CountingBundle:
    """Plans x = the grey of the image it saw, y = how many keyframes its memory holds, both at every step."""

    def __init__(self) -> None:
        self.num_calls = 0

    def plan(self, batch: SceneBatch, memory: BevMemory | None) -> tuple[Plan, BevMemory]:
        self.num_calls += 1
        grey = batch.images[:, 0, 0, 0, 0].astype(float)
        before = np.zeros(len(grey)) if memory is None else memory.bev[:, 0, 0]
        assert len(before) == len(grey), "a memory row for every scene"
        trajectory = np.repeat(np.stack([grey, before + 1], -1)[:, None], 6, 1)
        bev = (before + 1).reshape(-1, 1, 1)
        return Plan(trajectory=trajectory, features=bev[:, 0]), BevMemory(bev=bev, is_valid=np.ones(len(bev), bool))


@pytest.fixture(name="fleet")
def make_uneven_fleet(tmp_path: Path) -> tuple[SceneTables, SceneReader]:
    """Scenes of 5, 8 and 3 keyframes, the first for training."""
    lengths = {"scene-0001": 5, "scene-0002": 8, "scene-0003": 3}
    tables = as_tables(*(HandScene(straight(num, 4.0), name=name) for name, num in lengths.items()), num_train=1)
    return tables, SceneReader(tables.samples, write_shards(tmp_path / "shards", tables.samples))


@pytest.mark.parametrize("num_parallel", [1, 2, 8])
def test_every_keyframe_is_planned_once_with_all_keyframes_before_it_in_memory(
    fleet: tuple[SceneTables, SceneReader], num_parallel: int
):
    tables, reader = fleet
    plans = plan_scenes(CountingBundle(), reader, tables.samples, planner="p", num_parallel=num_parallel)
    result_tables.Plans.validate(plans)
    first = plans[plans["step"] == 1].set_index("sample_token")
    samples = tables.samples.set_index("sample_token")
    assert sorted(first.index) == sorted(samples.index)
    assert (first["y_m"] == samples["index"].loc[first.index] + 1).all()
    assert (first["x_m"] == pd.Series(range(len(samples)), index=samples.index).loc[first.index]).all()


def test_trajectories_and_features_come_in_the_order_of_the_keyframes_asked_for(
    fleet: tuple[SceneTables, SceneReader],
):
    tables, reader = fleet
    samples = tables.samples.sample(frac=1.0, random_state=1)
    trajectory, features = plan_with_features(CountingBundle(), reader, samples, num_parallel=2)
    assert trajectory.shape == (16, 6, 2) and features.shape == (16, 1)
    np.testing.assert_array_equal(trajectory[:, 0, 0], samples.index)
    np.testing.assert_array_equal(features[:, 0], samples["index"] + 1)


def test_scenes_walk_side_by_side_and_the_rows_in_any_order(fleet: tuple[SceneTables, SceneReader]):
    samples = fleet[0].samples.sample(frac=1.0, random_state=0)
    steps = list(lockstep(samples, 2))
    assert steps[0] == (["scene-0002-000", "scene-0001-000"], True)
    assert steps[5] == (["scene-0002-005"], False)
    assert steps[8] == (["scene-0003-000"], True)
    assert len(steps) == 8 + 3


def test_shuffled_images_are_of_another_scene_and_the_rest_is_kept(fleet: tuple[SceneTables, SceneReader]):
    tables, reader = fleet
    rng = np.random.default_rng(0)
    plans = plan_shuffled(CountingBundle(), reader, tables.samples, planner="p", rng=rng)
    first = plans[plans["step"] == 1].set_index("sample_token")
    scene = tables.samples.set_index("sample_token")["scene_token"].to_dict()
    shown = tables.samples["sample_token"].iloc[first["x_m"].astype(int)]
    assert all(scene[own] != scene[other] for own, other in zip(first.index, shown, strict=True))
    assert (first["y_m"] == tables.samples.set_index("sample_token")["index"].loc[first.index] + 1).all()


def test_what_is_not_the_image_reaches_the_bundle_unshuffled(fleet: tuple[SceneTables, SceneReader]):
    tables, reader = fleet
    seen: list[SceneBatch] = []

    class Watching(CountingBundle):
        def plan(self, batch: SceneBatch, memory: BevMemory | None) -> tuple[Plan, BevMemory]:
            seen.append(batch)
            return super().plan(batch, memory)

    plan_scenes(Watching(), reader, tables.samples, planner="p")
    plan_shuffled(Watching(), reader, tables.samples, planner="p", rng=np.random.default_rng(0))
    half = len(seen) // 2
    for own, shuffled in zip(seen[:half], seen[half:], strict=True):
        assert (own.images != shuffled.images).any()
        for name in ("image_from_ego", "command", "prev_from_ego"):
            np.testing.assert_array_equal(getattr(own, name), getattr(shuffled, name))


def test_plan_all_covers_the_split_with_every_bundle_and_baseline(fleet: tuple[SceneTables, SceneReader]):
    tables, reader = fleet
    config = EvaluationConfig(ego_mlp=EgoMlpConfig(hidden_dim=8, num_steps=5))
    plans = plan_all({"planner": CountingBundle(), "control": CountingBundle()}, reader, tables, config)
    result_tables.Plans.validate(plans)
    assert set(plans["planner"]) == {"planner", "planner_shuffled", "control", "control_shuffled", *BASELINES}
    assert (plans.groupby("planner").size() == 11 * 6).all()
    again = plan_all({"planner": CountingBundle(), "control": CountingBundle()}, reader, tables, config)
    pd.testing.assert_frame_equal(plans, again)


def test_latency_percentiles_are_of_the_counted_runs_alone(tmp_path: Path):
    tables = make_fleet(num_scenes=2)
    reader = SceneReader(tables.samples, write_shards(tmp_path / "shards", tables.samples))
    ticks = iter(np.cumsum([0.0, 0.010] * 90 + [0.0, 0.050] * 10))
    bundle = CountingBundle()
    batch = reader.batch(tables.samples["sample_token"].tolist()[:3])
    table = measure_latency(bundle, batch, planner="p", num_runs=100, clock=lambda: float(next(ticks)))
    row = result_tables.Latencies.validate(table).iloc[0]
    assert (row["batch"], row["device"]) == (1, "cpu")
    np.testing.assert_allclose(row[["p50_ms", "p95_ms", "p99_ms"]].astype(float), [10.0, 50.0, 50.0])
    assert bundle.num_calls == 1 + NUM_WARM_UP + 100, "the first runs are not counted"
