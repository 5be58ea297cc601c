"""The rule of each slice, on scenes whose members are known by eye."""

import numpy as np
import pytest

from dima_pipeline.slices import SLICES
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
    found = members("overtaking", passing_scene(3.2))
    assert found[0] == 0 and max(found) <= 5


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


def test_a_three_point_turn_reverses_and_turns_by_a_hundred_degrees():
    speeds = [3, 3, 3, -1, -1, -1, 3, 3, 3, 3]
    turn = np.radians([20, 20, 20, 15, 15, 15, 20, 0, 0, 0]) / 0.5
    assert members("three_point_turn", HandScene(ego=from_speeds(speeds, turn))) == list(range(11))
    assert members("three_point_turn", HandScene(ego=from_speeds(speeds, turn / 2))) == []
    assert members("three_point_turn", HandScene(ego=from_speeds(np.abs(speeds), turn))) == []


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
