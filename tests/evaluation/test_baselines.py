"""Baselines that follow a rule: what they know of the ego's motion, and that they know nothing else."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dima_pipeline.contracts import result_tables
from dima_pipeline.datasets import SceneTables
from dima_pipeline.evaluation.baselines import arcs, constant_turn_rate_and_velocity, constant_velocity, go_straight
from dima_pipeline.evaluation.config import EgoMlpConfig
from dima_pipeline.evaluation.ego_mlp import ego_mlp
from dima_pipeline.evaluation.plans import plan_array, split_samples
from dima_pipeline.geometry import wrap_angle
from evaluation_scenes import SPEED_MPS, as_tables, make_fleet
from hand_scenes import HandScene, from_speeds, token

TIMES_S = np.array([0.5, 1.0, 1.5, 2.0, 2.5, 3.0])
Baseline = Callable[[SceneTables, str], pd.DataFrame]
"""Tables and split in, plans out."""


def learned(tables: SceneTables, split: str) -> pd.DataFrame:
    """The ego-MLP, trained in a blink."""
    return ego_mlp(tables, split, EgoMlpConfig(hidden_dim=8, num_steps=5), seed=0)


BASELINES = [constant_velocity, constant_turn_rate_and_velocity, go_straight, learned]
TOLD_ITS_MOTION = [constant_velocity, constant_turn_rate_and_velocity, learned]


def on_circle(speed_mps: float, yaw_rate_radps: float, num: int = 10) -> np.ndarray:
    """Poses of a car that goes along a circle at a steady pace."""
    yaw = 0.5 * yaw_rate_radps * np.arange(num)
    radius = speed_mps / yaw_rate_radps
    return np.stack([radius * np.sin(yaw), radius * (1 - np.cos(yaw)), yaw], -1)


def planned(plans: pd.DataFrame, sample_token: str) -> np.ndarray:
    """x, y, yaw of the one planner's plan for a keyframe."""
    return plan_array(plans, plans["planner"].iloc[0], [sample_token])[0]


def test_constant_velocity_goes_on_as_in_the_last_half_second():
    tables = as_tables(HandScene(from_speeds([4, 4, 6, 6, 2, 2, 2, 2, 2, 2]), name="scene-0001"))
    plans = result_tables.Plans.validate(constant_velocity(tables, "val"))
    tokens = [token(HandScene(None, name="scene-0001"), at) for at in (2, 4)]
    array = plan_array(plans, "constant_velocity", tokens)
    np.testing.assert_allclose(array[0, :, :2], np.stack([4 * TIMES_S, 0 * TIMES_S], -1), atol=1e-9)
    np.testing.assert_allclose(array[1, :, 0], 6 * TIMES_S)


def test_constant_velocity_keeps_the_direction_of_motion_of_a_turning_or_reversing_car():
    turning = as_tables(HandScene(from_speeds([4] * 8, 0.4)))
    first = planned(constant_velocity(turning, "val"), "scene-0001-003")
    assert first[-1, 1] < -0.5, "it came from the right of where it now heads, so straight on is to the right"
    reversing = as_tables(HandScene(from_speeds([-2] * 8)))
    back = planned(constant_velocity(reversing, "val"), "scene-0001-003")
    np.testing.assert_allclose(back[:, 0], -2 * TIMES_S)
    assert (back[:, 2] == 0).all()


def test_a_quarter_circle_in_three_seconds_goes_on_to_a_half_circle():
    # 10 m to the left lies the centre; after a quarter more the car is 10 m ahead and 10 m left, heading left.
    tables = as_tables(HandScene(on_circle(10 * np.pi / 6, np.pi / 6)))
    plans = result_tables.Plans.validate(constant_turn_rate_and_velocity(tables, "val"))
    np.testing.assert_allclose(planned(plans, "scene-0001-006")[-1, :2], [10, 10])


@settings(max_examples=25, deadline=None)
@given(
    speed=st.floats(1.5, 25).flatmap(lambda v: st.sampled_from([v, -v])),
    yaw_rate=st.floats(0.001, 1.0).flatmap(lambda w: st.sampled_from([w, -w])),
)
def test_a_car_on_a_circle_stays_on_it_at_its_pace_with_headings_along_it(speed: float, yaw_rate: float):
    tables = as_tables(HandScene(on_circle(speed, yaw_rate, num=3)))
    plan = planned(constant_turn_rate_and_velocity(tables, "val"), "scene-0001-001")
    radius = speed / yaw_rate
    from_centre = plan[:, :2] - [0, radius]
    np.testing.assert_allclose(np.hypot(*from_centre.T), abs(radius), rtol=1e-9)
    turned = np.arctan2(from_centre[:, 0] / radius, -from_centre[:, 1] / radius)
    np.testing.assert_allclose(turned, yaw_rate * TIMES_S, atol=1e-6)
    # The heading of a planned step is that of its chord: tangent to the circle in the middle of the step.
    np.testing.assert_allclose(wrap_angle(plan[:, 2] - yaw_rate * (TIMES_S - 0.25)), 0, atol=1e-6)


@settings(max_examples=25, deadline=None)
@given(x=st.floats(-15, 15), y=st.floats(-1, 1))
def test_without_turning_constant_turn_rate_is_constant_velocity(x: float, y: float):
    ego = np.stack([x * np.arange(3), y * np.arange(3), np.zeros(3)], -1)
    tables = as_tables(HandScene(ego))
    straight = constant_velocity(tables, "val")
    pd.testing.assert_frame_equal(
        constant_turn_rate_and_velocity(tables, "val").assign(planner="constant_velocity"), straight
    )


