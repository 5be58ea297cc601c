"""What the ego should do in an edited scene: hand-typed roads, and properties of every path that is offered."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dima_pipeline.curation.counterfactual import (
    Answer,
    Boxes,
    agent_boxes,
    answer_to_blocking,
    answer_to_deleted,
    blocking,
    boxes_over_time,
    driven_boxes,
    keep,
    matters,
    options,
    overlaps,
    speed_now,
)
from dima_pipeline.curation.edit_motions import Driven, driven_motions, is_drivable
from dima_pipeline.curation.road_surface import surface
from dima_pipeline.geometry import ego_boxes
from dima_pipeline.storage.keyframes import Keyframe, keyframes
from hand_scenes import Actor, HandScene, make_tables, straight

LANES = [("centerline", [(-50, 0), (120, 0)])]


def first_frame(speed_mps: float, *, lines=(), **actors: Actor) -> Keyframe:
    scene = HandScene(ego=straight(8, speed_mps), actors=actors, lines=[*LANES, *lines])
    return next(keyframes(make_tables(scene)))


def driven_in(frame: Keyframe) -> Driven:
    (driven,) = driven_motions([frame], [speed_now(frame)])
    assert driven is not None
    return driven


def car_over_time(pose: tuple[float, float, float], speed_mps: float = 0.0) -> np.ndarray:
    """Boxes (31, 5) of a car that goes straight on."""
    heading = np.array([np.cos(pose[2]), np.sin(pose[2]), 0.0])
    poses = np.array(pose) + 0.1 * np.arange(31)[:, None] * speed_mps * heading
    return np.concatenate([poses, np.tile([4.6, 1.9], (31, 1))], 1)


def answer_to(frame: Keyframe, pose: tuple[float, float, float], speed_mps: float = 0.0) -> Answer | None:
    """The answer to a car added at a pose."""
    box, driven = car_over_time(pose, speed_mps), driven_in(frame)
    if not blocking(driven_boxes(frame), box[None])[0]:
        return keep(frame, driven)
    found = options(frame, driven, surface(frame), agent_boxes(frame))
    return answer_to_blocking(found, box, is_passable=speed_mps == 0)


def label_of(answer: Answer | None) -> str:
    return "none" if answer is None else answer.label


def test_a_car_beside_the_road_changes_nothing():
    answer = answer_to(first_frame(6.0), (15.0, -5.0, 0.0))
    assert answer is not None and answer.label == "keep"
    np.testing.assert_allclose(answer.path[:, 0], 3 * np.arange(1, 7))


def test_a_car_close_ahead_makes_the_ego_stop_before_it_with_the_margin():
    answer = answer_to(first_frame(6.0), (13.0, 0.0, 0.0))
    assert answer is not None and answer.label == "stop"
    # Bumper to bumper: 3.49 m from the origin to the front, 2.3 m half a car, 0.3 m between them.
    assert answer.path[-1, 0] < 13.0 - 2.3 - 3.48 - 0.3


def test_a_slower_car_ahead_makes_the_ego_slow_down():
    answer = answer_to(first_frame(8.0), (14.0, 0.0, 0.0), speed_mps=4.0)
    assert answer is not None and answer.label == "slow"
    assert matters(answer.path, first_frame(8.0).ego_future[:, :2])


def test_a_standing_car_that_reaches_into_the_lane_is_passed_on_the_free_side():
    answer = answer_to(first_frame(8.0), (23.0, -1.2, 0.0))
    assert answer is not None and (answer.label, answer.side) == ("nudge", "left")
    assert answer.path[-1, 1] > 0.5


def test_it_is_not_passed_across_the_edge_of_the_road():
    edges = [("boundary", [(-50, 1.8), (120, 1.8)])]
    assert label_of(answer_to(first_frame(8.0, lines=edges), (23.0, -1.2, 0.0))) in ("slow", "stop")


def test_nothing_is_offered_where_braking_comes_too_late():
    edges = [("boundary", [(-50, side), (120, side)]) for side in (-2.0, 2.0)]
    assert answer_to(first_frame(14.0, lines=edges), (12.0, 0.0, 0.0)) is None


def test_a_car_behind_forbids_to_brake_hard():
    chased = first_frame(6.0, chaser=Actor("truck", straight(8, 6.0, start_x=-7.5)))
    assert label_of(answer_to(chased, (13.0, 0.0, 0.0))) != "stop"


def standing_behind(lead_x: float, lines=()) -> Keyframe:
    scene = HandScene(ego=straight(8, 0.0), actors={"lead": Actor("car", (lead_x, 0, 0))}, lines=[*LANES, *lines])
    return next(keyframes(make_tables(scene)))


def answer_without_leader(frame: Keyframe, others: Boxes, was_leader: bool = True) -> Answer:
    return answer_to_deleted(frame, driven_in(frame), surface(frame), others, was_leader)


def test_freed_of_its_leader_a_standing_ego_starts_to_drive():
    frame = standing_behind(8.0)
    answer = answer_without_leader(frame, agent_boxes(frame).without(0))
    assert answer.label == "resume"
    # 1.5 m/s2 for 3 s, less the first 0.3 s in which it builds up.
    assert 0.5 * 1.5 * 2.7**2 < answer.path[-1, 0] < 0.5 * 1.5 * 3.0**2


def test_it_stays_where_it_is_before_a_crossing_or_if_something_else_is_in_the_way():
    crossing = standing_behind(8.0, lines=[("ped_crossing", [(6, -5), (6, 5)])])
    assert answer_without_leader(crossing, agent_boxes(crossing).without(0)).label == "keep"
    frame = standing_behind(8.0)
    assert answer_without_leader(frame, agent_boxes(frame)).label == "keep"
    assert answer_without_leader(frame, agent_boxes(frame).without(0), was_leader=False).label == "keep"


def test_fast_vehicles_do_not_pass_through_each_other_between_steps():
    # Head-on at 12 m/s each: 12 m closer every step; at the steps they are 12 m apart, then past each other.
    frame = first_frame(12.0, oncoming=Actor("car", straight(8, -12.0, start_x=18.0 + 1.44)))
    assert overlaps(driven_boxes(frame)[None], np.ones((1, 31), bool), agent_boxes(frame)).any()


def test_unknown_steps_of_others_are_not_held_against_the_ego():
    box = np.array([[10.0, 0.0, 0.0, 4.0, 2.0]])
    future = np.tile([10.0, 0.0, 0.0], (1, 6, 1))
    known = boxes_over_time(box, future, np.ones((1, 6), bool))
    unknown = boxes_over_time(box, future, np.zeros((1, 6), bool))
    ego, every = driven_boxes(first_frame(6.0))[None], np.ones((1, 31), bool)
    assert overlaps(ego, every, known).any() and not overlaps(ego, every, unknown).any()
    assert not overlaps(known.box, unknown.valid, known).any()


@settings(max_examples=60, deadline=None)
@given(
    speed=st.floats(0, 14),
    x=st.floats(6, 30),
    y=st.floats(-6, 6),
    yaw=st.floats(-3.1, 3.1),
    added_mps=st.sampled_from([0.0, 0.0, 3.0, 8.0]),
)
def test_every_answer_is_clear_drivable_and_named_after_what_it_does(speed, x, y, yaw, added_mps):
    frame = first_frame(speed)
    answer = answer_to(frame, (x, y, yaw), added_mps)
    if answer is None:
        return
    added = Boxes(car_over_time((x, y, yaw), added_mps)[None], np.ones((1, 31), bool))
    assert not overlaps(ego_boxes(answer.motion.pose), np.ones((1, 31), bool), added.inflated(0.29)).any()
    assert is_drivable(answer.motion).all()
    np.testing.assert_allclose(answer.motion.path[0], answer.path, atol=0.3 if answer.label == "keep" else 1e-9)
    assert (abs(answer.path[-1, 1]) > 0.5) == (answer.label == "nudge")
    if answer.label in ("slow", "stop"):
        assert answer.path[-1, 0] < frame.ego_future[-1, 0]
        assert (answer.motion.speed_mps[0, -1] < 0.5) == (answer.label == "stop")


@pytest.mark.parametrize("speed", [0.0, 2.0, 7.0])
def test_to_keep_is_exactly_what_was_driven(speed):
    frame = first_frame(speed)
    assert (keep(frame, driven_in(frame)).path == frame.ego_future[:, :2]).all()
