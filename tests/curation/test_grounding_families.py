"""Claims about places, motions, risks and what only a simulator knows; and the rates of all of them."""

import pandas as pd
import pytest

from dima_pipeline.contracts.batch import VqaPair
from dima_pipeline.curation.grounding import Verdict, check_pairs
from dima_pipeline.curation.grounding.rates import grounding_rates
from hand_scenes import Actor, HandScene, make_tables, straight

SCENE = HandScene(
    ego=straight(10, 5.0),
    actors={
        "car": Actor("car", (12, 0, 0), "vehicle.stopped"),
        "truck": Actor("truck", straight(10, 4.0, 6.0, -9.0), "vehicle.moving"),
        "walker": Actor("pedestrian", (20, 9, 0), "pedestrian.standing"),
        "rider": Actor("bicycle", straight(10, -5.0, -10.0, 8.0), "cycle.with_rider"),
    },
)
TRUTH = [
    ("", "light", "dusk"),
    ("", "signal", "red"),
    ("car", "light", "brake"),
    ("car", "light", "turn_left"),
    ("truck", "intention", "change_lane_left"),
    ("walker", "intention", "jaywalker"),
    ("walker", "event", "jaywalker"),
    ("", "event", "curve"),
]


def tables():
    made = make_tables(SCENE)
    made.world_truth = pd.DataFrame(
        [("token-scene-0001", actor or None, kind, value, 0, 10**7) for actor, kind, value in TRUTH],
        columns=["scene_token", "instance_token", "kind", "value", "begin_timestamp_us", "end_timestamp_us"],
    )
    return made


def verdict(question: str, answer: str, source: str = "rules", objects: tuple[str, ...] = ()) -> Verdict:
    return next(check_pairs([VqaPair("scene-0001-000", "planning", question, answer, objects, source)], tables()))


@pytest.mark.parametrize(
    ("question", "right", "wrong", "claim"),
    [
        (
            "Where exactly is the pedestrian to the front?",
            "20 m ahead and 9 m to the left.",
            "20 m ahead and 9 m to the right.",
            "position",
        ),
        (
            "Where is the car to the front relative to the truck to the front right?",
            "Further ahead and further left.",
            "Further behind and further left.",
            "position",
        ),
        (
            "In which direction is the truck to the front right moving?",
            "In the same direction as the ego vehicle.",
            "From left to right.",
            "heading",
        ),
        (
            "In which direction is the bicycle to the back left moving?",
            "In the opposite direction of the ego vehicle.",
            "From right to left.",
            "heading",
        ),
        (
            "Is the bicycle to the back left with or without a rider?",
            "It is with a rider.",
            "It is without a rider.",
            "status",
        ),
        ("How fast is the truck to the front right moving, in km/h?", "14 km/h.", "19 km/h.", "speed"),
        ("How far will the car to the front be from the ego vehicle in 2 s?", "2 m.", "7 m.", "distance"),
        (
            "Will the car to the front be closer to the ego vehicle or further away in 3 s?",
            "It will come closer.",
            "It will be further away.",
            "approach",
        ),
        (
            "When in the next 3 s will the car to the front be nearest to the ego vehicle?",
            "In 2.5 s.",
            "In 1.0 s.",
            "time",
        ),
        ("How important is the car to the front for the ego vehicle?", "High.", "Low.", "importance"),
        (
            "How likely is a collision with the car to the front if the ego vehicle goes straight at the same speed?",
            "High.",
            "Low.",
            "collision",
        ),
        (
            "What is the probability of a collision with the pedestrian to the front if the ego vehicle brakes?",
            "Low.",
            "Medium.",
            "collision",
        ),
        (
            "Which actions of the ego vehicle are dangerous because of the car to the front?",
            "Going straight and accelerating.",
            "Going straight and braking.",
            "collision",
        ),
        ("How far should the ego vehicle drive in the next 3 s?", "15 m.", "21 m.", "speed"),
        ("How fast should the ego vehicle be in 3 s?", "5.0 m/s.", "6.5 m/s.", "speed"),
        ("Which way should the ego vehicle go in the next 3 s?", "Go straight.", "Turn left.", "action"),
        ("Are the brake lights of the car to the front on?", "Yes.", "No.", "lamp"),
        ("Which turn signal of the car to the front is on?", "The left one.", "None.", "lamp"),
        (
            "What does the truck to the front right intend to do?",
            "It intends to change lanes to the left.",
            "It intends to stay parked.",
            "intention",
        ),
        (
            "What is the intention of the pedestrian to the front?",
            "It intends to cross the road.",
            "It intends to keep standing.",
            "intention",
        ),
        ("What is the color of the traffic light ahead?", "Red.", "Green.", "signal"),
        ("Is it day or night?", "It is dusk.", "It is night.", "daylight"),
        (
            "What is happening around the ego vehicle?",
            "A pedestrian crosses the road where there is no pedestrian crossing. The road bends.",
            "The road bends.",
            "event",
        ),
        (
            "What are the objects around the ego vehicle within 15 m?",
            "1 car, 1 truck and 1 bicycle.",
            "1 car and 1 bicycle.",
            "count",
        ),
        (
            "What is the status of the cars around the ego vehicle within 15 m?",
            "1 stopped car.",
            "1 moving car.",
            "count",
        ),
    ],
)
def test_right_answers_pass_and_wrong_ones_fail(question, right, wrong, claim):
    passed, failed = (
        verdict(question, right),
        verdict(question, wrong),
    )
    assert passed.check == "passed", passed
    assert (failed.check, failed.claim) == ("failed", claim), failed
    assert verdict(question, "That is hard to tell from here.").check == "unchecked"


