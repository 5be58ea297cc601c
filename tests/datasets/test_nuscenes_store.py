"""The record store gives every scene its rows as they stand in the tables, whatever the files look like."""

import json
import os
import pickle
import shutil
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dima_pipeline.contracts.frames import CAMERAS
from dima_pipeline.datasets._nuscenes_chains import _on_circle
from dima_pipeline.datasets._nuscenes_check import Records
from dima_pipeline.datasets._nuscenes_columns import FIELDS, is_safe_file, read_columns
from dima_pipeline.datasets._nuscenes_json import MAX_RECORD_BYTES, read_blocks, read_spans
from dima_pipeline.datasets._nuscenes_store import RecordStore, save_places
from nuscenes_root import VERSION, edit_json

SHARED = Path(os.environ.get("DIMA_SHARED_DATA", Path(__file__).parents[3] / "shared" / "data"))
MINI = SHARED / "nuscenes-mini" / VERSION

texts = st.text(st.sampled_from(list('{}[]",:\\ \n\t') + list("abé☃\U0001f600\u2028\x7f\x00")), max_size=6)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64) | st.floats(allow_nan=True) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=4,
)
records = st.lists(st.fixed_dictionaries({"token": texts}, optional={"x": values, "é{": values}), max_size=7)
spaces = st.text(st.sampled_from(" \t\r\n"), max_size=3)


def spell(rows: list[dict], gaps: Callable[[], str], *, ascii_only: bool) -> bytes:
    """A JSON list with free white space around every record, member and comma."""

    def record(row: dict) -> str:
        members = [
            f"{gaps()}{json.dumps(name, ensure_ascii=ascii_only)}{gaps()}:{gaps()}"
            f"{json.dumps(value, ensure_ascii=ascii_only)}{gaps()}"
            for name, value in row.items()
        ]
        return f"{gaps()}{{{','.join(members)}}}{gaps()}"

    return f"{gaps()}[{gaps()}{','.join(map(record, rows))}]{gaps()}".encode()


def same(one: Any, other: Any) -> bool:
    """Equal, and NaN equal to NaN."""
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


@settings(max_examples=300, deadline=None)
@given(st.data(), records, st.integers(1, 200), st.booleans(), st.booleans())
def test_blocks_cut_any_list_into_its_records(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, rows: list, size: int, is_ascii: bool, is_bom: bool
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.json"
    text = spell(rows, lambda: data.draw(spaces), ascii_only=is_ascii)
    path.write_bytes(b"\xef\xbb\xbf" * is_bom + text)
    blocks = list(read_blocks(path, {"token": str}, size))
    assert [row.token for block in blocks for row in block.rows] == [row["token"] for row in rows]
    spans = np.concatenate([np.empty((0, 2), int), *(block.spans for block in blocks)])
    assert same(read_spans(path, spans), rows)


@settings(max_examples=100, deadline=None)
@given(st.data(), records.filter(len), st.integers(1, 200))
def test_a_list_that_is_cut_anywhere_is_refused(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, rows: list, size: int
) -> None:
    path = tmp_path_factory.getbasetemp() / "cut.json"
    text = spell(rows, lambda: "", ascii_only=False)
    path.write_bytes(text[: data.draw(st.integers(0, len(text) - 1))])
    with pytest.raises(ValueError, match=r"cut.json is no valid JSON \(.* at byte \d+\): was it cut short"):
        list(read_blocks(path, {"token": str}, size))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "no list begins at byte 0"),
        (b"  {}", "holds a dict, expected a list"),
        (b"null", "holds a null"),
        (b"-1", "holds a number"),
        (b"[", "Expecting value at byte 1"),
        (b"[]]", "more text after the list at byte 2"),
        (b'[{"token": "a"}', "no ',' or ']' after a record at byte 15"),
        (b'[{"token": "a"},]', "Expecting value at byte 16"),
        (b'[,{"token": "a"}]', "Expecting value at byte 1"),
        (b'[{"token": "a"} {"token": "b"}]', "no ',' or ']' after a record at byte 16"),
        (b'[{"token": "a"}, {"token" "b"}]', "Expecting ':' delimiter at byte 26"),
        (b'[{"token": "a"}, {"token": "\xff"}]', "no UTF-8 at byte 28"),
        (b'[{"token": "a"}, {"token": "b", "x": "\xff"}]', "no UTF-8 at byte 38"),
        ('[{"token": "a"}]'.encode("utf-16"), "no list begins at byte 0"),
        (b'[{"token": "a"}, 3]', "record 1 lacks its fields"),
        (b'[{"token": "a"}, {"x": 3}]', r"record 1 lacks \['token'\]"),
        (b'[{"token": "a"}, {"token": 3}]', r"record 1 at byte 17 .*Expected `str`, got `int` - at `\$.token`"),
        (b'[{"token": null}]', "Expected `str`, got `null`"),
        (b'[{"token": "a", "x": ' + b"[" * 10**5 + b"]" * 10**5 + b"}]", "nested too deeply at byte 1"),
        (b'[{"token": "a", "x": ' + b"[" * 10**6, "nested too deeply at byte 1"),
        (b'[{"token": "a", "x": {"y":1}, "z": ' + b"9" * 5000 + b"}]", "4300.* at byte 1"),
        (b'[{"token": "' + b"a" * MAX_RECORD_BYTES + b'"}]', "a record of more than 1048576 bytes at byte 1"),
        (b'[{"token": "' + b"a" * 3 * MAX_RECORD_BYTES, "Unterminated string starting at at byte 11"),
    ],
)
def test_damage_is_named_with_its_place(tmp_path: Path, text: bytes, message: str) -> None:
    path = tmp_path / "table.json"
    path.write_bytes(text)
    start = time.process_time()
    with pytest.raises(ValueError, match=message) as error:
        list(read_blocks(path, {"token": str}))
    assert str(path) in str(error.value)
    assert time.process_time() - start < 2


