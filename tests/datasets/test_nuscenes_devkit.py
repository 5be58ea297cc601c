"""The devkit reads the same root and agrees on every value: it is the referee of the format."""

import os
import re
from collections.abc import Iterator
from copy import copy
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from devkit_table import Agreement, Comparison, summarise
from devkit_values import EXACT, category_to_detection_name
from dima_pipeline.contracts.frames import AGENT_CATEGORIES
from dima_pipeline.datasets import SceneTables
from dima_pipeline.datasets._nuscenes_can import NO_CAN, OFF_ROUTE
from dima_pipeline.datasets._nuscenes_map import read_layers
from dima_pipeline.datasets._nuscenes_tables import agent_category
from nuscenes_root import LOCATION, VERSION

SHARED = Path(os.environ.get("DIMA_SHARED_DATA", Path(__file__).parents[3] / "shared" / "data"))
MINI = SHARED / "nuscenes-mini"
OURS_ALONE = {"samples.command_route"}
"""Columns of which the devkit knows nothing."""
SCENE = "scene-0061"
NUDGE = 1e-5


@pytest.fixture(scope="module")
def hand_made(root: Path) -> Comparison:
    return Comparison(root, VERSION)


@pytest.fixture(scope="module")
def mini() -> Comparison:
    if not MINI.is_dir():
        pytest.skip(f"no recordings at {MINI}: set DIMA_SHARED_DATA")
    return Comparison(MINI, "v1.0-mini")


def off_limits(lines: dict[str, Agreement]) -> dict[str, float]:
    return {line.check: line.max_deviation for line in lines.values() if not line.is_kept()}


def test_every_value_of_the_hand_made_root_is_the_devkits(hand_made: Comparison) -> None:
    lines = summarise(hand_made.root())
    assert off_limits(lines) == {}
    assert lines["boxes: position"].num_values == 3 * 17
    assert lines["map, ped_crossing: points on get_map_geom"].num_values > 100


@pytest.mark.slow
def test_every_value_of_mini_is_the_devkits(mini: Comparison) -> None:
    scenes: list[SceneTables] = []
    lines = summarise(mini.root(scenes.append))
    assert off_limits(lines) == {}
    splits = mini.split_names()
    num_samples = {scene.scenes["name"].iloc[0]: len(scene.samples) for scene in scenes}
    per_split = pd.Series(num_samples).groupby(splits).sum()
    assert per_split.to_dict() == {"train": 323, "val": 81}
    num_boxes = sum(len(scene.agents) for scene in scenes)
    assert num_boxes + mini.dataset.unmapped.total() == len(mini.devkit.nusc.sample_annotation) == 18_538
    # that the checks looked at something
    assert lines["boxes: position"].num_values == 3 * num_boxes
    assert lines["agent futures: mask"].num_values == 6 * num_boxes
    assert lines["ego past and future: mask"].num_values == 10 * 404
    assert lines["CAN bus: speed_mps"].num_values == 404
    assert lines["boxes: attribute"].num_values > 4000
    assert min(lines[f"map, {kind}: points"].num_values for kind in ("divider", "boundary", "centerline")) > 50_000


def all_columns(tables: SceneTables) -> Iterator[tuple[str, str]]:
    for table in fields(tables):
        for column in getattr(tables, table.name):
            yield table.name, column


def test_no_column_is_left_out(hand_made: Comparison) -> None:
    tables = hand_made.dataset.tables(SCENE)
    compared = {column for line in summarise(hand_made.root()).values() for column in line.columns}
    assert {f"{table}.{column}" for table, column in all_columns(tables)} - compared == OURS_ALONE


def test_the_page_lists_every_check(hand_made: Comparison) -> None:
    page = (Path(__file__).parents[2] / "docs" / "ingestion.md").read_text()
    listed = re.findall(r"^\| ([^|]+) \| [\d,]+ \|", page, re.MULTILINE)
    assert listed == list(summarise(hand_made.root()))


