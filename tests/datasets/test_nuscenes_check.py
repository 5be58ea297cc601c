"""A broken root is refused with one message that names the place."""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from dima_pipeline.datasets._nuscenes_check import read_json, vectors
from dima_pipeline.datasets.nuscenes import Config, NuScenesDataset
from nuscenes_root import LOCATION, VERSION, edit_json


def build(root: Path, version: str = VERSION) -> NuScenesDataset:
    return NuScenesDataset(Config(version=version), dataroot=root)


def drop(token: str) -> Callable[[list], list]:
    return lambda rows: [row for row in rows if row["token"] != token]


def put(token: str, /, **values: object) -> Callable[[list], None]:
    def change(rows: list) -> None:
        next(row for row in rows if row["token"] == token).update(values)

    return change


def circle(first: str, last: str) -> Callable[[list], None]:
    def change(rows: list) -> None:
        put(last, next=first)(rows)
        put(first, prev=last)(rows)

    return change


BROKEN = {
    "dangling ego pose": ("ego_pose", drop("pose-data-LIDAR_TOP-scene-0061-3"), r"sample_data.json: ego_pose_token 'p"),
    "dangling calibration": ("calibrated_sensor", drop("calibrated-CAM_BACK"), "calibrated_sensor_token 'calibrated-C"),
    "dangling sensor": ("sensor", drop("sensor-CAM_BACK"), "calibrated_sensor.json: sensor_token 'sensor-CAM_BACK'"),
    "dangling sample": ("sample", drop("scene-0061-4"), "'scene-0061-4' .*is not in sample.json"),
    "dangling scene": ("scene", drop("token-scene-0061"), "sample.json: scene_token 'token-scene-0061'"),
    "dangling log": ("log", drop("log-scene-0061"), "scene.json: log_token 'log-scene-0061'"),
    "dangling instance": ("instance", drop("slow"), "sample_annotation.json: instance_token 'slow'"),
    "dangling category": ("category", drop("category-vehicle.car"), "instance.json: category_token"),
    "dangling annotation": ("sample_annotation", drop("slow-0"), "first_annotation_token 'slow-0'"),
    "dangling next box": ("sample_annotation", put("slow-3", next="gone"), "next 'gone' of record slow-3"),
    "dangling next keyframe": ("sample", put("scene-0061-3", next="gone"), "sample.json: next 'gone'"),
    "dangling next reading": ("sample_data", put("data-CAM_BACK-scene-0061-3", next="gone"), "sample_data.json: next"),
    "circular chain": ("sample", put("scene-0061-9", next="scene-0061-0"), "scene-0061 are no chain at sample"),
    "chain cut short": ("sample", put("scene-0061-4", next=""), "scene-0061 promises 10 keyframes.*chains 5"),
    "chain into another scene": ("sample", put("scene-0061-4", next="scene-0103-5"), "are no chain at sample scene-01"),
    "wrong prev": ("sample", put("scene-0061-4", prev=""), "are no chain at sample scene-0061-4"),
    "time stands still": ("sample", put("scene-0061-4", timestamp=0), "scene-0061-4 of scene-0061 is not later"),
    "double token": ("log", lambda rows: [*rows, rows[0]], "log.json: token log-scene-0061 stands for more than one"),
    "lacking field": ("sample", lambda rows: [rows[0].pop("timestamp"), rows][1], r"record 0 lacks \['timestamp'\]"),
    "no records": ("sample", lambda _: {"token": 1}, "sample.json holds a dict, expected a list"),
    "two boxes of one": (
        "sample_annotation",
        put("slow-3", sample_token="scene-0061-2"),
        "slow has two boxes in sample",
    ),
    "two scenes of one name": ("scene", put("token-scene-0103", name="scene-0061"), "more than one scene 'scene-0061'"),
    "scene name as a path": ("scene", put("token-scene-0103", name="../x"), r"scene name '../x' cannot be a file name"),
    "scene name too long": ("scene", put("token-scene-0103", name="x" * 201), "x{70}.* cannot be a file name.*200 b"),
    "scene name of control characters": ("scene", put("token-scene-0103", name="\x1b[2J"), r"scene name '\\x1b\[2J'"),
    "location as a path": ("log", put("log-scene-0061", location="a/b"), r"log.json: location 'a/b' cannot be a file"),
    "file of a NUL": (
        "sample_data",
        put("data-CAM_BACK-scene-0061-3", filename="a\0b"),
        r"file 'a\\x00b' of data-CAM_BAC",
    ),
    "file of no root": ("sample_data", put("data-CAM_BACK-scene-0061-3", filename="/etc/x"), "leaves the dataroot"),
    "file by backslashes": ("sample_data", put("data-CAM_BACK-scene-0061-3", filename="..\\x"), "leaves the dataroot"),
    "empty token": (
        "log",
        put("log-scene-0061", token=""),
        r"log.json: record 0 at byte 1 .*length >= 1 - at `\$.token`",
    ),
    "endless token": ("log", put("log-scene-0061", token="x" * 201), r"log.json: record 0 .*length <= 200"),
    "number for a token": (
        "sample",
        put("scene-0061-4", scene_token=4),
        r"sample.json: record 4 at byte \d+ .*`str`, got `int`",
    ),
    "list for a token": (
        "sample",
        put("scene-0061-4", next=[]),
        r"sample.json: record 4 .*`str`, got `array` - at `\$.next`",
    ),
    "null for a token": (
        "sample_data",
        put("data-CAM_BACK-scene-0061-3", ego_pose_token=None),
        "sample_data.json: record 2",
    ),
    "text for a time": ("sample", put("scene-0061-4", timestamp="4"), r"sample.json: record 4 .*`int`, got `str`"),
    "time without end": (
        "sample",
        put("scene-0061-4", timestamp=10**30),
        r"sample.json: record 4 .*`int` <= 4611686018427",
    ),
    "number for a flag": ("sample_data", put("data-CAM_BACK-scene-0061-3", is_key_frame=1), r"`bool`, got `int`"),
    "number for a channel": ("sensor", put("sensor-CAM_BACK", channel=1), r"sensor.json: record \d .*`str`, got `int`"),
    "text for a count": (
        "scene",
        put("token-scene-0061", nbr_samples="10"),
        r"scene.json: record 0 .*`int`, got `str`",
    ),
    "number for a description": (
        "scene",
        put("token-scene-0061", description=1),
        r"record token-scene-0061 .*got `int`",
    ),
    "record that is a list": ("log", lambda rows: [*rows, []], "log.json: record 2 lacks its fields"),
    "stray keyframe": (
        "sample",
        lambda rows: [*rows, {**rows[0], "token": "stray", "prev": "", "next": ""}],
        "no scene leads to sample stray$",
    ),
    "circle of boxes": ("sample_annotation", circle("slow-0", "slow-9"), "prev and next lead from record slow-0 round"),
    "circle of readings": (
        "sample_data",
        circle("data-CAM_BACK-scene-0061-0", "data-CAM_BACK-scene-0061-9"),
        "sample_data.json: prev and next lead from record data-CAM_BACK-scene-0061-0 round in a circle",
    ),
    "box that follows itself": ("sample_annotation", circle("lone-3", "lone-3"), "lead from record lone-3 round"),
    "box whose next goes on from another": (
        "sample_annotation",
        put("slow-3", next="slow-5"),
        "next of record slow-3 is slow-5, whose prev is another",
    ),
    "box whose prev comes from another": (
        "sample_annotation",
        put("lone-3", prev="slow-5"),
        "prev of record lone-3 is slow-5",
    ),
    "reading whose next goes on from another": (
        "sample_data",
        put("data-CAM_BACK-scene-0061-3", next="data-CAM_BACK-scene-0061-5"),
        r"next of record data-CAM_BACK-scene-0061-3 is .*whose prev is another record$",
    ),
    "many dangling": (
        "sample_annotation",
        lambda rows: [{**row, "next": "gone"} for row in rows],
        r"next 'gone' of record slow-0 is not in .*\(20 more like it\)",
    ),
    "file outside": ("sample_data", put("data-CAM_BACK-scene-0061-3", filename="../../etc/x"), "leaves the dataroot"),
}


