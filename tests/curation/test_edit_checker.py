"""Edits of generated worlds are sound by the book of a checker of its own, which finds every fault that is planted."""

from collections import Counter
from typing import Any

import numpy as np
import pandas as pd
import pytest

from dima_pipeline.contracts.tables import SceneEditRows
from dima_pipeline.curation.annotation_config import EditConfig
from dima_pipeline.curation.scene_edits import scene_edit_rows
from dima_pipeline.storage.keyframes import keyframes
from edit_checker import check_edits
from edit_worlds import all_tables, generator, make_world, scenes_of
from hand_scenes import Actor, HandScene, make_tables, straight

ROAD = [
    *(("centerline", [(-60, y), (140, y)]) for y in (-3.5, 0.0)),
    *(("boundary", [(-60, y), (140, y)]) for y in (-5.5, 2.0)),
]


def checked(tables: Any, seeds: range) -> tuple[pd.DataFrame, pd.Series, Counter[str]]:
    left_alone: Counter[str] = Counter()
    rows = [
        row
        for seed in seeds
        for at, frames in enumerate(scenes_of(tables))
        for row in scene_edit_rows(EditConfig(), frames, generator(seed, at), left_alone)
    ]
    edits = SceneEditRows.validate(pd.DataFrame(rows))
    return edits, check_edits(edits, tables), left_alone


def test_no_edit_of_a_generated_world_overlaps_leaves_the_road_or_cannot_be_driven(tmp_path):
    tables = all_tables(make_world(tmp_path / "root", num_scenes=6, seed=3))
    edits, faults, left_alone = checked(tables, range(3))
    assert list(faults[faults != ""]) == []
    assert len(edits) > 200 and 0.3 <= edits.matters.mean() <= 0.7
    assert {"keep", "nudge", "slow", "stop"} <= set(edits.label)
    assert {"car", "truck", "pedestrian", "bicycle"} <= set(edits.category[edits.kind == "add"])
    assert len(edits) + sum(left_alone.values()) == 3 * len(tables.samples)


@pytest.mark.slow
def test_no_edit_of_ten_thousand_is_at_fault(tmp_path):
    tables = all_tables(make_world(tmp_path / "root", num_scenes=110, seed=11))
    edits, faults, _ = checked(tables, range(4))
    assert len(edits) >= 10_000 and list(faults[faults != ""]) == []
    assert 0.3 <= edits.matters.mean() <= 0.7


@pytest.fixture(scope="module")
def hand_edits() -> tuple[pd.DataFrame, Any]:
    """Edits of a straight road with two lanes, a parked car and a truck on the other one."""
    parked = {"parked": Actor("car", (45, -3.7, 0), "vehicle.parked"), "truck": Actor("truck", (70, -3.5, 0))}
    tables = make_tables(HandScene(ego=straight(40, 6.0), actors=parked, lines=ROAD))
    # As in ingestion, edges end at the border of the 60 x 30 m and not at the last point before it.
    ends = np.linspace(-30.0, 30.0, 20)
    tables.map_elements["points"] = [
        np.stack([ends, np.full(20, points[1])], -1).ravel().tolist() for points in tables.map_elements.points
    ]
    frames = list(keyframes(tables))
    rows = [row for seed in range(4) for row in scene_edit_rows(EditConfig(), frames, np.random.default_rng(seed))]
    return pd.DataFrame(rows), tables


def first(edits: pd.DataFrame, **values: str) -> dict[str, Any]:
    for name, value in values.items():
        edits = edits[edits[name] == value]
    return edits.iloc[0].to_dict()


def driven_path(row: dict[str, Any], tables: Any) -> list[float]:
    paths = tables.ego_paths[(tables.ego_paths.sample_token == row["sample_token"]) & (tables.ego_paths.step > 0)]
    return paths[["x_m", "y_m"]].to_numpy().ravel().tolist()


def moved(row: dict[str, Any], x: float, y: float) -> dict[str, Any]:
    """The added agent elsewhere."""
    future = (np.reshape(row["future"], (6, 2)) + np.array([x, y])).ravel().tolist()
    return row | {"x_m": row["x_m"] + x, "y_m": row["y_m"] + y, "future": future}


