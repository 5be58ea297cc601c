"""Each long-tail event, played three times in the towns of train and of val: what makes it one holds in the tracks."""

from functools import lru_cache

import numpy as np
import pytest
from shapely.geometry import LineString, Polygon

from dima_pipeline.geometry import box_corners, boxes_overlap, wrap_angle
from dima_pipeline.world import events
from dima_pipeline.world.drama import Drama, play
from dima_pipeline.world.events import PLANTED, RECIPES, TRAIN_ORDER, VAL_ORDER, recipe_name
from dima_pipeline.world.events._facts import beside_route, gap_m
from dima_pipeline.world.towns import build_towns
from dima_pipeline.world.truth import Interval

BRAKE, LEFT, RIGHT, EMERGENCY = range(4)
SEEDS = range(3)
NEW = (
    "cut_in", "hard_braking_lead", "emergency_vehicle", "wrong_way_cyclist", "double_parked_truck", "red_light_queue",
    "hidden_jaywalker", "bus_stop", "pull_out",
)  # fmt: skip
Scene = tuple[Drama, Interval, int]


def lit(drama: Drama, ticks: object, place: int, lamp: int) -> np.ndarray:
    """Whether a lamp is on."""
    return drama.tracks.lights[ticks, place, lamp]


@lru_cache
def scenes(event: str) -> list[Scene]:
    """Dramas of an event, its interval and the place of the actor it is about."""
    found = []
    for split in ("train", "val"):
        towns = [town for town in build_towns(0).values() if town.split == split]
        for seed in SEEDS:
            drama = play(event, towns, np.random.default_rng([11, seed, split == "val"]), 30)
            row = next(row for row in drama.intervals if row.kind == "event" and row.value == event)
            place = next(index for index, actor in enumerate(drama.actors) if actor.name == row.actor)
            found.append((drama, row, place))
    return found


def during(drama: Drama, row: Interval) -> np.ndarray:
    return (drama.tracks.times_s >= row.begin_s) & (drama.tracks.times_s <= row.end_s)


def left_of_lane(drama: Drama, place: int) -> np.ndarray:
    return beside_route(drama.stage, drama.tracks.poses[:, place, :2])[1]


@pytest.mark.parametrize("event", NEW)
def test_an_event_plays_in_every_split_and_nobody_touches_the_ego(event: str) -> None:
    if event not in RECIPES:
        pytest.skip("waits for the simulation")
    for drama, row, place in scenes(event):
        assert 0.0 <= row.begin_s < row.end_s - 0.5 and row.end_s <= drama.tracks.times_s[-1]
        assert drama.actors[place].role == "event"
        sizes = np.array([actor.size[:2] for actor in drama.actors])
        boxes = np.concatenate([drama.tracks.poses, np.broadcast_to(sizes, (*drama.tracks.poses.shape[:2], 2))], -1)
        assert not boxes_overlap(boxes[:, :1], boxes[:, 1:]).any()


def test_a_car_that_cuts_in_comes_from_the_next_lane_signalling_and_close() -> None:
    for drama, _, place in scenes("cut_in"):
        width, aside = drama.stage.route.lanes[0].width_m, np.abs(left_of_lane(drama, place))
        crosses, arrives = int(np.argmax(aside < width / 2)), int(np.argmax(aside < 0.3))
        assert aside[0] > width - 0.3 and 0 < crosses < arrives
        assert 0.0 < gap_m(drama.stage, drama.actors, drama.tracks, place)[crosses] < 15.0
        side = LEFT if left_of_lane(drama, place)[0] < 0 else RIGHT
        assert lit(drama, crosses, place, side)


def test_a_hard_braking_lead_brakes_harder_than_four_with_its_brake_lights_on() -> None:
    for drama, row, place in scenes("hard_braking_lead"):
        speed, inside = drama.tracks.speeds[:, place], during(drama, row)
        braking = (np.gradient(speed, drama.tracks.times_s) < -4.0) & inside
        assert braking.sum() * 0.05 >= 0.3 and lit(drama, braking, place, BRAKE).mean() > 0.8
        assert (gap_m(drama.stage, drama.actors, drama.tracks, place)[inside] > 0.5).all()
        assert drama.tracks.speeds[inside, 0].min() < 0.5 * drama.tracks.speeds[0, 0]