@pytest.mark.parametrize("case", list(BROKEN))
def test_a_broken_table_is_named_with_its_token(own_root: Path, case: str) -> None:
    table, change, message = BROKEN[case]
    edit_json(own_root / VERSION / f"{table}.json", change)
    with pytest.raises(ValueError, match=message) as error:
        build(own_root)
    assert str(own_root) in str(error.value)


@pytest.mark.parametrize("channel", ["LIDAR_TOP", "CAM_BACK"])
def test_a_keyframe_without_a_sensor_row_is_named(own_root: Path, channel: str) -> None:
    unlink = {"prev": "", "next": ""}
    edit_json(own_root / VERSION / "sample_data.json", lambda rows: [{**row, **unlink} for row in rows])
    edit_json(own_root / VERSION / "sample_data.json", drop(f"data-{channel}-scene-0061-3"))
    with pytest.raises(ValueError, match=f"sample scene-0061-3 has no keyframe row of {channel}") as error:
        build(own_root)
    assert ("reference_channel: CAM_FRONT" in str(error.value)) == (channel == "LIDAR_TOP")


@pytest.mark.parametrize(
    ("table", "token", "values", "message"),
    [
        ("ego_pose", "pose-data-LIDAR_TOP-scene-0061-3", {"rotation": [0, 0, 0, 0]}, "no unit quaternion"),
        ("ego_pose", "pose-data-CAM_BACK-scene-0061-3", {"translation": [1, 2]}, "expected 3 finite numbers"),
        ("sample_annotation", "slow-3", {"size": [1.0, 0.0, 1.0]}, "size .* of record slow-3 is not positive"),
        ("sample_annotation", "slow-3", {"translation": [1.0, float("nan"), 0]}, "translation of record slow-3"),
        ("sample_annotation", "slow-3", {"attribute_tokens": ["gone"]}, "attribute token 'gone'"),
        (
            "calibrated_sensor",
            "calibrated-CAM_BACK",
            {"camera_intrinsic": []},
            "camera_intrinsic of record calibrated-",
        ),
        ("sample_data", "data-CAM_BACK-scene-0061-3", {"width": 0}, "CAM_BACK/scene-0061-3.jpg has no width"),
        ("sample_data", "data-CAM_BACK-scene-0061-3", {"height": None}, "CAM_BACK/scene-0061-3.jpg has no width"),
        (
            "sample_data",
            "data-CAM_BACK-scene-0061-3",
            {"width": "9"},
            "record data-CAM_BACK-scene-0061-3 has a field of",
        ),
        (
            "sample_data",
            "data-CAM_BACK-scene-0061-3",
            {"height": float("inf")},
            r"`float` <= 1000000.0 - at `\$.height`",
        ),
        ("ego_pose", "pose-data-CAM_BACK-scene-0061-3", {"translation": "1 2 3"}, "`array`, got `str`"),
        (
            "ego_pose",
            "pose-data-CAM_BACK-scene-0061-3",
            {"rotation": ["1", 0, 0, 0]},
            r"`float`, got `str`.*rotation\[0\]",
        ),
        (
            "ego_pose",
            "pose-data-CAM_BACK-scene-0061-3",
            {"translation": [10**400, 0, 0]},
            "pose-data-CAM_BACK-scene-0061-3",
        ),
        ("sample_annotation", "slow-3", {"attribute_tokens": "moving"}, r"record slow-3 .*attribute_tokens"),
        ("sample_annotation", "slow-3", {"attribute_tokens": [[]]}, r"record slow-3 .*attribute_tokens\[0\]"),
        ("sample_annotation", "slow-3", {"visibility_token": 4}, r"record slow-3 .*visibility_token"),
        ("sample_annotation", "slow-3", {"num_lidar_pts": "7"}, r"record slow-3 .*num_lidar_pts"),
        ("calibrated_sensor", "calibrated-CAM_BACK", {"camera_intrinsic": 5}, "record calibrated-CAM_BACK .*got `int`"),
    ],
)
def test_a_value_that_cannot_be_is_named_when_its_scene_is_read(
    own_root: Path, table: str, token: str, values: dict, message: str
) -> None:
    edit_json(own_root / VERSION / f"{table}.json", put(token, **values))
    with pytest.raises(ValueError, match=message):
        build(own_root).tables("scene-0061")


