"""The readings of LIDAR_TOP between keyframes are read from the tables scene by scene, as the keyframes are."""

import json
from pathlib import Path
from typing import Any

import pytest

from dima_pipeline.contracts.findings import BrokenRecording
from dima_pipeline.curation.vad_infos import vad_infos
from dima_pipeline.datasets._nuscenes_store import LIDAR, LidarSweeps, RecordStore
from dima_pipeline.datasets.nuscenes import Config, NuScenesDataset
from nuscenes_root import VERSION, edit_json
from vad_drives import EMPTY_SCENE, SCENE, add_sweeps, row, write_drive

NUM_BETWEEN = 3


@pytest.fixture
def drive(tmp_path: Path) -> Path:
    """The hand-made root with three readings between keyframes."""
    return write_drive(tmp_path / "drive", lambda tables, _: add_sweeps(tables, NUM_BETWEEN))


def rows_of(root: Path, table: str) -> dict[str, dict[str, Any]]:
    """A table by token."""
    return {row["token"]: row for row in json.loads((root / VERSION / f"{table}.json").read_text())}


def expected_sweeps(root: Path, scene: str) -> LidarSweeps:
    """From the whole tables; tokens of the hand-made root name their sensor and scene."""
    data = {token: row for token, row in rows_of(root, "sample_data").items() if f"{LIDAR}-{scene}" in token}
    poses = {token: row for token, row in rows_of(root, "ego_pose").items() if f"{LIDAR}-{scene}" in token}
    return LidarSweeps(data, poses)


@pytest.mark.parametrize("scene", [SCENE, EMPTY_SCENE])
def test_a_scene_has_its_own_readings_and_their_poses_alone(drive: Path, tmp_path: Path, scene: str) -> None:
    for _ in ("found", "mapped"):
        found = RecordStore.open(drive / VERSION, cache_dir=tmp_path / "cache").sweeps(scene)
        assert len(found.rows) == len(found.ego_poses) == 10 + 9 * NUM_BETWEEN
        assert found == expected_sweeps(drive, scene)


def test_the_keyframes_do_not_change_with_readings_between_them(drive: Path, tmp_path: Path) -> None:
    without = RecordStore.open(write_drive(tmp_path / "without") / VERSION).records(SCENE)
    records = RecordStore.open(drive / VERSION).records(SCENE)
    assert records.ego_poses == without.ego_poses
    tokens, expected = ([row[LIDAR]["token"] for row in found.sensor_rows.values()] for found in (records, without))
    assert tokens == expected


def test_a_scene_recorded_without_lidar_has_no_sweeps(tmp_path: Path) -> None:
    root = write_drive(
        tmp_path / "drive", lambda tables, _: row(tables, "sensor", f"sensor-{LIDAR}").update(channel="LIDAR_BACK")
    )
    for _ in ("found", "mapped"):
        store = RecordStore.open(root / VERSION, "CAM_FRONT", cache_dir=tmp_path / "cache")
        assert store.sweeps(SCENE) == LidarSweeps({}, {})


@pytest.mark.parametrize("name", ["../secret.bin", "/etc/passwd", "sweeps/../../x", "nul\0.bin", "a" * 300])
def test_a_sweep_that_leaves_the_dataroot_is_refused_with_its_token(drive: Path, name: str) -> None:
    token = f"data-{LIDAR}-{SCENE}-3-sweep2"

    def change(rows: list) -> None:
        next(row for row in rows if row["token"] == token)["filename"] = name

    edit_json(drive / VERSION / "sample_data.json", change)
    store = RecordStore.open(drive / VERSION)
    assert len(store.sweeps(EMPTY_SCENE).rows) == 10 + 9 * NUM_BETWEEN, "the other scene is sound"
    with pytest.raises(BrokenRecording, match=f"of {token} leaves the dataroot") as error:
        store.sweeps(SCENE)
    (finding,) = error.value.findings
    assert (finding.severity, finding.scene_name, finding.table, finding.token) == (
        "error",
        SCENE,
        "sample_data",
        token,
    )


def test_a_changed_sweep_changes_the_digest_of_its_scene_alone(drive: Path) -> None:
    store = RecordStore.open(drive / VERSION)
    before = {name: store.digest(name) for name in store.scene_names()}

    def change(rows: list) -> None:
        next(row for row in rows if row["token"] == f"pose-data-{LIDAR}-{SCENE}-3-sweep2")["translation"][0] += 1.0

    edit_json(drive / VERSION / "ego_pose.json", change)
    with pytest.raises(ValueError, match="changed since it was opened"):
        store.sweeps(SCENE)
    again = RecordStore.open(drive / VERSION)
    after = {name: again.digest(name) for name in again.scene_names()}
    assert [name for name in before if before[name] != after[name]] == [SCENE]


def test_a_data_set_gives_vads_infos_their_sweeps(drive: Path) -> None:
    dataset = NuScenesDataset(Config(version=VERSION, require_maps=False), dataroot=drive)
    found = vad_infos(dataset.records(SCENE), SCENE, drive, sweeps=dataset.sweeps(SCENE))
    assert (found.sweep_start[1:] - found.sweep_start[:-1]).tolist() == [0, 4, 8] + [10] * 7
    tokens = found.sweeps["sample_data_token"][found.sweep_start[2] : found.sweep_start[3]].tolist()
    at = f"data-{LIDAR}-{SCENE}-2"
    assert tokens[:4] == [f"{at}-sweep1", f"{at}-sweep2", f"{at}-sweep3", f"data-{LIDAR}-{SCENE}-1"]
