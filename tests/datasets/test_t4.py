"""The generated T4 root as a data set, with answers known by eye, and what the reader refuses."""

import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dima_pipeline.contracts import tables as contracts
from dima_pipeline.contracts.frames import CAMERAS
from dima_pipeline.curation.config import IngestionConfig
from dima_pipeline.curation.ingest import ingest
from dima_pipeline.datasets import DATASETS, SceneTables
from dima_pipeline.datasets.t4 import Config, T4Dataset, agent_class, two_hertz
from dima_pipeline.geometry import image_from_ego, project
from dima_pipeline.storage.image_shards import ImageShards
from dima_pipeline.storage.manifest import verify
from dima_pipeline.storage.scene_reader import SceneReader
from nuscenes_root import edit_json, gray
from t4_root import DRIVE, LIDAR, PARKED, START_US, annotation, make_t4_root


@pytest.fixture(scope="module")
def t4_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The generated root; read only."""
    return make_t4_root(tmp_path_factory.mktemp("t4") / "root")


@pytest.fixture
def own_t4_root(t4_root: Path, tmp_path: Path) -> Path:
    """A copy of the generated root for one test to change."""
    return Path(shutil.copytree(t4_root, tmp_path / "root"))


@pytest.fixture(scope="module")
def drive(t4_root: Path) -> SceneTables:
    return read(t4_root)


def read(root: Path, scene: str = DRIVE, **options: Any) -> SceneTables:
    return T4Dataset(Config(**options), dataroot=root).tables(scene)


def at(frame: pd.DataFrame, index: int, instance: str | None = None) -> pd.DataFrame:
    """Rows of the keyframe with that number in the recording, at 10 Hz."""
    chosen = frame["sample_token"] == f"sample-{index}-100000"
    return frame[chosen if instance is None else chosen & (frame["instance_token"] == instance)]


def change(root: Path, table: str, token: str, **fields: Any) -> None:
    """Set fields of one record of the drive."""
    edit_json(annotation(root, table), lambda rows: [row | fields if row["token"] == token else row for row in rows])


def test_the_family_finds_t4_by_its_file_name_and_names_mistaken_options(t4_root: Path) -> None:
    assert DATASETS.build(DATASETS.parse({"name": "t4"}), dataroot=t4_root).scene_names() == [DRIVE, PARKED]
    with pytest.raises(ValueError, match="did you mean 'cameras'"):
        DATASETS.parse({"name": "t4", "camera": {}})
    with pytest.raises(ValueError, match=r"no camera 'CAM_FRNT'.*did you mean 'CAM_FRONT'"):
        DATASETS.parse({"name": "t4", "cameras": {"CAM_FRNT": "CAM_FRONT_WIDE"}})
    with pytest.raises(ValueError, match="one channel for two cameras"):
        DATASETS.parse({"name": "t4", "cameras": {"CAM_FRONT": "CAM_BACK"}})


@pytest.mark.parametrize("scene", [DRIVE, PARKED])
def test_every_t4_table_passes_its_contract(t4_root: Path, scene: str) -> None:
    tables = read(t4_root, scene)
    contracts.Scenes.validate(tables.scenes)
    contracts.Samples.validate(tables.samples)
    contracts.Agents.validate(tables.agents)
    contracts.EgoPaths.validate(tables.ego_paths)
    contracts.AgentFutures.validate(tables.agent_futures)
    contracts.MapElements.validate(tables.map_elements)


def test_poses_are_rigid_and_a_box_ahead_lands_in_the_front_image_alone(drive: SceneTables) -> None:
    lead = at(drive.agents, 0, "lead")[["x_m", "y_m", "z_m"]].to_numpy()
    seen = []
    for camera in CAMERAS:
        name = camera.lower()
        for row in drive.samples[f"{name}_camera_from_ego"]:
            turn = np.reshape(row, (4, 4))[:3, :3]
            assert np.allclose(turn @ turn.T, np.eye(3), atol=1e-9) and np.linalg.det(turn) == pytest.approx(1)
        sample = drive.samples.iloc[0]
        matrix = image_from_ego(
            np.reshape(sample[f"{name}_intrinsics"], (3, 3)), np.reshape(sample[f"{name}_camera_from_ego"], (4, 4))
        )
        (pixel,), (depth,) = project(matrix, lead)
        inside = depth > 0 and 0 <= pixel[0] < sample[f"{name}_width"] and 0 <= pixel[1] < sample[f"{name}_height"]
        seen += [(camera, *pixel, depth)] if inside else []
    # The camera stands 1.5 m ahead and up, and fired 20 ms (0.1 m) before the LIDAR; the centre is 0.8 m high.
    ((camera, u, v, depth),) = seen
    assert (camera, depth) == ("CAM_FRONT", pytest.approx(20 - 1.5 + 0.1))
    assert (u, v) == pytest.approx((80, 45 + 80 * 0.7 / 18.6))


def test_a_scene_is_a_dataset_folder_and_bears_its_id(t4_root: Path, drive: SceneTables) -> None:
    scene = drive.scenes.iloc[0]
    assert (scene["name"], scene["scene_token"], scene["location"]) == (DRIVE, "scene-100000", "Odaiba_Tokyo")
    assert read(t4_root, PARKED).scenes["location"].tolist() == ["unknown"]
    recorded = T4Dataset(Config(), dataroot=t4_root).records(DRIVE).scenes[DRIVE]
    ends = [recorded[name] for name in ("first_sample_token", "last_sample_token", "nbr_samples")]
    assert ends == ["sample-0-100000", "sample-30-100000", 7]
    with pytest.raises(ValueError, match=f"did you mean '{PARKED}'"):
        read(t4_root, "9b20e4d7-parket")


def test_a_description_that_is_null_is_empty(own_t4_root: Path) -> None:
    change(own_t4_root, "scene", "scene-100000", description=None)
    assert read(own_t4_root).scenes["description"].tolist() == [""]


def test_ten_hertz_become_two_with_keyframes_chained_anew(t4_root: Path, drive: SceneTables) -> None:
    samples = drive.samples
    assert samples["sample_token"].tolist() == [f"sample-{index}-100000" for index in range(0, 31, 5)]
    assert samples["timestamp_us"].tolist() == [START_US + step * 500_000 for step in range(7)]
    assert samples["next"].tolist()[:-1] == samples["sample_token"].tolist()[1:] and samples["next"].isna().iloc[-1]
    assert samples["prev"].tolist()[1:] == samples["sample_token"].tolist()[:-1] and samples["prev"].isna().iloc[0]
    assert drive.scenes["num_samples"].item() == 7
    assert len(read(t4_root, thin_to_2_hz=False).samples) == 31
    assert len(read(t4_root, PARKED).samples) == 4


def test_the_keyframes_that_were_annotated_are_the_ones_kept(own_t4_root: Path) -> None:
    def every_fifth(rows: list) -> list:
        kept = [row for row in rows if int(row["sample_token"].split("-")[1]) % 5 == 3]
        return [row | {"prev": "", "next": ""} for row in kept]

    def ends(rows: list) -> list:
        names = ("lead", "worker", "dog", "blink")
        first = {name: {f"{end}_annotation_token": f"{name}-3" for end in ("first", "last")} for name in names}
        return [row | first.get(row["token"], {}) for row in rows]

    edit_json(annotation(own_t4_root, "sample_annotation"), every_fifth)
    edit_json(annotation(own_t4_root, "instance"), ends)
    tables = read(own_t4_root)
    assert tables.samples["sample_token"].tolist() == [f"sample-{index}-100000" for index in range(3, 31, 5)]
    assert at(tables.agents, 8, "lead")["vx_mps"].item() == pytest.approx(4.0)


@given(st.integers(2, 60), st.lists(st.integers(-20_000, 20_000), min_size=60, max_size=60), st.integers(0, 59))
def test_thinned_keyframes_are_about_half_a_second_apart(count: int, jitter_us: list[int], boxed: int) -> None:
    times_us = np.arange(count) * 100_000 + np.array(jitter_us[:count])
    kept = two_hertz(times_us, np.arange(count) == boxed)
    assert np.all(np.abs(np.diff(times_us[kept]) - 500_000) <= 150_000)
    assert (times_us[kept][0] - times_us[0], times_us[-1] - times_us[kept][-1]) <= (500_000, 500_000)
    assert boxed >= count or boxed in kept


def test_what_is_not_faster_than_two_hertz_is_kept_and_a_gap_stays_a_gap() -> None:
    none = np.zeros(40, bool)
    assert two_hertz(np.arange(40) * 400_000, none).tolist() == list(range(40))
    assert two_hertz(np.array([7]), none[:1]).tolist() == [0]
    gap = np.delete(np.arange(31) * 100_000, np.arange(11, 20))
    assert (gap[two_hertz(gap, none[: len(gap)])] / 1e5).tolist() == [0, 5, 10, 20, 25, 30]


def test_boxes_futures_and_velocities_are_those_of_the_recording(drive: SceneTables) -> None:
    lead = at(drive.agents, 10, "lead").iloc[0]
    assert (lead["category"], lead["visibility"], lead["num_lidar_points"]) == ("car", 4.0, 12.0)
    assert (lead["x_m"], lead["y_m"], lead["z_m"], lead["yaw_rad"]) == pytest.approx((19.0, 0.0, 0.8, 0.0))
    assert (lead["length_m"], lead["width_m"], lead["height_m"]) == (4.5, 1.9, 1.6)
    assert (lead["vx_mps"], lead["vy_mps"]) == pytest.approx((4.0, 0.0))
    future = at(drive.agent_futures, 0, "lead")
    assert future["valid"].all() and future["x_m"].tolist() == pytest.approx([22, 24, 26, 28, 30, 32])
    path = at(drive.ego_paths, 0)
    assert path["x_m"].tolist()[4:] == pytest.approx([2.5, 5, 7.5, 10, 12.5, 15])
    assert set(drive.samples["command_driven"]) == {"straight", "unknown"}
    assert set(drive.samples["command_route"]) == {"unknown"} and len(drive.map_elements) == 0


def test_an_annotated_velocity_is_turned_into_the_ego_frame(drive: SceneTables) -> None:
    worker = at(drive.agents, 5, "worker").iloc[0]
    assert (worker["x_m"], worker["y_m"]) == pytest.approx((7.5, -3.0))
    assert (worker["vx_mps"], worker["vy_mps"]) == pytest.approx((0.0, 1.5))  # west is left of north
    assert (worker["category"], worker["attribute"]) == ("pedestrian", "pedestrian_state.standing")


def test_what_is_no_t4_agent_is_left_out_and_counted(t4_root: Path) -> None:
    dataset = T4Dataset(Config(), dataroot=t4_root)
    assert set(dataset.tables(DRIVE).agents["instance_token"]) == {"lead", "worker"}
    assert dataset.unmapped == {"animal": 7}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("car", "car"),
        ("vehicle.car", "car"),
        ("TRUCK", "truck"),
        ("vehicle.bus (bendy & rigid)", "bus"),
        ("vehicle.construction", "construction_vehicle"),
        ("vehicle.bus.rigid", "bus"),
        ("vehicle.motorbike", "motorcycle"),
        ("police_car", "car"),
        ("vehicle.fire", "truck"),
        ("pedestrian.police_officer", "pedestrian"),
        ("human.pedestrian.child", "pedestrian"),
        ("movable_object.trafficcone", "traffic_cone"),
        ("movable_object.traffic_cone", "traffic_cone"),
        ("static_object.bicycle_rack", "static_object.bicycle_rack"),
        ("pedestrian.stroller", "pedestrian.stroller"),
        ("red_pedestrian", "red_pedestrian"),
    ],
)
def test_a_category_is_known_by_its_name(name: str, expected: str) -> None:
    assert agent_class(name) == expected


def set_levels(root: Path, **names: str) -> None:
    """Rename visibility levels of the drive."""
    edit_json(
        annotation(root, "visibility"), lambda rows: [row | {"level": names.get(row["level"], "")} for row in rows]
    )


def test_visibility_goes_by_name_in_the_new_form_and_the_old(own_t4_root: Path) -> None:
    def seen() -> list[float]:
        return (
            at(read(own_t4_root).agents, 0).set_index("instance_token").loc[["lead", "worker"], "visibility"].tolist()
        )

    assert seen() == [4.0, 2.0]
    set_levels(own_t4_root, full="most", most="full", partial="none")
    assert seen() == [3.0, 1.0]
    # In the older form, and alone, "none" says that nobody rated it.
    set_levels(own_t4_root, most="v60-80", none="none")
    assert seen()[0] == 3.0 and np.isnan(seen()[1])
    set_levels(own_t4_root, none="unavailable")
    assert np.isnan(seen()).all()


def test_ego_motion_is_that_of_twist_acceleration_and_steering_wheel(t4_root: Path, drive: SceneTables) -> None:
    names = ["speed_mps", "acceleration_mps2", "yaw_rate_radps", "steering_rad"]
    assert np.allclose(drive.samples[names], [5.0, 0.5, 0.1, 0.2])
    assert read(t4_root, PARKED).samples[names].isna().all(axis=None)


def test_a_steering_angle_that_is_null_is_passed_over_and_order_does_not_matter(own_t4_root: Path) -> None:
    def forget(rows: list) -> list:
        angles = [None if row["timestamp"] < START_US + 600_000 else row["timestamp"] - START_US for row in rows]
        return [row | {"steering_wheel_angle": angle} for row, angle in zip(rows, angles, strict=True)][::-1]

    edit_json(annotation(own_t4_root, "vehicle_state"), forget)
    steering = read(own_t4_root).samples["steering_rad"].tolist()
    assert np.isnan(steering[0]) and steering[1:] == [600_000.0, *range(1_000_000, 3_500_000, 500_000)]


def test_a_lost_image_is_missing_whatever_its_file_shows(t4_root: Path, own_t4_root: Path, drive: SceneTables) -> None:
    assert drive.samples["cam_back_source"].tolist() == ["recorded"] * 2 + ["missing"] + ["recorded"] * 4
    images = T4Dataset(Config(), dataroot=t4_root).images(drive.samples.iloc[2])
    assert images["CAM_BACK"] is None
    front = images["CAM_FRONT"]
    assert front is not None and front.shape == (90, 160, 3) and abs(front.mean() - gray("CAM_FRONT", 10)) < 2
    change(own_t4_root, "sample_data", "data-CAM_FRONT-0", is_valid=False)
    change(own_t4_root, "sample_data", "data-CAM_BACK-10", is_valid=True)  # still no keyframe
    samples = read(own_t4_root).samples
    assert samples["cam_front_source"].tolist() == ["missing"] + ["recorded"] * 6
    assert samples["cam_back_source"].tolist() == drive.samples["cam_back_source"].tolist()


def test_camera_channels_and_the_reference_can_bear_other_names(own_t4_root: Path) -> None:
    change(own_t4_root, "sensor", "sensor-CAM_FRONT", channel="CAM_FRONT_WIDE")
    change(own_t4_root, "sensor", f"sensor-{LIDAR}", channel="LIDAR_TOP")
    options = {"cameras": {"CAM_FRONT": "CAM_FRONT_WIDE"}, "reference_channel": "LIDAR_TOP"}
    samples = read(own_t4_root, **options).samples
    assert samples["cam_front_file"].iloc[1] == f"{DRIVE}/1/data/CAM_FRONT/5.jpg"
    assert samples["ego_y_m"].tolist() == pytest.approx([500 + 2.5 * step for step in range(7)])
    by_camera = read(own_t4_root, cameras=options["cameras"], reference_channel="CAM_FRONT_WIDE").samples
    assert by_camera["ego_y_m"].tolist() == pytest.approx([499.9 + 2.5 * step for step in range(7)])


def test_distorted_images_are_refused_unless_they_are_said_to_be_rectified(
    own_t4_root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    plain = read(own_t4_root).samples
    change(own_t4_root, "calibrated_sensor", "calibrated-CAM_BACK", camera_distortion=[-0.3, 0.1, 0.0, 0.0, 0.0])
    with pytest.raises(
        ValueError, match=r"camera_distortion of record calibrated-CAM_BACK is \[-0.3.*distortion: igno"
    ):
        read(own_t4_root)
    with caplog.at_level(logging.WARNING):
        ignored = read(own_t4_root, distortion="ignore").samples
    assert "calibrated-CAM_BACK" in caplog.text
    pd.testing.assert_frame_equal(ignored, plain)


def test_the_newest_version_is_read_or_the_one_that_is_named(own_t4_root: Path) -> None:
    shutil.rmtree(own_t4_root / PARKED)
    shutil.copytree(own_t4_root / DRIVE / "1", own_t4_root / DRIVE / "10")
    (own_t4_root / DRIVE / "9").mkdir()
    (own_t4_root / ".cache").mkdir()
    assert read(own_t4_root).samples["cam_back_file"].iloc[0] == f"{DRIVE}/10/data/CAM_BACK/0.jpg"
    assert read(own_t4_root, version="1").samples["cam_back_file"].iloc[0] == f"{DRIVE}/1/data/CAM_BACK/0.jpg"
    with pytest.raises(ValueError, match=r"no version '2' in .*known: \['0', '1', '9', '10'\]"):
        read(own_t4_root, version="2")


@pytest.mark.parametrize("dataset", [DRIVE, PARKED])
def test_a_dataset_by_itself_can_be_the_dataroot(t4_root: Path, dataset: str) -> None:
    alone = T4Dataset(Config(), dataroot=t4_root / dataset)
    assert alone.scene_names() == [dataset]
    assert all(path.is_file() for path in alone.camera_files(dataset))
    pd.testing.assert_frame_equal(alone.tables(dataset).agents, read(t4_root, dataset).agents)


def test_a_t4_root_becomes_tables_and_shards_that_read_back(t4_root: Path, tmp_path: Path) -> None:
    config = IngestionConfig(dataset={"name": "t4"}, image_height=24, image_width=40, val_scenes=[PARKED])
    ingested = ingest(config, t4_root, tmp_path)
    tables, directory = ingested.tables, ingested.shards
    assert tables.scenes.set_index("name")["split"].to_dict() == {DRIVE: "train", PARKED: "val"}
    assert len(tables.samples) == 11
    contracts.Samples.validate(tables.samples)
    manifest = verify(directory)
    assert manifest["image_sources"] == {"recorded": 65, "rendered": 0, "missing": 1}
    assert manifest["unmapped_categories"] == {"animal": 7}
    batch = SceneReader(tables.samples, ImageShards(directory)).batch(["sample-10-100000"])
    expected = [0 if camera == "CAM_BACK" else gray(camera, 10) for camera in CAMERAS]
    assert batch.images[0].mean((1, 2, 3)) == pytest.approx(expected, abs=2)
    assert batch.camera_valid[0].tolist() == [camera != "CAM_BACK" for camera in CAMERAS]


def empty(table: str) -> Callable[[Path], None]:
    return lambda root: edit_json(annotation(root, table), lambda rows: [])


def setting(table: str, token: str, **fields: Any) -> Callable[[Path], None]:
    return lambda root: change(root, table, token, **fields)


def add_scene(root: Path) -> None:
    edit_json(annotation(root, "scene"), lambda rows: [*rows, {**rows[0], "token": "again"}])


BACK = ("sample_data", "data-CAM_BACK-0")
BROKEN: list[tuple[Callable[[Path], Any], str]] = [
    (lambda root: shutil.rmtree(root / PARKED / "annotation"), "9b20e4d7-parked has no folder annotation"),
    (lambda root: (root / DRIVE / "2").mkdir(), "drive/2 has no folder annotation"),
    (lambda root: annotation(root, "ego_pose", PARKED).unlink(), "parked/annotation lacks ego_pose.json"),
    (lambda root: (root / PARKED / "manifest.json").touch(), "parked is a T4 dataset of format 1.0"),
    (lambda root: annotation(root, "scene").write_text("[{"), "scene.json is no valid JSON"),
    (setting("sensor", f"sensor-{LIDAR}", channel="X"), "no sensor 'LIDAR_CONCAT' in .*data set's reference_channel"),
    (setting("sensor", "sensor-CAM_BACK", channel="X"), "no sensor 'CAM_BACK' in .*or cameras"),
    (
        setting("sample_data", f"data-{LIDAR}-30", sample_token="sample-29-100000", is_key_frame=False),
        "sample sample-30-100000 has no keyframe row of LIDAR_CONCAT",
    ),
    (empty("sample"), "holds 1 scenes with 0 keyframes"),
    (empty("scene"), "holds 0 scenes with 31 keyframes"),
    (add_scene, "holds 2 scenes with 31 keyframes"),
    (empty("category"), "category_token 'category-car' of record lead is not in category.json"),
    (setting(*BACK, filename="../../x.jpg"), "file '../../x.jpg' of data-CAM_BACK-0"),
    (setting("sample_data", "data-CAM_BACK-10", filename="/etc/x"), "image '/etc/x' leaves the dataset"),
    (setting(*BACK, width=None), "CAM_BACK/0.jpg' leaves the dataset, or has no width"),
    (setting("sample_annotation", "lead-5", sample_token="sample-6-100000"), "lead has two boxes in sample sample-6"),
    (setting("sample_annotation", "lead-5", next="lead-7"), "next of record lead-5 is lead-7, whose prev"),
    (setting("ego_pose", f"pose-data-{LIDAR}-5", twist=[1.0]), "twist of record .*expected 6 finite"),
    (setting("sample_annotation", "lead-5", velocity=["a", 0, 0]), "velocity of record lead-5"),
    (setting("vehicle_state", f"state-{START_US}", steering_wheel_angle="left"), "expected records with timestamp"),
    (setting("calibrated_sensor", "calibrated-CAM_BACK", camera_distortion={"k1": 1}), "camera_distortion of record"),
]


@pytest.mark.parametrize(("damage", "reason"), BROKEN, ids=[reason for _, reason in BROKEN])
def test_a_broken_t4_dataset_is_refused_with_its_reason(
    own_t4_root: Path, damage: Callable[[Path], Any], reason: str
) -> None:
    damage(own_t4_root)
    with pytest.raises(ValueError, match=reason):
        read(own_t4_root)


def test_a_root_that_holds_no_dataset_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="holds no T4 dataset: expected folders like"):
        T4Dataset(Config(), dataroot=tmp_path)
    with pytest.raises(ValueError, match="is no folder: set DIMA_DATAROOT"):
        T4Dataset(Config(), dataroot=tmp_path / "absent")
