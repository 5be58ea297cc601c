"""The rule of each slice, on scenes whose members are known by eye."""

import numpy as np
import pandas as pd
import pytest

from dima_pipeline.slices import SLICES, slice_counts
from hand_scenes import Actor, HandScene, from_speeds, make_tables, straight


def members(name: str, scene: HandScene, **options) -> list[int]:
    found = SLICES.build(SLICES.parse({"name": name, **options})).members(make_tables(scene))
    return [int(token[-3:]) for token in found.index[found]]


def test_resuming_is_standing_for_two_seconds_and_then_driving_off():
    # Stands until keyframe 6 (3 s), then drives: 0.5, 1.5, 3 ... m.
    scene = HandScene(ego=from_speeds([0.0] * 6 + [1, 2, 3, 4, 5, 5, 5, 5]))
    assert members("resume_from_stop", scene) == [4, 5, 6]


def test_who_keeps_standing_or_keeps_driving_does_not_resume():
    assert members("resume_from_stop", HandScene(ego=straight(14, 0.0))) == []
    assert members("resume_from_stop", HandScene(ego=straight(14, 5.0))) == []


def test_a_stop_that_was_not_seen_is_no_stop():
    scene = HandScene(ego=from_speeds([0.0, 1, 2, 3, 4, 5, 5, 5]))
    assert members("resume_from_stop", scene) == []


def test_turning_is_ending_two_metres_aside():
    assert members("turning", HandScene(ego=straight(9, 5.0))) == []
    assert members("turning", HandScene(ego=from_speeds([5.0] * 8, 0.2))) == [0, 1, 2]
    assert members("turning", HandScene(ego=from_speeds([5.0] * 8, -0.2))) == [0, 1, 2]
    assert members("turning", HandScene(ego=from_speeds([5.0] * 8, 0.2)), min_lateral_m=15.0) == []


def passing_scene(aside_m: float, attribute_track=(24.0, -0.3, 0.0), returns: bool = True) -> HandScene:
    shape = np.array([0, 0, 0, 0.2, 0.6, 1, 1, 1, 0.6, 0.2, 0, 0, 0, 0, 0, 0], float)
    if not returns:
        shape[8:] = 1.0
    ego = np.stack([4.0 * np.arange(16), aside_m * shape, np.zeros(16)], -1)
    return HandScene(ego=ego, actors={"van": Actor("truck", attribute_track, "vehicle.parked")})


def test_overtaking_is_going_around_a_standing_vehicle_in_the_lane():
    # It ends 27.5 m ahead; the ego drives 4 m a keyframe and is past it at 28 m.
    assert members("overtaking", passing_scene(3.2)) == [0, 1, 2, 3, 4, 5, 6]


def test_a_row_of_standing_vehicles_is_passed_in_one_go():
    scene = passing_scene(3.2)
    scene.actors["second"] = Actor("car", (31.0, -0.3, 0.0), "vehicle.parked")
    # The second one ends 33.3 m ahead.
    assert members("overtaking", scene) == [*range(9)]
    assert members("overtaking", scene, max_row_m=5.0) == [*range(7)]


@pytest.mark.parametrize(
    "scene",
    [
        passing_scene(3.2, attribute_track=(24.0, -4.0, 0.0)),
        passing_scene(3.2, attribute_track=straight(16, 2.0, start_x=12.0)),
        passing_scene(3.2, returns=False),
        passing_scene(0.0),
    ],
    ids=["beside the lane", "moving", "stays out", "drives straight on"],
)
def test_what_is_no_overtaking(scene):
    assert members("overtaking", scene) == []


