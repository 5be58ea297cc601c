"""Prediction, planning, behavior, and which questions are chosen, on scenes whose answers are known by eye."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dima_pipeline.annotations import ANNOTATORS
from dima_pipeline.annotations._asking import Asked, Chooser, phrased
from dima_pipeline.annotations._planning import behavior, driven_action
from dima_pipeline.annotations._rollout import ACTIONS, action_boxes, probabilities
from dima_pipeline.annotations.rules import TEMPLATES
from dima_pipeline.storage.keyframes import keyframes
from hand_scenes import Actor, HandScene, from_speeds, make_tables, straight
from rule_answers import all_asked, answer_to, answers_to, scene_with


def aside(poses: np.ndarray) -> np.ndarray:
    """The same way, driven 12 m ahead and 3 m to the left."""
    return np.add(poses, (12.0, 3.0, 0.0))


def first_frame(scene: HandScene):
    return next(keyframes(make_tables(scene)))


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
        ("car", aside(from_speeds([0, 0, 0, 0, 0.5, 0.5, 0.5])), None),
        ("car", aside(from_speeds([5] * 7, 20 / 57.3 / 3)), None),
    ],
)
def test_future_motion_in_words_unless_two_words_fit(category, track, words):
    moves = words is None or not words.endswith(("start to move.", "where it is."))
    attribute = "vehicle.moving" if moves and category == "car" else "vehicle.stopped" if category == "car" else None
    if words is None and track[4, 0] - track[0, 0] < 0.1:
        attribute = "vehicle.stopped"
    assert answer_to(scene_with(agent=Actor(category, track, attribute)), "future_state") == words


def crossing_walker() -> np.ndarray:
    return np.stack([np.full(8, 12.0), 5.0 - 1.0 * np.arange(8), np.full(8, -np.pi / 2)], -1)


def test_who_crosses_the_driven_path_gets_in_the_way_and_who_stays_beside_does_not():
    scene = scene_with(crosser=Actor("pedestrian", crossing_walker()), bystander=Actor("bicycle", (12, -6, 0)))
    assert answer_to(scene, "in_the_way", "the pedestrian") == "Yes."
    assert answer_to(scene, "in_the_way", "the bicycle") == "No."
    assert answer_to(scene, "on_path", "the pedestrian") == "No."
    assert answer_to(scene_with(car=Actor("car", (15, 0, 0))), "on_path") == "Yes."


def test_who_just_grazes_the_path_is_not_asked_about():
    scene = scene_with(car=Actor("car", (12, (1.85 + 1.9) / 2 + 0.1, 0)))
    assert not answers_to(scene, "on_path") and not answers_to(scene, "in_the_way")


def test_objects_that_will_be_near_are_listed_by_kind():
    scene = scene_with(walker=Actor("pedestrian", (10, 4, 0)), far=Actor("car", (29, 12, 0)))
    assert answer_to(scene, "near_objects") == "Pedestrians."


def test_distances_to_come_are_given_in_metres():
    # The ego is at 15 m after 3 s.
    scene = scene_with(car=Actor("car", (18, 4, 0)))
    assert answer_to(scene, "distance_later", "in 3 s") == "5 m."
    assert answer_to(scene, "distance_later", "in 2 s") == "9 m."


@pytest.mark.parametrize(
    ("track", "change", "when"),
    [
        ((10, 3, 0), "It will come closer.", "In 2.0 s."),
        ((18, 3, 0), "It will come closer.", None),
        (straight(8, 5.0, 12), "It will stay as far away.", None),
        (straight(8, 9.0, 12), "It will be further away.", "Now."),
    ],
)
def test_who_comes_closer_and_when_it_is_nearest(track, change, when):
    scene = scene_with(car=Actor("car", track))
    assert answer_to(scene, "approach") == change
    if when is None and not isinstance(track, tuple):
        assert answer_to(scene, "nearest_time") is None
    elif when:
        assert answer_to(scene, "nearest_time") == when


@pytest.mark.parametrize(
    ("speeds", "action"),
    [
        ([0.0] * 7, "stay stopped"),
        ([0, 0, 1, 2, 3, 4, 5], "start to drive"),
        ([5, 4, 3, 2, 1, 0, 0], "stop"),
        ([8, 8, 7, 7, 6, 5, 5], "slow down"),
        ([4, 4, 5, 6, 6, 7, 7], "speed up"),
        ([5] * 7, "keep going"),
        ([5, 5, 5, 5, 5, 6.2, 6.2], None),
    ],
)
def test_the_driven_action_follows_the_speeds(speeds, action):
    assert driven_action(first_frame(HandScene(ego=from_speeds(speeds), speeds=[*speeds, speeds[-1]]))) == action


def test_a_reason_is_given_only_where_there_is_one():
    stopping = HandScene(ego=from_speeds([5, 4, 3, 2, 1, 0, 0]), actors={"car": Actor("car", (14, 0, 0))})
    assert answer_to(stopping, "reasoned_action") == "Stop, because the car to the front is in the way."
    assert answer_to(HandScene(ego=from_speeds([5, 4, 3, 2, 1, 0, 0])), "reasoned_action") is None
    assert answer_to(scene_with(), "reasoned_action") == "Keep going, because the way ahead is clear."
    hidden = scene_with(car=Actor("car", (14, 0, 0), visibility=1.0))
    assert answer_to(hidden, "reasoned_action") is None


def test_where_to_and_how_far_and_how_fast():
    assert answer_to(HandScene(ego=from_speeds([5] * 7, 0.2)), "steering") == "Turn left."
    assert answer_to(scene_with(), "steering") == "Go straight."
    assert answer_to(HandScene(ego=from_speeds([5] * 7, 0.06)), "steering") is None
    speeding = HandScene(ego=from_speeds([2, 3, 4, 5, 6, 7, 7]))
    assert answer_to(speeding, "driven_distance") == "14 m."
    assert answer_to(speeding, "target_speed") == "7.0 m/s."


def test_priorities_follow_the_distance_and_the_way():
    scene = scene_with(
        beside=Actor("truck", (8, 6, 0)), ahead=Actor("car", (12, 0, 0)), behind=Actor("bus", (-6, 0, 0))
    )
    # Ranks: 12 m in the way; 10 + 10 m off it; 6 + 20 m behind and off it.
    assert answer_to(scene, "priority") == "The car to the front."
    order = "First the car to the front, then the truck to the front left, then the bus to the back."
    assert answer_to(scene, "priority_order") == order
    close = scene_with(a=Actor("car", (12, 0, 0)), b=Actor("truck", (13, 0.5, 0)))
    assert answer_to(close, "priority") is None


def test_the_next_object_in_the_way_is_measured():
    scene = scene_with(car=Actor("car", (22, 0, 0)), beside=Actor("truck", (10, 6, 0)))
    assert answer_to(scene, "next_in_way") == "22 m."
    assert answer_to(scene_with(), "next_in_way") == "There is none within 30 m."


@pytest.mark.parametrize(
    ("track", "level"),
    [(crossing_walker(), "High."), ((10, 4, 0), "Medium."), ((-10.5, 6, 0), "Low."), ((10, 8, 0), None)],
)
def test_importance_is_what_somebody_means_for_the_next_3_s(track, level):
    assert answer_to(scene_with(walker=Actor("pedestrian", track)), "importance") == level


def level_of(scene: HandScene, action: str, row: int = 0) -> str | None:
    return probabilities(first_frame(scene))[ACTIONS.index(action)][row]


def test_actions_hit_what_stands_where_they_lead():
    scene = scene_with(speed_mps=4.0, front=Actor("car", (11, 0, 0)), left=Actor("truck", (8, 6.5, 0)))
    assert [level_of(scene, action, 0) for action in ACTIONS] == ["High.", "High.", "Low.", "Low.", "Low."]
    assert level_of(scene, "turning left", 1) == "High."
    assert level_of(scene, "turning right", 1) == "Low."
    assert answer_to(scene, "straight_on") == "Yes."
    assert answer_to(scene, "dangerous_for", "the car") == "Going straight and accelerating."
    assert answer_to(scene, "dangerous") == "Going straight, accelerating and turning left."
    assert "High." in answers_to(scene, "probability", "the car", "goes straight")


def test_what_only_some_variants_hit_is_neither_likely_nor_unlikely():
    lead = straight(8, 4.0, start_x=11.5)
    scene = scene_with(speed_mps=4.0, lead=Actor("car", lead))
    assert level_of(scene, "going straight") == "Low."
    assert level_of(scene, "accelerating") == "High."
    further = scene_with(speed_mps=4.0, lead=Actor("car", straight(8, 4.0, start_x=14.5)))
    assert level_of(further, "accelerating") == "Medium."
    assert not answers_to(further, "dangerous")


def test_nobody_passes_through_another_between_two_steps():
    # At 12 m/s the ego moves 6 m a step: at 12 and 18 m the walker at 16.4 m is clear of its 4 m.
    scene = scene_with(speed_mps=12.0, walker=Actor("pedestrian", (16.4, 0, 0)))
    assert level_of(scene, "going straight") == "High."


def test_a_future_that_ends_early_rules_nothing_out():
    scene = HandScene(ego=straight(12, 4.0), actors={"car": Actor("car", (30, 0, 0))})
    tables = make_tables(scene)
    tables.agent_futures.loc[tables.agent_futures.step > 3, "valid"] = False
    assert probabilities(next(keyframes(tables)))[0] == [None]
    tables.agents["x_m"] += 40.0
    assert probabilities(next(keyframes(tables)))[0] == ["Low."]
    scene.actors["car"] = Actor("car", (18, 6, 0), "vehicle.parked")
    parked = make_tables(scene)
    parked.agent_futures["valid"] = False
    assert probabilities(next(keyframes(parked)))[0] == ["Low."]


def test_a_standing_ego_is_only_asked_about_accelerating():
    scene = scene_with(speed_mps=0.0, car=Actor("car", (7, 0, 0)))
    assert [level_of(scene, action) for action in ACTIONS] == [None, "High.", None, None, None]


@settings(max_examples=40, deadline=None)
@given(st.floats(0, 25), st.integers(0, len(ACTIONS) - 1))
def test_rolled_out_boxes_never_jump_and_turns_are_mirror_images(speed, action):
    boxes = action_boxes(speed)
    steps = np.linalg.norm(np.diff(boxes[action, :, :, :2], axis=1), axis=-1)
    assert (steps <= 0.25 * (max(1.1 * speed, 3.0) * 1.3 + 2.4 * 3) + 1e-6).all()
    left, right = boxes[ACTIONS.index("turning left")], boxes[ACTIONS.index("turning right")]
    np.testing.assert_allclose(left * [1, -1, -1, 1, 1], right, atol=1e-9)


@pytest.mark.parametrize(
    ("speed", "yaw_rate", "words"),
    [
        (0.1, 0.0, "going straight. The ego vehicle is not moving."),
        (2.0, 0.0, "going straight. The ego vehicle is driving slowly."),
        (5.0, 0.05, "slightly steering to the left. The ego vehicle is driving with normal speed."),
        (10.0, -0.2, "steering to the right. The ego vehicle is driving fast."),
        (13.0, 0.0, "going straight. The ego vehicle is driving very fast."),
    ],
)
def test_behavior_is_one_of_drivelms_combinations(speed, yaw_rate, words):
    (asked,) = behavior(first_frame(HandScene(ego=from_speeds([speed] * 7, yaw_rate))))
    assert asked.answer == f"The ego vehicle is {words}"


def test_who_turns_on_the_spot_neither_drives_nor_stands_in_drivelms_words():
    assert not list(behavior(first_frame(HandScene(ego=from_speeds([0.1] * 7, 0.3)))))


def test_who_follows_is_never_in_the_way_of_the_ego():
    # In 3 s it is 7 m further than the ego is now, where the ego left 8 m ago.
    scene = scene_with(car=Actor("car", straight(len(scene_with().ego), 5.0, start_x=-8.0)))
    assert answer_to(scene, "in_the_way") == "No."


def test_the_speed_to_come_is_that_of_the_keyframe_then_not_the_mean_before_it():
    # Brakes from 6 m/s by 1 m/s at each of six keyframes.
    scene = HandScene(ego=from_speeds([6, 5, 4, 3, 2, 1, 0.6]), speeds=(6, 5, 4, 3, 2, 1, 0.6, 0.5))
    assert answer_to(scene, "target_speed") == "0.6 m/s."


RICH = scene_with(
    lead=Actor("car", straight(8, 5.0, 14), "vehicle.moving"),
    parked=Actor("truck", (25, -6, 0), "vehicle.parked"),
    walker=Actor("pedestrian", straight(8, 1.2, 12, 5), "pedestrian.moving"),
    rider=Actor("bicycle", straight(8, 3.0, -8, 2), "cycle.with_rider"),
)


def test_every_question_has_four_phrasings_and_a_listed_template():
    truth = [("light", "day", None, 0, 9), ("signal", "red", None, 0, 9), ("intention", "keep_lane", "lead", 0, 9)]
    RICH.lines = [("ped_crossing", [(15, -5), (15, 5)]), ("divider", [(-30, 2), (60, 2)])]
    RICH.speeds = [5.0] * 8
    found = all_asked(RICH, truth=truth)
    assert {one.template for one in found} <= set(TEMPLATES)
    assert len({one.template for one in found}) >= 42
    for one in found:
        assert len(set(one.phrasings)) >= 4, one.template
        assert "{" not in "".join(one.phrasings) and ",?" not in "".join(one.phrasings)
        assert 0 < one.share <= 1


def test_without_a_known_future_only_perception_is_asked():
    rules = ANNOTATORS.build(ANNOTATORS.parse("rules"))
    pairs = list(rules.pairs(make_tables(RICH), np.random.default_rng(0)))
    last = {pair.category for pair in pairs if pair.sample_token.endswith("-007")}
    first = {pair.category for pair in pairs if pair.sample_token.endswith("-000")}
    assert last == {"perception"}
    assert first == {"perception", "prediction", "planning", "behavior"}


def test_the_configuration_bounds_the_number_of_questions():
    config = {"name": "rules", "num_perception": 2, "num_prediction": 1, "num_planning": 0}
    pairs = ANNOTATORS.build(ANNOTATORS.parse(config)).pairs(make_tables(RICH), np.random.default_rng(0))
    categories = [pair.category for pair in pairs if pair.sample_token.endswith("-000")]
    assert [categories.count(name) for name in ("perception", "prediction", "planning", "behavior")] == [3, 1, 0, 1]


def test_the_configuration_may_name_the_templates():
    config = {"name": "rules", "templates": ["ego_speed", "behavior"]}
    rules = ANNOTATORS.build(ANNOTATORS.parse(config))
    found = {name for name, _ in rules.templated_pairs(make_tables(RICH), np.random.default_rng(0))}
    assert found == {"ego_speed", "behavior"}
    with pytest.raises(ValueError, match="did you mean 'behavior'"):
        ANNOTATORS.parse({"name": "rules", "templates": ["behaviour"]})


def test_a_misspelt_option_is_refused_with_the_nearest_one():
    with pytest.raises(ValueError, match="did you mean 'num_planning'"):
        ANNOTATORS.parse({"name": "rules", "num_planing": 1})


def test_usual_answers_are_asked_seldom_and_rare_ones_whenever_there_are_any():
    chooser = Chooser(np.random.default_rng(0))
    usual, rare = Asked("t", ("?",), "No.", share=0.2), Asked("t", ("?",), "Yes.")
    number = Counter(one.answer for _ in range(500) for one in chooser.choose([usual] if _ % 5 else [rare], 1))
    assert number["Yes."] == 100
    assert 50 <= number["No."] <= 110


def test_what_was_asked_less_is_chosen_more():
    chooser = Chooser(np.random.default_rng(0))
    many = [Asked("common", ("?",), "A.") for _ in range(9)]
    number = Counter(
        one.template for _ in range(300) for one in chooser.choose([*many, Asked("lone", ("?",), "B.")], 2)
    )
    # Two of ten drawn blindly would be 60.
    assert number["lone"] >= 120


@given(st.integers(0, 20), st.integers(0, 10), st.integers(0, 2**32 - 1))
def test_choosing_keeps_the_order_and_the_bound(num_candidates, number, seed):
    candidates = [Asked("t", (str(at),), "A.") for at in range(num_candidates)]
    picked = Chooser(np.random.default_rng(seed)).choose(candidates, number)
    assert len(picked) == min(num_candidates, number)
    places = [int(one.phrasings[0]) for one in picked]
    assert places == sorted(set(places))


def test_a_name_with_a_comma_ends_a_question_without_it():
    assert phrased("<c1,X,1,2>, the car,", "Where is {x}?", "Is {x} near?") == (
        "Where is <c1,X,1,2>, the car?",
        "Is <c1,X,1,2>, the car, near?",
    )
