"""Keyframes: the tables of one keyframe as arrays."""

import numpy as np
import pandas as pd
import pytest

from dima_pipeline.contracts import tables as contract
from dima_pipeline.storage.keyframes import ego_speeds, keyframes, seen
from hand_scenes import Actor, HandScene, from_speeds, make_tables, straight

DRIVE = HandScene(
    ego=straight(9, 4.0),
    actors={"lead": Actor("car", straight(9, 4.0, start_x=15)), "walker": Actor("pedestrian", (10.0, 5.0, 0.0))},
    lines=[("divider", [(-40, 2), (60, 2)])],
)


def test_hand_typed_scenes_keep_the_contracts_of_all_six_tables():
    tables = make_tables(DRIVE)
    for name, model in (
        ("scenes", contract.Scenes),
        ("samples", contract.Samples),
        ("agents", contract.Agents),
        ("ego_paths", contract.EgoPaths),
        ("agent_futures", contract.AgentFutures),
        ("map_elements", contract.MapElements),
    ):
        assert len(model.validate(getattr(tables, name))), name


def test_every_keyframe_gets_its_own_agents_path_and_lines():
    third = list(keyframes(make_tables(DRIVE)))[2]
    assert third.sample_token == "scene-0001-002"
    assert third.instances == ("lead", "walker")
    np.testing.assert_allclose(third.box[:, :2], [[15, 0], [6, 5]])
    np.testing.assert_allclose(third.future[0, :, 0], 15 + 2 * np.arange(1, 7))
    np.testing.assert_allclose(third.future[1, :, :2], [[6, 5]] * 6)
    np.testing.assert_allclose(third.ego_future[:, 0], 2 * np.arange(1, 7))
    assert third.ego_past_valid.tolist() == [False, False, True, True]
    assert third.has_future
    assert third.polylines["divider"].shape == (1, 20, 2)
    assert third.polylines["boundary"].shape == (0, 20, 2)


def test_the_last_keyframe_has_no_future_and_the_first_no_past():
    frames = list(keyframes(make_tables(DRIVE)))
    assert not frames[-1].ego_future_valid.any() and not frames[-1].future_valid.any()
    assert not frames[0].ego_past_valid.any()


def test_rows_in_any_order_give_the_same_keyframes():
    tables = make_tables(DRIVE)
    straight_on = list(keyframes(tables))
    for name in ("agents", "ego_paths", "agent_futures"):
        setattr(tables, name, getattr(tables, name).sample(frac=1, random_state=3))
    for before, after in zip(straight_on, keyframes(tables), strict=True):
        order = [after.instances.index(name) for name in before.instances]
        np.testing.assert_allclose(after.future[order], before.future)
        np.testing.assert_allclose(after.ego_future, before.ego_future)


def test_speed_comes_from_the_can_bus_and_else_from_the_path_with_its_sign():
    reversing = HandScene(ego=from_speeds([-2.0] * 6))
    np.testing.assert_allclose(ego_speeds(make_tables(reversing)), -2.0)
    reversing.speeds = [7.0] * 7
    np.testing.assert_allclose(ego_speeds(make_tables(reversing)), 7.0)


def test_a_single_keyframe_has_no_speed():
    assert np.isnan(ego_speeds(make_tables(HandScene(ego=straight(1, 0.0))))).all()


def test_missing_velocity_is_taken_from_the_first_future_step():
    tables = make_tables(DRIVE)
    tables.agents[["vx_mps", "vy_mps"]] = np.nan
    frames = list(keyframes(tables))
    np.testing.assert_allclose(frames[0].velocity[0], [4.0, 0.0])
    assert np.isnan(frames[-1].velocity).all()


@pytest.mark.parametrize(
    ("visibility", "points", "x_m", "expected"),
    [
        (None, None, 10, True),
        (1.0, 50, 10, False),
        (2.0, 0, 10, True),
        (None, 0, 10, False),
        (None, 3, 10, True),
        (4.0, 3, 31, False),
    ],
)
def test_hidden_and_distant_agents_are_not_seen(visibility, points, x_m, expected):
    row = {"x_m": [x_m], "y_m": [0.0], "visibility": [visibility], "num_lidar_points": [points]}
    assert seen(pd.DataFrame(row).astype(float)).tolist() == [expected]


def test_a_row_of_an_unknown_keyframe_is_refused_by_name():
    tables = make_tables(DRIVE)
    tables.agents.loc[3, "sample_token"] = "nowhere"
    with pytest.raises(ValueError, match="agents: sample_token 'nowhere' is not in samples"):
        list(keyframes(tables))
