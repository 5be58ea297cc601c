"""Which events are shown at which instants, boxes where they project to, and the command on small roots."""

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from PIL import Image

from dima_pipeline.cli import main
from dima_pipeline.cli.box_outlines import corners_of, draw_frames, draw_outlines
from dima_pipeline.cli.event_sheets import find_events, instants
from dima_pipeline.cli.gallery import page
from dima_pipeline.cli.reaction_sheets import halted
from dima_pipeline.world.config import WorldConfig
from dima_pipeline.world.generate import write_root
from dima_pipeline.world.recording import SceneJob
from hand_scenes import Actor, HandScene, make_tables, straight

SECOND = 1_000_000


def truth_of(*rows):
    columns = ["scene_token", "instance_token", "kind", "value", "begin_timestamp_us", "end_timestamp_us"]
    return pd.DataFrame(rows, columns=columns)


SCENES = pd.DataFrame(
    [("a", "scene-0001", "Night, street"), ("b", "scene-0002", "Street"), ("c", "scene-0003", "Avenue")],
    columns=["token", "name", "description"],
)


def test_the_longest_event_of_a_bright_scene_is_shown():
    truth = truth_of(
        ("a", None, "event", "overtaking", 0, 90),
        ("b", "truck", "event", "overtaking", 10, 30),
        ("c", "van", "event", "overtaking", 10, 50),
        ("c", "walker", "intention", "overtaking", 0, 99),
        ("c", "lamp", "light", "hazard", 0, 99),
        ("a", None, "event", "jaywalker", 0, 90),
    )
    jaywalker, overtaking = find_events(truth, SCENES, per_kind=1)
    assert (jaywalker.kind, jaywalker.scene_name) == ("jaywalker", "scene-0001")
    assert (overtaking.scene_name, overtaking.begin_us, overtaking.end_us) == ("scene-0003", 10, 50)
    assert overtaking.actors == {"van", "walker"}
    assert len(find_events(truth, SCENES, per_kind=3)) == 4


def test_instants_reach_from_a_second_before_to_a_second_after():
    times = np.arange(0, 20) * SECOND // 2
    assert instants(times, 3 * SECOND, 5 * SECOND) == [4, 6, 8, 10, 12]
    assert instants(times, 0, 2 * SECOND) == [0, 2, 4, 6], "two instants fall on the first keyframe"


def test_an_ego_that_halts_brakes_on_its_logged_path_and_never_overtakes_the_log():
    times = np.arange(0, 10.5, 0.5)
    logged = np.column_stack([6.0 * times, np.zeros(21), np.zeros(21)])
    driven = halted(logged, times, from_s=3.0)
    assert driven[:7] == pytest.approx(logged[:7])
    # 6 m/s at 3 m/s2: two seconds and six metres.
    assert driven[8, 0] == pytest.approx(18.0 + 6.0 - 1.5) and driven[10:, 0] == pytest.approx(np.full(11, 24.0))
    soon = np.column_stack([np.minimum(6.0 * times, 20.0), np.zeros(21), np.zeros(21)])
    assert (halted(soon, times, from_s=3.0)[:, 0] <= soon[:, 0] + 1e-9).all()
    assert halted(logged, times, from_s=99.0) == pytest.approx(logged)


def test_an_outline_lies_around_the_box():
    """A box ahead of a camera that looks along x: 100 px focal length, so 2 m at 10 m are 20 px."""
    tables = make_tables(HandScene(straight(1, 5.0), {"car-1": Actor("car", [[10.0, 0, 0]])}))
    agents = tables.agents.assign(length_m=0.02, width_m=2.0, height_m=2.0, z_m=0.0)
    assert corners_of(agents).shape == (1, 8, 3)
    from_ego = np.array([[50.0, -100, 0, 0], [50, 0, -100, 0], [1, 0, 0, 0]])
    picture = Image.new("RGB", (100, 100))
    draw_outlines(picture, agents, from_ego)
    rows, columns = np.nonzero(np.asarray(picture).any(-1))
    assert (columns.min(), columns.max(), rows.min(), rows.max()) == pytest.approx((40, 60, 40, 60), abs=2)
    framed, untouched = Image.new("RGB", (100, 100)), Image.new("RGB", (100, 100))
    draw_frames(framed, agents, from_ego, marked={"car-1"})
    rows, columns = np.nonzero(np.asarray(framed).any(-1))
    assert (columns.min(), columns.max(), rows.min(), rows.max()) == pytest.approx((37, 63, 37, 63), abs=2)
    draw_frames(untouched, agents, from_ego, marked={"car-2"})
    assert not np.asarray(untouched).any()