def test_a_table_that_was_cut_short_is_named(own_root: Path) -> None:
    path = own_root / VERSION / "sample_data.json"
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(ValueError, match=r"sample_data.json is no valid JSON .*cut short"):
        build(own_root)


def test_missing_tables_are_all_named(own_root: Path) -> None:
    for name in ("ego_pose", "log"):
        (own_root / VERSION / f"{name}.json").unlink()
    with pytest.raises(ValueError, match=r"lacks log.json, ego_pose.json"):
        build(own_root)


def test_a_wrong_version_lists_those_present(root: Path) -> None:
    with pytest.raises(ValueError, match=r"no version 'v1.0-mimi'.*did you mean 'v1.0-mini'"):
        build(root, "v1.0-mimi")


def test_a_wrong_dataroot_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="nowhere is no folder: set DIMA_DATAROOT"):
        build(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="holds no nuScenes version"):
        build(tmp_path)


def test_a_missing_map_expansion_is_named(own_root: Path) -> None:
    (own_root / "maps" / "expansion" / f"{LOCATION}.json").unlink()
    with pytest.raises(ValueError, match=r"boston-seaport.json is missing.*require_maps: false"):
        build(own_root)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda content: content.pop("arcline_path_3") and None, "lacks arcline_path_3: map expansion 1.3"),
        (lambda content: content.update(node=[]), "points to a missing token: KeyError"),
        (lambda content: content["lane"][0].pop("polygon_token") and None, "a record is incomplete"),
    ],
)
def test_a_broken_map_is_named(own_root: Path, change: Callable, message: str) -> None:
    edit_json(own_root / "maps" / "expansion" / f"{LOCATION}.json", change)
    with pytest.raises(ValueError, match=message) as error:
        build(own_root).tables("scene-0061")
    assert "boston-seaport.json" in str(error.value)


