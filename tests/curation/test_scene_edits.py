"""Scene edits: vehicles added on lanes and deleted from scenes, on hand-typed roads."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dima_pipeline.contracts.tables import SceneEditRows
from dima_pipeline.curation.annotation_config import EditConfig
from dima_pipeline.curation.counterfactual import Boxes, agent_boxes, boxes_over_time, is_clear, overlaps
from dima_pipeline.curation.scene_edits import lane_poses, leader_row, scene_edit_rows
from dima_pipeline.geometry import boxes_overlap, ego_boxes
from dima_pipeline.storage.keyframes import keyframes
from hand_scenes import Actor, HandScene, make_tables, straight

LANES = [("centerline", [(-60, y), (140, y)]) for y in (-3.5, 0.0)]


def road(speed_mps: float = 6.0, num: int = 16, **actors: Actor) -> HandScene:
    return HandScene(ego=straight(num, speed_mps), actors=actors, lines=LANES)


def edits(scene: HandScene, seed: int = 0, **config) -> pd.DataFrame:
    frames = list(keyframes(make_tables(scene)))
    return pd.DataFrame(scene_edit_rows(EditConfig(**config), frames, np.random.default_rng(seed)))


def edited_boxes(row, frame) -> tuple[Boxes, Boxes]:
    """The added vehicle, and all others."""
    future = np.concatenate([np.reshape(row.future, (6, 2)), np.full((6, 1), row.yaw_rad)], -1)
    box = np.array([[row.x_m, row.y_m, row.yaw_rad, row.length_m, row.width_m]])
    return boxes_over_time(box, future[None], np.ones((1, 6), bool)), agent_boxes(frame)


BUSY = {
    "lead": Actor("car", straight(16, 6.0, start_x=24)),
    "oncoming": Actor("truck", np.stack([60 - 3.0 * np.arange(16), np.full(16, 3.5), np.full(16, np.pi)], -1)),
    "parked": Actor("car", (35, -6.5, 0), "vehicle.parked"),
}


def test_rows_keep_the_contract_and_there_is_at_most_one_a_keyframe():
    found = SceneEditRows.validate(edits(road(**BUSY)))
    assert found.sample_token.is_unique
    assert set(found.kind) == {"add", "delete"}
    # The last six keyframes know no complete future: there is nothing to compare with.
    assert set(found.sample_token) <= {f"scene-0001-{at:03d}" for at in range(10)}


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000), speed=st.floats(0, 12), aside=st.floats(2.5, 9))
def test_an_added_vehicle_overlaps_nobody_and_the_path_stays_clear_of_it(seed, speed, aside):
    scene = road(speed, num=9, walker=Actor("pedestrian", (16, aside, 0)), parked=Actor("car", (20, -aside, 0)))
    frames = {frame.sample_token: frame for frame in keyframes(make_tables(scene))}
    for row in edits(scene, seed, add_share=1.0).itertuples():
        if row.kind != "add":
            continue
        frame = frames[row.sample_token]
        added, others = edited_boxes(row, frame)
        box = np.array([row.x_m, row.y_m, row.yaw_rad, row.length_m, row.width_m])
        path = np.reshape(row.path, (6, 2))
        assert not overlaps(added.box, added.valid, others).any()
        assert not boxes_overlap(box, frame.box).any() and not boxes_overlap(box, ego_boxes(np.zeros(3)))
        assert is_clear(path, added) and is_clear(path, others)
        difference = np.linalg.norm(path - frame.ego_future[:, :2], axis=1).max()
        assert row.matters == (difference > 0.5)
        assert row.matters or row.answer.endswith("as before.")


def test_added_vehicles_stand_on_lanes_ahead_and_head_along_them():
    found = edits(road(), add_share=1.0)
    found = found[found.kind == "add"]
    assert len(found) == 10
    assert found.x_m.between(6, 30).all()
    assert found.y_m.isin([0.0, -3.5]).all() and (found.yaw_rad == 0).all()


def test_about_half_of_the_added_vehicles_matter_to_a_moving_ego():
    found = pd.concat([edits(road(), seed, add_share=1.0) for seed in range(4)])
    assert 0.4 <= found.matters.mean() <= 0.65
    assert edits(road(), matter_share=0.0, add_share=1.0).matters.mean() <= 0.2


def test_the_same_seed_gives_the_same_edits():
    pd.testing.assert_frame_equal(edits(road(**BUSY), 3), edits(road(**BUSY), 3))
    assert not edits(road(**BUSY), 3).equals(edits(road(**BUSY), 4))


def test_only_seen_vehicles_are_deleted_and_the_question_names_them():
    scene = road(hidden=Actor("car", (20, -3.5, 0), visibility=1.0), walker=Actor("pedestrian", (25, 5, 0)))
    assert not len(edits(scene, add_share=0.0))
    found = edits(road(parked=Actor("truck", (15, -3.5, 0))), add_share=0.0)
    assert found.question.iloc[0] == "If the truck 15 m to the front were not there, what should the ego vehicle do?"
    assert (found.instance_token == "parked").all() and not found.matters.any()


def test_an_ego_held_by_a_leader_drives_off_when_it_is_deleted():
    scene = road(0.0, lead=Actor("car", (9, 0, 0), "vehicle.stopped"))
    found = edits(scene, add_share=0.0)
    assert set(found.answer) == {"Start to drive."} and found.matters.all()
    assert leader_row(next(keyframes(make_tables(scene)))) == 0


@pytest.mark.parametrize(
    ("speed", "pose"), [(8.0, (12, 0, 0)), (0.0, (25, 0, 0)), (0.0, (9, 3.5, 0)), (0.0, (-9, 0, 0))]
)
def test_who_is_far_aside_behind_or_does_not_hold_a_fast_ego_is_no_leader(speed, pose):
    assert leader_row(next(keyframes(make_tables(road(speed, car=Actor("car", pose)))))) is None


def test_a_pedestrian_in_front_means_that_no_vehicle_is_the_leader():
    scene = road(0.0, walker=Actor("pedestrian", (6, 0, 0)), car=Actor("car", (11, 0, 0)))
    assert leader_row(next(keyframes(make_tables(scene)))) is None


def test_a_keyframe_whose_driver_touches_a_box_is_left_alone():
    assert not len(edits(road(ghost=Actor("car", (10, 0.5, 0)), num=9)))
    assert len(edits(road(ghost=Actor("car", (10, 4.5, 0)), num=9)))


def test_without_centerlines_lanes_are_beside_dividers_along_the_ego():
    scene = HandScene(ego=straight(8, 5.0), lines=[("divider", [(60, 1.75), (-60, 1.75)])])
    poses = lane_poses(next(keyframes(make_tables(scene))))
    np.testing.assert_allclose(np.unique(poses[:, 1].round(6)), [0.0, 3.5])
    np.testing.assert_allclose(poses[:, 2], 0.0, atol=1e-9)


def test_without_any_lane_nothing_is_added():
    scene = HandScene(ego=straight(9, 5.0))
    assert not len(edits(scene, add_share=1.0))
