"""What only the simulator knows: lamps, signals, intentions and events, and their ends in time."""

import numpy as np
import pytest

from dima_pipeline.annotations._truth import SceneTruth
from dima_pipeline.contracts.scene_words import EVENT_WORDS
from dima_pipeline.world.events import EVENTS
from hand_scenes import Actor, HandScene, from_speeds, make_tables, straight
from rule_answers import answer_to, answers_to, scene_with

LEAD = scene_with(lead=Actor("car", straight(8, 5.0, 12), "vehicle.moving"))
FACING = scene_with(other=Actor("car", (12, 3, np.pi), "vehicle.stopped"))
SOMETHING = ("light", "day", None, 0, 9)


def test_nothing_of_it_is_asked_about_recordings():
    for template in ("brake_lights", "turn_signal", "signal", "event", "intention"):
        assert not answers_to(LEAD, template)
    assert not SceneTruth(make_tables(LEAD)).at(0).is_known


@pytest.mark.parametrize(("begin_s", "end_s", "answer"), [(0, 0.4, "No."), (0, 1.0, "Yes."), (1.1, 3, "No.")])
def test_brake_lights_shine_in_their_interval(begin_s, end_s, answer):
    truth = [SOMETHING, ("light", "brake", "lead", begin_s, end_s)]
    assert answer_to(LEAD, "brake_lights", "the car to the front", index=2, truth=truth) == answer


def test_the_brake_lights_of_who_comes_towards_us_are_not_asked_about():
    assert not answers_to(FACING, "brake_lights", truth=[SOMETHING])


@pytest.mark.parametrize(
    ("lamp", "answer"),
    [("turn_left", "The left one."), ("turn_right", "The right one."), ("hazard", "Both."), ("brake", "None.")],
)
def test_turn_signals_are_told_apart(lamp, answer):
    assert answer_to(FACING, "turn_signal", truth=[("light", lamp, "other", 0, 9)]) == answer


def test_the_color_of_the_traffic_light_ahead_is_asked_where_there_is_one():
    truth = [("signal", "red", None, 0, 1.4), ("signal", "green", None, 1.5, 3)]
    assert answer_to(LEAD, "signal", truth=truth) == "Red."
    assert answer_to(LEAD, "signal", truth=truth, index=3) == "Green."
    assert answer_to(LEAD, "signal", truth=truth, index=7) is None


def test_events_of_the_moment_are_told_the_most_urgent_first():
    truth = [("event", "lead_vehicle", "lead", 0, 2.4), ("event", "hard_braking_lead", "lead", 1, 2)]
    both = "The vehicle ahead has braked hard. The ego vehicle follows another vehicle."
    assert answer_to(LEAD, "event", truth=truth, index=2) == both
    assert answer_to(LEAD, "event", truth=truth) == "The ego vehicle follows another vehicle."
    assert answer_to(LEAD, "event", truth=truth, index=5) == "Nothing special."


def test_an_event_without_words_is_not_spoken_of():
    assert not answers_to(LEAD, "event", truth=[("event", "meteor", None, 0, 9)])


def test_every_event_of_the_world_has_words():
    assert set(EVENTS.names()) <= set(EVENT_WORDS)


def test_an_intention_is_asked_only_while_it_is_still_to_come():
    turning = scene_with(car=Actor("car", np.add(from_speeds([5] * 7, 0.3), (12.0, 3.0, 0.0))))
    truth = [("intention", "turn_left", "car", 0, 9)]
    assert answer_to(turning, "intention", truth=truth) == "It intends to turn left."
    assert answer_to(LEAD, "intention", truth=[("intention", "turn_left", "lead", 0, 9)]) is None
    assert (
        answer_to(LEAD, "intention", truth=[("intention", "keep_lane", "lead", 0, 9)]) == "It intends to keep its lane."
    )


def test_who_has_crossed_no_longer_intends_to():
    walker = HandScene(ego=straight(14, 2.0), actors={"walker": Actor("pedestrian", (20, 3, 0))})
    truth = [("intention", "jaywalker", "walker", 0, 9), ("event", "jaywalker", "walker", 1, 2)]
    assert answer_to(walker, "intention", truth=truth) == "It intends to cross the road."
    assert answer_to(walker, "intention", truth=truth, index=3) == "It intends to cross the road."
    assert answer_to(walker, "intention", truth=truth, index=5) is None


def test_two_intentions_at_once_are_none():
    truth = [("intention", "keep_lane", "lead", 0, 9), ("intention", "parked", "lead", 0, 9)]
    assert answer_to(LEAD, "intention", truth=truth) is None


def test_reasons_name_the_red_light_and_who_comes_out():
    stopping = scene_with(walker=Actor("pedestrian", (20, 8, 0)))
    stopping.ego = from_speeds([5, 4, 3, 2, 1, 0, 0])
    red = [("signal", "red", None, 0, 9)]
    assert answer_to(stopping, "reasoned_action", truth=red) == "Stop, because the traffic light ahead is red."
    crossing = [*red, ("event", "jaywalker", "walker", 0, 9)]
    assert answer_to(stopping, "reasoned_action", truth=crossing) == (
        "Stop, because the pedestrian to the front crosses the road."
    )
