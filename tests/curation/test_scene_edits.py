"""Scene edits: agents added on lanes and walkways and deleted from scenes, on hand-typed roads."""

from collections import Counter

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dima_pipeline.contracts.tables import SceneEditRows
from dima_pipeline.curation.annotation_config import EditConfig
from dima_pipeline.curation.counterfactual import LABELS
from dima_pipeline.curation.scene_edits import leader_row, scene_edit_rows
from dima_pipeline.storage.keyframes import keyframes
from edit_checker import check_edits
from hand_scenes import Actor, HandScene, from_speeds, make_tables, straight

LANES = [("centerline", [(-60, y), (140, y)]) for y in (-3.5, 0.0)]


def road(speed_mps: float = 6.0, num: int = 16, **actors: Actor) -> HandScene:
    return HandScene(ego=straight(num, speed_mps), actors=actors, lines=LANES)


def edits(scene: HandScene, seed: int = 0, left_alone: Counter[str] | None = None, **config) -> pd.DataFrame:
    frames = list(keyframes(make_tables(scene)))
    return pd.DataFrame(scene_edit_rows(EditConfig(**config), frames, np.random.default_rng(seed), left_alone))


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
    assert list(found.columns) == list(SceneEditRows.to_schema().columns)


def test_the_labels_of_the_rule_are_those_of_the_contract():
    assert SceneEditRows.to_schema().columns["label"].checks[0].statistics["allowed_values"] == LABELS


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000), speed=st.floats(0, 12), aside=st.floats(2.5, 9))
def test_whatever_is_drawn_the_checker_finds_no_fault(seed, speed, aside):
    scene = road(speed, num=9, walker=Actor("pedestrian", (16, aside, 0)), parked=Actor("car", (20, -aside, 0)))
    found = edits(scene, seed, add_share=1.0)
    assert not len(found) or set(check_edits(found, make_tables(scene))) == {""}


def test_added_cars_stand_on_lanes_ahead_and_head_along_them():
    found = edits(road(), add_share=1.0, vulnerable_share=0.0)
    assert len(found) == 10 and set(found.category) <= {"car", "truck"}
    assert found.x_m.between(6, 30).all() and (found.yaw_rad == 0).all()
    # Those that drive keep to the middle; those that stand may stand beside it.
    moves = found.vx_mps > 0
    assert found.y_m[moves].isin([0.0, -3.5]).all() and (found.y_m.between(-4.7, 1.2)).all()


def test_about_half_of_the_edits_matter_to_a_moving_ego():
    found = pd.concat([edits(road(), seed, add_share=1.0) for seed in range(4)])
    assert 0.4 <= found.matters.mean() <= 0.65
    assert edits(road(), matter_share=0.0, add_share=1.0).matters.mean() <= 0.2


def test_the_same_seed_gives_the_same_edits():
    pd.testing.assert_frame_equal(edits(road(**BUSY), 3), edits(road(**BUSY), 3))
    assert not edits(road(**BUSY), 3).equals(edits(road(**BUSY), 4))


def test_only_seen_agents_are_deleted_and_the_question_names_them():
    scene = road(hidden=Actor("car", (20, -3.5, 0), visibility=1.0), cone=Actor("traffic_cone", (25, 5, 0)))
    assert not len(edits(scene, add_share=0.0))
    found = edits(road(parked=Actor("truck", (15, -3.5, 0))), add_share=0.0)
    assert found.question.iloc[0].lower().startswith(("if the truck 15 m to the front", "the truck 15 m to the front"))
    assert (found.instance_token == "parked").all() and not found.matters.any() and set(found.label) == {"keep"}


def test_pedestrians_are_left_out_where_only_vehicles_are_asked_for():
    scene = road(walker=Actor("pedestrian", (25, 5, 0)))
    assert set(edits(scene, add_share=0.0).instance_token) == {"walker"}
    assert not len(edits(scene, add_share=0.0, vulnerable_share=0.0))


def test_an_ego_held_by_a_leader_drives_off_when_it_is_deleted():
    scene = road(0.0, lead=Actor("car", (9, 0, 0), "vehicle.stopped"))
    found = edits(scene, add_share=0.0)
    assert set(found.answer) == {"Start to drive, because the car no longer holds it up."} and found.matters.all()
    assert leader_row(next(keyframes(make_tables(scene)))) == 0


@pytest.mark.parametrize(
    ("speed", "pose"), [(8.0, (12, 0, 0)), (0.0, (25, 0, 0)), (0.0, (9, 3.5, 0)), (0.0, (-9, 0, 0))]
)
def test_who_is_far_aside_behind_or_does_not_hold_a_fast_ego_is_no_leader(speed, pose):
    assert leader_row(next(keyframes(make_tables(road(speed, car=Actor("car", pose)))))) is None


def test_the_first_in_front_is_the_leader_and_a_cone_is_none():
    walker, car = Actor("pedestrian", (6, 0, 0)), Actor("car", (11, 0, 0))
    assert leader_row(next(keyframes(make_tables(road(0.0, car=car, walker=walker))))) == 1
    cone = Actor("traffic_cone", (6, 0, 0))
    assert leader_row(next(keyframes(make_tables(road(0.0, car=car, cone=cone))))) is None


def test_keyframes_that_prove_nothing_are_left_alone_and_counted():
    left_alone: Counter[str] = Counter()
    assert not len(edits(road(ghost=Actor("car", (10, 0.5, 0)), num=9), left_alone=left_alone))
    assert left_alone == {"driver touches somebody": 3, "no future": 6}
    assert len(edits(road(ghost=Actor("car", (10, 4.5, 0)), num=9)))
    left_alone.clear()
    hop = HandScene(ego=from_speeds([9, 9, 0, 9, 9, 9, 0, 9]), lines=LANES)
    assert not len(edits(hop, left_alone=left_alone)) and left_alone["not drivable"] == 3
    left_alone.clear()
    back = HandScene(ego=from_speeds([-1.0] * 7), lines=LANES)
    assert not len(edits(back, left_alone=left_alone)) and left_alone["reverses"] == 2
    left_alone.clear()
    assert not len(edits(road(), left_alone=left_alone, keyframe_share=0.0)) and left_alone == {"not chosen": 16}


def test_without_any_lane_nothing_is_added():
    left_alone: Counter[str] = Counter()
    assert not len(edits(HandScene(ego=straight(9, 5.0)), left_alone=left_alone, add_share=1.0))
    assert left_alone["nothing fits"] == 3


def test_the_answer_names_what_is_done_and_why():
    found = pd.concat([edits(road(**BUSY), seed) for seed in range(4)])
    words = {"keep": "Keep going", "nudge": "Nudge to the ", "slow": "Slow down", "stop": "Stop"}
    for label, answer in zip(found.label, found.answer, strict=True):
        assert answer.startswith(words[label]) and ", because the " in answer and answer.endswith(".")
    added = found[found.kind == "add"]
    assert added.question.str.contains("what should the ego vehicle do", case=False).all()
    assert (added.question.str.contains("standing still") == (np.hypot(added.vx_mps, added.vy_mps) < 0.5)).all()
