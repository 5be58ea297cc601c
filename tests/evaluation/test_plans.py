"""Plans as rows and arrays, and the baselines that see nothing."""

from dataclasses import replace

import numpy as np
import pytest

from dima_pipeline.contracts import tables as contracts
from dima_pipeline.evaluation.plans import constant_velocity, go_straight, plan_array, plan_rows, split_samples
from evaluation_scenes import SPEED_MPS, as_tables, make_fleet
from hand_scenes import HandScene, from_speeds, token

TIMES_S = np.array([0.5, 1.0, 1.5, 2.0, 2.5, 3.0])


def test_rows_and_arrays_are_the_same_plan_with_headings_along_the_path():
    left = np.stack([TIMES_S, TIMES_S], -1)
    rows = contracts.Plans.validate(plan_rows("p", ["a", "b"], np.stack([left, 2 * left])))
    array = plan_array(rows, "p", ["b", "a"])
    np.testing.assert_allclose(array[0, :, :2], 2 * left)
    np.testing.assert_allclose(array[:, :, 2], np.pi / 4)


def test_a_standing_plan_that_trembles_keeps_its_heading():
    tremble = np.stack([0.1 * np.sin(7 * TIMES_S), 0.1 * np.cos(5 * TIMES_S)], -1)
    assert (plan_array(plan_rows("p", ["a"], tremble[None]), "p", ["a"])[0, :, 2] == 0).all()


def test_a_reversing_plan_does_not_turn_the_car_round():
    back = np.stack([-2 * TIMES_S, 0.2 * TIMES_S], -1)
    headings = plan_array(plan_rows("p", ["a"], back[None]), "p", ["a"])[0, :, 2]
    assert (np.abs(headings) < 0.2).all()


def test_a_missing_or_broken_plan_is_refused_by_name_and_never_left_out():
    rows = plan_rows("p", ["a", "b"], np.zeros((2, 6, 2)))
    with pytest.raises(ValueError, match=r"'p' .* 1 of 2 .*sample_token b"):
        plan_array(rows[:-1], "p", ["a", "b"])
    rows.loc[0, "x_m"] = np.nan
    with pytest.raises(ValueError, match="sample_token a"):
        plan_array(rows, "p", ["a", "b"])


def test_constant_velocity_goes_on_as_in_the_last_half_second():
    tables = as_tables(HandScene(from_speeds([4, 4, 6, 6, 2, 2, 2, 2, 2, 2]), name="scene-0001"))
    plans = contracts.Plans.validate(constant_velocity(tables, "val"))
    tokens = [token(HandScene(None, name="scene-0001"), at) for at in (2, 4)]
    array = plan_array(plans, "constant_velocity", tokens)
    np.testing.assert_allclose(array[0, :, :2], np.stack([4 * TIMES_S, 0 * TIMES_S], -1), atol=1e-9)
    np.testing.assert_allclose(array[1, :, 0], 6 * TIMES_S)


def test_constant_velocity_keeps_the_direction_of_motion_of_a_turning_or_reversing_car():
    turning = as_tables(HandScene(from_speeds([4] * 8, 0.4)))
    first = plan_array(constant_velocity(turning, "val"), "constant_velocity", ["scene-0001-003"])[0]
    assert first[-1, 1] < -0.5, "it came from the right of where it now heads, so straight on is to the right"
    reversing = as_tables(HandScene(from_speeds([-2] * 8)))
    back = plan_array(constant_velocity(reversing, "val"), "constant_velocity", ["scene-0001-003"])[0]
    np.testing.assert_allclose(back[:, 0], -2 * TIMES_S)
    assert (back[:, 2] == 0).all()


def test_the_first_keyframe_takes_the_can_speed_and_stands_without_it():
    known = as_tables(HandScene(from_speeds([4] * 8), speeds=[3.0] * 9))
    unknown = as_tables(HandScene(from_speeds([4] * 8)))
    for tables, speed in ((known, 3.0), (unknown, 0.0)):
        first = plan_array(constant_velocity(tables, "val"), "constant_velocity", ["scene-0001-000"])[0]
        np.testing.assert_allclose(first[:, 0], speed * TIMES_S)


def test_go_straight_knows_only_the_mean_speed_of_the_training_scenes():
    tables = make_fleet(num_scenes=4, num_train=2)
    plans = contracts.Plans.validate(go_straight(tables, "val"))
    tokens = split_samples(tables, "val")["sample_token"].tolist()
    assert plans["sample_token"].unique().tolist() == tokens
    array = plan_array(plans, "go_straight", tokens)
    np.testing.assert_allclose(array[..., 0], np.broadcast_to((SPEED_MPS + 0.5) * TIMES_S, array.shape[:2]))
    assert (array[..., 1:] == 0).all()


def test_a_split_without_scenes_is_refused_with_those_there_are():
    tables = make_fleet(num_scenes=2, num_train=0)
    with pytest.raises(ValueError, match=r"split 'train'; its scenes are of \['val'\]"):
        go_straight(tables, "val")
    no_training = replace(tables, scenes=tables.scenes.assign(split="test"))
    with pytest.raises(ValueError, match="split 'val'"):
        constant_velocity(no_training, "val")
