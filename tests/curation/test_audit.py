"""The audit of a scene: a sound one has nothing, and each fault is found by its own check alone."""

import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from dima_pipeline.contracts.findings import BrokenRecording, Finding
from dima_pipeline.contracts.frames import AGENT_CATEGORIES, CAMERAS
from dima_pipeline.contracts.tables import AuditFindings
from dima_pipeline.curation.audit import MAX_SIDES_M, audit_in_words, audit_scene, findings_table, raise_errors
from dima_pipeline.datasets.nuscenes import Config, NuScenesDataset
from dima_pipeline.datasets.t4 import Config as T4Config
from dima_pipeline.datasets.t4 import T4Dataset
from hand_scenes import Actor, HandScene, make_tables, straight, token
from nuscenes_root import VERSION
from t4_root import DRIVE, make_t4_root

pytestmark = pytest.mark.filterwarnings("error::RuntimeWarning")
SHARED = Path(os.environ.get("DIMA_SHARED_DATA", Path(__file__).parents[3] / "shared" / "data"))
NUM = 8
SCENE = HandScene(
    ego=straight(NUM, 5.0),
    actors={"ahead": Actor("car", straight(NUM, 5.0, start_x=15.0), num_lidar_points=9.0)},
    lines=[("divider", [[-50.0, 2.0], [100.0, 2.0]])],
    speeds=np.full(NUM, 5.0),
)


class Files:
    """A data set whose camera files are those of a folder, one a camera."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def camera_files(self, scene_name: str) -> list[Path]:
        assert scene_name == SCENE.name
        return [self.folder / f"{camera.lower()}.jpg" for _ in range(NUM) for camera in CAMERAS]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sound camera files."""
    folder = tmp_path_factory.mktemp("cameras")
    for camera in CAMERAS:
        Image.new("RGB", (800, 450)).save(folder / f"{camera.lower()}.jpg")
    return folder


def audit(folder: Path, tables: SimpleNamespace, missing_images: str = "error", **options: object) -> list[Finding]:
    return audit_scene(Files(folder), SCENE.name, tables, missing_images=missing_images, **options)  # type: ignore[arg-type]


def put(table: str, column: str, rows: object, value: object) -> Callable[[SimpleNamespace], None]:
    """Writes a value into rows of a table."""

    def spoil(tables: SimpleNamespace) -> None:
        getattr(tables, table).loc[rows, column] = value

    return spoil


def later(tables: SimpleNamespace) -> None:
    """A keyframe is left out before the fifth."""
    tables.samples.loc[4:, "timestamp_us"] += 500_000
    tables.samples.loc[4:, "ego_x_m"] += 2.5


def faster(tables: SimpleNamespace) -> None:
    tables.samples["timestamp_us"] //= 2
    tables.samples["speed_mps"] *= 2


def backwards(tables: SimpleNamespace) -> None:
    tables.samples.loc[3, "timestamp_us"] = tables.samples.loc[2, "timestamp_us"]


def displaced(distance_m: float) -> Callable[[SimpleNamespace], None]:
    def spoil(tables: SimpleNamespace) -> None:
        tables.samples.loc[4:, "ego_y_m"] += distance_m

    return spoil


def emptied(table: str) -> Callable[[SimpleNamespace], None]:
    return lambda tables: setattr(tables, table, getattr(tables, table).iloc[:0])


EVERY = slice(None)
FAULTS = {
    "a pose that is none": ("pose_not_finite", "error", 1, 3, put("samples", "ego_x_m", 3, np.nan)),
    "a pose without end": ("pose_not_finite", "error", 1, 0, put("samples", "ego_z_m", 0, np.inf)),
    "a quaternion that is no rotation": ("quaternion_not_unit", "error", 1, 2, put("samples", "ego_qw", 2, 0.9)),
    "zero quaternions": ("quaternion_not_unit", "error", NUM, 0, put("samples", "ego_qw", EVERY, 0.0)),
    "time that stands still": ("timestamp_not_rising", "error", 1, 3, backwards),
    "a keyframe left out": ("keyframe_gap", "warning", 1, 4, later),
    "keyframes at 4 Hz": ("keyframe_spacing", "warning", 1, None, faster),
    "a leap to another town": ("ego_jump", "warning", 2, 4, displaced(1e4)),
    "a step aside": ("ego_jump", "warning", 2, 4, displaced(6.0)),
    "no CAN bus": ("no_can_bus", "warning", 1, None, put("samples", "speed_mps", EVERY, np.nan)),
    "a wrong CAN speed": ("can_speed", "warning", 1, 5, put("samples", "speed_mps", 5, 9.0)),
    "a reading of 80 m/s2": ("can_acceleration", "warning", 1, 6, put("samples", "acceleration_mps2", 6, -80.0)),
    "a car of 12 m": ("box_size", "warning", NUM, "ahead", put("agents", "length_m", EVERY, 12.0)),
    "a car of 3 cm": ("box_size", "warning", 1, "ahead", put("agents", "height_m", 2, 0.03)),
    "a box at 250 m": ("box_far_away", "warning", 1, "ahead", put("agents", "y_m", 1, -250.0)),
    "a car at 90 m/s": ("agent_speed", "warning", 1, "ahead", put("agents", "vx_mps", 7, -90.0)),
    "points of zero": ("no_lidar_points", "warning", NUM, None, put("agents", "num_lidar_points", EVERY, 0.0)),
    "unknown points": ("no_lidar_points", "warning", NUM, None, put("agents", "num_lidar_points", EVERY, np.nan)),
    "nobody there": ("no_agents", "warning", NUM, None, emptied("agents")),
    "no map": ("no_map_elements", "warning", NUM, None, emptied("map_elements")),
    "a lost image": ("lost_image", "warning", 1, 2, put("samples", "cam_back_source", 2, "missing")),
}


