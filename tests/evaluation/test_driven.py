"""What happened around a keyframe, as metrics see it."""

import numpy as np
import pytest

from dima_pipeline.contracts.frames import AGENT_CATEGORIES, LIDAR_AHEAD_OF_EGO_M, MAP_KINDS
from dima_pipeline.evaluation.driven import driven_scenes
from evaluation_scenes import as_tables
from hand_scenes import Actor, HandScene, from_speeds, straight


def test_a_standing_car_stands_still_in_the_frame_of_the_keyframe_while_the_ego_turns():
    scene = HandScene(from_speeds([4] * 12, 0.3), {"car": Actor("car", (15.0, 5.0, 0.7))})
    found = driven_scenes(as_tables(scene), ["scene-0001-000"])
    np.testing.assert_allclose(found.boxes[0, :, 0], np.tile([15.0, 5.0, 0.7, 4.6, 1.9], (6, 1)), atol=1e-9)
    assert found.boxes_valid.all() and found.path_valid.all()
    assert found.category.tolist() == [[AGENT_CATEGORIES.index("car")]]


def test_a_moving_agent_is_where_it_is_at_each_step():
    scene = HandScene(straight(8, 4.0), {"lead": Actor("truck", straight(8, 6.0, 20.0))})
    found = driven_scenes(as_tables(scene), ["scene-0001-001"])
    np.testing.assert_allclose(found.path[0, :, 0], [2, 4, 6, 8, 10, 12])
    np.testing.assert_allclose(found.boxes[0, :, 0, 0], 20 + 3 - 2 + 3 * np.arange(1, 7))


def test_an_agent_that_appears_later_is_there_from_then_on():
    scene = HandScene(straight(8, 4.0), {"a": Actor("car", (30, 5, 0)), "late": Actor("pedestrian", (12, 3, 0))})
    tables = as_tables(scene)
    hidden = (tables.agents["instance_token"] == "late") & (tables.agents["sample_token"] < "scene-0001-003")
    tables.agents.drop(index=tables.agents.index[hidden], inplace=True)
    found = driven_scenes(tables, ["scene-0001-000"])
    slot = found.category[0].tolist().index(AGENT_CATEGORIES.index("pedestrian"))
    assert found.boxes_valid[0, :, slot].tolist() == [False, False, True, True, True, True]
    np.testing.assert_allclose(found.boxes[0, 2:, slot, :2], [[12.0, 3.0]] * 4, atol=1e-9)


def test_the_end_of_a_scene_is_not_valid_and_zero():
    scene = HandScene(straight(4, 4.0), {"a": Actor("car", (30, 5, 0))})
    found = driven_scenes(as_tables(scene), ["scene-0001-002", "scene-0001-000", "scene-0001-003"])
    assert found.path_valid.sum(1).tolist() == [1, 3, 0]
    assert found.boxes_valid[:, :, 0].sum(1).tolist() == [1, 3, 0]
    assert (found.path[~found.path_valid] == 0).all()


def test_keyframes_keep_the_order_asked_for_and_agents_their_scene():
    first = HandScene(straight(8, 4.0), {"a": Actor("car", (30, 5, 0))}, name="scene-0001")
    second = HandScene(straight(8, 2.0), {"b": Actor("bus", (40, 5, 0))}, name="scene-0002")
    found = driven_scenes(as_tables(first, second), ["scene-0002-000", "scene-0001-000"])
    np.testing.assert_allclose(found.path[:, 0, 0], [1.0, 2.0])
    names = [AGENT_CATEGORIES[row[0]] for row in found.category]
    assert names == ["bus", "car"]


def test_a_scene_without_agents_has_no_boxes():
    found = driven_scenes(as_tables(HandScene(straight(8, 4.0))), ["scene-0001-000"])
    assert found.boxes.shape == (1, 6, 0, 5) and found.category.shape == (1, 0)


