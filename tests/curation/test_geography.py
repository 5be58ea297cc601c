"""Geographic overlap of keyframes typed by hand along one street."""

import pandas as pd

from dima_pipeline.curation.geography import geographic_overlap

Row = tuple[str, str, float, float]


def tables(*rows: Row) -> tuple[pd.DataFrame, pd.DataFrame]:
    """``samples`` and ``scenes`` of keyframes (split, location, x, y), each its own scene."""
    frame = pd.DataFrame(rows, columns=["split", "location", "ego_x_m", "ego_y_m"])
    frame["scene_token"] = [f"scene-{row}" for row in range(len(frame))]
    return frame[["scene_token", "ego_x_m", "ego_y_m"]], frame[["scene_token", "split", "location"]]


def overlap(*rows: Row, radius_m: float = 5.0) -> dict[tuple[str, str], tuple[int, int]]:
    """(split, location) -> keyframes near a training keyframe, and all."""
    table = geographic_overlap(*tables(*rows), radius_m)
    assert (table["radius_m"] == radius_m).all()
    return {(row.split, row.location): (row.num_near, row.num_keyframes) for row in table.itertuples()}


def test_keyframes_near_a_training_keyframe_are_counted_up_to_the_radius_itself() -> None:
    street = [("val", "boston", x, 0.0) for x in (2.0, 4.0, 5.0, 5.1, 9.0)]
    assert overlap(("train", "boston", 0.0, 0.0), *street) == {("val", "boston"): (3, 5)}
    assert overlap(("train", "boston", 0.0, 0.0), *street, radius_m=1.0) == {("val", "boston"): (0, 5)}
    assert overlap(("train", "boston", 0.0, 3.0), ("val", "boston", 4.0, 0.0)) == {("val", "boston"): (1, 1)}


def test_the_same_coordinates_in_another_town_are_another_place() -> None:
    assert overlap(("train", "boston", 0, 0), ("val", "queenstown", 0, 0)) == {("val", "queenstown"): (0, 1)}


def test_val_and_test_are_compared_with_train_and_never_with_each_other() -> None:
    rows = [("train", "boston", 0, 0), ("val", "boston", 100, 0), ("test", "boston", 100, 0), ("test", "boston", 1, 0)]
    assert overlap(*rows) == {("test", "boston"): (1, 2), ("val", "boston"): (0, 1)}


def test_without_held_out_keyframes_the_table_is_empty() -> None:
    table = geographic_overlap(*tables(("train", "boston", 0, 0)), 5.0)
    assert table.empty and list(table.columns) == ["split", "location", "radius_m", "num_keyframes", "num_near"]