def test_an_emergency_vehicle_passes_an_ego_that_is_slow_and_at_the_kerb() -> None:
    for drama, _, place in scenes("emergency_vehicle"):
        own, _ = beside_route(drama.stage, drama.tracks.poses[:, 0, :2])
        ahead = beside_route(drama.stage, drama.tracks.poses[:, place, :2])[0] - own
        passes = int(np.argmax(ahead > 0))
        assert ahead[0] < -20 and passes > 0 and ahead[passes:].max() > 15.0
        assert left_of_lane(drama, 0)[passes] < -0.3
        assert drama.tracks.speeds[passes, 0] < 0.6 * drama.stage.route.lanes[0].speed_mps
        assert lit(drama, slice(None), place, EMERGENCY).all()
        assert drama.actors[place].category.startswith("vehicle.emergency.")


def test_a_wrong_way_cyclist_rides_towards_the_ego_on_its_lane() -> None:
    for drama, row, place in scenes("wrong_way_cyclist"):
        inside, poses = during(drama, row), drama.tracks.poses
        turned = np.abs(wrap_angle(poses[inside, place, 2] - drama.stage.route.lanes[0].curve.start[2]))
        assert (turned > 2.6).all()
        assert (np.abs(left_of_lane(drama, place)[inside]) < drama.stage.route.lanes[0].width_m / 2).all()
        last = int(np.flatnonzero(inside)[-1])
        apart = left_of_lane(drama, 0)[last] - left_of_lane(drama, place)[last]
        assert 1.3 < apart < 3.5, "between the middles when they pass"


def test_a_double_parked_truck_shows_hazard_lights_and_is_overtaken() -> None:
    for drama, row, place in scenes("double_parked_truck"):
        own, _ = beside_route(drama.stage, drama.tracks.poses[:, 0, :2])
        where, _ = beside_route(drama.stage, drama.tracks.poses[:1, place, :2])
        assert own[0] < where[0] - 25.0 and own[-1] > where[0] + 5.0
        assert lit(drama, slice(None), place, LEFT).all() and lit(drama, slice(None), place, RIGHT).all()
        assert not drama.tracks.lights[:, place, BRAKE].any()
        half = drama.stage.route.lanes[0].width_m / 2
        assert left_of_lane(drama, 0)[during(drama, row)].max() > half
        assert np.abs(left_of_lane(drama, 0)[-1]) < half


def test_a_queue_at_a_red_light_shows_brake_lights_and_is_never_overtaken() -> None:
    for drama, row, place in scenes("red_light_queue"):
        inside = during(drama, row)
        assert (gap_m(drama.stage, drama.actors, drama.tracks, place) > 0.5).all()
        assert np.abs(left_of_lane(drama, 0)[inside]).max() < 1.0
        assert drama.stage.red is not None
        red = drama.tracks.signals[drama.stage.red[0]] == 0
        green_s = drama.tracks.times_s[np.argmin(red)]
        assert red[inside][0] and green_s - row.begin_s > 4.0 and 0.0 < row.end_s - green_s < 6.0
        assert drama.tracks.lights[inside & red, place, BRAKE].all()
        assert not drama.tracks.lights[inside & red, place, LEFT : RIGHT + 1].all(1).any(), "no hazard lights"
        assert drama.tracks.speeds[inside, 0].min() < 0.1


def test_a_queue_and_a_double_parked_truck_look_alike_but_for_their_lights() -> None:
    starts, kinds = {}, {}
    for event in ("double_parked_truck", "red_light_queue"):
        gaps = [gap_m(d.stage, d.actors, d.tracks, place)[0] for d, _, place in scenes(event)]
        starts[event] = (min(gaps), max(gaps))
        kinds[event] = {drama.actors[place].category for drama, _, place in scenes(event)}
        sides = [left_of_lane(drama, place)[0] for drama, _, place in scenes(event)]
        assert max(map(abs, sides)) < 0.5
    assert all(low > 24.0 and high < 36.0 for low, high in starts.values())
    assert kinds["double_parked_truck"] == kinds["red_light_queue"] == {"vehicle.truck", "vehicle.car"}


