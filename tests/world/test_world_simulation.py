"""Driving rules on roads laid by hand, and the generated scenes as a whole."""

from dataclasses import replace

import numpy as np
import pytest

from dima_pipeline.geometry import boxes_overlap
from dima_pipeline.world.curves import Curve
from dima_pipeline.world.drama import Drama, play
from dima_pipeline.world.events import PLANTED, recipe_name
from dima_pipeline.world.paths import (
    DrivePath,
    Shift,
    forward_path,
    sample_curves,
    smoothstep,
    three_point_path,
)
from dima_pipeline.world.roads import Town
from dima_pipeline.world.simulation import Actor, Gate, idm, make_ego, overlaps, simulate
from dima_pipeline.world.staging import walk_path
from dima_pipeline.world.towns import build_towns
from dima_pipeline.world.truth import runs

ROAD = Curve((0.0, 0.0, 0.0), ((200.0, 0.0),))


def straight_path(speed: float = 8.0, shifts: tuple[Shift, ...] = ()) -> DrivePath:
    return forward_path(*sample_curves([ROAD], [speed]), shifts)


def parked(x: float, y: float) -> Actor:
    return Actor("parked", "vehicle.car", (4.5, 1.85, 1.6), pose=(x, y, 0.0))


def test_alone_on_a_straight_road_the_ego_keeps_its_speed() -> None:
    tracks = simulate([make_ego(straight_path(), 5.0, ())], 10.0)
    assert tracks.speeds[:, 0] == pytest.approx(np.full(201, 8.0), abs=0.05)
    assert tracks.along_m[-1, 0] == pytest.approx(85.0, abs=0.5)


def test_the_ego_slows_down_before_a_bend_and_not_in_it() -> None:
    bend = Curve((0.0, 0.0, 0.0), ((80.0, 0.0), (10 * np.pi, 0.05), (80.0, 0.0)))
    path = forward_path(*sample_curves([bend], [12.0]))
    tracks = simulate([make_ego(path, 5.0, ())], 12.0)
    at_bend = tracks.speeds[np.abs(tracks.along_m[:, 0] - 82.0).argmin(), 0]
    assert at_bend == pytest.approx(np.sqrt(2.2 * 20), abs=0.5)
    assert np.diff(tracks.speeds[:, 0]).min() / 0.05 > -3.6


def test_the_ego_stops_behind_a_vehicle_that_blocks_its_lane() -> None:
    tracks = simulate([make_ego(straight_path(), 5.0, ()), parked(60.0, 0.3)], 20.0)
    front = tracks.poses[-1, 0, 0] + 4.084 / 2
    assert tracks.speeds[-1, 0] == 0 and 1.0 < 60.0 - 2.25 - front < 4.0
    assert (tracks.in_front[100:] == 1).all()


def test_a_vehicle_beside_the_lane_is_no_obstacle() -> None:
    tracks = simulate([make_ego(straight_path(), 5.0, ()), parked(60.0, -2.6)], 10.0)
    assert tracks.speeds[:, 0].min() > 7.5


def test_a_shifted_path_passes_what_blocks_the_lane() -> None:
    shift = Shift(30.0, 48.0, 64.0, 82.0, 2.6)
    actors = [make_ego(straight_path(6.0, (shift,)), 5.0, ()), parked(60.0, -0.6)]
    tracks = simulate(actors, 18.0)
    assert not overlaps(actors, tracks)
    assert tracks.poses[:, 0, 1].max() == pytest.approx(2.6, abs=0.1) and tracks.poses[-1, 0, 1] == pytest.approx(
        0, abs=0.1
    )


def test_the_ego_follows_a_leader_that_brakes_without_touching_it() -> None:
    lead = Actor(
        "lead", "vehicle.car", (4.5, 1.85, 1.6), path=straight_path(), start_m=28.0, speed_mps=8.0, center_ahead_m=1.3,
        speed_plan=((0.0, 8.0), (3.0, 8.0), (5.5, 0.0), (8.0, 0.0), (11.0, 8.0)),
    )  # fmt: skip
    actors = [make_ego(straight_path(), 5.0, ()), lead]
    tracks = simulate(actors, 16.0)
    assert not overlaps(actors, tracks)
    assert tracks.speeds[:, 0].min() < 1.0 and tracks.speeds[-1, 0] > 3.0


def test_at_a_stop_line_the_ego_halts_before_it_and_then_goes_on() -> None:
    gate = Gate(60.0, (75.0, 0.0), is_stop=True)
    tracks = simulate([make_ego(straight_path(), 5.0, (gate,))], 25.0)
    halted = tracks.speeds[:, 0] < 0.05
    front = tracks.poses[halted, 0, 0] + 4.084 / 2
    assert halted.sum() * 0.05 >= 1.2 and (front < 60.0).all() and front.max() > 58.0
    assert tracks.speeds[-1, 0] > 5


