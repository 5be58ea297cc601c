"""The usual others: people on walkways, how large everybody is, who stands when a scene begins."""

import numpy as np
import pytest
import shapely

from dima_pipeline.world.categories import attribute
from dima_pipeline.world.drama import Drama, play
from dima_pipeline.world.roads import Town
from dima_pipeline.world.simulation import Actor, make_ego, simulate
from dima_pipeline.world.sizes import SIZES, SPREADS, draw_size
from dima_pipeline.world.towns import build_towns


@pytest.fixture(scope="module")
def town() -> Town:
    return build_towns(0)["harbour"]


@pytest.fixture(scope="module")
def plays(town: Town) -> list[Drama]:
    return [play("avenue", [town], np.random.default_rng(seed), 30) for seed in range(4)]


def crowd_of(drama: Drama) -> list[Actor]:
    return [actor for actor in drama.actors if actor.timed_poses is not None]


def test_people_keep_off_the_roadway_and_near_it(plays: list[Drama], town: Town) -> None:
    near = town.drivable.buffer(4.0)
    for actor in (actor for drama in plays for actor in crowd_of(drama)):
        assert actor.timed_poses is not None
        places = actor.timed_poses[::10, :2]
        assert not shapely.contains_xy(town.drivable, places).any() and shapely.contains_xy(near, places).all()


def test_people_walk_stand_talk_and_sit(plays: list[Drama]) -> None:
    people = [actor for drama in plays for actor in crowd_of(drama)]
    assert {actor.intention for actor in people} == {"keep_walkway", "standing", "wait_to_cross", "sitting"}
    walks = [len(actor.timed_poses) > 1 for actor in people if actor.timed_poses is not None]
    assert 0.5 < np.mean(walks) < 0.95


def test_headings_turn_no_faster_than_people_do(plays: list[Drama]) -> None:
    for actor in (actor for drama in plays for actor in crowd_of(drama)):
        assert actor.timed_poses is not None
        assert np.abs(np.diff(actor.timed_poses[:, 2])).max(initial=0.0) < 0.5


def test_an_actor_with_poses_by_the_clock_is_where_they_say_and_stays_at_the_last(plays: list[Drama]) -> None:
    poses = np.column_stack([np.linspace(30.0, 33.0, 41), np.full(41, 9.0), np.zeros(41)])
    walker = Actor("w", SITTER, (0.7, 0.6, 1.7), pose=(30.0, 9.0, 0.0), timed_poses=poses, is_walker=True)
    path = plays[0].actors[0].path
    assert path is not None
    tracks = simulate([make_ego(path, 5.0, ()), walker], 4.0)
    assert np.allclose(tracks.poses[:41, 1], poses) and np.allclose(tracks.poses[41:, 1], poses[-1])
    assert np.allclose(tracks.speeds[:40, 1], 1.5) and (tracks.speeds[41:, 1] == 0.0).all()


SITTER = "human.pedestrian.adult"


def test_attributes_of_people_follow_nuscenes() -> None:
    assert attribute(SITTER, 1.2, "keep_walkway") == "pedestrian.moving"
    assert attribute(SITTER, 0.0, "wait_to_cross") == "pedestrian.standing"
    assert attribute(SITTER, 0.0, "sitting") == "pedestrian.sitting_lying_down"
    assert attribute("vehicle.bicycle", 0.0, "parked") == "cycle.without_rider"


@pytest.mark.parametrize("category", SIZES)
def test_sizes_lie_around_the_middle_one_and_fit_a_lane(category: str) -> None:
    rng = np.random.default_rng(0)
    sizes = np.array([draw_size(category, rng) for _ in range(400)])
    spread = SPREADS.get(category)
    assert np.allclose(np.median(sizes, 0), SIZES[category], rtol=0.05)
    if spread is not None:
        assert np.allclose(np.log(sizes[:, [0, 2]]).std(0), np.array(spread.sides)[[0, 2]], rtol=0.2)
        assert sizes[:, 1].max() <= spread.max_width_m
        assert np.corrcoef(sizes[:, 0], sizes[:, 2])[0, 1] > 0.3


def test_some_drives_begin_at_a_red_light_with_the_ego_at_rest(town: Town) -> None:
    waits = [play("avenue", [town], np.random.default_rng([3, seed]), 30) for seed in range(6)]
    waits = [drama for drama in waits if drama.stage.starts_standing]
    assert waits
    for drama in waits:
        assert drama.stage.red is not None
        green = int(np.argmax(drama.tracks.signals[drama.stage.red[0]] == 2)) or len(drama.tracks.times_s)
        assert (np.abs(drama.tracks.speeds[: green - 1, 0]) < 0.1).all()
