"""Splits and the leakage gate."""

from pathlib import Path

import pandas as pd
import pytest

from dima_pipeline.curation.config import IngestionConfig
from dima_pipeline.curation.splits import (
    assign_splits,
    check_leakage,
    configured_splits,
    official_splits,
    read_splits,
    split_version,
    synthetic_scene_names,
)


def scenes(*rows: tuple[str, str, str]) -> pd.DataFrame:
    """Rows of name, log_token, split."""
    frame = pd.DataFrame(rows, columns=["name", "log_token", "split"])
    return frame.assign(scene_token=[f"token-{row}" for row in range(len(frame))])


def test_the_version_name_chooses_the_official_lists() -> None:
    names = ["scene-0061", "scene-0103", "scene-0003", "own"]
    mini = assign_splits(names, "v1.0-mini")
    assert mini == {"scene-0061": "train", "scene-0103": "val", "scene-0003": "train", "own": "train"}
    for version in ("v1.0-trainval", "v1.0-synthetic-trainval"):
        assert assign_splits(names, version)["scene-0003"] == "val"
        assert assign_splits(names, version)["scene-0061"] == "train"
    assert assign_splits(["scene-0077"], "v1.0-test") == {"scene-0077": "test"}
    assert set(assign_splits(names, "v1.0-keyframes").values()) == {"train"}


def test_listed_scenes_are_held_out_whatever_their_official_split() -> None:
    assert assign_splits(["scene-0061", "own"], "v1.0-mini", ["own"]) == {"scene-0061": "train", "own": "val"}
    assert assign_splits(["scene-0061"], "v1.0-mini", ["scene-0061"]) == {"scene-0061": "val"}


def test_generated_scenes_take_official_names_that_every_can_bus_tool_accepts() -> None:
    names, official = synthetic_scene_names(), official_splits()
    train, val = names["train"], names["val"]
    assert all(set(names[split]) <= set(official[split]) for split in ("train", "val", "test"))
    assert len(names["test"]) > 100
    assert not {"scene-0161", "scene-0071", "scene-1073"} & {*train, *val}
    assert len(official["train"]) - len(train) + len(official["val"]) - len(val) > 50
    assert train == [name for name in official["train"] if name in set(train)]


def test_a_log_on_both_sides_of_our_own_split_is_refused_by_name() -> None:
    leaking = scenes(("a", "log-1", "train"), ("b", "log-1", "val"), ("c", "log-2", "val"))
    with pytest.raises(ValueError, match=r"log log-1 is in more than one split: a \(train\), b \(val\)"):
        check_leakage(leaking, "v1.0-synthetic-trainval")


def test_an_official_version_only_reports_shared_logs() -> None:
    shared = scenes(("a", "log-1", "train"), ("b", "log-1", "val"), ("c", "log-2", "val"))
    assert check_leakage(shared, "v1.0-trainval") == ["log-1"]
    assert check_leakage(shared.iloc[[0, 2]], "own") == []


@pytest.mark.parametrize("column", ["name", "scene_token"])
def test_a_scene_that_stands_in_both_splits_is_refused(column: str) -> None:
    twice = scenes(("a", "log-1", "train"), ("b", "log-2", "val"))
    twice[column] = twice[column].iloc[0]
    with pytest.raises(ValueError, match="more than once"):
        check_leakage(twice, "v1.0-trainval")


RECORDED = ["scene-0061", "scene-0103", "scene-0553"]