def test_a_three_point_turn_lasts_from_the_first_turn_of_the_wheel_to_the_last():
    speeds = [3, 3, 3, 3, 3, -1, -1, -1, 3, 3, 3, 3]
    turn = np.radians([0, 0, 20, 20, 20, 15, 15, 15, 20, 0, 0, 0]) / 0.5
    assert members("three_point_turn", HandScene(ego=from_speeds(speeds, turn))) == list(range(2, 10))
    assert members("three_point_turn", HandScene(ego=from_speeds(speeds, turn / 2))) == []
    assert members("three_point_turn", HandScene(ego=from_speeds(np.abs(speeds), turn))) == []
    assert members("three_point_turn", HandScene(ego=from_speeds(speeds, turn)), max_s=3.0) == []


def test_backing_up_long_before_a_turn_is_no_turn_in_several_moves():
    speeds, turn = [-1, -1, -1, 3, 3, 3, 3, 3, 3, 3], np.radians([0, 0, 0, 0, 0, 0, 40, 40, 40, 0]) / 0.5
    assert members("three_point_turn", HandScene(ego=from_speeds(speeds, turn))) == []


def test_reversing_known_from_the_can_bus_alone_counts():
    turn = np.radians([20.0] * 8) / 0.5
    forward = from_speeds([1.0] * 8, turn)
    assert members("three_point_turn", HandScene(ego=forward, speeds=[1.0] * 4 + [-1.0] * 2 + [1.0] * 3))
    assert not members("three_point_turn", HandScene(ego=forward, speeds=[1.0] * 9))


def test_construction_needs_three_objects_ahead_beside_the_path():
    def site(num: int, y: float) -> HandScene:
        cones = {f"cone{at}": Actor("traffic_cone", (16 + at, y, 0)) for at in range(num)}
        return HandScene(ego=straight(10, 4.0), actors=cones)

    assert members("construction", site(3, 3.0)) == list(range(9))
    assert members("construction", site(2, 3.0)) == []
    assert members("construction", site(3, 8.0)) == []


def test_a_pedestrian_eight_metres_ahead_at_the_kerb_is_close_until_passed():
    scene = HandScene(ego=straight(9, 5.0), actors={"walker": Actor("pedestrian", (8.0, 2.5, 0))})
    assert members("close_pedestrian", scene) == [0, 1, 2, 3]
    assert members("close_pedestrian", scene, max_distance_m=2.0) == []


def test_a_cyclist_is_close_and_a_parked_bicycle_is_not():
    def beside(attribute: str | None, track=(8.0, 2.5, 0)) -> HandScene:
        return HandScene(ego=straight(9, 5.0), actors={"bicycle": Actor("bicycle", track, attribute)})

    assert members("close_pedestrian", beside("cycle.with_rider")) == [0, 1, 2, 3]
    assert members("close_pedestrian", beside("cycle.without_rider")) == []
    assert members("close_pedestrian", beside(None)) == []
    assert members("close_pedestrian", beside(None, straight(9, 2.0, start_x=8.0, y=2.5))) == [*range(6)]


def test_in_a_bend_the_path_is_an_arc():
    # Half a circle of 10 m about (0, 10) in 3 s, 30 degrees a step: chords cut its corners by up to 0.34 m, and by that
    # somebody inside would seem closer, somebody outside further away.
    angle = np.pi / 6 * np.arange(7)
    ego = np.stack([10 * np.sin(angle), 10 - 10 * np.cos(angle), angle], -1)

    def walker(radius_m: float) -> HandScene:
        place = (radius_m * np.sin(np.pi / 4), 10 - radius_m * np.cos(np.pi / 4), 0.0)
        return HandScene(ego=ego, actors={"walker": Actor("pedestrian", place)})

    assert 0 not in members("close_pedestrian", walker(6.8))
    assert 0 in members("close_pedestrian", walker(7.1))
    assert 0 in members("close_pedestrian", walker(12.9))
    assert 0 not in members("close_pedestrian", walker(13.1))


def test_a_pedestrian_beyond_the_path_of_a_waiting_ego_is_not_close():
    scene = HandScene(ego=straight(9, 0.0), actors={"walker": Actor("pedestrian", (8.0, 0.0, 0))})
    assert members("close_pedestrian", scene) == []