def test_a_sound_scene_has_no_findings(folder: Path) -> None:
    assert audit(folder, make_tables(SCENE)) == []


def test_a_scene_of_one_keyframe_has_no_motion_to_doubt(tmp_path: Path) -> None:
    ego = straight(1, 5.0)
    scene = HandScene(ego=ego, actors={"ahead": Actor("car", ego, num_lidar_points=1.0)}, lines=SCENE.lines, speeds=[5])
    dataset = SimpleNamespace(camera_files=lambda name: [tmp_path / "none.jpg"] * len(CAMERAS))
    found = audit_scene(dataset, scene.name, make_tables(scene), missing_images="drop")  # type: ignore[arg-type]
    assert [finding.check for finding in found] == ["missing_image"]


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_found_by_its_own_check_alone(name: str, folder: Path) -> None:
    check, severity, num, first, spoil = FAULTS[name]
    tables = make_tables(SCENE)
    spoil(tables)
    (found,) = audit(folder, tables)
    wanted = token(SCENE, first) if isinstance(first, int) else first or ""
    assert (found.check, found.severity, found.num, found.token) == (check, severity, num, wanted)
    assert found.scene_name == SCENE.name and found.message.startswith(SCENE.name)
    assert f"({num - 1} more like it)" in found.message or num == 1 or first is None


def test_real_driving_is_not_doubted(folder: Path) -> None:
    # 8 m/s2, an emergency stop, with a CAN bus that is a quarter of a second ahead of the keyframes.
    scene = HandScene(ego=straight(NUM, 0.0), actors=SCENE.actors, lines=SCENE.lines)
    times_s = np.arange(NUM) * 0.5
    x_m = np.where(times_s < 2.5, 20 * times_s - 4 * times_s**2, 25.0)
    scene.ego = np.column_stack([x_m, np.zeros((NUM, 2))])
    scene.speeds = np.maximum(20 - 8 * (times_s + 0.25), 0.0)
    assert audit(folder, make_tables(scene)) == []


def test_unmapped_categories_are_counted(folder: Path) -> None:
    (found,) = audit(folder, make_tables(SCENE), unmapped={"movable_object.debris": 4, "animal": 1})
    assert (found.check, found.num) == ("unmapped_category", 5)
    assert "animal (1), movable_object.debris (4)" in found.message


@pytest.mark.parametrize(("option", "severity"), [("error", "error"), ("drop", "warning"), ("render", "warning")])
def test_a_missing_image_is_an_error_unless_it_is_allowed(folder: Path, option: str, severity: str) -> None:
    tables, gone = make_tables(SCENE), folder / "gone"
    gone.mkdir(exist_ok=True)
    found = audit(gone, tables, option)[0]
    assert (found.check, found.severity, found.num, found.token) == ("missing_image", severity, 48, token(SCENE, 0))
    assert f"{gone}/cam_front.jpg is missing, and with it 48 of 48 camera images" in found.message
    assert found.table == "cam_front.jpg"


def test_the_blank_file_of_a_lost_image_may_be_anything(folder: Path, tmp_path: Path) -> None:
    for path in folder.glob("*.jpg"):
        (tmp_path / path.name).write_bytes(path.read_bytes() if path.stem != "cam_back" else b"")
    tables = make_tables(SCENE)
    tables.samples["cam_back_source"] = "missing"
    assert [(found.check, found.num) for found in audit(tmp_path, tables)] == [("lost_image", NUM)]


@pytest.mark.parametrize("option", ["error", "drop"])
def test_a_file_that_is_no_image_is_an_error_whatever_is_allowed(folder: Path, tmp_path: Path, option: str) -> None:
    for path in folder.glob("*.jpg"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "cam_front_left.jpg").write_text("<html>404</html>")
    (tmp_path / "cam_back.jpg").unlink()
    missing, broken = audit(tmp_path, make_tables(SCENE), option)
    assert (missing.check, missing.num) == ("missing_image", NUM)
    assert (broken.check, broken.severity, broken.num) == ("unusable_image", "error", NUM)
    assert broken.table == "cam_front_left.jpg" and f"{tmp_path}/cam_front_left.jpg cannot be" in broken.message


