"""Off-road, off-lane, progress, comfort and time to collision on scenes typed by hand, with answers one can see."""

import numpy as np
import pytest
import shapely

from dima_pipeline.contracts.frames import (
    AGENT_CATEGORIES,
    EGO_CENTER_AHEAD_M,
    EGO_LENGTH_M,
    EGO_WIDTH_M,
    MAP_KINDS,
    NUM_FUTURE_STEPS,
)
from dima_pipeline.geometry import box_corners
from dima_pipeline.metrics import METRICS, DrivenScenes
from dima_pipeline.metrics.off_road import meet_segments
from dima_pipeline.scoring.rollout import Motion

TIMES_S = np.arange(1, 7) * 0.5
TICKS_S = np.arange(31) * 0.1
CAR = (4.0, 2.0)
FRONT_M = EGO_CENTER_AHEAD_M + EGO_LENGTH_M / 2
"""From the ego origin to the front bumper."""
FAILING = ["off_road", "off_lane", "comfort", "time_to_collision"]
ALL = [*FAILING, "progress"]


def drive(speed_mps: float, left_m: object = 0.0, acceleration_mps2: float = 0.0) -> np.ndarray:
    """Ahead at a speed until it stands, so far to the left at each step: (T, 3)."""
    until = TIMES_S if acceleration_mps2 >= 0 else np.minimum(TIMES_S, -speed_mps / acceleration_mps2)
    ahead = speed_mps * until + acceleration_mps2 * until**2 / 2
    return np.stack([ahead, np.broadcast_to(left_m, ahead.shape), np.zeros(6)], -1)


def scene_with(
    driven: np.ndarray,
    lines: tuple[tuple[str, object], ...] = (),
    agents: tuple[tuple[str, object], ...] = (),
    speed_mps: float | None = None,
) -> DrivenScenes:
    """One keyframe: kinds and ends of lines; categories and x, y, yaw, length, width of agents, once or by step."""
    ends = np.array([line for _, line in lines], float).reshape(-1, 1, 2, 2)
    share = np.linspace(0, 1, 20)[:, None]
    boxes = [np.broadcast_to(np.asarray(box, float), (NUM_FUTURE_STEPS, 5)) for _, box in agents]
    return DrivenScenes(
        path=driven[None],
        path_valid=np.ones((1, NUM_FUTURE_STEPS), bool),
        boxes=np.stack(boxes, 1)[None] if boxes else np.zeros((1, NUM_FUTURE_STEPS, 0, 5)),
        boxes_valid=np.ones((1, NUM_FUTURE_STEPS, len(agents)), bool),
        category=np.array([[AGENT_CATEGORIES.index(name) for name, _ in agents]], int).reshape(1, -1),
        is_tracked=np.ones((1, len(agents)), bool),
        has_past=np.ones(1, bool),
        speed_mps=np.array([driven[0, 0] / 0.5 if speed_mps is None else speed_mps]),
        map_points=(ends[:, :, 0] + share * (ends[:, :, 1] - ends[:, :, 0])).reshape(1, -1, 20, 2),
        map_kind=np.array([[MAP_KINDS.index(kind) for kind, _ in lines]], int).reshape(1, -1),
    )


def metric(name: str, **options: object):
    return METRICS.build(METRICS.parse({"name": name, **options}))


def score(name: str, plan: np.ndarray, scenes: DrivenScenes, **options: object) -> list[float | None]:
    """The metric of one plan, step by step; None where it is not valid."""
    values = metric(name, **options).compute(plan[None], scenes)
    return [value if valid else None for value, valid in zip(values.value[0], values.valid[0], strict=True)]


def raw(name: str, scenes: DrivenScenes) -> list[float]:
    """What the metric says of the driven path itself."""
    return metric(name).compute_driven(scenes).value[0].tolist()


EVERYTHING = scene_with(
    drive(6.0),
    (("boundary", [(-30, 4), (30, 4)]), ("centerline", [(-30, 0), (30, 0)])),
    (("car", [25, 0, 0, *CAR]),),
)


