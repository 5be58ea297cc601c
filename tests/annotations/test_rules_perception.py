"""What the rules say is there, on scenes whose answers are known by eye."""

import numpy as np
import pytest

from hand_scenes import Actor, HandScene, straight
from rule_answers import all_asked, answer_to, answers_to, scene_with


@pytest.mark.parametrize(
    ("description", "time", "weather"),
    [
        ("Night, after rain, many peds", "It is night.", "The road is wet after rain."),
        ("Rain, turn left, midnight blue bus", "It is day.", "It is raining."),
        ("Train station, parked cars", "It is day.", "It is not raining."),
        ("Dusk, parked cars", None, "It is not raining."),
    ],
)
def test_time_of_day_and_weather_come_from_the_description(description, time, weather):
    scene = HandScene(ego=straight(7, 5.0), description=description)
    assert answer_to(scene, "time_of_day") == time
    assert answer_to(scene, "weather") == weather


def test_the_simulator_knows_dusk_from_day():
    assert answer_to(scene_with(), "time_of_day", truth=[("light", "dusk", None, 0, 9)]) == "It is dusk."


CROWD = scene_with(
    near=Actor("car", (12, 1, 0), "vehicle.parked"),
    far=Actor("bus", (28, -2, 0), "vehicle.stopped"),
    beside=Actor("car", (3, 6, 0), "vehicle.parked"),
    walker=Actor("pedestrian", straight(8, 1.0, 9, -3), "pedestrian.moving"),
)


def test_objects_are_counted_by_direction_in_numbers():
    assert answer_to(CROWD, "count", "vehicles", "to the front of") == "2."
    assert answer_to(CROWD, "count", "cars", "to the front of") == "1."
    assert answer_to(CROWD, "count", "cars", "around", "15 m") == "2."
    assert answer_to(CROWD, "objects", "to the front of") == "1 car, 1 bus and 1 pedestrian."
    assert answer_to(CROWD, "kinds", "to the front left") == "Cars."
    assert answer_to(CROWD, "kinds", "to the back of") == "Nothing."


def test_statuses_are_counted_and_their_presence_is_asked():
    row = scene_with(
        one=Actor("car", (9, 4, 0), "vehicle.parked"),
        two=Actor("car", (12, 4, 0), "vehicle.parked"),
        three=Actor("car", straight(8, 4.0, 8), "vehicle.moving"),
    )
    assert answer_to(row, "statuses", "cars to the front of") == "1 moving car and 2 parked cars."
    assert answer_to(row, "presence", "moving cars to the front of") == "Yes."
    assert answers_to(row, "presence", "parked cars to the back of") == {"No."}


def test_distances_have_units_and_are_to_the_nearest():
    assert answer_to(CROWD, "nearest_distance", "vehicle to the front of") == "12 m."
    assert answer_to(CROWD, "nearest_distance", "bus to the front of") == "28 m."
    assert "There is none within 30 m." in answers_to(scene_with(), "nearest_distance", "to the front of")
    assert answer_to(CROWD, "distance", "the bus to the front") == "28 m."
    assert answer_to(CROWD, "place", "the bus to the front") == "28 m ahead and 2 m to the right."
    assert answer_to(CROWD, "place", "the car to the front left") == "3 m ahead and 6 m to the left."


def test_the_nearest_pedestrian_is_found_all_around():
    scene = scene_with(a=Actor("pedestrian", (20, 0, 0)), b=Actor("pedestrian", (-4, -6, 0)))
    assert answer_to(scene, "nearest_direction", "pedestrian") == "To the back right."
    assert answer_to(scene_with(), "nearest_direction", "pedestrian") == "There is no pedestrian."


def test_two_that_are_as_near_are_not_told_apart():
    scene = scene_with(a=Actor("pedestrian", (8, 0, 0)), b=Actor("pedestrian", (-8.2, 0, 0)))
    assert answer_to(scene, "nearest_direction", "pedestrian") is None


@pytest.mark.parametrize("hidden", [{"visibility": 1.0}, {"visibility": 1.0, "num_lidar_points": 7}])
def test_no_answer_hinges_on_somebody_who_may_or_may_not_be_seen(hidden):
    scene = scene_with(a=Actor("car", (12, 0, 0), None, **hidden), b=Actor("car", (20, 0, 0)))
    assert not answers_to(scene, "count", "cars", "to the front of")
    assert not answers_to(scene, "nearest_distance", "car to the front of")
    assert answer_to(scene, "kinds", "to the front of") == "Cars."
    assert not answers_to(scene, "distance")


def test_what_no_ray_hits_is_not_there():
    scene = scene_with(a=Actor("car", (12, 0, 0), num_lidar_points=0), b=Actor("car", (20, 0, 0)))
    assert answer_to(scene, "nearest_distance", "car to the front of") == "20 m."


def test_crossings_and_dividers_are_read_from_a_map_that_has_them():
    scene = scene_with()
    scene.lines = [("ped_crossing", [(15, -5), (15, 5)]), ("divider", [(-30, 2), (60, 2)])]
    assert answer_to(scene, "crossing") == "Yes."
    assert answer_to(scene, "crossing", index=7) == "No."
    assert answer_to(scene, "divider", "left") == "Yes."
    assert answer_to(scene, "divider", "right") == "No."
    assert not answers_to(scene_with(), "crossing") and not answers_to(scene_with(), "divider")


