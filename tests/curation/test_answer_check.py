"""The second opinion on answers: right ones pass, wrong ones fail, claims about nothing countable stay unchecked."""

import numpy as np
import pytest

from dima_pipeline.contracts.batch import VqaPair
from dima_pipeline.curation.answer_check import check_pairs
from hand_scenes import Actor, HandScene, from_speeds, make_tables, straight

SCENE = HandScene(
    ego=straight(8, 5.0),
    actors={
        "near": Actor("car", (12, 1, 0)),
        "far": Actor("bus", (26, -2, 0)),
        "walker": Actor("pedestrian", (8, 9, 0)),
        "cone": Actor("traffic_cone", (9, -8, 0)),
        "hidden": Actor("truck", (6, 0, 0), visibility=1.0),
    },
    lines=[("ped_crossing", [(15, -5), (15, 5)])],
)


def verdict(question: str, answer: str, scene: HandScene = SCENE) -> str:
    pair = VqaPair("scene-0001-000", "perception", question, answer)
    return next(iter(check_pairs([pair], make_tables(scene))))


@pytest.mark.parametrize(
    ("question", "right", "wrong"),
    [
        ("How many vehicles are in front of the ego vehicle within 30 m?", "Two.", "Several."),
        ("How many pedestrians are there to the front within 30 m?", "None.", "One."),
        ("How far is the nearest vehicle to the front?", "10 to 20 m.", "Less than 10 m."),
        ("What is the distance to the nearest vehicle ahead?", "10 to 20 m.", "There is none within 30 m."),
        ("Where is the nearest pedestrian?", "To the front left.", "To the front right."),
        ("In which direction is the nearest pedestrian?", "To the front left.", "There is no pedestrian."),
        ("What kinds of objects are to the front of the ego vehicle?", "Cars and buses.", "Cars."),
        ("What can be seen to the back of the ego vehicle?", "Nothing.", "Cars."),
        ("Which construction objects are in the scene?", "Traffic cones.", "None."),
        ("Is there a pedestrian crossing ahead?", "Yes.", "No."),
        ("Which objects will be within 5 m of the ego vehicle in the next 3 s?", "Cars.", "None."),
        (
            "Predict the behavior of the ego vehicle.",
            "The ego vehicle is going straight. The ego vehicle is driving with normal speed.",
            "The ego vehicle is going straight. The ego vehicle is driving fast.",
        ),
    ],
)
def test_right_answers_pass_and_wrong_ones_fail(question, right, wrong):
    assert verdict(question, right) == "passed"
    assert verdict(question, wrong) == "failed"
    assert verdict(question, "Well, perhaps.") == "failed"


def test_the_side_of_a_turn_is_checked():
    scene = HandScene(ego=from_speeds([5.0] * 7, 0.2))
    words = "The ego vehicle is steering to the {}. The ego vehicle is driving with normal speed."
    assert verdict("What is the behavior of the ego vehicle?", words.format("left"), scene) == "passed"
    assert verdict("What is the behavior of the ego vehicle?", words.format("right"), scene) == "failed"


@pytest.mark.parametrize("question", ["Is it day or night?", "What should the ego vehicle do next?"])
def test_what_cannot_be_counted_is_left_unchecked(question):
    assert verdict(question, "It is day.") == "unchecked"


def test_a_count_goes_wrong_as_soon_as_the_tables_change():
    tables = make_tables(SCENE)
    pair = VqaPair("scene-0001-000", "perception", "How many vehicles are to the front?", "Two.")
    assert list(check_pairs([pair], tables)) == ["passed"]
    tables.agents.loc[tables.agents.instance_token == "near", "num_lidar_points"] = np.float64(0)
    assert list(check_pairs([pair], tables)) == ["failed"]