@pytest.mark.parametrize("name", ALL)
def test_the_first_keyframe_of_a_scene_and_steps_after_its_end_are_not_valid(name: str):
    fields = vars(EVERYTHING)
    first = DrivenScenes(**{**fields, "has_past": np.zeros(1, bool)})
    assert score(name, drive(9.0), first) == [None] * 6
    ending = DrivenScenes(**{**fields, "path_valid": np.array([[True] * 4 + [False] * 2])})
    assert None not in score(name, drive(6.0), ending)[:4] and score(name, drive(6.0), ending)[4:] == [None] * 2
    assert metric(name).protocol == "pdm"


@pytest.mark.parametrize("name", ALL)
def test_what_stands_where_the_drive_is_unknown_does_not_matter(name: str):
    valid = np.array([[True] * 4 + [False] * 2])
    ending = DrivenScenes(**{**vars(EVERYTHING), "path_valid": valid})
    other = EVERYTHING.path.copy()
    other[0, 4:] = -77.0
    nonsense = DrivenScenes(**{**vars(ending), "path": other})
    plan = drive(7.0)
    assert score(name, plan, ending) == score(name, np.where(valid[0][:, None], plan, 500.0), nonsense)


# Off-road


def test_leaving_the_road_counts_from_the_step_on_at_which_the_box_meets_its_edge():
    # 0.925 m to the left of the middle and 3.5 m before the origin, the front corner of a box that heads 0.1 rad to the
    # left is 1.3 m to the left of the origin: at 0.6 m it has not met an edge at 2.1 m, at 0.9 m it has.
    scenes = scene_with(drive(6.0), (("boundary", [(-30, 2.1), (30, 2.1)]),))
    left = [0, 0.2, 0.4, 0.6, 0.9, 1.3]
    assert score("off_road", drive(6.0, left), scenes) == [0, 0, 0, 0, 1, 1]
    back = score("off_road", drive(6.0, [0.1, 0.6, 1.2, 1.2, 0.6, 0]), scenes)
    assert back[0] == 0 and back[-1] == 1, "who was off the road once has been"


@pytest.mark.parametrize(("clear_m", "hits"), [(0.05, 0), (-0.05, 1)])
def test_an_edge_five_centimetres_beside_the_box_is_clear_and_five_inside_is_not(clear_m: float, hits: int):
    edge = EGO_WIDTH_M / 2 + clear_m
    assert raw("off_road", scene_with(drive(6.0), (("boundary", [(-30, edge), (30, edge)]),))) == [hits] * 6


def test_a_small_island_between_two_waypoints_is_not_driven_through_unseen():
    # At 11 m/s boxes of 4.084 m at the half seconds leave gaps of 1.4 m: the island is in the first, the box in none.
    gap = FRONT_M + 0.7
    scenes = scene_with(drive(11.0), (("boundary", [(gap, -0.4), (gap, 0.4)]),))
    assert raw("off_road", scenes)[:3] == [1, 1, 1]
    beside = scene_with(drive(11.0), (("boundary", [(gap, 1.0), (gap, 1.8)]),))
    assert raw("off_road", beside)[:3] == [0, 0, 0]


def test_boxes_and_segments_meet_where_shapely_says_so():
    rng = np.random.default_rng(0)
    boxes = np.concatenate([rng.uniform(-3, 3, (3000, 3)), np.tile([EGO_LENGTH_M, EGO_WIDTH_M], (3000, 1))], -1)
    ends = rng.uniform(-4, 4, (3000, 1, 2)) + rng.normal(0, 2, (3000, 2, 2))
    expected = shapely.intersects(shapely.polygons(box_corners(boxes)), shapely.linestrings(ends))
    assert 0.2 < expected.mean() < 0.8
    np.testing.assert_array_equal(meet_segments(boxes, ends), expected)


