"""Plans as rows and arrays, and poses of driven paths."""

import numpy as np
import pytest

from dima_pipeline.contracts import result_tables
from dima_pipeline.evaluation.plans import path_poses, plan_array, plan_rows, split_samples
from evaluation_scenes import as_tables, make_fleet
from hand_scenes import HandScene, straight

TIMES_S = np.array([0.5, 1.0, 1.5, 2.0, 2.5, 3.0])


def test_rows_and_arrays_are_the_same_plan_with_headings_along_the_path():
    left = np.stack([TIMES_S, TIMES_S], -1)
    rows = result_tables.Plans.validate(plan_rows("p", ["a", "b"], np.stack([left, 2 * left])))
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


def test_poses_of_a_driven_path_are_known_inside_the_scene_and_nowhere_else():
    tables = as_tables(HandScene(straight(4, 4.0)))
    tokens = ["scene-0001-003", "scene-0001-000"]
    poses = path_poses(tables.ego_paths, tokens, [1, -1, -2])
    np.testing.assert_allclose(poses[0], [[np.nan] * 3, [-2, 0, 0], [-4, 0, 0]])
    np.testing.assert_allclose(poses[1], [[2, 0, 0], [np.nan] * 3, [np.nan] * 3])


def test_a_split_without_scenes_is_refused_with_those_there_are():
    tables = make_fleet(num_scenes=2, num_train=0)
    with pytest.raises(ValueError, match=r"split 'train'; its scenes are of \['val'\]"):
        split_samples(tables, "train")