@pytest.mark.parametrize(
    ("name", "description", "expected"),
    [
        ("night", "Night, difficult lighting", True),
        ("night", "Midnight blue bus, day", False),
        ("rain", "Night, after rain, many peds", True),
        ("rain", "Train crossing, parked cars", False),
        ("rain", "Rainy evening", True),
    ],
)
def test_night_and_rain_are_whole_words_of_the_description(name, description, expected):
    found = members(name, HandScene(ego=straight(3, 5.0), description=description))
    assert found == ([0, 1, 2] if expected else [])


def crossing(y: float, ego_mps: float = 10.0, category: str = "pedestrian", ahead_m: float = 20.0) -> HandScene:
    """Somebody who walks to the left at 1.5 m/s, ``y`` m to the left of the ego at first."""
    walk = np.stack([np.full(4, ahead_m), y + 0.5 * 1.5 * np.arange(4), np.full(4, np.pi / 2)], -1)
    return HandScene(ego=straight(4, ego_mps), actors={"walker": Actor(category, walk)})


def test_who_crosses_in_time_is_not_hit_and_who_is_late_is():
    # The ego is there in 1.6 to 2.1 s, and takes 2.6 m of the road.
    assert members("short_ttc", crossing(-2.5)) == [0, 1, 2, 3]
    assert members("short_ttc", crossing(2.0)) == []
    assert members("short_ttc", crossing(-9.0)) == []
    assert members("short_ttc", crossing(-2.5), max_time_s=1.5) == [1, 2, 3]
    assert members("short_ttc", crossing(-2.5), min_agent_mps=2.0) == []


@pytest.mark.parametrize(
    ("ego_mps", "actor"),
    [
        (10.0, Actor("car", (20, 0, 0))),
        (10.0, Actor("car", straight(6, 3.0, start_x=20.0))),
        (10.0, Actor("car", straight(6, -10.0, start_x=50.0))),
        (10.0, Actor("car", (20, 3.0, 0))),
        (0.0, Actor("pedestrian", np.stack([np.full(6, 5.0), np.arange(-3.0, 3.0), np.full(6, np.pi / 2)], -1))),
        (5.0, Actor("pedestrian", np.stack([np.full(6, -4.0), np.arange(-3.0, 3.0), np.full(6, np.pi / 2)], -1))),
        (10.0, Actor("traffic_cone", (20, 0, 0))),
    ],
    ids=["stands ahead", "slower ahead", "comes towards it", "at the kerb", "the ego stands", "behind", "a cone"],
)
def test_what_crosses_not_or_is_not_met_has_no_short_time_to_collision(ego_mps, actor):
    assert members("short_ttc", HandScene(ego=straight(6, ego_mps), actors={"other": actor})) == []


def test_who_turns_left_in_front_of_the_ego_is_met():
    # Comes towards the ego on the next lane and turns across its way.
    angle = np.clip(np.arange(8) - 2, 0, 4) * np.pi / 8
    course = np.pi + angle
    steps = 2.0 * np.stack([np.cos(course), np.sin(course)], -1)
    places = np.array([22.0, 3.5]) + np.concatenate([np.zeros((1, 2)), np.cumsum(steps[:-1], axis=0)])
    car = Actor("car", np.column_stack([places, course]))
    found = members("short_ttc", HandScene(ego=straight(8, 4.0), actors={"car": car}))
    assert found and set(found) <= {2, 3, 4, 5}


def test_in_a_bend_nobody_is_met_who_follows_it():
    ego = from_speeds([8.0] * 9, 0.25)
    radius = 8.0 / 0.25
    angle = 1.6 - 0.125 * np.arange(10)
    other = np.stack([(radius - 3.5) * np.sin(angle), radius - (radius - 3.5) * np.cos(angle), angle + np.pi], -1)
    assert members("short_ttc", HandScene(ego=ego, actors={"car": Actor("car", other)})) == []