def test_only_boundaries_are_edges_of_the_road():
    for kind in MAP_KINDS:
        lines = (("boundary", [(-30, 9), (30, 9)]), (kind, [(-30, 0.5), (30, 0.5)]))
        assert raw("off_road", scene_with(drive(6.0), lines)) == [float(kind == "boundary")] * 6


def test_a_plan_that_crosses_the_edge_where_the_drive_does_is_forgiven_but_not_one_that_crosses_before():
    # A driveway: the drive leaves the road after 1.5 s, 9 m ahead.
    edge = 9.5 + FRONT_M
    scenes = scene_with(drive(6.0), (("boundary", [(edge, -5), (edge, 5)]), ("boundary", [(-9, 3), (9, 3)])))
    assert raw("off_road", scenes) == [0, 0, 0, 1, 1, 1]
    assert score("off_road", drive(6.0, 0.2), scenes) == [0] * 6
    assert score("off_road", drive(5.0), scenes) == [0] * 6
    assert score("off_road", drive(9.0), scenes)[2:5] == [1] * 3


def test_a_plan_that_leaves_the_road_and_then_the_map_stays_in_the_denominator():
    edges = (("boundary", [(-30, 4), (30, 4)]), ("boundary", [(-30, -4), (30, -4)]))
    away = drive(8.0, [1, 4, 8, 12, 16, 20])
    assert score("off_road", away, scene_with(drive(8.0), edges))[1:] == [1] * 5
    lanes = (("centerline", [(-30, 0), (30, 0)]),)
    assert score("off_lane", away, scene_with(drive(6.0), lanes))[2:] == [1] * 4


def test_beyond_the_map_and_without_one_nothing_is_known():
    # At 10 m/s the front bumper leaves the 30 m after 2.65 s.
    edges = (("boundary", [(-30, 5), (30, 5)]),)
    assert score("off_road", drive(10.0), scene_with(drive(10.0), edges)) == [0, 0, 0, 0, 0, None]
    assert score("off_road", drive(6.0), scene_with(drive(10.0), edges))[5] is None
    assert score("off_road", drive(6.0), scene_with(drive(6.0), (("divider", [(-30, 0), (30, 0)]),))) == [None] * 6


# Off-lane

LANES = (("centerline", [(-30, 0), (30, 0)]), ("centerline", [(-30, 3.5), (30, 3.5)]))


def test_changing_lanes_is_in_a_lane_all_the_way_and_the_shoulder_is_not():
    scenes = scene_with(drive(6.0), LANES)
    assert score("off_lane", drive(6.0, [0.2, 0.8, 1.75, 2.5, 3.2, 3.5]), scenes) == [0] * 6
    assert score("off_lane", drive(6.0, [-0.1, -0.4, -0.8, -1.2, -2.2, -2.8]), scenes) == [0, 0, 0, 0, 1, 1]
    assert score("off_lane", drive(6.0, [-0.5, -1.4, -2.3, -2.3, -1.4, -0.5]), scenes)[5] == 0, "back in the lane"


def test_the_middle_of_the_box_counts_and_not_the_rear_axle():
    # The lane ends 20 m ahead: half a lane beyond it, at 21.75 m, the middle of the box is off, the axle is not.
    scenes = scene_with(drive(0.0), (("centerline", [(-30, 0), (20, 0)]),), speed_mps=7.0)
    assert score("off_lane", drive(7.0), scenes)[4:] == [0, 1]
    assert 7.0 * 3.0 < 21.75 < 7.0 * 3.0 + EGO_CENTER_AHEAD_M


def test_a_drive_off_all_lanes_is_forgiven_at_that_step_only():
    driven = drive(6.0, [0, -0.8, -1.8, -2.4, -1.6, -0.8])
    scenes = scene_with(driven, LANES)
    off = raw("off_lane", scenes)
    assert off[3] == 1 and off[0] == off[5] == 0
    assert score("off_lane", drive(6.0, [0, -0.8, -1.8, -2.5, -2.8, -3.0]), scenes)[3:] == [0, 1, 1]


