"""Splits and the leakage gate."""

import pandas as pd
import pytest

from dima_pipeline.curation.splits import assign_splits, check_leakage, official_splits, synthetic_scene_names


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
    train, val = synthetic_scene_names()
    official = official_splits()
    assert set(train) < set(official["train"]) and set(val) < set(official["val"])
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