@pytest.mark.parametrize(
    ("place", "num_lidar_points", "is_tracked"),
    [
        ((LIDAR_AHEAD_OF_EGO_M + 29.9, 0.0, 0.0), 1, True),
        ((LIDAR_AHEAD_OF_EGO_M + 30.1, 0.0, 0.0), 1, False),
        ((LIDAR_AHEAD_OF_EGO_M - 29.9, 0.0, 0.0), 5, True),
        ((LIDAR_AHEAD_OF_EGO_M - 30.1, 0.0, 0.0), 5, False),
        ((10.0, 14.9, 0.0), None, True),
        ((10.0, -15.1, 0.0), None, False),
        ((10.0, 5.0, 0.0), 0, False),
    ],
)
def test_an_agent_is_tracked_where_the_lidar_sees_it_within_30_m_ahead_and_15_m_aside(
    place: tuple[float, float, float], num_lidar_points: float | None, is_tracked: bool
):
    scene = HandScene(straight(8, 4.0), {"a": Actor("car", place, num_lidar_points=num_lidar_points)})
    assert driven_scenes(as_tables(scene), ["scene-0001-000"]).is_tracked.tolist() == [[is_tracked]]


def test_an_agent_that_appears_later_is_not_tracked_and_does_not_take_the_place_of_one_that_is():
    actors = {"late": Actor("pedestrian", (12, 3, 0)), "a": Actor("car", (14, 5, 0))}
    tables = as_tables(HandScene(straight(8, 4.0), actors))
    now = (tables.agents["instance_token"] == "late") & (tables.agents["sample_token"] == "scene-0001-000")
    tables.agents.drop(index=tables.agents.index[now], inplace=True)
    found = driven_scenes(tables, ["scene-0001-000", "scene-0001-001"])
    for row, tracked in enumerate([{"car"}, {"car", "pedestrian"}]):
        assert {AGENT_CATEGORIES[kind] for kind in found.category[row][found.is_tracked[row]]} == tracked


def test_only_the_first_keyframe_of_a_scene_has_no_past():
    scenes = as_tables(HandScene(straight(4, 4.0)), HandScene(straight(4, 4.0), name="scene-0002"))
    tokens = ["scene-0002-000", "scene-0001-003", "scene-0001-000", "scene-0002-001"]
    assert driven_scenes(scenes, tokens).has_past.tolist() == [False, True, False, True]


def test_the_speed_is_that_of_the_can_bus_else_of_the_step_before_else_of_the_step_after():
    poses = from_speeds([4, 6, 8])
    tokens = [f"scene-0001-{at:03d}" for at in range(4)]
    with_can = as_tables(HandScene(poses, speeds=[4.5, np.nan, -1.0, 0.0]))
    np.testing.assert_allclose(driven_scenes(with_can, tokens).speed_mps, [4.5, 4.0, -1.0, 0.0])
    np.testing.assert_allclose(driven_scenes(as_tables(HandScene(poses)), tokens).speed_mps, [4, 4, 6, 8])
    np.testing.assert_allclose(driven_scenes(as_tables(HandScene(from_speeds([-2, -3]))), tokens[:2]).speed_mps, -2)
    assert driven_scenes(as_tables(HandScene(poses[:1])), tokens[:1]).speed_mps.tolist() == [0.0]


def test_the_map_is_that_of_the_keyframe_and_padded():
    lines = [("boundary", [(-10, -6), (9, -6)]), ("centerline", [(-10, 0), (28, 0)])]
    first = HandScene(straight(3, 4.0), lines=lines)
    second = HandScene(straight(3, 4.0), lines=lines[:1], name="scene-0002")
    bare = HandScene(straight(3, 4.0), name="scene-0003")
    found = driven_scenes(as_tables(first, second, bare), ["scene-0002-000", "scene-0003-001", "scene-0001-001"])
    names = [[MAP_KINDS[kind] if kind >= 0 else "" for kind in row] for row in found.map_kind]
    assert names == [["boundary", ""], ["", ""], ["boundary", "centerline"]]
    assert found.map_points.shape == (3, 2, 20, 2)
    # The ego has moved on by 2 m between the keyframes.
    np.testing.assert_allclose(found.map_points[0, 0], [(x, -6) for x in range(-10, 10)], atol=1e-5)
    np.testing.assert_allclose(found.map_points[2, 1, [0, -1]], [(-12, 0), (26, 0)], atol=1e-5)
    assert (found.map_points[found.map_kind < 0] == 0).all()
    assert driven_scenes(as_tables(bare), ["scene-0003-000"]).map_points.shape == (1, 0, 20, 2)


def test_an_unknown_keyframe_is_refused():
    with pytest.raises(ValueError, match="no future of sample_token nowhere"):
        driven_scenes(as_tables(HandScene(straight(8, 4.0))), ["nowhere"])