def test_who_walks_into_the_bend_that_the_ego_takes_is_met():
    ego = from_speeds([8.0] * 9, 0.25)
    # The ego is at 1.5 s at about (11, 2.2); straight on it would be at (12, 0).
    walk = np.stack([np.full(10, 15.0), 7.0 - 0.75 * np.arange(10), np.full(10, -np.pi / 2)], -1)
    scene = HandScene(ego=ego, actors={"walker": Actor("pedestrian", walk)})
    assert 0 in members("short_ttc", scene)


@pytest.mark.parametrize(
    ("speeds", "expected"),
    [
        # From 8 to 6 m/s in half a second, seen one second ahead.
        ([8, 8, 8, 8, 6, 6, 6, 6], [2, 3, 4]),
        ([8, 8, 8, 8, 7, 6, 5, 4], []),
        ([8, 8, 8, 8, 10, 12, 12, 12], []),
        ([-4, -4, -4, -4, -2, 0, 0, 0], [2, 3, 4, 5]),
        ([8, 8, np.nan, np.nan, np.nan, 8, 8, 8], []),
        # No car loses 8 m/s in half a second: a wrong value.
        ([8, 8, 8, 8, 0, 8, 8, 8], []),
    ],
    ids=["hard", "soft", "faster", "in reverse", "CAN bus silent", "CAN bus wrong"],
)
def test_a_hard_brake_is_losing_three_metres_per_second_in_a_second(speeds, expected):
    assert members("hard_brake", HandScene(ego=straight(8, 8.0), speeds=speeds)) == expected


def test_half_a_second_of_braking_may_begin_between_two_keyframes():
    # From 1.75 s to 2.25 s 3.6 m/s2, as an accelerometer at the keyframes in between says; no half of a second between
    # two keyframes has more than 1.8 m/s2.
    tables = make_tables(HandScene(ego=straight(8, 8.0), speeds=[8, 8, 8, 8, 7.1, 6.2, 6.2, 6.2]))
    hard = SLICES.build(SLICES.parse("hard_brake"))
    assert not hard.members(tables).any()
    tables.samples["acceleration_mps2"] = [0, 0, 0, 0, -5.0, 0, 0, 0]
    assert hard.members(tables).tolist() == [False, False, False, True, True, False, False, False]
    # More than tyres can do says nothing.
    tables.samples["acceleration_mps2"] = [0, 0, 0, 0, -50.0, 0, 0, 291.0]
    assert not hard.members(tables).any()


def test_a_hard_brake_is_seen_in_the_driven_path_alone():
    braking = from_speeds([8.0] * 5 + [6.0, 4.0, 2.0] + [2.0] * 3)
    assert members("hard_brake", HandScene(ego=braking)) == [4, 5, 6, 7]
    assert members("hard_brake", HandScene(ego=straight(8, 8.0))) == []
    assert members("hard_brake", HandScene(ego=braking), max_gap_s=0.4) == []


def test_dense_traffic_counts_who_takes_part_and_is_near():
    def crowd(actor: Actor, num: int = 15) -> HandScene:
        return HandScene(ego=straight(3, 2.0), actors={f"a{at}": actor for at in range(num)})

    walker = straight(3, 1.0, start_x=10.0, y=8.0)
    assert members("dense", crowd(Actor("pedestrian", walker))) == [0, 1, 2]
    assert members("dense", crowd(Actor("pedestrian", walker), 14)) == []
    assert members("dense", crowd(Actor("pedestrian", straight(3, 1.0, start_x=35.0)))) == []
    assert members("dense", crowd(Actor("car", (10, 8, 0), "vehicle.stopped"))) == [0, 1, 2]
    assert members("dense", crowd(Actor("car", (10, 8, 0), "vehicle.parked"))) == []
    assert members("dense", crowd(Actor("car", (10, 8, 0)))) == []
    assert members("dense", crowd(Actor("traffic_cone", walker))) == []


