"""Right statements pass, wrong ones fail with a reason, and what claims nothing countable stays unchecked."""

import numpy as np
import pytest

from dima_pipeline.contracts.batch import VqaPair
from dima_pipeline.curation.grounding import Evidences, Verdict, check_pairs, claims_of
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
STREET = HandScene(
    ego=straight(8, 5.0),
    actors={
        "one": Actor("pedestrian", (12, 3, 0)),
        "two": Actor("pedestrian", (13, 4, 0)),
        "parked": Actor("truck", (9, -9, 0), "vehicle.parked"),
        "follower": Actor("car", straight(8, 6.0, -15.0), "vehicle.moving"),
        "ahead": Actor("bus", (26, -2, 0), "vehicle.stopped"),
    },
    lines=[("ped_crossing", [(15, -5), (15, 5)])],
)


def verdict(question: str, answer: str, scene: HandScene = SCENE, source: str = "rules", objects=()) -> Verdict:
    pair = VqaPair("scene-0001-000", "perception", question, answer, tuple(objects), source)
    return next(iter(check_pairs([pair], make_tables(scene))))


def said(answer: str, question: str = "Describe the scene.") -> Verdict:
    """A free statement of a language model about the street."""
    return verdict(question, answer, STREET, "llm:any")


@pytest.mark.parametrize(
    ("question", "right", "wrong"),
    [
        ("How many vehicles are in front of the ego vehicle within 30 m?", "Two.", "Several."),
        ("How many pedestrians are there to the front within 30 m?", "None.", "One."),
        ("How far is the nearest vehicle to the front?", "10 to 20 m.", "Less than 10 m."),
        ("What is the distance to the nearest vehicle ahead?", "10 to 20 m.", "There is none within 30 m."),
        ("What is the distance to the nearest vehicle ahead?", "12 m.", "14 m."),
        ("Where is the nearest pedestrian?", "To the front left.", "To the front right."),
        ("In which direction is the nearest pedestrian?", "To the front left.", "There is no pedestrian."),
        ("What kinds of objects are to the front of the ego vehicle?", "Cars and buses.", "Cars."),
        ("What can be seen to the back of the ego vehicle?", "Nothing.", "Cars."),
        ("Which construction objects are in the scene?", "Traffic cones.", "None."),
        ("Is there a pedestrian crossing ahead?", "Yes.", "No."),
        ("Which objects will be within 5 m of the ego vehicle in the next 3 s?", "Cars.", "None."),
        ("What should the ego vehicle do next?", "Keep going.", "Stop."),
        ("What will the car to the front do next?", "It will stay where it is.", "It will turn left."),
        ("What is the future state of the bus to the front?", "It will stay where it is.", "It will start to move."),
        ("Is it day or night?", "It is day.", "It is night."),
        ("What is the weather like?", "It is not raining.", "It is raining."),
        (
            "What actions could lead to a collision with the car to the front?",
            "Going straight, accelerating.",
            "Braking.",
        ),
        ("Would going straight at the same speed lead to a collision within 3 s?", "Yes.", "No."),
        ("How fast is the ego vehicle driving?", "5.0 m/s.", "7.5 m/s."),
        (
            "Predict the behavior of the ego vehicle.",
            "The ego vehicle is going straight. The ego vehicle is driving with normal speed.",
            "The ego vehicle is going straight. The ego vehicle is driving fast.",
        ),
    ],
)
def test_right_answers_pass_and_wrong_ones_fail(question, right, wrong):
    assert verdict(question, right) == Verdict("passed", None, verdict(question, right).claim)
    failed = verdict(question, wrong)
    assert failed.check == "failed" and failed.reason and failed.claim
    assert verdict(question, "Well, that is hard to tell.").check == "unchecked"


def test_a_free_sentence_is_taken_apart_into_counts_distances_directions_and_statuses():
    text = "There are two pedestrians ahead, about 12 m away, and a parked truck to the front right."
    pair = VqaPair("scene-0001-000", "perception", "Describe the scene.", text, (), "llm:any")
    claims = claims_of(pair, Evidences(make_tables(STREET)))
    assert {"count", "distance", "direction", "status"} <= {claim.kind for claim in claims}
    assert not any(claim.truth is False for claim in claims)
    assert said(text).check == "passed"


@pytest.mark.parametrize(
    ("text", "claim"),
    [
        ("There are five pedestrians ahead, about 12 m away.", "count"),
        ("There are two pedestrians ahead, about 25 m away.", "distance"),
        ("There are two pedestrians behind us.", "count"),
        ("A parked truck stands to the back left.", "direction"),
        ("There is a moving truck to the front right.", "status"),
        ("The car behind us is driving at about 60 km/h.", "speed"),
        ("The bus ahead is moving.", "status"),
        ("The bus ahead will turn left.", "motion"),
        ("The street is empty, there are no vehicles.", "count"),
        ("I can see a cyclist on the left.", "presence"),
        ("There is no crosswalk ahead.", "map"),
        ("The ego vehicle is driving at 12 m/s.", "speed"),
        ("The ego vehicle is stopping.", "action"),
        ("It is a rainy night.", "weather"),
    ],
)
def test_a_false_free_sentence_fails_by_the_claim_that_is_false(text, claim):
    assert (said(text).check, said(text).claim) == ("failed", claim)