def test_construction_objects_are_listed():
    scene = scene_with(a=Actor("traffic_cone", (12, 4, 0)), b=Actor("barrier", (13, 4, 0)))
    assert answer_to(scene, "construction") == "Traffic cones and barriers."
    assert answer_to(scene_with(), "construction") == "None."


@pytest.mark.parametrize(
    ("attribute", "track", "status"),
    [
        ("vehicle.parked", (15, 0, 0), "Parked."),
        ("vehicle.stopped", (15, 0, 0), "Stopped."),
        ("vehicle.moving", straight(8, 3.0, 12), "Moving."),
        (None, straight(8, 3.0, 12), "Moving."),
        (None, (15, 0, 0), "Not moving."),
        (None, straight(8, 0.5, 12), None),
        ("vehicle.parked", straight(8, 3.0, 12), None),
        ("vehicle.moving", (15, 0, 0), None),
    ],
)
def test_the_status_comes_from_the_attribute_else_from_the_speed_unless_they_contradict(attribute, track, status):
    assert answer_to(scene_with(car=Actor("car", track, attribute)), "status") == status


def test_speeds_have_units_and_standing_things_have_none():
    scene = scene_with(car=Actor("car", straight(8, 5.5, 12), "vehicle.moving"))
    assert answers_to(scene, "speed") == {"5.5 m/s.", "20 km/h."}
    assert not answers_to(scene_with(car=Actor("car", (12, 0, 0))), "speed")
    assert not answers_to(scene, "ego_speed")
    scene.speeds = [5.0] * 8
    assert answers_to(scene, "ego_speed") == {"5.0 m/s.", "18 km/h."}


@pytest.mark.parametrize(
    ("velocity", "answer"),
    [
        ((4, 0), "In the same direction as the ego vehicle."),
        ((-4, 1), "In the opposite direction of the ego vehicle."),
        ((0, 3), "From right to left."),
        ((0.5, -3), "From left to right."),
        ((3, 3), None),
        ((0.2, 0.2), None),
    ],
)
def test_where_somebody_is_heading(velocity, answer):
    track = np.add(np.zeros((8, 3)), (12.0, 0.0, 0.0))
    track[:, :2] += 0.5 * np.arange(8)[:, None] * np.array(velocity)
    scene = HandScene(ego=np.zeros((8, 3)), actors={"car": Actor("car", track)})
    assert answer_to(scene, "heading") == answer


def test_how_two_objects_lie():
    scene = scene_with(car=Actor("car", (20, 0.5, 0)), truck=Actor("truck", (5, 7, 0)), bus=Actor("bus", (5.5, -8, 0)))
    found = answers_to(scene, "relation", "the car to the front, relative to", "the truck")
    assert found == {"Further ahead and further right."}
    assert answer_to(scene, "relation", "the truck to the front left, relative to", "the bus") == "Further left."
    level = scene_with(car=Actor("car", (20, 0.5, 0)), truck=Actor("truck", (18.5, 14, 0)))
    assert not answers_to(level, "relation")


def test_cycles_are_with_or_without_a_rider():
    scene = scene_with(a=Actor("bicycle", (9, 0, 0), "cycle.without_rider"))
    assert answer_to(scene, "rider") == "It is without a rider."
    assert not answers_to(scene_with(a=Actor("bicycle", (9, 0, 0))), "rider")


def test_tags_name_the_camera_that_sees_the_object_best():
    scene = scene_with(car=Actor("car", (12, 0, 0)))
    asked = [one for one in all_asked(scene) if one.template == "identity"]
    assert asked[0].phrasings[0].startswith("What object is <c1,CAM_FRONT,800.0,")
    assert asked[0].answer == "A car to the front."
    assert not [one for one in all_asked(scene, is_tagged=False) if "<c" in one.phrasings[0]]


@pytest.mark.parametrize(
    ("bearing_deg", "camera"), [(0, "CAM_FRONT"), (55, "CAM_FRONT_LEFT"), (-110, "CAM_BACK_RIGHT"), (180, "CAM_BACK")]
)
def test_a_tag_lies_in_the_camera_of_its_direction(bearing_deg, camera):
    bearing = np.radians(bearing_deg)
    scene = scene_with(car=Actor("car", (12 * np.cos(bearing), 12 * np.sin(bearing), 0)))
    asked = " ".join(one.phrasings[0] for one in all_asked(scene, seeds=2))
    assert f"<c1,{camera}," in asked and asked.count("<c1,") == asked.count(f"<c1,{camera},")


def test_of_two_alike_in_a_direction_only_the_nearest_is_named_and_called_so():
    scene = scene_with(a=Actor("car", (15, 0, 0)), b=Actor("car", (28, 3, 0)), c=Actor("car", (-9, 0, 0)))
    assert answer_to(scene, "important_objects") == "The nearest car to the front and the car to the back."
    # The ego comes nearer to the second car, which has no name of its own, than to the one behind.
    nearer = scene_with(a=Actor("car", (15, 0, 0)), b=Actor("car", (22, 3, 0)), c=Actor("car", (-9, 0, 0)))
    assert answer_to(nearer, "important_objects") is None
    assert answer_to(scene_with(), "important_objects") == "None."
    level = scene_with(a=Actor("car", (15, 1, 0)), b=Actor("car", (15, -1, 0)))
    assert answer_to(level, "important_objects") is None
    named = " ".join(one.phrasings[0] for one in all_asked(scene))
    assert ", the nearest car to the front," in named and ", the car to the front," not in named