def test_the_order_of_objects_is_that_of_their_priority():
    question = "In which order should the ego vehicle consider the objects around it?"
    first, second = "the car to the front", "the truck to the front right"
    assert verdict(question, f"First {first}, then {second}.", objects=("car", "truck")).check == "passed"
    assert verdict(question, f"First {second}, then {first}.", objects=("truck", "car")).claim == "importance"
    assert verdict(question, f"First {second}, then {first}.", objects=("car", "truck")).claim == "named"


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("Which turn signal of the car to the front is on?", "The left one."),
        ("What is the color of the traffic light ahead?", "Red."),
        ("What is happening around the ego vehicle?", "The road bends."),
    ],
)
def test_what_only_a_simulator_knows_is_unchecked_in_recordings(question, answer):
    pair = VqaPair("scene-0001-000", "perception", question, answer)
    assert [one.check for one in check_pairs([pair], make_tables(SCENE))] == ["unchecked"]


def test_free_text_about_lamps_and_events_is_checked_too():
    assert verdict("Describe the scene.", "The car ahead has its brake lights on.", "llm:any").check == "passed"
    assert verdict("Describe the scene.", "The car ahead has its hazard lights on.", "llm:any").claim == "lamp"
    assert (
        verdict("Describe the scene.", "A pedestrian steps out from behind a parked vehicle.", "llm:any").claim
        == "event"
    )


def test_rates_count_by_writer_and_claim_and_quote_the_first_failure_without_control_characters():
    checked = pd.DataFrame(
        [
            ("rules", "count", "passed", "q", "a", None),
            ("llm:x", "count", "failed", "How many?\x1b[31m", "Two." + "!" * 10**6, "count: said 2, tables hold 4"),
            ("llm:x", "count", "failed", "q2", "a2", "other"),
            ("llm:x", "", "unchecked", "q", "a", None),
        ],
        columns=["source", "claim", "check", "question", "answer", "reason"],
    )
    rates = grounding_rates(checked)
    assert rates[["source", "claim"]].to_numpy().tolist() == [["llm:x", "count"], ["llm:x", "none"], ["rules", "count"]]
    assert rates[["num_passed", "num_failed", "num_unchecked"]].to_numpy().tolist() == [[0, 2, 0], [0, 0, 1], [1, 0, 0]]
    example = rates["first_failure"][0]
    assert "How many?" in example and "tables hold 4" in example and len(example) <= 300 and example.isprintable()
    assert grounding_rates(checked.iloc[:0]).empty