@pytest.mark.parametrize(
    "text",
    [
        "Two people are walking or standing in front of us, roughly 13 m away.",
        "The car behind us is moving at around 20 km/h and a crosswalk is ahead.",
        "A bus has stopped about 25 meters ahead, and there are no cyclists.",
        "The ego vehicle is driving at 18 km/h and keeps going straight.",
        "To the front right there is a truck; it is parked.",
        "Because a bus is ahead, the ego vehicle should slow down.",
        "No, there are not any motorcycles.",
        "The closest pedestrian is 12 metres away.",
    ],
)
def test_a_true_free_sentence_passes(text):
    assert said(text).check == "passed", said(text).reason


@pytest.mark.parametrize(
    "text",
    [
        "If a cyclist came from the left, the ego vehicle would stop.",
        "There is a bus stop on the left and a stop sign on the right.",
        "Pedestrians could step onto the road.",
        "Drive with care.",
        "Neither the bus nor the truck is moving.",
        "The sky is blue and the buildings are tall.",
        "<b onclick=alert(1)>hello</b> \x00\x1b[31m ½ Ⅻ",
        "",
    ],
)
def test_what_is_supposed_or_beyond_the_tables_is_left_unchecked(text):
    assert said(text).check == "unchecked", said(text)


def test_an_object_placed_by_another_object_is_not_placed_by_the_ego():
    assert said("A truck is parked behind the bus.").check == "passed"
    assert said("A truck is parked behind us.").check == "failed"
    assert said("A truck stands to the left of the bus.").check == "passed"
    assert said("A truck stands to the left of us.").check == "failed"


@pytest.mark.parametrize(("answer", "check"), [("Yes.", "failed"), ("No, the bus is stationary.", "passed")])
def test_yes_and_no_say_what_was_asked(answer, check):
    assert said(answer, "Is the bus ahead moving?").check == check


def test_a_reason_names_what_was_said_and_what_the_tables_hold():
    assert (
        verdict("How many pedestrians are in the scene?", "Four.").reason == "count: said 4 pedestrian, tables hold 1"
    )
    reason = said("The truck is moving.").reason
    assert reason == "status: said truck moving, tables hold parked"


def test_the_side_of_a_turn_is_checked():
    scene = HandScene(ego=from_speeds([5.0] * 7, 0.2))
    words = "The ego vehicle is steering to the {}. The ego vehicle is driving with normal speed."
    assert verdict("What is the behavior of the ego vehicle?", words.format("left"), scene).check == "passed"
    assert verdict("What is the behavior of the ego vehicle?", words.format("right"), scene).check == "failed"


def test_people_may_round_where_rules_may_not():
    question = "How far is the bus?"
    assert verdict(question, "28 m.", source="human").check == "passed"
    assert verdict(question, "28 m.", source="rules").check == "failed"


def test_people_may_speak_of_what_is_hidden_but_rules_may_not():
    assert verdict("Describe the scene.", "There is a truck ahead.", source="human").check != "failed"
    assert verdict("Describe the scene.", "There is a truck ahead.", source="rules").check == "failed"


def test_a_tag_names_the_object_that_it_points_at():
    tag = "<c1,CAM_FRONT,800.0,450.0>"
    scene = HandScene(
        ego=straight(8, 5.0),
        actors={"ahead": Actor("car", (12, 0, 0), "vehicle.moving"), "aside": Actor("bus", (12, 5, 0))},
    )
    tables = make_tables(scene)
    tables.agents["z_m"] = 1.5
    pairs = [
        VqaPair("scene-0001-000", "perception", f"What object is {tag}?", answer)
        for answer in ("A car to the front.", "A bus to the front.")
    ]
    pairs.append(VqaPair("scene-0001-000", "perception", f"Is {tag} moving or not?", "Parked."))
    assert [one.check for one in check_pairs(pairs, tables)] == ["passed", "failed", "failed"]


def test_the_objects_that_a_pair_names_must_be_those_of_its_answer():
    question = "What are the important objects in the current scene?"
    answer = "The car to the front."
    assert verdict(question, answer, objects=["near"]).check == "passed"
    assert verdict(question, answer, objects=["far"]).claim == "named"


def test_a_count_goes_wrong_as_soon_as_the_tables_change():
    tables = make_tables(SCENE)
    pair = VqaPair("scene-0001-000", "perception", "How many vehicles are to the front?", "Two.")
    assert [one.check for one in check_pairs([pair], tables)] == ["passed"]
    tables.agents.loc[tables.agents.instance_token == "near", "num_lidar_points"] = np.float64(0)
    assert [one.check for one in check_pairs([pair], tables)] == ["failed"]


def test_a_keyframe_that_the_tables_lack_is_left_unchecked():
    pair = VqaPair("elsewhere", "perception", "How many cars are there?", "Two.")
    assert [one.check for one in check_pairs([pair], make_tables(SCENE))] == ["unchecked"]
