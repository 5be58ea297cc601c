"""The rules of DriveLM's four categories, on scenes whose answers are known by eye."""

import numpy as np
import pytest

from dima_pipeline.annotations import ANNOTATORS
from dima_pipeline.annotations._planning import behavior, collisions, driven_action, manoeuvre_boxes
from dima_pipeline.storage.keyframes import keyframes
from hand_scenes import Actor, HandScene, from_speeds, make_tables, straight


def aside(poses: np.ndarray) -> np.ndarray:
    """The same way, driven 12 m ahead and 3 m to the left."""
    return np.add(poses, (12.0, 3.0, 0.0))


def answers(scene: HandScene, index: int = 0, seed: int = 0, **config) -> dict[str, str]:
    """Answers to everything that can be asked about one keyframe, by question."""
    everything = {"num_perception": 99, "num_prediction": 99, "num_planning": 99, **config}
    rules = ANNOTATORS.build(ANNOTATORS.parse({"name": "rules", **everything}))
    pairs = rules.pairs(make_tables(scene), np.random.default_rng(seed))
    return {pair.question: pair.answer for pair in pairs if pair.sample_token.endswith(f"-{index:03d}")}


def answer(scene: HandScene, *phrases: str, index: int = 0) -> str:
    """The answer to the question that contains all phrases, asked in whatever wording the seed picks."""
    for seed in range(20):
        for question, text in answers(scene, index, seed).items():
            if all(phrase in question for phrase in phrases):
                return text
    raise AssertionError(f"nothing was asked about {phrases}")


def scene_with(speed_mps: float = 5.0, **actors: Actor) -> HandScene:
    return HandScene(ego=straight(8, speed_mps), actors=actors)


@pytest.mark.parametrize(
    ("description", "time", "weather"),
    [
        ("Night, after rain, many peds", "It is night.", "The road is wet after rain."),
        ("Rain, turn left, midnight blue bus", "It is day.", "It is raining."),
        ("Train station, parked cars", "It is day.", "It is not raining."),
    ],
)
def test_time_of_day_and_weather_come_from_the_description(description, time, weather):
    scene = HandScene(ego=straight(7, 5.0), description=description)
    assert answer(scene, "day") == time
    assert answer(scene, "rain") == weather


def test_objects_in_front_are_counted_and_those_at_the_sides_are_not():
    scene = scene_with(
        near=Actor("car", (12, 1, 0)),
        far=Actor("bus", (28, -2, 0)),
        beside=Actor("car", (3, 6, 0)),
        walker=Actor("pedestrian", (9, -3, 0)),
    )
    assert answer(scene, "How many vehicles") == "Two."
    assert answer(scene, "How many pedestrians") == "One."
    assert answer(scene, "nearest vehicle") == "10 to 20 m."


def test_nothing_there_is_said_to_be_nothing():
    empty = scene_with()
    assert answer(empty, "How many vehicles") == "None."
    assert answer(empty, "nearest vehicle") == "There is none within 30 m."
    assert answer(empty, "nearest pedestrian") == "There is no pedestrian."
    assert answer(empty, "important") == "None."


def test_the_nearest_pedestrian_is_found_all_around():
    scene = scene_with(a=Actor("pedestrian", (20, 0, 0)), b=Actor("pedestrian", (-4, -6, 0)))
    assert answer(scene, "nearest pedestrian") == "To the back right."


def test_hidden_agents_are_not_spoken_of():
    scene = scene_with(
        car=Actor("car", (12, 0, 0), visibility=1.0), walker=Actor("pedestrian", (9, 0, 0), None, None, 0)
    )
    assert answer(scene, "How many vehicles") == "None."
    assert answer(scene, "nearest pedestrian") == "There is no pedestrian."


def test_crossings_dividers_and_construction_are_read_from_map_and_boxes():
    scene = scene_with(a=Actor("traffic_cone", (12, 4, 0)), b=Actor("barrier", (14, 4, 0)))
    scene.lines = [("ped_crossing", [(15, -5), (15, 5)]), ("divider", [(-30, 2), (60, 2)])]
    assert answer(scene, "pedestrian crossing") == "Yes."
    assert answer(scene, "lane divider", "left") == "Yes."
    assert answer(scene, "lane divider", "right") == "No."
    assert answer(scene, "construction objects") == "Traffic cones and barriers."
    assert answer(scene_with(), "pedestrian crossing") == "No."