def test_an_ego_that_starts_in_no_lane_has_no_lane_to_keep():
    assert score("off_lane", drive(6.0), scene_with(drive(6.0), (("centerline", [(-30, 3), (30, 3)]),))) == [None] * 6
    assert score("off_lane", drive(6.0), scene_with(drive(6.0))) == [None] * 6
    wide = scene_with(drive(6.0), (("centerline", [(-30, 2), (30, 2)]),))
    assert score("off_lane", drive(6.0), wide, lane_half_width_m=2.5) == [0] * 6


def test_lanes_beyond_the_map_are_not_known():
    # The middle of the box is at 29.4 m after 2.8 s: a lane may end or begin just beyond.
    assert score("off_lane", drive(10.0), scene_with(drive(10.0), LANES)) == [0, 0, 0, 0, 0, None]


# Progress


def test_half_the_speed_makes_half_the_way_and_going_further_is_no_fault():
    scenes = scene_with(drive(6.0))
    assert score("progress", drive(3.0), scenes)[5] == pytest.approx(0.5, abs=0.02)
    assert score("progress", drive(8.0), scenes) == [0] * 6
    assert score("progress", drive(6.0), scenes) == [0] * 6


def test_a_plan_that_stands_still_brakes_first():
    # 6 m/s at 8 m/s^2: stands after 2.25 m of the 18 m driven.
    assert score("progress", drive(0.0), scene_with(drive(6.0)))[5] == pytest.approx(1 - 2.25 / 18, abs=0.01)


def test_the_way_along_another_road_is_no_progress():
    angle = TIMES_S * 0.6
    left_turn = np.stack([10 * np.sin(angle), 10 - 10 * np.cos(angle), angle], -1)
    shortfall = score("progress", left_turn, scene_with(drive(6.0)))
    assert shortfall[5] == pytest.approx(1 - 10 * np.sin(1.8) / 18, abs=0.05)
    assert score("progress", left_turn, scene_with(left_turn)) == pytest.approx([0] * 6, abs=1e-12)


def test_where_the_drive_hardly_moves_there_is_no_progress_to_make():
    scenes = scene_with(drive(1.01))
    assert [value is None for value in score("progress", drive(0.0), scenes)] == [True] * 3 + [False] * 3
    assert score("progress", drive(0.0), scenes, min_driven_m=1.0)[1] is not None
    assert score("progress", drive(3.0), scene_with(drive(0.0))) == [None] * 6


# Comfort


def test_braking_gently_is_comfortable_and_braking_hard_is_not():
    scenes = scene_with(drive(12.0))
    assert score("comfort", drive(12.0), scenes) == [0] * 6
    assert score("comfort", drive(12.0, 0.0, -3.0), scenes) == [0] * 6
    assert score("comfort", drive(12.0, 0.0, -6.0), scenes) == [1] * 6


def test_a_plan_that_surges_is_uncomfortable_though_its_l2_is_under_half_a_metre():
    plan = drive(8.0)
    plan[:, 0] += [0.4, -0.4, 0.4, -0.4, 0.4, -0.4]
    scenes = scene_with(drive(8.0))
    assert score("planning_l2", plan, scenes) == pytest.approx([0.4] * 6)
    assert score("comfort", plan, scenes)[2:] == [1] * 4


def test_a_drive_that_brakes_hard_itself_is_forgiven_from_then_on():
    # The drive brakes hard after 1.5 s; who brakes hard at once has done so before.
    late = drive(12.0)
    late[3:, 0] = [18 + 5.2, 18 + 8.9, 18 + 11.0]
    scenes = scene_with(late)
    first = raw("comfort", scenes).index(1)
    assert first >= 2
    assert score("comfort", late, scenes) == [0] * 6
    assert score("comfort", drive(12.0, 0.0, -6.0), scenes) == [1] * 6


