"""What happened around a keyframe, as metrics see it."""

import numpy as np
import pytest

from dima_pipeline.contracts.frames import AGENT_CATEGORIES
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


def test_an_unknown_keyframe_is_refused():
    with pytest.raises(ValueError, match="no future of sample_token nowhere"):
        driven_scenes(as_tables(HandScene(straight(8, 4.0))), ["nowhere"])
