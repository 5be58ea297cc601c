"""Windows: what the tables say of a keyframe stands in the batch, in its place and behind its mask."""

import time
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from dima_pipeline.contracts.frames import AGENT_CATEGORIES, MAP_KINDS
from dima_pipeline.storage.scene_reader import SceneReader
from dima_pipeline.training.windows import TrainingTables, WindowDataset, nearest_slots, tables_digest
from hand_scenes import Actor, HandScene, make_tables, straight
from training_cases import EDIT_COLUMNS, edit_row, make_training_tables, vqa_row, write_shards


@pytest.fixture(scope="module")
def tables():
    return make_training_tables()


@pytest.fixture(scope="module")
def shards(tables, tmp_path_factory):
    return write_shards(tables, tmp_path_factory.mktemp("shards") / "shards")


@pytest.fixture(scope="module")
def data(tables, shards):
    return dataset(tables, shards)


def dataset(tables, shards, **options):
    return WindowDataset(tables, SceneReader(tables.samples, shards), "train", **options)


def frame_number(batch, at=0):
    """Which row of the samples table the images of a sample are of."""
    return int(batch.images[at, 0, 0, 0, 0])


def test_only_keyframes_of_the_split_are_there_in_the_order_of_the_table(data):
    assert len(data) == 12
    assert data.sample_tokens[0] == "scene-0000-000"
    assert data.sample_tokens[6] == "scene-0001-000"
    assert not any(token.startswith("scene-0002") for token in data.sample_tokens)


def test_an_absent_split_is_named(tables, shards):
    with pytest.raises(ValueError, match=r"no keyframe belongs to split 'test'.*'train', 'val'"):
        WindowDataset(tables, SceneReader(tables.samples, shards), "test")


def test_a_window_holds_the_keyframes_around_the_present_one(tables, shards):
    window = dataset(tables, shards, num_past=2).batch(np.array([3])).window
    assert [frame_number(batch) for batch in window.past] == [1, 2]
    assert frame_number(window.current) == 3
    assert [frame_number(batch) for batch in window.future] == [4, 5]
    assert window.past_valid.tolist() == [[True, True]]
    assert window.future_valid.tolist() == [[True, True]]


def test_beyond_the_ends_of_a_scene_the_nearest_keyframe_repeats_and_is_not_valid(tables, shards):
    window = dataset(tables, shards, num_past=2).batch(np.array([6, 7, 10, 11])).window
    numbers = [[frame_number(batch, at) for batch in (*window.past, window.current, *window.future)] for at in range(4)]
    assert numbers == [[6, 6, 6, 7, 8], [6, 6, 7, 8, 9], [8, 9, 10, 11, 11], [9, 10, 11, 11, 11]]
    assert window.past_valid.tolist() == [[False, False], [False, True], [True, True], [True, True]]
    assert window.future_valid.tolist() == [[True, True], [True, True], [True, False], [False, False]]


def test_a_window_may_have_neither_past_nor_future(tables, shards):
    window = dataset(tables, shards, num_past=0, num_future=0).batch(np.array([0, 1])).window
    assert window.past == () and window.future == ()
    assert window.past_valid.shape == window.future_valid.shape == (2, 0)


def test_the_ego_future_is_the_driven_path_and_masked_at_the_end_of_the_scene(data):
    targets = data.batch(np.array([0, 6, 10, 11])).targets
    assert np.allclose(targets.ego_future[0, :5, 0], [2, 4, 6, 8, 10])
    assert np.allclose(targets.ego_future[1, :5, 0], [4, 8, 12, 16, 20])
    assert targets.ego_future_valid.sum(1).tolist() == [5, 5, 1, 0]
    assert (targets.ego_future[~targets.ego_future_valid] == 0).all()


def test_agents_stand_nearest_first_with_their_own_future(data):
    targets = data.batch(np.array([0, 4])).targets
    assert targets.agent_valid.sum(1).tolist() == [2, 2]
    assert np.allclose(targets.agent_box[0, 0], [10, 0, 0, 4.6, 1.9, 4, 0])
    assert targets.agent_category[0, :2].tolist() == [AGENT_CATEGORIES.index("car"), AGENT_CATEGORIES.index("barrier")]
    assert np.allclose(targets.agent_future[0, 0, :5, 0], [12, 14, 16, 18, 20])
    assert np.allclose(targets.agent_future[0, 1, :5], [20, 4])
    assert targets.agent_future_valid[0].sum() == 10
    # At the fifth keyframe the ego is 8 m further: the barrier is still behind the car.
    assert np.allclose(targets.agent_box[1, 1, :2], [12, 4])


def test_a_barrier_that_has_come_nearer_than_the_car_takes_the_first_place(data):
    targets = data.batch(np.array([6 + 2, 6 + 4])).targets
    barrier = AGENT_CATEGORIES.index("barrier")
    assert targets.agent_category[:, :2].tolist() == [[0, barrier], [barrier, 0]]
    assert np.allclose(targets.agent_future[1, 0, 0], [4, 4])


def test_what_is_out_of_range_or_over_the_capacity_is_left_out(shards):
    ego = straight(2, 2.0)
    actors = {"far": Actor("car", (31.0, 0, 0)), "left": Actor("car", (3.0, 15.5, 0))}
    actors |= {f"n{k}": Actor("car", (20.0 - k, 0, 0)) for k in range(4)}
    tables = TrainingTables(
        **vars(make_tables(HandScene(ego, actors))),
        vqa_pairs=pd.DataFrame([vqa_row("scene-0001-000", "yes")]),
        scene_edits=pd.DataFrame(columns=EDIT_COLUMNS),
    )
    targets = dataset(tables, shards, num_agents=3)._targets
    assert targets.agent_box[0, :, 0].tolist() == [17, 18, 19]
    assert dataset(tables, shards, num_agents=9)._targets.agent_valid.sum(1).tolist() == [4, 5]