@pytest.mark.parametrize(
    ("attribute", "track", "status"),
    [
        ("vehicle.parked", (15, 0, 0), "Parked."),
        ("vehicle.stopped", (15, 0, 0), "Not moving."),
        (None, (15, 0, 0), "Not moving."),
        (None, straight(8, 5.0, start_x=15), "Moving."),
        ("vehicle.moving", (15, 0, 0), "Moving."),
    ],
)
def test_status_follows_the_attribute_and_else_the_speed(attribute, track, status):
    assert answer(scene_with(car=Actor("car", track, attribute)), "the car to the front", "moving") == status


def test_objects_are_named_by_the_pixel_of_their_centre_and_in_words():
    scene = scene_with(car=Actor("car", (10, 0, 0)))
    # Centre 0.8 m up, camera 1.5 m up at the origin, focal length 400 / tan(35 deg) of 800 px, doubled: 1142.5 px.
    down = 450 + 2 * 400 / np.tan(np.radians(35)) * 0.7 / 10
    asked = " ".join(question for seed in range(5) for question in answers(scene, seed=seed))
    assert f"<c1,CAM_FRONT,800.0,{down:.1f}>, the car to the front" in asked
    assert "CAM" not in " ".join(answers(scene, is_tagged=False))


@pytest.mark.parametrize(("bearing_deg", "camera"), [(-26, "CAM_FRONT"), (-29, "CAM_FRONT_RIGHT"), (178, "CAM_BACK")])
def test_an_object_in_two_pictures_is_tagged_where_it_is_more_central(bearing_deg, camera):
    bearing = np.radians(bearing_deg)
    scene = scene_with(car=Actor("car", (12 * np.cos(bearing), 12 * np.sin(bearing), 0)))
    asked = " ".join(question for seed in range(5) for question in answers(scene, seed=seed))
    assert f"<c1,{camera}," in asked and asked.count("<c1,") == asked.count(f"<c1,{camera},")


def test_of_two_alike_in_a_direction_only_the_nearest_is_named_and_called_so():
    scene = scene_with(a=Actor("car", (15, 0, 0)), b=Actor("car", (22, 3, 0)), c=Actor("car", (-9, 0, 0)))
    roots = [text for question, text in answers(scene).items() if "important" in question or "watch" in question]
    assert roots == ["The nearest car to the front and the car to the back."]
    named = " ".join(answers(scene))
    assert "the nearest car to the front" in named and "the car to the front" not in named


@pytest.mark.parametrize(
    ("category", "track", "words"),
    [
        ("car", (12, 3, 0), "It will stay where it is."),
        ("car", aside(from_speeds([0, 0, 2, 4, 5, 5, 5])), "It will start to move."),
        ("car", aside(from_speeds([6, 5, 3, 1, 0, 0, 0])), "It will stop."),
        ("car", aside(from_speeds([5] * 7, 0.3)), "It will turn left."),
        ("car", aside(from_speeds([5] * 7, -0.3)), "It will turn right."),
        ("car", straight(8, 5.0, 12, 3), "It will go straight."),
        ("pedestrian", straight(8, 1.2, 12, 3), "It will keep walking."),
    ],
)
def test_future_motion_in_words(category, track, words):
    attribute = "vehicle.stopped" if words.endswith("start to move.") else None
    scene = scene_with(agent=Actor(category, track, attribute))
    assert answer(scene, "future state") == words


def test_who_crosses_the_driven_path_gets_in_the_way_and_who_stays_beside_does_not():
    across = np.stack([np.full(8, 12.0), 5.0 - 1.0 * np.arange(8), np.full(8, -np.pi / 2)], -1)
    scene = scene_with(crosser=Actor("pedestrian", across), bystander=Actor("bicycle", (12, -6, 0)))
    assert answer(scene, "the pedestrian", "in the way") == "Yes."
    assert answer(scene, "the bicycle", "in the way") == "No."


def test_objects_that_will_be_near_are_listed_by_kind():
    scene = scene_with(walker=Actor("pedestrian", (10, 4, 0)), far=Actor("car", (29, 12, 0)))
    assert answer(scene, "within 5 m") == "Pedestrians."