def test_at_a_stop_line_the_ego_waits_for_cross_traffic() -> None:
    side = forward_path(*sample_curves([Curve((75.0, -200.0, np.pi / 2), ((400.0, 0.0),))], [9.0]))
    gate = Gate(60.0, (75.0, 0.0), is_stop=True)

    def leaves(others: list[Actor]) -> float:
        tracks = simulate([make_ego(straight_path(), 5.0, (gate,)), *others], 30.0)
        return float(tracks.times_s[np.flatnonzero(tracks.along_m[:, 0] > 62.0)[0]])

    crossing = [
        Actor(f"c{n}", "vehicle.car", (4.5, 1.85, 1.6), path=side, start_m=start, speed_mps=9.0, center_ahead_m=1.3)
        for n, start in enumerate((20.0, 60.0, 90.0))
    ]
    assert leaves(crossing) > leaves([]) + 2.0


def test_the_ego_yields_to_somebody_who_crosses_and_drives_on_afterwards() -> None:
    walker = Actor(
        "walker", "human.pedestrian.adult", (0.7, 0.65, 1.75), path=walk_path(np.array([[50.0, -5.0], [50.0, 5.0]])),
        speed_mps=1.2, is_walker=True, waits_for_ego_m=30.0, crossing_xy=(50.0, 0.0),
    )  # fmt: skip
    actors = [make_ego(straight_path(), 5.0, ()), walker]
    tracks = simulate(actors, 20.0)
    assert not overlaps(actors, tracks)
    assert tracks.speeds[:, 0].min() < 2.0 and tracks.waiting.any() and tracks.along_m[-1, 0] > 60.0


def test_somebody_on_the_walkway_does_not_slow_the_ego() -> None:
    walker = Actor(
        "walker", "human.pedestrian.adult", (0.7, 0.65, 1.75), path=walk_path(np.array([[90.0, -4.5], [20.0, -4.5]])),
        speed_mps=1.2, is_walker=True,
    )  # fmt: skip
    assert simulate([make_ego(straight_path(), 5.0, ()), walker], 8.0).speeds[:, 0].min() > 7.5


def test_overlapping_boxes_are_reported_with_who_they_are() -> None:
    ghost = Actor("ghost", "vehicle.car", (4.5, 1.85, 1.6), path=straight_path(), start_m=6.0, speed_mps=8.0)
    actors = [make_ego(straight_path(), 5.0, ()), ghost, parked(100.0, 30.0)]
    assert overlaps(actors, simulate(actors, 1.0)) == [(0, 1)]


def test_idm_accelerates_when_free_and_brakes_when_close() -> None:
    assert idm(0.0, 8.0, np.inf, 0.0) == pytest.approx(1.8)
    assert idm(8.0, 8.0, np.inf, 0.0) == pytest.approx(0.0)
    assert idm(8.0, 8.0, 8.0, 0.0) == -6.0
    assert idm(9.0, 8.0, np.inf, 0.0) < -2.0


def test_a_three_point_turn_reverses_in_the_middle_and_ends_the_other_way() -> None:
    there = Curve((0.0, -1.45, 0.0), ((100.0, 0.0),))
    path, begin, end = three_point_path(there, there.offset(2.9).reversed(), 20.0, 4.3)
    inside = (path.along_m > begin) & (path.along_m < end)
    assert set(path.direction[inside]) == {1.0, -1.0}
    signs = path.direction[np.flatnonzero(np.diff(path.direction, prepend=1.0))]
    assert signs.tolist() == [-1.0, 1.0]
    assert path.poses[-1, 2] - path.poses[0, 2] == pytest.approx(np.pi, abs=0.02)
    assert path.poses[-1, 1] == pytest.approx(1.45, abs=0.02)
    # The car never slides: it moves along its heading, forwards or backwards.
    step = np.diff(path.poses[:, :2], axis=0)
    heading = path.poses[:-1, 2] + np.diff(path.poses[:, 2]) / 2
    slip = np.abs(-step[:, 0] * np.sin(heading) + step[:, 1] * np.cos(heading))
    assert slip.max() < 0.03


def test_smoothstep_begins_and_ends_flat() -> None:
    value = smoothstep(np.array([-1.0, 0.0, 0.5, 1.0, 3.0]))
    assert value == pytest.approx([0, 0, 0.5, 1, 1])
    slope = np.gradient(smoothstep(np.linspace(0, 1, 101)))
    assert slope[0] < 1e-4 and slope[-1] < 1e-4


