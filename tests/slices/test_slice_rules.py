"""The rule of each slice, on scenes whose members are known by eye."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dima_pipeline.contracts.frames import EGO_CENTER_AHEAD_M, EGO_LENGTH_M
from dima_pipeline.geometry import boxes_overlap
from dima_pipeline.slices import SLICES, slice_counts
from dima_pipeline.slices.short_ttc import time_to_contact
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


def test_a_car_that_stands_in_the_way_is_soon_hit():
    # Its rear is 20 m from the ego's front at keyframe 0; 10 m/s make 5 m a keyframe.
    rear_m = 20 + EGO_CENTER_AHEAD_M + EGO_LENGTH_M / 2
    scene = HandScene(ego=straight(4, 10.0), actors={"car": Actor("car", (rear_m + 2.3, 0, 0))})
    assert members("short_ttc", scene) == [0, 1, 2, 3]
    assert members("short_ttc", scene, max_time_s=1.9) == [1, 2, 3]
    assert members("short_ttc", scene, max_time_s=1.1) == [2, 3]


@pytest.mark.parametrize(
    ("ego_mps", "actor"),
    [
        (10.0, Actor("car", straight(6, 10.0, start_x=12.0))),
        (10.0, Actor("car", straight(6, 15.0, start_x=12.0))),
        (10.0, Actor("car", (20, 3.0, 0))),
        (0.0, Actor("car", straight(6, -10.0, start_x=20.0))),
        (5.0, Actor("car", straight(6, 15.0, start_x=-30.0))),
        (10.0, Actor("traffic_cone", (20, 0, 0))),
    ],
    ids=["as fast ahead", "drives away", "beside the lane", "the ego stands", "from behind", "a cone"],
)
def test_what_is_no_short_time_to_collision(ego_mps, actor):
    assert members("short_ttc", HandScene(ego=straight(6, ego_mps), actors={"other": actor})) == []


def test_who_crosses_in_time_is_not_hit_and_who_is_late_is():
    def crossing(y: float) -> HandScene:
        walk = np.stack([np.full(2, 20.0), y + 0.5 * 1.5 * np.arange(2), np.full(2, np.pi / 2)], -1)
        return HandScene(ego=straight(2, 10.0), actors={"walker": Actor("pedestrian", walk)})

    assert members("short_ttc", crossing(-2.5)) == [0, 1]
    assert members("short_ttc", crossing(2.0)) == []


boxes = st.tuples(*[st.floats(-15, 15)] * 2, st.floats(-4, 4), st.floats(0.5, 8), st.floats(0.5, 4)).map(np.array)
velocities = st.tuples(*[st.floats(-12, 12)] * 2).map(np.array)


@given(boxes, boxes, velocities)
def test_boxes_touch_first_at_the_time_of_contact(first, second, velocity):
    (time_s,) = time_to_contact(first[None], second[None], velocity[None])
    moments = np.linspace(0, 5, 101)
    moved = np.tile(second, (len(moments), 1))
    moved[:, :2] += moments[:, None] * velocity
    touching = boxes_overlap(first, moved)
    assert not touching[moments < time_s - 1e-6].any()
    if touching.any():
        assert time_s <= moments[touching][0]
    if 0 < time_s < np.inf and np.linalg.norm(velocity) > 0.1:
        shortly_after = second + np.array([*((time_s + 1e-4) * velocity), 0, 0, 0])
        grown = first + np.array([0, 0, 0, 0.01, 0.01])
        assert boxes_overlap(grown, shortly_after)


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