def test_counting_gives_events_scenes_and_keyframes_of_every_split():
    tables = make_tables(HandScene(name="a", ego=straight(4, 1.0)), HandScene(name="b", ego=straight(4, 1.0)))
    tables.scenes["split"] = ["train", "val"]
    members = pd.DataFrame(
        [
            ("a-000", "night", "night-1"),
            ("a-001", "night", "night-1"),
            ("a-003", "night", "night-2"),
            ("b-000", "night", "night-3"),
            ("b-002", "rain", "rain-1"),
        ],
        columns=["sample_token", "slice", "event_id"],
    )
    counts = slice_counts(members, tables.samples, tables.scenes)
    assert counts.columns.tolist() == ["slice", "split", "num_events", "num_scenes", "num_samples"]
    assert [tuple(row) for row in counts.itertuples(index=False)] == [
        ("night", "train", 2, 1, 3),
        ("night", "val", 1, 1, 1),
        ("rain", "train", 0, 0, 0),
        ("rain", "val", 1, 1, 1),
    ]
    with pytest.raises(ValueError, match="sample_token 'b-000' is not in samples"):
        slice_counts(members, tables.samples[:4], tables.scenes)


def test_a_kinematic_outlier_leaves_constant_speed_and_turn_rate():
    steady, bend = HandScene(ego=straight(9, 8.0)), HandScene(ego=from_speeds([8.0] * 8, 0.2))
    assert members("kinematic_outlier", steady) == members("kinematic_outlier", bend) == []
    # Speed at keyframes 8 8 8 7 5 3, driven within 3 s 18 14 10 6 3 1 m: 6 10 14 15 12 8 m short of a steady speed.
    braking = HandScene(ego=from_speeds([8, 8, 8, 6, 4, 2, 0, 0, 0, 0, 0]))
    assert members("kinematic_outlier", braking, min_deviation_m=9.0) == [1, 2, 3, 4]
    assert members("kinematic_outlier", braking, min_deviation_m=14.5) == [3]
    turning_in = HandScene(ego=from_speeds([8.0] * 12, [0.0] * 4 + [0.6] * 8))
    assert 3 in members("kinematic_outlier", turning_in) and 0 not in members("kinematic_outlier", turning_in)


def test_a_quantile_may_raise_the_bound_of_kinematic_outliers_and_never_lower_it():
    braking = HandScene(ego=from_speeds([8, 8, 8, 6, 4, 2, 0, 0, 0, 0, 0]))
    everything = members("kinematic_outlier", braking)
    assert members("kinematic_outlier", braking, quantile=0.01) == everything
    assert members("kinematic_outlier", braking, quantile=0.9) == [3]


def test_a_rare_command_is_told_and_not_driven():
    tables = make_tables(HandScene(ego=straight(9, 0.0)))
    tables.samples["command_route"] = ["straight", "left", "left", "unknown", "right", "straight", "unknown"] + [
        "straight"
    ] * 2
    rare = SLICES.build(SLICES.parse("rare_command"))
    assert np.flatnonzero(rare.members(tables)).tolist() == [1, 2, 4]
    rare = SLICES.build(SLICES.parse({"name": "rare_command", "commands": ["right"]}))
    assert np.flatnonzero(rare.members(tables)).tolist() == [4]
    with pytest.raises(ValueError, match=r"no command 'rigth'.*did you mean 'right'"):
        SLICES.parse({"name": "rare_command", "commands": ["rigth"]})


def test_without_a_route_the_driven_turn_is_the_command_and_a_drift_to_a_side_is_not():
    for turn_radps, expected in ((0.25, [0, 1, 2]), (0.05, [])):
        tables = make_tables(HandScene(ego=from_speeds([8.0] * 8, turn_radps)))
        tables.samples["command_driven"] = ["left"] * 3 + ["unknown"] * 6
        members_of = SLICES.build(SLICES.parse("rare_command")).members(tables)
        assert np.flatnonzero(members_of).tolist() == expected