def test_runs_are_found_with_both_ends() -> None:
    assert runs(np.array([True, True, False, True])) == [(0, 1), (3, 3)] and runs(np.array([False])) == []


def test_recipes_cover_every_event_and_keep_the_three_point_turn_for_val() -> None:
    train = {recipe_name("train", index) for index in range(28)}
    val = {recipe_name("val", index) for index in range(10)}
    assert train >= PLANTED - {"three_point_turn"} and "three_point_turn" not in train
    assert recipe_name("val", 0) == "three_point_turn" and len(val) == 10


def test_a_recipe_that_never_works_out_says_so() -> None:
    with pytest.raises(ValueError, match="no scene of the recipe 'three_point_turn'"):
        play("three_point_turn", [_without_residential()], np.random.default_rng(0), 30)


def _without_residential() -> Town:
    town = build_towns(0)["harbour"]
    return replace(town, roads={n: r for n, r in town.roads.items() if r.road_class.name != "residential"})


def test_in_no_scene_does_the_ego_overlap_anybody(dramas: dict[str, Drama]) -> None:
    for drama in dramas.values():
        sizes = np.array([actor.size[:2] for actor in drama.actors])
        boxes = np.concatenate([drama.tracks.poses, np.broadcast_to(sizes, (*drama.tracks.poses.shape[:2], 2))], -1)
        assert not boxes_overlap(boxes[:, :1], boxes[:, 1:]).any()


def test_in_every_scene_the_ego_moves_like_a_car(dramas: dict[str, Drama]) -> None:
    for name, drama in dramas.items():
        poses = drama.tracks.ego_poses
        speed = drama.tracks.speeds[:, 0]
        assert np.abs(np.diff(np.abs(speed))).max() / 0.05 <= 6.5, name
        step = np.linalg.norm(np.diff(poses[:, :2], axis=0), axis=1)
        assert np.abs(step / 0.05 - np.abs(speed[:-1] + speed[1:]) / 2).max() < 0.6, name
        turn = np.abs(np.diff(poses[:, 2]))
        assert turn[step > 0.05].max(initial=0) < 0.06, name
        # Tightest turn of a car of this size: 5 m.
        bend = turn[step > 0.05] / step[step > 0.05]
        assert bend.max(initial=0) < 0.23, name


def test_the_three_point_turn_reverses_and_turns_half_round(dramas: dict[str, Drama]) -> None:
    (drama,) = [drama for drama in dramas.values() if drama.recipe == "three_point_turn"]
    speed = drama.tracks.speeds[::10, 0]
    assert speed.min() < -0.8 and speed.max() > 1.0
    yaw = drama.tracks.poses[:, 0, 2]
    assert abs(abs(yaw[-1] - yaw[0]) - np.pi) < 0.15


def test_a_halt_to_change_gear_is_not_taken_for_a_stop(dramas: dict[str, Drama]) -> None:
    (drama,) = [drama for drama in dramas.values() if drama.recipe == "three_point_turn"]
    (turn,) = [row for row in drama.intervals if row.value == "three_point_turn"]
    halted = np.abs(drama.tracks.speeds[:, 0]) < 0.1
    assert max(last - first for first, last in runs(halted)) * 0.05 >= 1.0
    stops = [row for row in drama.intervals if row.value == "resume_from_stop"]
    assert all(row.end_s < turn.begin_s or row.begin_s > turn.end_s for row in stops)


def test_each_planted_recipe_shows_its_event(dramas: dict[str, Drama]) -> None:
    for drama in dramas.values():
        assert drama.recipe in drama.events() or drama.recipe not in PLANTED


def test_overtaking_leaves_the_lane_and_comes_back(dramas: dict[str, Drama]) -> None:
    for drama in [drama for drama in dramas.values() if drama.recipe == "overtaking"]:
        (event,) = [row for row in drama.intervals if row.value == "overtaking"]
        lane = drama.stage.route.lanes[0]
        pose = np.array(lane.curve.start)
        left = -np.sin(pose[2]) * (drama.tracks.poses[:, 0, 0] - pose[0]) + np.cos(pose[2]) * (
            drama.tracks.poses[:, 0, 1] - pose[1]
        )
        inside = (drama.tracks.times_s >= event.begin_s) & (drama.tracks.times_s <= event.end_s)
        assert left[inside].max() + 0.925 > lane.width_m / 2 + 0.5 and abs(left[~inside]).max() < 0.8
        assert event.actor is not None