def test_a_file_that_is_broken_early_is_not_read_to_its_end(tmp_path: Path) -> None:
    path = tmp_path / "table.json"
    path.write_bytes(b'[{"token" "a"}' + b" " * 40_000_000)
    tracemalloc.start()
    with pytest.raises(ValueError, match="Expecting ':' delimiter at byte 10"):
        list(read_blocks(path, {"token": str}))
    assert tracemalloc.get_traced_memory()[1] < 10_000_000
    tracemalloc.stop()


def test_a_plain_table_and_one_with_braces_in_strings_take_both_ways_to_the_same_columns(tmp_path: Path) -> None:
    rows = [{"token": f"t{index}", "name": "{}" * (index % 3 == 0)} for index in range(1000)]
    path = tmp_path / "category.json"
    path.write_text(json.dumps(rows))
    mixed = read_columns(path, "category")
    assert mixed.records() == rows
    path.write_text(json.dumps([{**row, "name": "--"} for row in rows]))
    plain = read_columns(path, "category")
    np.testing.assert_array_equal(plain.values["token"], mixed.values["token"])


def test_a_field_that_is_not_decoded_must_still_be_there(tmp_path: Path) -> None:
    path = tmp_path / "table.json"
    path.write_text('[{"token": "a", "x": [1]}, {"token": "b", "x": NaN}]')
    assert len(next(read_blocks(path, {"token": str, "x": msgspec.Raw})).rows) == 2
    path.write_text('[{"token": "a", "x": [1]}, {"token": "b"}]')
    with pytest.raises(ValueError, match=r"record 1 lacks \['x'\]"):
        list(read_blocks(path, {"token": str, "x": msgspec.Raw}))