def splits_file(folder: Path, text: str, name: str = "splits.yml") -> Path:
    (folder / name).write_text(text)
    return folder / name


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("splits.json", '{"train": ["scene-0061"], "val": ["scene-0103"],\t"test": []}'),
        ("splits.yml", "train: [scene-0061]\nval:\n- scene-0103\n"),
    ],
)
def test_own_lists_are_read_from_json_as_the_devkit_writes_it_and_from_yaml(
    tmp_path: Path, name: str, text: str
) -> None:
    splits = read_splits(splits_file(tmp_path, text, name), RECORDED)
    assert splits == {"scene-0061": "train", "scene-0103": "val"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("train: [scene-0061]\nval: [scene-0061]", "lists scene scene-0061 twice, in train and in val"),
        ("train: [scene-0061, scene-0061]", "lists scene scene-0061 twice, in train and in train"),
        ("train: [scene-0062, x]", "'scene-0062' in train.* the 3 recorded scenes; did you mean 'scene-0061'.*2 such"),
        ("train: [scene-0061]\ntrain: [scene-0103]", "has two lists 'train': join them"),
        ("trian: [scene-0061]", "no split 'trian' in .*did you mean 'train'"),
        ("[train]: [scene-0061]", r"no split '\[\]' in "),
        ("train: scene-0061", "but train is 'scene-0061'"),
        ("train: {scene-0061: 1}", "but train is {'scene-0061': 1}"),
        ("train: [0061]", "but train holds 49: put a name that looks like a number in quotes"),
        ("train: []", "names no scene"),
        ("- scene-0061", r"but holds \['scene-0061'\]"),
        ("", "but holds None"),
        ("train: [scene-0061", "but cannot be read"),
        ("train: !!python/object/apply:os.getcwd []", "but cannot be read"),
        ("train: &a [*a]", "but cannot be read"),
    ],
)
def test_a_wrong_splits_file_is_refused_with_its_name_and_the_place(tmp_path: Path, text: str, message: str) -> None:
    path = splits_file(tmp_path, text)
    with pytest.raises(ValueError, match=message) as error:
        read_splits(path, RECORDED)
    assert str(path) in str(error.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"train": ["scene-0061"], "train": []}', "two lists 'train'"),
        ('{"train": {"scene-0061": 1}}', "but train is"),
        ('["scene-0061"]', "but holds"),
        ('{"train": [', "but cannot be read"),
    ],
)
def test_wrong_json_is_refused_as_wrong_yaml_is(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_splits(splits_file(tmp_path, text, "splits.json"), RECORDED)


def test_a_splits_file_that_is_missing_or_no_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"absent.yml is not there; a relative path counts from the project folder"):
        read_splits(tmp_path / "absent.yml", RECORDED)
    (tmp_path / "picture.yml").write_bytes(b"\xff\xd8\xff\x00")
    with pytest.raises(ValueError, match=r"picture.yml must hold lists .* cannot be read"):
        read_splits(tmp_path / "picture.yml", RECORDED)


def config(**options: object) -> IngestionConfig:
    return IngestionConfig(**{"dataset": {"name": "nuscenes", "version": "v1.0-mini"}, **options})


def test_the_splits_file_stands_in_for_the_official_lists(tmp_path: Path) -> None:
    own = config(splits_file=str(splits_file(tmp_path, "test: [scene-0061]\ntrain: [scene-0103, scene-0553]")))
    assert configured_splits(own, ["scene-0103", "scene-0061"], RECORDED) == {
        "scene-0103": "train",
        "scene-0061": "test",
    }
    assert configured_splits(config(), RECORDED[:2], RECORDED) == {"scene-0061": "train", "scene-0103": "val"}
    held_out = configured_splits(config(val_scenes=["scene-0061"]), RECORDED[:1], RECORDED)
    assert held_out == {"scene-0061": "val"}


def test_a_scene_to_ingest_that_no_list_names_is_refused(tmp_path: Path) -> None:
    own = config(splits_file=str(splits_file(tmp_path, "train: [scene-0061]")))
    assert configured_splits(own, ["scene-0061"], RECORDED) == {"scene-0061": "train"}
    with pytest.raises(ValueError, match=r"no list of .*splits.yml names scene scene-0103 \(2 such scenes\)"):
        configured_splits(own, RECORDED, RECORDED)


def test_only_splits_that_the_user_did_not_choose_keep_the_version() -> None:
    assert split_version(config()) == "v1.0-mini"
    assert split_version(config(val_scenes=["scene-0061"])) == split_version(config(splits_file="own.yml")) == ""


def test_two_ways_to_say_the_splits_at_once_are_refused() -> None:
    with pytest.raises(ValueError, match="val_scenes and splits_file both say"):
        config(val_scenes=["scene-0061"], splits_file="splits.yml")