def test_sweeps_are_dropped_and_do_not_disturb(own_root: Path, dataset: NuScenesDataset) -> None:
    path = own_root / VERSION / "sample_data.json"
    rows = json.loads(path.read_text())
    sweep = {**rows[0], "token": "sweep", "is_key_frame": False, "filename": "sweeps/x.jpg", "prev": "", "next": ""}
    path.write_text(json.dumps([*rows, sweep]))
    read = build(own_root).tables("scene-0061").samples
    assert read["cam_front_file"].tolist() == dataset.tables("scene-0061").samples["cam_front_file"].tolist()


def test_a_ragged_field_names_the_record_that_is_ragged() -> None:
    rows = [{"token": "a", "size": [1, 2, 3]}, {"token": "b", "size": [1, 2]}, {"token": "c", "size": None}]
    with pytest.raises(ValueError, match="size of record b is"):
        vectors(rows, "size", 3, Path("table.json"))
    assert vectors([], "size", 3, Path("table.json")).shape == (0, 3)
    with pytest.raises(ValueError, match="size of record a is"):
        vectors([{"token": "a", "size": [10**400, 1, 1]}], "size", 3, Path("table.json"))


def test_a_table_that_cannot_be_opened_is_named(own_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(ValueError, match=r"category.json cannot be read: Permission denied"):
        build(own_root)


@pytest.mark.parametrize(("text", "message"), [("[" * 10**5, "recursion"), ("9" * 5000, "4300"), ("\xff", "Expecting")])
def test_json_that_python_cannot_hold_is_named(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "map.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=rf"map.json is no valid JSON \(.*{message}"):
        read_json(path)


MEASURED = """
import re, sys, time
from pathlib import Path
from dima_pipeline.datasets._nuscenes_store import RecordStore
start = time.process_time()
try:
    RecordStore.open(Path(sys.argv[1]))
except ValueError as error:
    seconds = time.process_time() - start
    print(seconds, int(re.search(r"VmHWM:\\s*(\\d+)", Path("/proc/self/status").read_text())[1]) / 1024, error)
"""


def instances(num_instances: int, **values: str) -> Callable[[list], list]:
    return lambda rows: rows + [{**rows[0], "token": f"more-{number}", **values} for number in range(num_instances)]


FLOODS = {
    "10^6 dangling tokens": (
        "instance",
        instances(333_334, category_token="-", first_annotation_token="-", last_annotation_token="-"),
        r"category_token '-' of record more-0 .*\(333,333 more like it\)",
    ),
    "one token 10^5 times": ("instance", lambda rows: rows * 25_000, "token slow stands for more than one record"),
    "10^5 stray keyframes": (
        "sample",
        lambda rows: rows + [{**rows[0], "token": str(number), "prev": "", "next": ""} for number in range(10**5)],
        r"no scene leads to sample 0 \(99,999 more",
    ),
    "a circle of 10^5 boxes": (
        "sample_annotation",
        lambda rows: (
            rows
            + [
                {
                    **rows[0],
                    "token": f"c{number}",
                    "prev": f"c{(number - 1) % 10**5}",
                    "next": f"c{(number + 1) % 10**5}",
                }
                for number in range(10**5)
            ]
        ),
        "lead from record c0 round in a circle",
    ),
}


@pytest.mark.parametrize("case", list(FLOODS))
def test_a_flood_of_faults_is_refused_quickly_and_in_little_memory(own_root: Path, case: str) -> None:
    table, change, message = FLOODS[case]
    edit_json(own_root / VERSION / f"{table}.json", change)
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, str(own_root / VERSION)], capture_output=True, text=True, check=True
    )
    seconds, megabytes, error = done.stdout.split(maxsplit=2)
    assert re.search(message, error.strip())
    assert float(seconds) < 2
    assert float(megabytes) < 500