def motion(acceleration: object = 0.0, yaw_rate: object = 0.0, speed_mps: float = 0.0) -> Motion:
    """Typed by what it does in each tick (30,)."""
    ticks = [np.broadcast_to(np.asarray(rate, float), 30) * 0.1 for rate in (acceleration, yaw_rate)]
    change, yaw = (np.concatenate([[0], np.cumsum(rate)]) for rate in ticks)
    return Motion(pose=np.stack([0 * yaw, 0 * yaw, yaw], -1)[None], speed_mps=speed_mps + change[None])


MIDDLE_S = np.arange(30) * 0.1 + 0.05


@pytest.mark.parametrize(
    ("calm", "rough", "step"),
    [
        (motion(2.3), motion(2.5), 0),
        (motion(-4.0, speed_mps=15), motion(-4.1, speed_mps=15), 0),
        (motion(0, 0.32, 15), motion(0, 0.33, 15), 0),
        (motion(0, 0.94, 2), motion(0, 0.96, 2), 0),
        (motion(np.clip(4.0 * MIDDLE_S - 6, -4, 2.3), 0, 15), motion(np.clip(6 * MIDDLE_S - 9, -4, 2.3), 0, 15), 3),
        (motion(0, np.where(MIDDLE_S < 1.5, -0.25, 0.25), 15), motion(0, np.where(MIDDLE_S < 1.5, -0.3, 0.3), 15), 3),
        (motion(0, np.where(MIDDLE_S < 1.5, -0.4, 0.4), 2), motion(0, np.where(MIDDLE_S < 1.5, -0.5, 0.5), 2), 3),
    ],
    ids=["acceleration", "braking", "lateral", "yaw rate", "longitudinal jerk", "jerk", "yaw acceleration"],
)
def test_each_bound_of_nuplan_is_looked_at(calm: Motion, rough: Motion, step: int):
    comfort = metric("comfort")
    assert not comfort.is_rough(calm).any()
    assert comfort.is_rough(rough)[0].tolist() == [False] * step + [True] * (6 - step)


# Time to collision


def towards(rear_m: float, speed_mps: float = 0.0, left_m: float = 0.0) -> np.ndarray:
    """A car whose rear is ``rear_m`` ahead of the ego origin at t=0 and that drives ahead: (T, 5)."""
    x = rear_m + CAR[0] / 2 + speed_mps * TIMES_S
    return np.stack([x, np.full(6, left_m), *np.zeros((1, 6)), *np.repeat([CAR], 6, 0).T], -1)


STANDING = {"speed_mps": 6.0}
"""The ego drives at 6 m/s; the drive brakes at once."""


def test_a_standing_car_is_too_near_nine_tenths_of_a_second_before_it_is_hit():
    # Hit after 2.2 s, so too near from 1.3 s on: seen at 1.5 s.
    scenes = scene_with(drive(0.0), (), (("car", towards(FRONT_M + 6 * 2.2)),), **STANDING)
    assert score("time_to_collision", drive(6.0), scenes) == [0, 0, 1, 1, 1, 1]
    assert score("box_collision", drive(6.0), scenes) == [0, 0, 0, 0, 1, 1]
    assert score("time_to_collision", drive(6.0), scenes, within_s=0.3) == [0, 0, 0, 1, 1, 1]


def test_a_near_miss_is_seen_that_no_collision_metric_sees():
    # Towards a standing car at 6 m/s until 1 m before it, then hard on the brake.
    scenes = scene_with(drive(0.0), (), (("car", towards(FRONT_M + 6 * 2.0 + 4.0)),), **STANDING)
    plan = drive(6.0)
    plan[4:, 0] = [13.7, 14.2]
    assert score("box_collision", plan, scenes) == [0] * 6
    assert score("time_to_collision", plan, scenes)[3:] == [1, 1, 1]
    assert raw("time_to_collision", DrivenScenes(**{**vars(scenes), "path": plan[None]}))[3:] == [1, 1, 1]
    gentle = drive(6.0, 0.0, -1.5)
    assert score("time_to_collision", gentle, scenes) == [0] * 6