def faults_of(row: dict[str, Any], tables: Any) -> set[str]:
    return set(check_edits(pd.DataFrame([row]), tables)[0].split())


def test_the_checker_has_nothing_against_them(hand_edits):
    edits, tables = hand_edits
    assert set(check_edits(edits, tables)) == {""}


def test_the_checker_finds_an_agent_that_is_off_the_road_or_beyond_the_map(hand_edits):
    edits, tables = hand_edits
    car, walker = first(edits, kind="add", category="car"), first(edits, kind="add", category="pedestrian")
    assert "off_road" in faults_of(moved(car, 0.0, 4.0), tables)
    assert "off_road" in faults_of(moved(walker, 0.0, 2.5 if walker["y_m"] < -5.5 else -2.5), tables)
    assert "off_map" in faults_of(moved(car, 40.0, 0.0), tables)


def test_the_checker_finds_overlaps(hand_edits):
    edits, tables = hand_edits
    agents = tables.agents.set_index(["sample_token", "instance_token"])
    car = first(edits, kind="add", category="car", label="keep")
    parked = agents.loc[(car["sample_token"], "parked")]
    onto = moved(car, float(parked.x_m - car["x_m"]) + 4.0, float(parked.y_m - car["y_m"]))
    assert "added_overlap" in faults_of(onto, tables)
    stop = first(edits, label="stop")
    ignored = stop | {"path": driven_path(stop, tables), "label": "keep", "matters": False}
    assert "added_margin" in faults_of(ignored, tables)
    assert "ego_overlap" in faults_of(first(edits, label="keep") | {"label": "slow"}, _with_wall(tables))


def _with_wall(tables: Any) -> Any:
    """A car ten metres ahead of the ego in all keyframes."""
    rows = tables.agents.drop_duplicates("sample_token").assign(instance_token="wall", x_m=10.0, y_m=0.0)
    return type(tables)(**(vars(tables) | {"agents": pd.concat([tables.agents, rows]), "agent_futures": _held(rows)}))


def _held(rows: pd.DataFrame) -> pd.DataFrame:
    columns = ["sample_token", "instance_token", "x_m", "y_m", "yaw_rad"]
    return pd.concat([rows[columns].assign(step=step, valid=True) for step in range(1, 7)])


@pytest.mark.parametrize(
    ("column", "change", "fault"),
    [
        ("path", lambda values: values + 0.4, "undrivable_path"),
        ("acceleration_mps2", lambda values: values - 0.2, "undrivable_path"),
        ("acceleration_mps2", lambda values: values + 3.5, "undrivable_accelerate"),
        ("acceleration_mps2", lambda values: values - 6.5, "undrivable_brake"),
        ("acceleration_mps2", lambda values: values + 2 * (-1) ** np.arange(30), "undrivable_jerk"),
        ("steering_rad", lambda values: values + 0.7, "undrivable_steer"),
        ("steering_rad", lambda values: values + 0.1 * (-1) ** np.arange(30), "undrivable_steer_rate"),
        ("steering_rad", lambda values: values + 0.5, "undrivable_lateral"),
    ],
)
def test_the_checker_finds_what_no_car_drives(hand_edits, column, change, fault):
    edits, tables = hand_edits
    row = first(edits, label="nudge")
    assert fault in faults_of(row | {column: change(np.array(row[column])).tolist()}, tables)


def test_the_checker_finds_a_wrong_label_and_a_wrong_claim_that_it_matters(hand_edits):
    edits, tables = hand_edits
    keep, stop = first(edits, label="keep"), first(edits, label="stop")
    assert "label" in faults_of(stop | {"label": "slow"}, tables)
    assert "label" in faults_of(keep | {"label": "resume", "kind": "add"}, tables)
    assert "matters" in faults_of(keep | {"matters": True}, tables)
    assert "undrivable_start" in faults_of(keep | {"speed_mps": 9.0}, _with_speed(tables))


def _with_speed(tables: Any) -> Any:
    return type(tables)(**(vars(tables) | {"samples": tables.samples.assign(speed_mps=6.0)}))
