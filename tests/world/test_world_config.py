"""What a user may ask of a world, and how a wrong wish is named."""

from dataclasses import replace

import pytest
from pydantic import TypeAdapter, ValidationError

from dima_pipeline.world.config import WorldConfig
from dima_pipeline.world.generate import play_scene, scene_jobs, towns_of

WORLDS = TypeAdapter(WorldConfig)
NAMES = [f"scene-{number:04d}" for number in range(1, 30)]


@pytest.mark.parametrize(
    ("wish", "words"),
    [
        ({"num_train_scenes": 0, "num_val_scenes": 0}, "a world of no scenes"),
        ({"num_scenes": 0}, "num_scenes"),
        ({"num_train_towns": 0}, "num_train_towns"),
        ({"num_val_towns": 9}, "num_val_towns"),
        ({"num_keyframes": 2}, "num_keyframes"),
        ({"image_width": 0}, "image_width"),
        ({"image_height": 100_000}, "image_height"),
        ({"image_widht": 320}, "image_widht"),
        ({"events": ["overtakin"]}, "no event 'overtakin' in world.events.*did you mean 'overtaking'"),
        ({"held_out_events": ["jaywalking"]}, "no event 'jaywalking' in world.held_out_events"),
        ({"events": ["cut_in", "cut_in"]}, "world.events names an event twice"),
        ({"events": ["three_point_turn"]}, "leaves no event to train on"),
        ({"light": {"day": 0, "dusk": 0, "night": 0}}, "shares of light are all 0"),
        ({"weather": {"rain": -1}}, "weather.rain"),
        ({"weather": {"snow": 1}}, "weather.snow"),
        ({"version": "v1.0-mine"}, "version"),
    ],
)
def test_an_impossible_world_is_refused_by_name(wish, words):
    with pytest.raises(ValidationError, match=words.replace(".*", "[^\n]*")):
        WORLDS.validate_python(wish)


def test_the_number_of_scenes_is_shared_out_four_to_one():
    config = WORLDS.validate_python({"num_scenes": 200, "num_train_scenes": 36, "num_val_scenes": 10})
    assert (config.num_train_scenes, config.num_val_scenes) == (160, 40)
    assert replace(config, num_train_scenes=3).num_train_scenes == 3
    smallest = WORLDS.validate_python({"num_scenes": 2})
    assert (smallest.num_train_scenes, smallest.num_val_scenes) == (1, 1)


def test_scenes_of_one_town_play_in_that_town():
    config = WorldConfig(num_train_towns=1, num_train_scenes=3, num_val_scenes=0, num_keyframes=4)
    (town,) = towns_of(config, "train")
    played = [play_scene(config, job).town.name for job in scene_jobs(config, {"train": NAMES})]
    assert played == [town.name] * 3


def test_a_test_root_plays_its_scenes_in_towns_of_its_own_and_shows_held_out_events():
    config = WORLDS.validate_python({"version": "v1.0-synthetic-test", "num_scenes": 5, "num_keyframes": 28})
    assert config.num_scenes_by_split() == {"test": 5}
    jobs = scene_jobs(config, {"train": NAMES, "test": NAMES[::-1]})
    assert [(job.name, job.split) for job in jobs] == [(name, "test") for name in NAMES[:-6:-1]]
    dramas = [play_scene(config, job) for job in jobs]
    others = {town.name for split in ("train", "val") for town in towns_of(WorldConfig(), split)}
    assert {drama.town.split for drama in dramas} == {"test"} and not {drama.town.name for drama in dramas} & others
    assert dramas[0].recipe == "three_point_turn"


def test_a_test_root_of_no_scenes_names_the_key_that_counts():
    with pytest.raises(ValueError, match=r"num_test_scenes must be 1 or more for version v1\.0-synthetic-test"):
        WORLDS.validate_python({"version": "v1.0-synthetic-test", "num_test_scenes": 0})


def test_only_the_events_asked_for_are_planted():
    config = WorldConfig(events=("turn_left", "three_point_turn"), num_train_scenes=6, num_val_scenes=6)
    jobs = scene_jobs(config, {"train": NAMES[:9], "val": NAMES[9:]})
    recipes = {
        split: {play_scene(config, job).recipe for job in jobs if job.split == split} for split in ("train", "val")
    }
    drives = {"avenue", "residential", "street"}
    assert recipes["train"] - drives == {"turn_left"}
    assert recipes["val"] - drives == {"turn_left", "three_point_turn"}


def test_light_and_weather_follow_their_shares():
    config = WORLDS.validate_python(
        {
            "num_keyframes": 4,
            "light": {"day": 0, "dusk": 0, "night": 7},
            "weather": {"clear": 0, "rain": 0.1, "fog": 0},
        }
    )
    jobs = scene_jobs(replace(config, num_train_scenes=4, num_val_scenes=0), {"train": NAMES})
    dramas = [play_scene(config, job) for job in jobs]
    assert {(drama.light, drama.weather) for drama in dramas} == {("night", "rain")}
