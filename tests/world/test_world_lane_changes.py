"""MOBIL on two straight lanes laid by hand: who goes over, who stays, and what is seen of it."""

from dataclasses import replace

import numpy as np
import pytest

from dima_pipeline.world.actors import LAMPS, Actor, Course, Tracks
from dima_pipeline.world.curves import Curve
from dima_pipeline.world.drama import Drama
from dima_pipeline.world.lane_changes import CHANGE_S, SIGNAL_S, change_lane
from dima_pipeline.world.paths import DrivePath, forward_path, sample_curves
from dima_pipeline.world.simulation import make_ego, overlaps, simulate, start
from dima_pipeline.world.truth import find_intervals

LANE_M = 3.5


def lane(y: float, speed: float = 10.0) -> DrivePath:
    return forward_path(*sample_curves([Curve((0.0, y, 0.0), ((400.0, 0.0),))], [speed]))


def driver(name: str, y: float, start_m: float, speed: float = 10.0, **facts: object) -> Actor:
    path = facts.pop("path", lane(y))
    return Actor(
        name, "vehicle.car", (4.5, 1.85, 1.6), path=path, start_m=start_m, speed_mps=speed, center_ahead_m=1.3, **facts,
    )  # type: ignore[arg-type]  # fmt: skip


def changer(start_m: float = 60.0, until_m: float = 380.0) -> Actor:
    left = Course(lane(LANE_M), intention="turn_left")
    return driver("changer", 0.0, start_m, intention="keep_lane", beside=(left,), beside_until_m=until_m)


def slow(start_m: float) -> Actor:
    return driver("slow", 0.0, start_m, 3.0, path=lane(0.0, 3.0))


def far_ego() -> Actor:
    return make_ego(lane(60.0), 5.0, ())


def run(*others: Actor, seconds: float = 12.0) -> Tracks:
    return simulate([far_ego(), *others], seconds)


def test_behind_a_slow_vehicle_a_driver_goes_over_and_passes_it() -> None:
    actors = [far_ego(), changer(), slow(85.0)]
    tracks = simulate(actors, 14.0)
    (change,) = tracks.changes
    assert (change.index, change.side, change.intention) == (1, "left", "turn_left")
    assert tracks.poses[-1, 1, 1] == pytest.approx(LANE_M, abs=0.05)
    assert tracks.poses[-1, 1, 0] > tracks.poses[-1, 2, 0] and not overlaps(actors, tracks)


def test_on_a_free_road_nobody_changes_lanes() -> None:
    assert run(changer()).changes == ()


def test_nobody_goes_over_in_front_of_somebody_who_would_have_to_brake_hard() -> None:
    fast = driver("fast", LANE_M, 40.0, 14.0, path=lane(LANE_M, 14.0))
    tracks = run(changer(), slow(85.0), fast)
    passed = tracks.poses[:, 3, 0] > tracks.poses[:, 1, 0] + 4.5
    (change,) = tracks.changes
    assert change.begin_s > tracks.times_s[passed.argmax()] - 0.5


def test_nobody_goes_over_into_a_slower_lane() -> None:
    slower = driver("slower", LANE_M, 78.0, 1.0, path=lane(LANE_M, 1.0))
    assert run(changer(), slow(85.0), slower, seconds=3.0).changes == ()


def test_too_near_to_the_junction_nobody_goes_over_any_more() -> None:
    assert run(changer(until_m=90.0), slow(85.0)).changes == ()
    assert run(changer(until_m=200.0), slow(85.0)).changes != ()


def test_the_turn_signal_comes_a_second_before_the_wheel_and_goes_out_afterwards() -> None:
    tracks = run(changer(), slow(85.0), seconds=14.0)
    (change,) = tracks.changes
    left = tracks.lights[:, 1, LAMPS.index("left")]
    leaves = tracks.times_s[(tracks.poses[:, 1, 1] > 0.02).argmax()]
    assert change.begin_s <= tracks.times_s[left.argmax()] <= change.begin_s + 0.06
    assert leaves - change.begin_s > SIGNAL_S - 0.1
    assert left.sum() * 0.05 < SIGNAL_S + CHANGE_S + 1.0 and not left[-1]


def test_a_driver_goes_over_without_a_jump() -> None:
    tracks = run(changer(), slow(85.0), seconds=14.0)
    moved = np.linalg.norm(np.diff(tracks.poses[:, 1, :2], axis=0), axis=1)
    assert np.abs(moved / 0.05 - tracks.speeds[1:, 1]).max() < 0.6
    assert np.abs(np.diff(tracks.poses[:, 1, 2])).max() < 0.03


def test_one_who_is_asked_twice_in_a_scene_stays() -> None:
    state = start([far_ego(), changer(), slow(72.0)])
    found = change_lane(state, 1)
    assert found is not None
    again = replace(state, changes=(found[1],))
    assert change_lane(again, 1) is None


def test_the_truth_says_what_a_driver_is_up_to_before_during_and_after(dramas: dict[str, Drama]) -> None:
    drama = next(iter(dramas.values()))
    actors = [far_ego(), changer(30.0), slow(85.0)]
    tracks = simulate(actors, 14.0)
    stage = replace(drama.stage, truth_rules=[], marks=[])
    rows = [row for row in find_intervals(stage, actors, tracks, "day") if row.actor == "changer"]
    said = [(row.value, row.begin_s, row.end_s) for row in rows if row.kind == "intention"]
    mirrored = stage.town.placement.is_mirrored
    left = "right" if mirrored else "left"
    assert [value for value, _, _ in said] == ["keep_lane", f"change_lane_{left}", f"turn_{left}"]
    assert said[0][2] == said[1][1] == tracks.changes[0].begin_s and said[1][2] == said[2][1]
    assert 2.0 < said[1][2] - said[1][1] < SIGNAL_S + CHANGE_S + 1.0