def test_a_car_that_drives_on_ahead_is_no_danger_and_one_that_comes_towards_is():
    lead = scene_with(drive(0.0), (), (("car", towards(FRONT_M + 2.0, 6.0)),), **STANDING)
    assert score("time_to_collision", drive(6.0), lead) == [0] * 6
    oncoming = scene_with(drive(0.0), (), (("car", towards(FRONT_M + 26.0, -6.0)),), **STANDING)
    assert score("time_to_collision", drive(6.0), oncoming) == [0, 0, 1, 1, 1, 1]
    other_lane = scene_with(drive(0.0), (), (("car", towards(FRONT_M + 26.0, -6.0, 3.0)),), **STANDING)
    assert score("time_to_collision", drive(6.0), other_lane) == [0] * 6


def test_who_walks_into_the_way_counts_and_who_stands_beside_it_does_not():
    def pedestrian(speed_mps: float) -> np.ndarray:
        still = np.tile([12.0, -4.0, 0, 0.7, 0.7], (6, 1))
        still[:, 1] += speed_mps * TIMES_S
        return still

    walking = scene_with(drive(0.0), (), (("pedestrian", pedestrian(1.5)),), **STANDING)
    standing = scene_with(drive(0.0), (), (("pedestrian", pedestrian(0.0)),), **STANDING)
    assert score("time_to_collision", drive(6.0), walking)[2] == 1
    assert score("time_to_collision", drive(6.0), standing) == [0] * 6


def test_cars_from_behind_a_standing_ego_and_cones_do_not_count():
    behind = towards(-12.0, 10.0)
    assert score("time_to_collision", drive(4.0), scene_with(drive(9.0), (), (("car", behind),)))[:3] == [0, 0, 0]
    into = scene_with(drive(0.0), (), (("car", towards(FRONT_M + 8.0, -4.0)),))
    assert raw("time_to_collision", into) == [0] * 6
    for name in ("traffic_cone", "barrier"):
        cones = scene_with(drive(0.0), (), ((name, towards(FRONT_M + 8.0)),), **STANDING)
        assert score("time_to_collision", drive(6.0), cones) == [0] * 6


def test_a_drive_that_comes_too_close_itself_is_forgiven():
    scenes = scene_with(drive(6.0), (), (("car", towards(FRONT_M + 6 * 2.2)),))
    assert raw("time_to_collision", scenes) == [0, 0, 1, 1, 1, 1]
    assert score("time_to_collision", drive(5.5), scenes) == [0] * 6
    assert score("time_to_collision", drive(10.0), scenes)[1:] == [1] * 5


def test_an_agent_seen_for_the_first_time_moves_as_it_will_and_one_seen_once_stands():
    comes = towards(FRONT_M + 26.0, -6.0)
    scenes = scene_with(drive(0.0), (), (("car", comes),), **STANDING)
    scenes.boxes_valid[0, :2] = False
    assert score("time_to_collision", drive(6.0), scenes)[:3] == [0, 0, 1]
    scenes.boxes_valid[0, 3:] = False
    assert score("time_to_collision", drive(6.0), scenes)[:3] == [0, 0, 0]
    scenes.category[:] = -1
    assert score("time_to_collision", drive(6.0), scenes) == [0] * 6


@pytest.mark.parametrize("name", FAILING)
def test_the_driven_path_fails_by_itself_as_often_as_it_is_forgiven(name: str):
    scenes = scene_with(
        drive(8.0, [0, -0.5, -1.5, -2.6, -3.6, -4.6], -1.0),
        (("boundary", [(-30, -2), (30, -2)]), ("centerline", [(-30, 0), (30, 0)])),
        (("car", [20, -3.5, 0, *CAR]),),
    )
    plan = drive(8.0, [0, 1, 0, -1, 2, 3.0])
    own, values = metric(name).compute_driven(scenes), metric(name).compute(scenes.path, scenes)
    assert (values.value == 0).all() and own.value[own.valid].max() == (name != "comfort")
    assert np.isfinite(metric(name).compute(plan[None], scenes).value).all()