def test_an_unknown_velocity_is_zero_and_not_a_nan(tables, shards):
    agents = tables.agents.assign(vx_mps=np.nan)
    box = dataset(replace(tables, agents=agents), shards).batch(np.array([0])).targets.agent_box
    assert np.isfinite(box).all()
    assert box[0, 0, 5] == 0


def test_map_elements_keep_their_points_and_kind(data, tables):
    targets = data.batch(np.array([0])).targets
    assert targets.map_valid[0].tolist() == [True] + [False] * 15
    assert targets.map_kind[0, 0] == MAP_KINDS.index("divider")
    assert np.allclose(targets.map_points[0, 0].ravel(), tables.map_elements["points"][0])
    assert (targets.map_points[0, 1:] == 0).all()


def test_pairs_belong_to_their_keyframe_and_failed_ones_are_left_out(tables, shards):
    extra = pd.DataFrame([vqa_row("scene-0000-001", "flies", check="failed"), vqa_row("scene-0000-001", "rolls")])
    data = dataset(replace(tables, vqa_pairs=pd.concat([tables.vqa_pairs, extra])), shards)
    pairs = data.batch(np.array([1, 2])).pairs
    assert [pair.answer for pair in pairs[0]] == ["It drives 4 m/s.", "rolls"]
    assert [pair.sample_token for pair in pairs[1]] == ["scene-0000-002"]
    assert pairs[0][0].objects == ("ahead",)


def test_a_keyframe_without_edit_has_kind_zero_and_no_question(data):
    batch = data.batch(np.array([0, 1]))
    assert batch.edits.kind.tolist() == [1, 0]
    assert np.allclose(batch.edits.box[0], [12, 0, 0, 7, 2.5, 0, 0])
    assert (batch.edits.box[1] == 0).all()
    assert batch.edits.path_valid.tolist() == [[True] * 5 + [False], [False] * 6]
    assert (batch.edits.path[0, 5] == 0).all() and np.allclose(batch.edits.path[0, 4], [4.2, 0])
    assert [pair.answer for pair in batch.edit_pairs[0]] == ["brake"]
    assert batch.edit_pairs[1] == ()


def test_several_edits_of_a_keyframe_take_turns_over_the_epochs(tables, shards):
    edits = pd.DataFrame([edit_row("scene-0000-000"), edit_row("scene-0000-000", "delete", answer="go on")])
    data = dataset(replace(tables, scene_edits=edits), shards)
    batch = data.batch(np.array([0, 0, 0]), np.array([0, 1, 2]))
    assert batch.edits.kind.tolist() == [1, 2, 1]
    assert [pairs[0].answer for pairs in batch.edit_pairs] == ["brake", "go on", "brake"]


def test_tables_survive_the_way_through_files(tables, shards, tmp_path):
    tables.write(tmp_path)
    again = dataset(TrainingTables.read(tmp_path), shards).batch(np.arange(12))
    first = dataset(tables, shards).batch(np.arange(12))
    assert again.pairs == first.pairs and again.edit_pairs == first.edit_pairs
    for name, array in vars(first.targets).items():
        assert np.array_equal(array, getattr(again.targets, name)), name
    assert np.array_equal(first.edits.path, again.edits.path)
    assert np.array_equal(first.window.past_valid, again.window.past_valid)


def test_the_digest_of_the_tables_changes_with_one_value(tables, tmp_path):
    tables.write(tmp_path / "a")
    tables.write(tmp_path / "b")
    assert tables_digest(tmp_path / "a") == tables_digest(tmp_path / "b")
    tables.agents.assign(x_m=tables.agents["x_m"] + 1e-9).to_parquet(tmp_path / "b" / "agents.parquet", index=False)
    changed = {k for k, v in tables_digest(tmp_path / "a").items() if v != tables_digest(tmp_path / "b")[k]}
    assert changed == {"agents"}


def test_slots_count_the_wanted_of_each_row_by_distance():
    rows = np.array([0, 1, 0, 0, 1, 0])
    distance = np.array([5.0, 1, 2, 1, 0, 3])
    wanted = np.array([True, True, True, False, True, True])
    assert nearest_slots(rows, distance, wanted, 2).tolist() == [-1, 1, 0, -1, 0, 1]
    assert nearest_slots(rows, distance, np.zeros(6, bool), 2).tolist() == [-1] * 6


def test_targets_of_1200_keyframes_are_made_in_five_seconds(shards):
    actors = {f"a{k}": Actor("car", (5.0 * k, 3.0, 0)) for k in range(15)}
    made = make_tables(*(HandScene(straight(30, 2.0), actors, name=f"s-{k}") for k in range(10)))
    copies = [{name: renamed(frame, copy) for name, frame in vars(made).items()} for copy in range(4)]
    merged = {name: pd.concat([copy[name] for copy in copies], ignore_index=True) for name in copies[0]}
    pairs = pd.DataFrame([vqa_row(token, "yes") for token in merged["samples"]["sample_token"] for _ in range(8)])
    tables = TrainingTables(**merged, vqa_pairs=pairs, scene_edits=pd.DataFrame(columns=EDIT_COLUMNS))
    started_s = time.perf_counter()
    data = dataset(tables, shards)
    assert len(data) == 1200
    assert time.perf_counter() - started_s < 5


def renamed(frame, copy):
    names = [name for name in ("sample_token", "scene_token", "prev", "next") if name in frame]
    return frame.assign(
        **{name: frame[name].map(lambda v: f"{v}-{copy}" if isinstance(v, str) else v) for name in names}
    )
