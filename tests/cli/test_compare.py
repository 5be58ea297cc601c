"""Statistics of hand-typed scenes, and what the command says of two roots."""

import json

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from dima_pipeline.cli import main
from dima_pipeline.curation.root_statistics import compare_statistics, ego_motion, root_statistics
from hand_scenes import Actor, HandScene, make_tables, straight
from nuscenes_root import VERSION


def scene(poses, agents=None, **facts):
    return make_tables(HandScene(poses, agents or {}, **facts))


def by_name(first, second):
    return {row.name: row for row in compare_statistics(root_statistics(first), root_statistics(second))}


def test_speed_acceleration_and_yaw_rate_are_read_off_the_poses():
    """4 m in the first half second, 5 m in the second; then round a bend of 0.1 rad."""
    tables = scene(np.array([[0.0, 0, 0], [4, 0, 0], [9, 0, 0], [14, 0, 0.1]]))
    motion = ego_motion(tables.samples)
    assert motion["speed"][:2] == pytest.approx([8.0, 10.0])
    assert motion["acceleration"][0] == pytest.approx(4.0)
    assert motion["yaw rate"] == pytest.approx([0.0, 0.0, 0.2])


def test_who_drives_backwards_has_a_negative_speed():
    tables = scene(np.array([[0.0, 0, np.pi], [1, 0, np.pi], [2, 0, np.pi]]))
    assert ego_motion(tables.samples)["speed"] == pytest.approx([-2.0, -2.0])
    assert root_statistics([tables]).shares["ego drives backwards"] == (2, 2)


def test_a_stop_is_counted_once_however_long():
    places = [0, 4, 8, 8, 8, 8, 12, 16, 16, 20, 24]
    tables = scene(np.array([[x, 0.0, 0.0] for x in places]))
    found = root_statistics([tables])
    assert found.shares["ego stands"] == (4, 10)
    # two stops in eleven keyframes, 5.5 s
    assert found.values["stops of the ego per minute"] == pytest.approx([2 * 60 / 5.5])


def test_agents_are_counted_in_every_keyframe_also_where_there_is_none():
    agents = {"car-1": Actor("car", [[10.0, 0, 0]] * 3), "ped-1": Actor("pedestrian", [[5.0, 3, 0]] * 3)}
    tables = scene(straight(3, 5.0), agents)
    gone = (tables.agents["category"] == "pedestrian") & (tables.agents["sample_token"] != "scene-0001-001")
    tables.agents = tables.agents[~gone]
    found = root_statistics([tables])
    assert found.values["car in a keyframe"].tolist() == [1, 1, 1]
    assert found.values["pedestrian in a keyframe"].tolist() == [0, 1, 0]
    assert found.values["agents in a keyframe"].tolist() == [1, 2, 1]
    assert found.values["truck in a keyframe"].tolist() == [0, 0, 0]


def test_light_and_weather_are_counted_in_scenes_and_after_rain_is_no_rain():
    texts = ["Night, rain", "After rain, turn left", "Dusk, foggy", "train crossing"]
    scenes = [scene(straight(2, 5.0), name=f"scene-{n:04d}", description=text) for n, text in enumerate(texts, 1)]
    shares = root_statistics(scenes).shares
    assert [shares[f"scenes with {word}"] for word in ("night", "rain", "dusk or dawn", "fog")] == [(1, 4)] * 4


def test_the_same_root_twice_has_no_large_difference():
    scenes = [scene(straight(40, 5.0), {"car-1": Actor("car", [[10.0, 0, 0]] * 40)})]
    rows = by_name(scenes, scenes)
    assert not [name for name, row in rows.items() if row.is_large]
    assert all(row.shift == row.wasserstein == 0 for row in rows.values())


def test_a_faster_ego_is_a_large_difference_and_its_distance_is_in_metres_a_second():
    rows = by_name([scene(straight(40, 5.0))], [scene(straight(40, 8.0))])
    row = rows["ego speed (m/s)"]
    assert row.is_large and row.wasserstein == pytest.approx(3.0, abs=1e-6)
    assert row.first[1] == pytest.approx(5.0) and row.second[1] == pytest.approx(8.0)
    assert not rows["ego yaw rate (rad/s)"].is_large


def test_few_values_make_no_large_difference():
    rows = by_name([scene(straight(4, 5.0))], [scene(straight(40, 8.0))])
    assert not rows["ego speed (m/s)"].is_large


def test_no_scene_is_refused():
    with pytest.raises(ValueError, match="no scene"):
        root_statistics([])


@settings(deadline=None, max_examples=20)
@given(st.floats(1, 15), st.floats(1, 15))
def test_a_comparison_turned_round_has_the_same_distances_and_opposite_shifts(one, other):
    pair = [scene(straight(5, one))], [scene(straight(5, other))]
    there, back = by_name(*pair), by_name(*pair[::-1])
    for name, row in there.items():
        assert row.wasserstein == pytest.approx(back[name].wasserstein)
        if np.isfinite(row.shift):
            assert row.shift == pytest.approx(-back[name].shift)


def compare(*arguments):
    return CliRunner().invoke(main, ["compare", *map(str, arguments)])


def test_two_roots_stand_side_by_side(root, tmp_path):
    done = compare(f"{root}:{VERSION}", root, "--json", tmp_path / "out.json")
    assert done.exit_code == 0, done.output
    for words in ("ego speed (m/s)", "ego acceleration", "ego yaw rate", "command (driven) left", "car length (m)"):
        assert words in done.output
    assert "Large differences (0 of" in done.output
    content = json.loads((tmp_path / "out.json").read_text())
    assert content["differences"] and not any(row["is_large"] for row in content["differences"])


def test_a_root_of_several_versions_asks_for_one(own_root):
    (own_root / "v1.0-other").mkdir()
    (own_root / "v1.0-other" / "scene.json").write_text("[]")
    done = compare(own_root, own_root)
    assert done.exit_code == 1 and f"choose one as {own_root}:" in done.stderr


@pytest.mark.parametrize(
    ("name", "words"), [("nowhere", "is no folder"), ("", "holds no version"), ("root:v9", "no version 'v9'")]
)
def test_a_wrong_root_is_named(root, tmp_path, name, words):
    place = f"{root}:v9" if name == "root:v9" else tmp_path / name
    done = compare(place, root)
    assert done.exit_code == 1 and words in done.stderr and "Traceback" not in done.output
