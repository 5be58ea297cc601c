"""A broken root is refused with one message that names the place."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from dima_pipeline.datasets._nuscenes_check import vectors
from dima_pipeline.datasets.nuscenes import Config, NuScenesDataset
from nuscenes_root import LOCATION, VERSION, edit_json


def build(root: Path, version: str = VERSION) -> NuScenesDataset:
    return NuScenesDataset(Config(version=version), dataroot=root)


def drop(token: str) -> Callable[[list], list]:
    return lambda rows: [row for row in rows if row["token"] != token]


def put(token: str, **values: object) -> Callable[[list], None]:
    def change(rows: list) -> None:
        next(row for row in rows if row["token"] == token).update(values)

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
