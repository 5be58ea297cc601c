"""Development scenes: whole train scenes that no stage sees, chosen by nothing but their names."""

from pathlib import Path

import pytest

from dima_pipeline.storage.scene_reader import SceneReader
from dima_pipeline.training.config import parse_distillation
from dima_pipeline.training.stages import plan_stages, training_texts
from dima_pipeline.training.windows import DEVELOPMENT, TrainingTables, WindowDataset, split_tokens
from training_cases import make_training_tables, write_shards

SPEEDS = {"scene-0000": "It drives 4 m/s.", "scene-0001": "It drives 8 m/s."}


@pytest.fixture(scope="module")
def tables():
    return make_training_tables()


@pytest.fixture(scope="module")
def shards(tables, tmp_path_factory):
    return write_shards(tables, tmp_path_factory.mktemp("development") / "shards")


def split_of(tables):
    return dict(zip(tables.scenes["name"], tables.scenes["split"], strict=True))


def test_one_scene_of_train_moves_and_val_stays(tables):
    split = split_of(tables.hold_out(1))
    assert sorted(split.values()) == ["development", "train", "val"]
    assert split["scene-0002"] == "val"
    assert split_of(tables)["scene-0000"] == split_of(tables)["scene-0001"] == "train"  # the given ones are unchanged


def test_the_order_of_the_table_does_not_choose(tables):
    turned = TrainingTables(**{**vars(tables), "scenes": tables.scenes.iloc[::-1].reset_index(drop=True)})
    assert split_of(turned.hold_out(1)) == split_of(tables.hold_out(1))


def test_none_held_out_changes_nothing(tables):
    assert tables.hold_out(0).scenes.equals(tables.scenes)


@pytest.mark.parametrize("num_scenes", [2, 3])
def test_one_scene_at_least_is_left_to_train_on(tables, num_scenes):
    with pytest.raises(ValueError, match=f"num_development_scenes is {num_scenes}, but there are 2 train scenes"):
        tables.hold_out(num_scenes)


def test_training_sees_neither_keyframes_nor_texts_of_development_scenes(tables, shards):
    held = tables.hold_out(1)
    name = next(name for name, split in split_of(held).items() if split == DEVELOPMENT)
    other = next(iter(SPEEDS.keys() - {name}))
    data = WindowDataset(held, SceneReader(held.samples, shards), split="train")
    assert {token[:10] for token in data.sample_tokens} == {other}
    assert {token[:10] for token in split_tokens(held, DEVELOPMENT)} == {name}
    assert SPEEDS[other] in training_texts(held) and SPEEDS[name] not in training_texts(held)


def test_the_stages_are_planned_on_what_is_left_and_have_another_name(tables, shards, tmp_path):
    """The staged tables are all that a worker reads."""

    def plan(num_scenes):
        config = {"planner": "doubles.fake_planner", "num_development_scenes": num_scenes}
        return plan_stages(parse_distillation(config), tables, shards.directory, tmp_path)["pretraining"]

    whole, held = plan(0), plan(1)
    assert whole.name != held.name
    staged = TrainingTables.read(Path(held.tables_dir))
    assert split_of(staged) == split_of(tables.hold_out(1))