@given(velocity=st.floats(-25, 25), yaw_rate=st.floats(-1e-7, 1e-7))
def test_an_arc_that_hardly_turns_is_the_straight_line(velocity: float, yaw_rate: float):
    path = arcs(np.array([velocity + 0j]), np.array([yaw_rate]), TIMES_S)[0]
    np.testing.assert_allclose(path, np.stack([velocity * TIMES_S, 0 * TIMES_S], -1), atol=1e-4)


def test_the_first_keyframe_takes_speed_and_yaw_rate_from_the_can_bus():
    tables = as_tables(HandScene(from_speeds([4] * 8), speeds=[3.0] * 9))
    for baseline in (constant_velocity, constant_turn_rate_and_velocity):
        first = planned(baseline(tables, "val"), "scene-0001-000")
        np.testing.assert_allclose(first[:, :2], np.stack([3 * TIMES_S, 0 * TIMES_S], -1))
    turning = replace(tables, samples=tables.samples.assign(yaw_rate_radps=0.5))
    first = planned(constant_turn_rate_and_velocity(turning, "val"), "scene-0001-000")
    np.testing.assert_allclose(first[-1, :2], 6 * np.array([np.sin(1.5), 1 - np.cos(1.5)]))
    later = planned(constant_turn_rate_and_velocity(turning, "val"), "scene-0001-001")
    np.testing.assert_allclose(later[:, 1], 0, atol=1e-12, err_msg="the driven path goes before the CAN bus")


@pytest.mark.parametrize("baseline", [constant_velocity, constant_turn_rate_and_velocity])
def test_the_first_keyframe_stands_without_a_can_bus(baseline: Baseline):
    tables = as_tables(HandScene(from_speeds([4] * 8)))
    assert (planned(baseline(tables, "val"), "scene-0001-000") == 0).all()


def test_go_straight_knows_only_the_mean_speed_of_the_training_scenes():
    tables = make_fleet(num_scenes=4, num_train=2)
    plans = result_tables.Plans.validate(go_straight(tables, "val"))
    tokens = split_samples(tables, "val")["sample_token"].tolist()
    assert plans["sample_token"].unique().tolist() == tokens
    array = plan_array(plans, "go_straight", tokens)
    np.testing.assert_allclose(array[..., 0], np.broadcast_to((SPEED_MPS + 0.5) * TIMES_S, array.shape[:2]))
    assert (array[..., 1:] == 0).all()


@pytest.mark.parametrize("baseline", BASELINES)
def test_a_baseline_refuses_a_split_without_keyframes(baseline: Baseline):
    tables = make_fleet(num_scenes=2, num_train=2)
    with pytest.raises(ValueError, match=r"split 'val'; its scenes are of \['train'\]"):
        baseline(tables, "val")


@pytest.mark.parametrize("baseline", [go_straight, learned])
def test_what_learns_from_training_scenes_says_when_there_are_none(baseline: Baseline):
    with pytest.raises(ValueError, match=r"split 'train'; its scenes are of \['val'\]"):
        baseline(make_fleet(num_scenes=2, num_train=0), "val")


def held_out(tables: SceneTables) -> pd.Series:
    """Tokens of the validation keyframes."""
    return split_samples(tables, "val")["sample_token"]


@pytest.mark.parametrize("baseline", BASELINES)
def test_no_baseline_knows_future_command_map_or_other_road_users_of_what_it_plans(baseline: Baseline):
    tables = make_fleet(num_scenes=4, num_train=2)
    tokens = held_out(tables)
    paths, samples, agents = tables.ego_paths.copy(), tables.samples.copy(), tables.agents.copy()
    future = (paths["step"] > 0) & paths["sample_token"].isin(tokens)
    paths.loc[future, ["x_m", "y_m", "yaw_rad"]] = [-77.0, 33.0, 1.5]
    paths.loc[future, "valid"] = ~paths.loc[future, "valid"]
    is_held_out = samples["sample_token"].isin(tokens)
    samples.loc[is_held_out, ["command_driven", "command_route"]] = "left"
    agents.loc[agents["sample_token"].isin(tokens), ["x_m", "y_m"]] = 2.0
    changed = replace(
        tables,
        samples=samples,
        ego_paths=paths,
        agents=agents,
        agent_futures=tables.agent_futures.iloc[:0],
        map_elements=tables.map_elements.iloc[:0],
    )
    pd.testing.assert_frame_equal(baseline(tables, "val"), baseline(changed, "val"))


@pytest.mark.parametrize("baseline", TOLD_ITS_MOTION)
def test_another_past_of_one_keyframe_changes_its_plan_and_no_other(baseline: Baseline):
    tables = make_fleet(num_scenes=3, num_train=1)
    tokens = held_out(tables).tolist()
    paths = tables.ego_paths.copy()
    paths.loc[(paths["step"] == -1) & (paths["sample_token"] == tokens[4]), "x_m"] = -1.0
    before, after = baseline(tables, "val"), baseline(replace(tables, ego_paths=paths), "val")
    differs = (before[["x_m", "y_m"]] != after[["x_m", "y_m"]]).any(axis=1)
    assert differs.any() and set(before.loc[differs, "sample_token"]) == {tokens[4]}