@given(rows=st.sets(st.integers(0, NUM - 1), min_size=1))
def test_rows_that_fail_alike_are_one_finding_with_the_first_and_their_number(rows: set[int], folder: Path) -> None:
    tables = make_tables(SCENE)
    tables.samples.loc[list(rows), "acceleration_mps2"] = 100.0
    (found,) = audit(folder, tables)
    assert (found.num, found.token) == (len(rows), token(SCENE, min(rows)))


def test_every_category_has_largest_sides() -> None:
    assert set(MAX_SIDES_M) == set(AGENT_CATEGORIES)


def finding(severity: str, check: str, scene: str = "scene-1", num: int = 1) -> Finding:
    return Finding(severity=severity, check=check, scene_name=scene, message=f"{scene} {check}", num=num)  # type: ignore[arg-type]


def test_the_table_has_errors_first_then_checks_by_name_and_scenes_as_they_came() -> None:
    table = findings_table(
        [finding("warning", "b"), finding("error", "z", "scene-9"), finding("error", "z"), finding("warning", "a")]
    )
    assert table["message"].tolist() == ["scene-9 z", "scene-1 z", "scene-1 a", "scene-1 b"]
    pd.testing.assert_frame_equal(AuditFindings.validate(table), table)
    empty = findings_table([])
    assert len(empty) == 0 and AuditFindings.validate(empty) is not None


def test_errors_are_raised_with_all_findings_and_warnings_are_not() -> None:
    found = [finding("warning", "a"), finding("error", "b", num=3)]
    raise_errors(findings_table(found[:1]))
    raise_errors(findings_table([]))
    with pytest.raises(BrokenRecording, match=r"^scene-1 b$") as error:
        raise_errors(findings_table(found))
    assert error.value.findings == tuple(reversed(found))


def test_a_table_is_said_in_two_lines() -> None:
    found = [
        *(finding("warning", "keyframe_gap", scene, 1500) for scene in ("scene-1", "scene-2")),
        *(finding("error", check) for check in ("unusable_image", "missing_image")),
    ]
    assert audit_in_words(findings_table(found)) == (
        "2 kinds of errors: missing_image (1 in 1 scene), unusable_image (1 in 1 scene)\n"
        "1 kind of warning: keyframe_gap (3,000 in 2 scenes)"
    )
    assert audit_in_words(findings_table([])) == "nothing wrong or odd"


def audit_all(dataset: NuScenesDataset, missing_images: str = "drop") -> dict[str, dict[str, int]]:
    """Scene -> check -> number."""
    found = {}
    for name in dataset.scene_names():
        dataset.unmapped.clear()
        tables = dataset.tables(name)
        unmapped = dict(dataset.unmapped)
        findings = audit_scene(dataset, name, tables, missing_images=missing_images, unmapped=unmapped)
        found[name] = {finding.check: finding.num for finding in findings}
    return found


def test_the_hand_made_root_has_what_is_odd_about_it(root: Path) -> None:
    assert audit_all(NuScenesDataset(Config(version=VERSION), dataroot=root), "error") == {
        "scene-0061": {"unmapped_category": 4},
        "scene-0103": {"no_agents": 10, "no_can_bus": 1},
    }


def test_an_image_that_t4_lost_is_a_warning(tmp_path: Path) -> None:
    found = audit_all(T4Dataset(T4Config(), dataroot=make_t4_root(tmp_path / "root")), "error")
    assert found[DRIVE]["lost_image"] == 1 and "missing_image" not in found[DRIVE]


@pytest.mark.skipif(not SHARED.is_dir(), reason=f"no recordings at {SHARED}: set DIMA_SHARED_DATA")
def test_mini_has_only_what_is_known_of_it() -> None:
    """CAN messages at the very end of a drive are wrong; images that were published are sound."""
    found = audit_all(NuScenesDataset(Config(version=VERSION), dataroot=SHARED / "nuscenes-mini"))
    assert sum(checks.pop("missing_image") for checks in found.values()) == 2418
    assert found == {
        "scene-0061": {"unmapped_category": 35},
        "scene-0103": {"unmapped_category": 55, "can_acceleration": 1},
        "scene-0553": {"unmapped_category": 41},
        "scene-0655": {"can_speed": 1},
        "scene-0757": {},
        "scene-0796": {},
        "scene-0916": {"unmapped_category": 18},
        "scene-1077": {"can_speed": 1, "can_acceleration": 1},
        "scene-1094": {"unmapped_category": 25, "can_speed": 1, "can_acceleration": 1},
        "scene-1100": {},
    }