def nudged(value: Any) -> Any:
    """Another value, or one 1e-5 off."""
    if isinstance(value, str):
        return f"{value}x"
    if isinstance(value, bool | np.bool_):
        return not value
    if isinstance(value, list | np.ndarray):
        return [value[0] + NUDGE, *value[1:]]
    return value + (1 if isinstance(value, int | np.integer) else NUDGE)


def with_one_nudged(tables: SceneTables, name: str, column: str) -> SceneTables:
    """Change the middle one of the known values of a column."""
    table = getattr(tables, name).copy()
    known = np.flatnonzero(table[column].notna())
    row = known[len(known) // 2]
    values = table[column].astype(object).tolist()
    values[row] = nudged(values[row])
    table[column] = pd.Series(values, table.index, dtype=table[column].dtype)
    return replace(tables, **{name: table})


def test_a_nudge_of_any_column_is_seen(hand_made: Comparison) -> None:
    tables = hand_made.dataset.tables(SCENE)
    for name, column in all_columns(tables):
        if f"{name}.{column}" in OURS_ALONE | {"scenes.split"}:
            continue
        lines = summarise(hand_made.scene(SCENE, with_one_nudged(tables, name, column))).values()
        assert any(f"{name}.{column}" in line.columns for line in lines if not line.is_kept()), f"{name}.{column}"


def test_a_lost_row_of_any_table_is_seen(hand_made: Comparison) -> None:
    tables = hand_made.dataset.tables(SCENE)
    for name in ("agents", "ego_paths", "agent_futures", "map_elements"):
        lines = summarise(hand_made.scene(SCENE, replace(tables, **{name: getattr(tables, name).iloc[1:]})))
        assert any(line.unit == EXACT and not line.is_kept() for line in lines.values()), name


def test_another_split_is_seen(hand_made: Comparison) -> None:
    other = copy(hand_made)
    other.config = replace(hand_made.config, version="v1.0-own")
    (line,) = summarise(other.splits()).values()
    assert line.num_values == 2 and not line.is_kept()


@pytest.mark.parametrize("location", [LOCATION, "singapore-onenorth", "singapore-queenstown"])
def test_lanes_of_real_maps_are_those_of_the_devkit(mini: Comparison, location: str) -> None:
    assert_lanes_agree(mini, location)


def test_lanes_and_crossings_are_those_of_the_devkits_map(hand_made: Comparison) -> None:
    assert_lanes_agree(hand_made, LOCATION)
    ours = read_layers(hand_made.devkit.dataroot / "maps" / "expansion" / f"{LOCATION}.json")
    town = hand_made.town(LOCATION).town
    assert ours.polygons["ped_crossing"][0].equals(town.extract_polygon(town.ped_crossing[0]["polygon_token"]))


def assert_lanes_agree(comparison: Comparison, location: str) -> None:
    ours = read_layers(comparison.devkit.dataroot / "maps" / "expansion" / f"{location}.json")
    theirs = comparison.town(location)
    curves = theirs.lanes()
    assert ours.lanes.keys() == curves.keys() and len(curves) > 1
    assert all(np.abs(poses - curves[token]).max() <= 1e-9 for token, poses in ours.lanes.items())
    assert {token: theirs.town.get_outgoing_lane_ids(token) for token in ours.outgoing} == ours.outgoing


def test_scenes_without_usable_can_bus_are_those_of_the_devkit(hand_made: Comparison) -> None:
    assert frozenset(hand_made.devkit.can.can_blacklist) == NO_CAN
    assert frozenset(hand_made.devkit.can.route_blacklist) == OFF_ROUTE


def test_categories_are_the_detection_classes() -> None:
    from nuscenes.eval.detection.constants import DETECTION_NAMES

    assert set(AGENT_CATEGORIES) == set(DETECTION_NAMES)
    assert agent_category("vehicle.bus.bendy") == agent_category("vehicle.bus.rigid") == "bus"
    assert agent_category("human.pedestrian.police_officer") == "pedestrian"
    assert agent_category("construction_vehicle") == "construction_vehicle"
    assert agent_category("human.pedestrian.wheelchair") is agent_category("animal") is None
    assert category_to_detection_name("animal") is None