def expected_records(directory: Path, scene_name: str, reference_channel: str = "LIDAR_TOP") -> dict[str, Any]:
    """What ``records`` must hold, from the whole tables in the straight way."""
    lists = {name: json.loads((directory / f"{name}.json").read_bytes()) for name in FIELDS}
    tables = {name: {row["token"]: row for row in rows} for name, rows in lists.items()}
    scene = next(row for row in lists["scene"] if row["name"] == scene_name)
    samples = {row["token"]: row for row in lists["sample"] if row["scene_token"] == scene["token"]}
    boxes = {token: [row for row in lists["sample_annotation"] if row["sample_token"] == token] for token in samples}
    sensor_rows: dict[str, dict] = {token: {} for token in samples}
    for row in lists["sample_data"]:
        calibration = tables["calibrated_sensor"][row["calibrated_sensor_token"]]
        channel = tables["sensor"][calibration["sensor_token"]]["channel"]
        if row["is_key_frame"] and row["sample_token"] in samples and channel in {*CAMERAS, reference_channel}:
            sensor_rows[row["sample_token"]][channel] = row
    used = [row for rows in sensor_rows.values() for row in rows.values()]
    instances = {row["instance_token"] for rows in boxes.values() for row in rows}
    return {
        "directory": directory,
        "scenes": {scene_name: scene},
        "samples": samples,
        "logs": {scene["log_token"]: tables["log"][scene["log_token"]]},
        "sensor_rows": sensor_rows,
        "ego_poses": {row["ego_pose_token"]: tables["ego_pose"][row["ego_pose_token"]] for row in used},
        "calibrations": {
            row["calibrated_sensor_token"]: tables["calibrated_sensor"][row["calibrated_sensor_token"]] for row in used
        },
        "annotations": boxes,
        "categories": {
            token: tables["category"][tables["instance"][token]["category_token"]]["name"] for token in instances
        },
        "attributes": {token: row["name"] for token, row in tables["attribute"].items()},
        "visibility_levels": {token: row["level"] for token, row in tables["visibility"].items()},
    }


def assert_equal(records: Records, expected: dict[str, Any]) -> None:
    for name, value in expected.items():
        assert getattr(records, name) == value, name
    assert [list(rows) for rows in records.annotations.values()] == list(expected["annotations"].values())


@pytest.mark.parametrize("scene_name", ["scene-0061", "scene-0103"])
@pytest.mark.parametrize("channel", ["LIDAR_TOP", "CAM_FRONT"])
def test_a_scene_of_the_hand_made_root_has_the_rows_of_the_tables(root: Path, scene_name: str, channel: str) -> None:
    store = RecordStore.open(root / VERSION, channel)
    assert_equal(store.records(scene_name), expected_records(root / VERSION, scene_name, channel))
    assert store.scene_names() == ["scene-0061", "scene-0103"]
    assert len(store.places["calibrated_sensor"].scene(0)) == len({*CAMERAS, channel})  # each record once
    assert store.location(scene_name) == store.records(scene_name).location(scene_name) == "boston-seaport"


@pytest.mark.parametrize("indent", [None, 0, 4])
def test_a_scene_has_the_same_rows_however_the_files_are_laid_out(own_root: Path, indent: int | None) -> None:
    expected = expected_records(own_root / VERSION, "scene-0061")
    for name in FIELDS:
        path = own_root / VERSION / f"{name}.json"
        separators = (",", ":") if indent is None else None
        path.write_text(json.dumps(json.loads(path.read_text()), indent=indent, separators=separators))
    assert_equal(RecordStore.open(own_root / VERSION).records("scene-0061"), expected)


def test_rows_keep_fields_and_objects_that_nobody_asked_for(own_root: Path) -> None:
    def change(rows: list) -> None:
        rows[0]["autolabel"] = {"models": [{"name": "}, {", "score": 0.5}]}
        rows[1]["note"] = "näh } ☃"

    edit_json(own_root / VERSION / "sample_annotation.json", change)
    store = RecordStore.open(own_root / VERSION)
    assert_equal(store.records("scene-0061"), expected_records(own_root / VERSION, "scene-0061"))


@pytest.mark.skipif(not MINI.is_dir(), reason=f"no nuScenes mini at {MINI}: set DIMA_SHARED_DATA")
def test_every_scene_of_mini_has_the_rows_of_the_tables(tmp_path: Path) -> None:
    store = RecordStore.open(MINI, cache_dir=tmp_path)
    mapped = RecordStore.open(MINI, cache_dir=tmp_path)
    num_boxes = 0
    for name in store.scene_names():
        expected = expected_records(MINI, name)
        assert_equal(store.records(name), expected)
        assert_equal(mapped.records(name), expected)
        num_boxes += sum(map(len, expected["annotations"].values()))
    assert num_boxes == 18_538


