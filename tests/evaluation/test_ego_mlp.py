"""The ego-MLP: what it is told, that it learns from that, and from training scenes alone."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from dima_pipeline.contracts import result_tables
from dima_pipeline.datasets import SceneTables
from dima_pipeline.evaluation.baselines import constant_velocity
from dima_pipeline.evaluation.config import EgoMlpConfig, EvaluationConfig
from dima_pipeline.evaluation.ego_mlp import ego_history, ego_mlp, fit_ego_mlp
from dima_pipeline.evaluation.plans import path_poses, plan_array, split_samples
from evaluation_scenes import as_tables, make_fleet
from hand_scenes import HandScene, from_speeds, straight

TINY = EgoMlpConfig(hidden_dim=8, num_steps=5)
QUICK = EgoMlpConfig(hidden_dim=32, num_steps=400, batch_size=32, learning_rate=3e-3)


def braking_fleet(num_scenes: int, num_train: int) -> SceneTables:
    """Cars that brake by 1.5 m/s a second, from several speeds."""
    starts = np.linspace(9, 14, num_scenes)[np.random.default_rng(0).permutation(num_scenes)]
    speeds = [np.maximum(start - 0.75 * np.arange(13), 0) for start in starts]
    scenes = [HandScene(from_speeds(speed), name=f"scene-{number:04d}") for number, speed in enumerate(speeds)]
    return as_tables(*scenes, num_train=num_train)


def mean_l2(tables: SceneTables, plans: pd.DataFrame) -> float:
    """Mean distance (m) to the driven path over all known steps of keyframes that have a past of a second."""
    samples = split_samples(tables, "val")
    tokens = samples.loc[samples["index"] >= 2, "sample_token"].tolist()
    planned = plan_array(plans, plans["planner"].iloc[0], tokens)[..., :2]
    driven = path_poses(tables.ego_paths, tokens, range(1, 7))[..., :2]
    return float(np.nanmean(np.linalg.norm(planned - driven, axis=-1)))


def test_it_is_told_the_last_two_seconds_and_the_motion_of_now_and_what_of_it_is_known():
    tables = as_tables(HandScene(straight(5, 4.0), speeds=[4.0] * 5))
    first, _, third, *_ = ego_history(tables, tables.samples)
    assert first.tolist() == [0] * 12 + [4, 0, 0] + [0] * 4 + [1, 0, 0]
    assert third.tolist() == [0] * 6 + [-4, 0, 0, -2, 0, 0] + [4, 0, 0] + [0, 0, 1, 1] + [1, 0, 0]


def test_a_reading_of_the_can_bus_that_no_car_can_reach_is_unknown():
    tables = as_tables(HandScene(straight(5, 4.0), speeds=[4.0] * 5))
    broken = tables.samples.assign(acceleration_mps2=290.0)
    np.testing.assert_array_equal(ego_history(tables, broken), ego_history(tables, tables.samples))
    braking = ego_history(tables, tables.samples.assign(acceleration_mps2=-6.0))
    assert (braking[:, 13] == -6).all() and (braking[:, 20] == 1).all()


def test_it_learns_how_braking_goes_on_which_constant_velocity_does_not_know():
    tables = braking_fleet(12, num_train=9)
    plans = result_tables.Plans.validate(ego_mlp(tables, "val", QUICK, seed=0))
    assert plans["sample_token"].unique().tolist() == split_samples(tables, "val")["sample_token"].tolist()
    assert mean_l2(tables, plans) < 0.4 * mean_l2(tables, constant_velocity(tables, "val"))


def test_the_scenes_it_plans_for_teach_it_nothing():
    tables = braking_fleet(6, num_train=3)
    alone = replace(tables, scenes=tables.scenes.iloc[:4])
    tokens = split_samples(alone, "val")["sample_token"]
    plans = ego_mlp(tables, "val", TINY, seed=0)
    few = plans[plans["sample_token"].isin(tokens)].reset_index(drop=True)
    pd.testing.assert_frame_equal(few, ego_mlp(alone, "val", TINY, seed=0))


def test_what_is_not_valid_is_not_learned_from():
    tables = braking_fleet(4, num_train=2)
    paths = tables.ego_paths.copy()
    paths.loc[~paths["valid"], ["x_m", "y_m", "yaw_rad"]] = [1e6, -1e6, 3.0]
    plans = ego_mlp(replace(tables, ego_paths=paths), "val", TINY, seed=0)
    pd.testing.assert_frame_equal(plans, ego_mlp(tables, "val", TINY, seed=0))


def test_an_unknown_step_leaves_the_others_to_learn_from():
    rng = np.random.default_rng(0)
    speed = rng.uniform(2, 10, 200)
    history = np.stack([speed, np.ones(200)], -1)
    path = np.stack([speed[:, None] * 0.5 * np.arange(1, 7), np.zeros((200, 6))], -1)
    path[::2, 3:] = np.nan
    plan = fit_ego_mlp(history, path, QUICK, seed=0)
    np.testing.assert_allclose(plan(np.array([[6.0, 1.0]]))[0, :, 0], 3.0 * np.arange(1, 7), atol=0.5)


def test_the_same_seed_gives_the_same_plans_and_leaves_the_randomness_of_others_alone():
    tables = make_fleet(num_scenes=3)
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    plans = ego_mlp(tables, "val", TINY, seed=0)
    assert torch.equal(torch.rand(3), expected)
    pd.testing.assert_frame_equal(plans, ego_mlp(tables, "val", TINY, seed=0))
    assert not plans.equals(ego_mlp(tables, "val", TINY, seed=1))


def test_scenes_of_one_keyframe_teach_nothing_and_are_refused():
    tables = as_tables(HandScene(straight(1, 4.0), name="scene-0002"), HandScene(straight(5, 4.0)), num_train=1)
    with pytest.raises(ValueError, match="no keyframe of split 'train' has a known future"):
        ego_mlp(tables, "val", TINY, seed=0)


def test_its_settings_are_part_of_those_of_evaluation_and_typos_are_refused():
    assert EvaluationConfig(ego_mlp={"num_steps": 7}).ego_mlp == EgoMlpConfig(num_steps=7)
    with pytest.raises(ValueError, match="num_step"):
        EvaluationConfig(ego_mlp={"num_step": 7})