def test_a_hidden_jaywalker_stands_behind_a_van_and_is_seen_late() -> None:
    for drama, row, place in scenes("hidden_jaywalker"):
        van = next(actor for actor in drama.actors if actor.size == (5.1, 1.95, 2.1))
        box = Polygon(box_corners(np.array([*van.pose, *van.size[:2]])))
        poses = drama.tracks.poses
        hidden = [LineString([pose[0, :2], pose[place, :2]]).intersects(box) for pose in poses]
        steps_out = int(row.begin_s / 0.05)
        assert all(hidden[max(steps_out - 20, 0) : steps_out])
        seen = steps_out + int(np.argmin(hidden[steps_out:]))
        assert 5.0 < np.linalg.norm(poses[seen, place, :2] - poses[seen, 0, :2]) < 14.0
        assert drama.tracks.speeds[seen:, 0].min() < 0.6 * drama.tracks.speeds[steps_out, 0]


def test_a_bus_stands_ahead_and_pulls_out_with_its_signal() -> None:
    for drama, row, place in scenes("bus_stop"):
        stands = during(drama, row) & (drama.tracks.speeds[:, place] < 0.1)
        goes = int(np.flatnonzero(stands)[-1]) + 1
        assert stands.sum() * 0.05 >= 1.5 and drama.tracks.speeds[goes:, place].max() > 1.0
        assert lit(drama, goes, place, LEFT) and not drama.tracks.lights[goes, place, RIGHT]
        assert (gap_m(drama.stage, drama.actors, drama.tracks, place)[: goes + 20] > 0.5).all()


def test_a_car_pulls_out_of_the_parking_strip_with_its_signal_before_the_ego() -> None:
    for drama, row, place in scenes("pull_out"):
        aside = left_of_lane(drama, place)
        moves = int(np.argmax(drama.tracks.speeds[:, place] > 0.1))
        assert aside[0] < -1.9 and np.abs(aside[int(row.end_s / 0.05) - 5]) < 0.5
        assert lit(drama, slice(moves - 20, moves), place, LEFT).all()
        assert gap_m(drama.stage, drama.actors, drama.tracks, place)[moves] > 3.0


def test_every_event_says_what_its_truth_is() -> None:
    for name in events.EVENTS.names():
        text = __import__(f"dima_pipeline.world.events.{name}", fromlist=[name]).__doc__
        assert "Truth:" in text, name


def test_both_orders_play_every_event_and_train_leaves_out_what_is_held_out() -> None:
    train = [recipe_name("train", index) for index in range(len(TRAIN_ORDER))]
    val = [recipe_name("val", index) for index in range(len(VAL_ORDER))]
    assert set(val) == set(RECIPES) and set(train) == set(RECIPES) - {"three_point_turn"}
    assert val[0] == "three_point_turn"
    every = {recipe_name("train", index, held_out=()) for index in range(len(TRAIN_ORDER) + 1)}
    assert every == set(RECIPES)
    other = {recipe_name("train", index, held_out=("cut_in",)) for index in range(60)}
    assert "cut_in" not in other and "three_point_turn" in other


def test_only_chosen_events_are_planted_between_plain_drives() -> None:
    chosen = {recipe_name("val", index, events=("cut_in",)) for index in range(30)}
    assert chosen & PLANTED == {"cut_in"} and "avenue" in chosen


def test_a_new_file_plays_without_being_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(RECIPES, "falling_tree", RECIPES["curve"])
    for split in ("train", "val"):
        assert "falling_tree" in {recipe_name(split, index) for index in range(60)}


def test_an_unknown_event_is_named_with_the_nearest_one() -> None:
    with pytest.raises(ValueError, match="did you mean 'cut_in'"):
        recipe_name("train", 0, held_out=("cut_inn",))
    with pytest.raises(ValueError, match="no event 'avenue'"):
        recipe_name("train", 0, events=("avenue",))