def test_what_is_behind_the_camera_is_not_drawn():
    tables = make_tables(HandScene(straight(1, 5.0), {"car-1": Actor("car", [[-10.0, 0, 0]])}))
    picture = Image.new("RGB", (100, 100))
    draw_outlines(picture, tables.agents, np.array([[50.0, -100, 0, 0], [50, 0, -100, 0], [1, 0, 0, 0]]))
    assert not np.asarray(picture).any()


def test_a_description_cannot_break_the_page():
    text = page("root", [{"file": "a.png", "heading": "cut in", "text": "<script>alert(1)</script>"}])
    assert "<script>" not in text and 'src="a.png"' in text


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """One scene of a generated root with small pictures."""
    top = tmp_path_factory.mktemp("gallery") / "root"
    config = WorldConfig(num_keyframes=28, image_width=48, image_height=27)
    write_root(config, top, [SceneJob("scene-0003", "val", 1, 0)])
    return top


def gallery(*arguments):
    return CliRunner().invoke(main, ["gallery", *map(str, arguments)])


def test_every_event_of_a_generated_world_has_a_sheet(world, tmp_path):
    done = gallery(world, tmp_path / "out")
    assert done.exit_code == 0, done.output
    sheets = sorted((tmp_path / "out").glob("*.png"))
    assert "overtaking_scene-0003.png" in [sheet.name for sheet in sheets]
    with Image.open(sheets[0]) as sheet:
        assert sheet.width > 1500 and sheet.height > 4 * 400
    text = (tmp_path / "out" / "index.html").read_text()
    assert all(sheet.name in text for sheet in sheets)


def test_a_reaction_sheet_sets_the_log_beside_an_ego_that_halts(world, tmp_path):
    done = gallery(world, tmp_path / "out", "--show", "reaction", "--scene", "scene-0003")
    assert done.exit_code == 0, done.output
    with Image.open(tmp_path / "out" / "reaction_scene-0003.png") as sheet:
        pixels = np.asarray(sheet.convert("RGB"), int)
    assert pixels.shape == (5 * 360, 4 * 640, 3)
    apart = np.abs(pixels[:, :1280] - pixels[:, 1280:]).mean(axis=(1, 2)).reshape(5, 360).mean(1)
    # The first instant is that of the brake; the pictures differ by their labels there.
    assert apart[0] < 1.0 < apart[-1]


def test_recorded_pictures_stand_beside_rendered_ones(world, tmp_path):
    done = gallery(world, tmp_path / "out", "--show", "replay", "--scene", "scene-0003")
    assert done.exit_code == 0, done.output
    with Image.open(tmp_path / "out" / "replay_scene-0003_000.png") as sheet:
        pixels = np.asarray(sheet).astype(float)
    halves = pixels[:, :640], pixels[:, 640:]
    assert halves[0].shape == halves[1].shape == (6 * 360, 640, 3)
    assert all(half.std() > 10 for half in halves)


def test_a_full_folder_is_left_alone(world, tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    done = gallery(world, tmp_path)
    assert done.exit_code == 1 and "not empty" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_a_recording_knows_no_events(root, tmp_path):
    done = gallery(root, tmp_path / "out")
    assert done.exit_code == 1 and "--show replay" in done.stderr
    assert not (tmp_path / "out").exists()


def test_an_unknown_scene_is_named(world, tmp_path):
    done = gallery(world, tmp_path / "out", "--show", "replay", "--scene", "scene-0002")
    assert done.exit_code == 1 and "did you mean 'scene-0003'" in done.stderr
