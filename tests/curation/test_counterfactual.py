"""What the ego should do in an edited scene: hand-typed roads, and properties of every path that is offered."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dima_pipeline.curation.counterfactual import (
    MAX_BRAKING_MPS2,
    Answer,
    Boxes,
    agent_boxes,
    answer_to_added,
    answer_to_deleted,
    boxes_over_time,
    is_clear,
    is_comfortable,
    matters,
    overlaps,
)
from dima_pipeline.storage.keyframes import Keyframe, keyframes
from hand_scenes import Actor, HandScene, from_speeds, make_tables, straight

LANES = [("centerline", [(-50, 0), (120, 0)])]


def first_frame(speed_mps: float, *, lines=(), **actors: Actor) -> Keyframe:
    scene = HandScene(ego=straight(8, speed_mps), actors=actors, lines=[*LANES, *lines])
    return next(keyframes(make_tables(scene)))


def answer_to(frame: Keyframe, pose: tuple[float, float, float], speed_mps: float = 0.0) -> Answer | None:
    """The answer to a car added at a pose."""
    box = np.array([[*pose, 4.6, 1.9]])
    heading = np.array([np.cos(pose[2]), np.sin(pose[2])])
    future = np.tile(np.array(pose, float), (1, 6, 1))
    future[0, :, :2] += 0.5 * np.arange(1, 7)[:, None] * speed_mps * heading
    added, others = boxes_over_time(box, future, np.ones((1, 6), bool)), agent_boxes(frame)
    both = Boxes(np.concatenate([others.box, added.box]), np.concatenate([others.valid, added.valid]))
    return answer_to_added(frame, both, is_passable=speed_mps == 0)


def test_a_car_beside_the_road_changes_nothing():
    answer = answer_to(first_frame(6.0), (15.0, -5.0, 0.0))
    assert answer is not None and answer.text == "Keep going as before."
    np.testing.assert_allclose(answer.path[:, 0], 3 * np.arange(1, 7))


def test_a_car_close_ahead_makes_the_ego_stop_before_it():
    answer = answer_to(first_frame(6.0), (13.0, 0.0, 0.0))
    assert answer is not None and answer.text == "Stop."
    # Bumper to bumper: 3.49 m from the origin to the front, 2.3 m half a car.
    assert answer.path[-1, 0] < 13.0 - 2.3 - 3.48


def test_a_slower_car_ahead_makes_the_ego_slow_down():
    answer = answer_to(first_frame(8.0), (14.0, 0.0, 0.0), speed_mps=4.0)
    assert answer is not None and answer.text == "Slow down."
    assert matters(answer.path, first_frame(8.0).ego_future[:, :2])


def test_a_standing_car_that_reaches_into_the_lane_is_passed_on_the_free_side():
    answer = answer_to(first_frame(8.0), (23.0, -1.2, 0.0))
    assert answer is not None and answer.text == "Nudge to the left."
    assert answer.path[-1, 1] > 0.5


def test_it_is_not_passed_across_the_edge_of_the_road():
    edges = [("boundary", [(-50, 1.8), (120, 1.8)])]
    answer = answer_to(first_frame(8.0, lines=edges), (23.0, -1.2, 0.0))
    assert answer is not None and answer.text in ("Slow down.", "Stop.")


def test_nothing_is_offered_where_braking_comes_too_late():
    edges = [("boundary", [(-50, side), (120, side)]) for side in (-2.0, 2.0)]
    assert answer_to(first_frame(14.0, lines=edges), (12.0, 0.0, 0.0)) is None


def test_a_car_behind_forbids_to_brake_hard():
    chased = first_frame(6.0, chaser=Actor("truck", straight(8, 6.0, start_x=-7.5)))
    answer = answer_to(chased, (13.0, 0.0, 0.0))
    assert answer is None or not answer.text.startswith("Stop")


def standing_behind(lead_x: float, lines=()) -> Keyframe:
    scene = HandScene(ego=straight(8, 0.0), actors={"lead": Actor("car", (lead_x, 0, 0))}, lines=[*LANES, *lines])
    return next(keyframes(make_tables(scene)))


def test_freed_of_its_leader_a_standing_ego_starts_to_drive():
    frame = standing_behind(8.0)
    answer = answer_to_deleted(frame, agent_boxes(frame).without(0), was_leader=True)
    assert answer.text == "Start to drive."
    np.testing.assert_allclose(answer.path[-1], [0.5 * 1.5 * 9, 0.0], atol=1e-6)


def test_it_stays_where_it_is_before_a_crossing_or_if_something_else_is_in_the_way():
    crossing = standing_behind(8.0, lines=[("ped_crossing", [(6, -5), (6, 5)])])
    assert answer_to_deleted(crossing, agent_boxes(crossing).without(0), True).text == "Stay stopped as before."
    frame = standing_behind(8.0)
    assert answer_to_deleted(frame, agent_boxes(frame), True).text == "Stay stopped as before."
    assert answer_to_deleted(frame, agent_boxes(frame).without(0), False).text == "Stay stopped as before."


def test_fast_vehicles_do_not_pass_through_each_other_between_steps():
    # Head-on at 12 m/s each: 12 m closer every step; at the steps they are 12 m apart, then past each other.
    frame = first_frame(12.0, oncoming=Actor("car", straight(8, -12.0, start_x=18.0 + 1.44)))
    assert not is_clear(frame.ego_future[:, :2], agent_boxes(frame))


def test_unknown_steps_of_others_are_not_held_against_the_ego():
    box = np.array([[10.0, 0.0, 0.0, 4.0, 2.0]])
    future = np.tile([10.0, 0.0, 0.0], (1, 6, 1))
    known = boxes_over_time(box, future, np.ones((1, 6), bool))
    unknown = boxes_over_time(box, future, np.zeros((1, 6), bool))
    path = straight(7, 6.0)[1:, :2]
    assert not is_clear(path, known) and is_clear(path, unknown)
    assert not overlaps(known.box, unknown.valid, known).any()


@pytest.mark.parametrize(
    ("speeds", "start", "expected"),
    [([5] * 6, 5, True), ([5, 7, 9, 11, 13, 15], 5, False), ([8, 5.1, 2.2, 0, 0, 0], 9, True), ([0] * 6, 9, False)],
)
def test_comfort_is_three_up_and_six_down(speeds, start, expected):
    assert is_comfortable(from_speeds(speeds)[1:, :2], start) == expected


@settings(max_examples=60, deadline=None)
@given(
    speed=st.floats(0, 14),
    x=st.floats(6, 30),
    y=st.floats(-6, 6),
    yaw=st.floats(-3.1, 3.1),
    added_mps=st.sampled_from([0.0, 0.0, 3.0, 8.0]),
)
def test_every_answer_is_clear_comfortable_and_named_after_what_it_does(speed, x, y, yaw, added_mps):
    frame = first_frame(speed)
    answer = answer_to(frame, (x, y, yaw), added_mps)
    if answer is None:
        return
    box = np.array([[x, y, yaw, 4.6, 1.9]])
    future = np.tile([x, y, yaw], (1, 6, 1))
    future[0, :, :2] += 0.5 * np.arange(1, 7)[:, None] * added_mps * np.array([np.cos(yaw), np.sin(yaw)])
    assert is_clear(answer.path, boxes_over_time(box, future, np.ones((1, 6), bool)))
    steps = np.linalg.norm(np.diff(np.concatenate([np.zeros((1, 2)), answer.path]), axis=0), axis=1) / 0.5
    assert (np.diff(steps) / 0.5 >= -MAX_BRAKING_MPS2 - 1e-6).all() and (np.diff(steps) / 0.5 <= 3.0 + 1e-6).all()
    sideways = abs(answer.path[-1, 1])
    assert (sideways > 0.5) == answer.text.startswith("Nudge")
    if answer.text in ("Slow down.", "Stop."):
        assert answer.path[-1, 0] < frame.ego_future[-1, 0]