@given(st.lists(st.integers(0, 30), max_size=30))
@example(list(range(1, 31)))
def test_rows_on_a_circle_are_those_from_which_one_never_comes_to_an_end(targets: list[int]) -> None:
    following = np.array([target if target < len(targets) else -1 for target in targets], np.int32)
    walks = []
    for row in range(len(targets)):
        for _ in range(len(targets) + 1):
            row = following[row] if row >= 0 else row  # noqa: PLW2901
        walks.append(row >= 0)
    assert _on_circle(following).tolist() == walks


def test_a_sensor_without_pictures_may_have_no_size(own_root: Path) -> None:
    def change(rows: list) -> None:
        for row in rows:
            row.update(dict.fromkeys(("width", "height")) if "LIDAR" in row["filename"] else {})

    edit_json(own_root / VERSION / "sample_data.json", change)
    rows = RecordStore.open(own_root / VERSION).records("scene-0061").sensor_rows["scene-0061-0"]
    assert rows["LIDAR_TOP"]["width"] is None


def test_an_unknown_scene_is_named(root: Path) -> None:
    with pytest.raises(ValueError, match=r"no scene 'scene-0062'.*did you mean 'scene-0061'"):
        RecordStore.open(root / VERSION).records("scene-0062")


def test_a_second_opening_maps_the_cache(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = RecordStore.open(root / VERSION, cache_dir=tmp_path)
    monkeypatch.setattr("dima_pipeline.datasets._nuscenes_store.read_tables", None)  # may not be called
    second = RecordStore.open(root / VERSION, cache_dir=tmp_path)
    assert isinstance(second.places["sample_data"].spans, np.memmap)
    assert second.records("scene-0061") == first.records("scene-0061")
    assert {path.suffix for path in tmp_path.rglob("*") if path.is_file()} == {".npy"}


def test_another_reference_channel_has_a_cache_of_its_own(root: Path, tmp_path: Path) -> None:
    for channel in ("LIDAR_TOP", "CAM_FRONT"):
        rows = RecordStore.open(root / VERSION, channel, tmp_path).records("scene-0061").sensor_rows["scene-0061-0"]
        assert set(rows) == {*CAMERAS, channel}


def test_a_cache_of_changed_tables_is_not_used(own_root: Path, tmp_path: Path) -> None:
    store = RecordStore.open(own_root / VERSION, cache_dir=tmp_path)
    edit_json(own_root / VERSION / "sample.json", lambda rows: rows[::-1])
    with pytest.raises(ValueError, match="changed since it was opened"):
        store.records("scene-0061")
    again = RecordStore.open(own_root / VERSION, cache_dir=tmp_path)
    assert_equal(again.records("scene-0061"), expected_records(own_root / VERSION, "scene-0061"))


DAMAGE: dict[str, Callable[[Path], object]] = {
    "cut": lambda path: path.write_bytes(path.read_bytes()[:-20]),
    "empty": lambda path: path.write_bytes(b""),
    "no array": lambda path: path.write_bytes(b"nothing"),
    "gone": lambda path: path.unlink(),
    "of another type": lambda path: np.save(path, np.load(path).astype(np.float32)),
    "flat": lambda path: np.save(path, np.load(path).ravel()[:-1]),
    "out of the file": lambda path: np.save(path, np.load(path) + 10**9),
    "pickled": lambda path: np.save(path, np.array([{}], object), allow_pickle=True),
}


@pytest.mark.parametrize("name", ["sample_spans.npy", "sample_bounds.npy"])
@pytest.mark.parametrize("damage", list(DAMAGE))
def test_a_damaged_cache_is_made_anew(own_root: Path, tmp_path: Path, damage: str, name: str) -> None:
    store = RecordStore.open(own_root / VERSION, cache_dir=tmp_path)
    DAMAGE[damage](next(tmp_path.glob(f"*/{name}")))
    again = RecordStore.open(own_root / VERSION, cache_dir=tmp_path)
    assert again.records("scene-0061") == store.records("scene-0061")
    assert isinstance(RecordStore.open(own_root / VERSION, cache_dir=tmp_path).places["sample"].spans, np.memmap)


def test_a_cache_that_points_elsewhere_is_named(own_root: Path, tmp_path: Path) -> None:
    RecordStore.open(own_root / VERSION, cache_dir=tmp_path)
    (path,) = tmp_path.glob("*/ego_pose_spans.npy")
    np.save(path, np.roll(np.load(path), 70, 0))  # the poses of the other scene
    with pytest.raises(ValueError, match=r"scene-0061 does not hold token pose-data-.*delete the cache"):
        RecordStore.open(own_root / VERSION, cache_dir=tmp_path).records("scene-0061")
    np.save(path, np.load(path) + 1)
    with pytest.raises(ValueError, match=r"ego_pose.json cannot be read again"):
        RecordStore.open(own_root / VERSION, cache_dir=tmp_path).records("scene-0061")


def test_a_cache_that_cannot_be_written_is_named(root: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="file cannot be written"):
        RecordStore.open(root / VERSION, cache_dir=tmp_path / "file")


def test_a_cache_that_another_process_published_first_is_kept(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = RecordStore.open(root / VERSION, cache_dir=tmp_path)
    (folder,) = tmp_path.iterdir()
    remove = shutil.rmtree
    # As if it appeared between the removal of what was there and the renaming.
    monkeypatch.setattr(shutil, "rmtree", lambda path, **options: path == folder or remove(path, **options))
    save_places(folder, store.places)
    assert list(tmp_path.iterdir()) == [folder]


def test_two_that_fill_a_cache_at_once_both_succeed(root: Path, tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from dima_pipeline.datasets._nuscenes_store import RecordStore\n"
        "store = RecordStore.open(Path(sys.argv[1]), cache_dir=Path(sys.argv[2]))\n"
        "print(len(store.records('scene-0061').samples))"
    )
    command = [sys.executable, "-c", script, str(root / VERSION), str(tmp_path)]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    assert [process.communicate()[0].strip() for process in running] == ["10"] * 3
    assert len(list(tmp_path.iterdir())) == 1


def test_a_store_survives_the_way_to_another_process(root: Path, tmp_path: Path) -> None:
    for cache in (None, tmp_path):
        store = RecordStore.open(root / VERSION, cache_dir=cache)
        sent = pickle.loads(pickle.dumps(store))
        assert sent.records("scene-0061") == store.records("scene-0061")


def test_tables_that_change_while_they_are_read_are_refused(own_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from dima_pipeline.datasets import _nuscenes_store

    find = _nuscenes_store.find_places

    def find_and_touch(directory: Path, channel: str) -> object:
        places = find(directory, channel)
        os.utime(directory / "log.json", ns=(1, 1))
        return places

    monkeypatch.setattr(_nuscenes_store, "find_places", find_and_touch)
    with pytest.raises(ValueError, match="changed while it was read"):
        RecordStore.open(own_root / VERSION)


@pytest.mark.parametrize(
    ("name", "is_safe"),
    [
        ("samples/CAM_FRONT/n015-2018-07-24+0800__CAM_FRONT__1.jpg", True),
        ("samples/CAM_FRONT/Straße 7/..a", True),
        ("", True),
        ("../x", False),
        ("samples/../../x", False),
        ("samples/..", False),
        ("/etc/passwd", False),
        ("samples\\..\\x", False),
        ("samples/x\x00.jpg", False),
        ("samples/x\n.jpg", False),
        ("samples/\x1b[2J.jpg", False),
        ("samples/\ud800.jpg", False),
        ("samples/" + "x" * 192, True),
        ("samples/" + "x" * 201, False),
        ("x/" * 499 + "x", True),
        ("x/" * 501, False),
    ],
)
def test_a_file_name_is_a_plain_path_below_the_root(name: str, is_safe: bool) -> None:
    assert is_safe_file(name) == is_safe