@pytest.mark.parametrize(
    ("speeds", "action"),
    [
        ([0.0] * 7, "stay stopped"),
        ([0, 0, 1, 2, 3, 4, 5], "start to drive"),
        ([5, 4, 3, 2, 1, 0, 0], "stop"),
        ([8, 8, 7, 7, 6, 5, 5], "slow down"),
        ([4, 4, 5, 6, 6, 7, 7], "speed up"),
        ([5] * 7, "keep going"),
    ],
)
def test_the_driven_action_follows_the_speeds(speeds, action):
    frame = next(keyframes(make_tables(HandScene(ego=from_speeds(speeds), speeds=[*speeds, speeds[-1]]))))
    assert driven_action(frame) == action


def test_a_reason_is_given_only_where_there_is_one():
    stopping = HandScene(ego=from_speeds([5, 4, 3, 2, 1, 0, 0]), actors={"car": Actor("car", (14, 0, 0))})
    assert answer(stopping, "why") == "Stop, because the car to the front is in the way."
    without = HandScene(ego=from_speeds([5, 4, 3, 2, 1, 0, 0]))
    assert not [question for question in answers(without) if "why" in question]
    assert answer(scene_with(), "why") == "Keep going, because the way ahead is clear."


def test_manoeuvres_hit_what_stands_where_they_lead():
    scene = scene_with(speed_mps=4.0, front=Actor("car", (13, 0, 0)), left=Actor("truck", (9, 6.5, 0)))
    frame = next(keyframes(make_tables(scene)))
    hits = collisions(manoeuvre_boxes(4.0), frame)
    straight_on, faster, braking, left, right = hits.tolist()
    assert straight_on == [True, False]
    assert faster == [True, False]
    assert braking == [False, False]
    assert left == [False, True]
    assert right == [False, False]
    assert answer(scene, "straight") == "Yes."


def test_accelerating_reaches_what_keeping_the_speed_does_not():
    lead = straight(8, 4.0, start_x=11.5)
    frame = next(keyframes(make_tables(scene_with(speed_mps=4.0, lead=Actor("car", lead)))))
    assert collisions(manoeuvre_boxes(4.0), frame)[:, 0].tolist() == [False, True, False, False, False]


@pytest.mark.parametrize(
    ("speed", "yaw_rate", "words"),
    [
        (0.1, 0.0, "going straight. The ego vehicle is not moving."),
        (2.0, 0.0, "going straight. The ego vehicle is driving slowly."),
        (5.0, 0.05, "slightly steering to the left. The ego vehicle is driving with normal speed."),
        (10.0, -0.2, "steering to the right. The ego vehicle is driving fast."),
        (13.0, 0.0, "going straight. The ego vehicle is driving very fast."),
        (0.1, 0.3, "going straight. The ego vehicle is not moving."),
    ],
)
def test_behavior_is_one_of_drivelms_combinations(speed, yaw_rate, words):
    frame = next(keyframes(make_tables(HandScene(ego=from_speeds([speed] * 7, yaw_rate)))))
    assert behavior(frame).answer == f"The ego vehicle is {words}"


def test_without_a_known_future_only_perception_is_asked():
    rules = ANNOTATORS.build(ANNOTATORS.parse("rules"))
    pairs = list(rules.pairs(make_tables(scene_with()), np.random.default_rng(0)))
    last = {pair.category for pair in pairs if pair.sample_token.endswith("-007")}
    first = {pair.category for pair in pairs if pair.sample_token.endswith("-000")}
    assert last == {"perception"}
    assert first == {"perception", "prediction", "planning", "behavior"}


def test_the_configuration_bounds_the_number_of_questions():
    config = {"name": "rules", "num_perception": 2, "num_prediction": 1, "num_planning": 0}
    scene = scene_with(car=Actor("car", (12, 0, 0)))
    pairs = ANNOTATORS.build(ANNOTATORS.parse(config)).pairs(make_tables(scene), np.random.default_rng(0))
    categories = [pair.category for pair in pairs if pair.sample_token.endswith("-000")]
    assert [categories.count(name) for name in ("perception", "prediction", "planning", "behavior")] == [3, 1, 0, 1]


def test_a_misspelt_option_is_refused_with_the_nearest_one():
    with pytest.raises(ValueError, match="did you mean 'num_planning'"):
        ANNOTATORS.parse({"name": "rules", "num_planing": 1})
