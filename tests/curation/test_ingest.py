"""Ingestion end to end on the hand-made root: tables, shards, and what happens when pictures are missing."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from dima_pipeline.contracts import tables as contracts
from dima_pipeline.contracts.frames import CAMERAS
from dima_pipeline.curation.config import IngestionConfig
from dima_pipeline.curation.conversion import scene_images
from dima_pipeline.curation.ingest import ingest
from dima_pipeline.curation.vad_infos import read_infos
from dima_pipeline.datasets import SceneTables
from dima_pipeline.datasets.nuscenes import Config, NuScenesDataset
from dima_pipeline.storage.image_shards import ImageShards
from dima_pipeline.storage.manifest import verify
from dima_pipeline.storage.scene_reader import SceneReader
from nuscenes_root import VERSION, gray, make_root

SHARED = Path(os.environ.get("DIMA_SHARED_DATA", Path(__file__).parents[3] / "shared" / "data"))
SPEC = {"name": "nuscenes", "version": VERSION}


def config(**options: object) -> IngestionConfig:
    return IngestionConfig(**{"dataset": SPEC, "image_height": 24, "image_width": 40, **options})


def test_a_whole_root_becomes_tables_and_shards_that_read_back(root: Path, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    made = ingest(config(), root, tmp_path, report=lambda *step: seen.append(step))
    tables, directory = made.tables, made.shards
    assert tables.scenes.set_index("name")["split"].to_dict() == {"scene-0061": "train", "scene-0103": "val"}
    assert len(tables.samples) == 20 and tables.samples["sample_token"].is_unique
    contracts.Samples.validate(tables.samples)
    manifest = verify(directory)
    assert manifest["image_sources"] == {"recorded": 120, "rendered": 0, "missing": 0}
    assert manifest["unmapped_categories"] == {"movable_object.debris": 4}
    assert seen == [(1, 2), (2, 2)]
    batch = SceneReader(tables.samples, ImageShards(directory)).batch(["scene-0061-2"])
    assert batch.images.shape == (1, 6, 24, 40, 3)
    brightness = batch.images[0].mean((1, 2, 3))
    assert brightness == pytest.approx([gray(camera, 2) for camera in CAMERAS], abs=2)


def test_without_images_nothing_is_done_and_the_first_one_is_named(own_root: Path, tmp_path: Path) -> None:
    for index in (3, 4):
        (own_root / "samples" / "CAM_BACK" / f"scene-0061-{index}.jpg").unlink()
    with pytest.raises(ValueError, match=r"CAM_BACK/scene-0061-3.jpg is missing, and with it 2 of 60") as error:
        ingest(config(), own_root, tmp_path)
    assert "'drop'" in str(error.value) and not (tmp_path / "staging").exists()
    assert not list(tmp_path.rglob("images-*")), "no picture was decoded"


def test_dropped_images_are_black_and_not_valid(own_root: Path, tmp_path: Path) -> None:
    (own_root / "samples" / "CAM_BACK" / "scene-0061-3.jpg").unlink()
    made = ingest(config(missing_images="drop"), own_root, tmp_path)
    tables, directory = made.tables, made.shards
    assert verify(directory)["image_sources"] == {"recorded": 119, "rendered": 0, "missing": 1}
    batch = SceneReader(tables.samples, ImageShards(directory)).batch(["scene-0061-3"])
    back = CAMERAS.index("CAM_BACK")
    assert batch.images[0, back].max() == 0
    assert batch.camera_valid[0].tolist() == [camera != "CAM_BACK" for camera in CAMERAS]


class Painter:
    """Stands in for the renderer: paints the number of boxes in the keyframe."""

    def __init__(self, ground: object, image_size: tuple[int, int]) -> None:
        assert callable(ground)
        self.image_size = image_size

    def render(self, tables: SceneTables, sample: pd.Series, camera: str) -> np.ndarray:
        boxes = (tables.agents["sample_token"] == sample["sample_token"]).sum()
        return np.full((*self.image_size, 3), boxes, np.uint8)

    def close(self) -> None:
        """Nothing to free."""


def test_missing_images_are_drawn_from_the_log_when_asked(
    own_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replay = ModuleType("dima_pipeline.curation.replay")
    replay.ReplayRenderer = Painter  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "dima_pipeline.curation.replay", replay)
    (own_root / "samples" / "CAM_BACK" / "scene-0061-3.jpg").unlink()
    made = ingest(config(missing_images="render"), own_root, tmp_path)
    tables, directory = made.tables, made.shards
    sample = tables.samples.set_index("sample_token").loc["scene-0061-3"]
    assert (sample["cam_back_source"], sample["cam_front_source"]) == ("rendered", "recorded")
    image = ImageShards(directory).read("scene-0061-3")[CAMERAS.index("CAM_BACK")]
    assert (image == 3).all()  # slow, walker and lone
    assert verify(directory)["image_sources"] == {"recorded": 119, "rendered": 1, "missing": 0}


def test_a_damaged_image_leaves_no_shards_behind(own_root: Path, tmp_path: Path) -> None:
    path = own_root / "samples" / "CAM_BACK" / "scene-0103-5.jpg"
    path.write_bytes(path.read_bytes()[:-60])
    with pytest.raises(ValueError, match=r"CAM_BACK/scene-0103-5.jpg cannot be decoded"):
        ingest(config(), own_root, tmp_path)
    assert not (tmp_path / "staging").exists()


def test_chosen_scenes_alone_are_read(own_root: Path, tmp_path: Path) -> None:
    (own_root / "samples" / "CAM_BACK" / "scene-0061-3.jpg").unlink()
    tables = ingest(config(scenes=["scene-0103"]), own_root, tmp_path).tables
    assert tables.scenes["name"].tolist() == ["scene-0103"] and set(tables.samples["scene_token"]) == {
        "token-scene-0103"
    }
    tables = ingest(config(max_scenes=1, missing_images="drop"), own_root, tmp_path).tables
    assert tables.scenes["name"].tolist() == ["scene-0061"]


def test_own_held_out_scenes_come_before_the_official_lists(root: Path, tmp_path: Path) -> None:
    tables = ingest(config(val_scenes=["scene-0061"], scenes=["scene-0061"]), root, tmp_path).tables
    assert tables.scenes["split"].tolist() == ["val"]


def test_own_splits_from_a_file_are_followed_and_official_lists_are_not_asked(root: Path, tmp_path: Path) -> None:
    path = tmp_path / "splits.json"
    path.write_text('{"train": ["scene-0103"], "val": ["scene-0061"]}')
    tables = ingest(config(splits_file=str(path)), root, tmp_path / "staging").tables
    assert tables.scenes.set_index("name")["split"].to_dict() == {"scene-0061": "val", "scene-0103": "train"}
    path.write_text('{"train": ["scene-0103"]}')
    with pytest.raises(ValueError, match=r"no list of .*splits.json names scene scene-0061"):
        ingest(config(splits_file=str(path)), root, tmp_path / "staging")


def test_a_held_out_scene_that_is_a_copy_of_a_training_scene_is_refused(own_root: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for camera in CAMERAS:
        for index in range(10):
            picture = Image.fromarray(rng.integers(0, 255, (9, 16, 3), np.uint8)).resize((160, 90))
            for scene in ("scene-0061", "scene-0103"):
                picture.save(own_root / "samples" / camera / f"{scene}-{index}.jpg", quality=95)
    with pytest.raises(ValueError, match=r"scene-0061.*scene-0103|scene-0103.*scene-0061"):
        ingest(config(val_scenes=["scene-0103"]), own_root, tmp_path)
    assert not (tmp_path / "staging").exists()
    assert len(ingest(config(), own_root, tmp_path).tables.scenes) == 2, "official splits cannot be mended here"


def test_the_fields_of_vads_converter_are_written_when_asked_for(root: Path, tmp_path: Path) -> None:
    made = ingest(config(vad_infos="none"), root, tmp_path)
    assert verify(made.vad_infos)["compat"] == "none"
    infos = read_infos(made.vad_infos / "scene-0061.npz").infos()
    assert [info["token"] for info in infos] == [f"scene-0061-{index}" for index in range(10)]
    with_faults = ingest(config(vad_infos="vad"), root, tmp_path / "vad").vad_infos
    assert verify(with_faults)["compat"] == "vad" and verify(with_faults)["files"] != verify(made.vad_infos)["files"]
    assert verify(ingest(config(), root, tmp_path / "off").vad_infos)["files"] == {}


def test_places_that_were_trained_on_are_counted(root: Path, tmp_path: Path) -> None:
    overlap = contracts.GeographicOverlap.validate(ingest(config(), root, tmp_path).overlap)
    assert overlap["num_keyframes"].sum() == 10 and set(overlap["split"]) == {"val"}


def test_mistaken_scene_names_and_roots_are_refused(root: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="did you mean 'scene-0103'"):
        ingest(config(scenes=["scene-0104"]), root, tmp_path)
    with pytest.raises(ValueError, match="did you mean 'scene-0061'"):
        ingest(config(val_scenes=["scene-0062"]), root, tmp_path)
    with pytest.raises(ValueError, match="set DIMA_DATAROOT"):
        ingest(config(), None, tmp_path)


def test_two_runs_write_the_same_bytes(root: Path, tmp_path: Path) -> None:
    first = verify(ingest(config(), root, tmp_path / "a").shards)
    second = verify(ingest(config(), root, tmp_path / "b").shards)
    assert first == second


def test_scene_images_leaves_the_given_tables_alone(root: Path) -> None:
    dataset = NuScenesDataset(Config(version=VERSION), dataroot=root)
    tables = dataset.tables("scene-0061")
    before = tables.samples.copy()
    images, samples = scene_images(dataset, tables, (24, 40))
    assert images.shape == (10, 6, 24, 40, 3)
    pd.testing.assert_frame_equal(tables.samples, before)
    pd.testing.assert_frame_equal(samples, before, check_dtype=False)


WITHOUT_TORCH = """
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "transformers", "peft", "ray", "panda3d", "kedro"):
            raise ImportError(f"{name} must not be imported by ingestion")
sys.meta_path.insert(0, Refuse())
from pathlib import Path
from dima_pipeline.curation.config import IngestionConfig
from dima_pipeline.curation.ingest import ingest
spec = {"name": "nuscenes", "version": "v1.0-mini"}
made = ingest(IngestionConfig(dataset=spec), Path(sys.argv[1]), Path(sys.argv[2]))
tables, directory = made.tables, made.shards
assert len(tables.samples) == 20 and (directory / "manifest.json").is_file()
"""


def test_ingestion_runs_without_torch(tmp_path: Path) -> None:
    make_root(tmp_path / "root")
    command = [sys.executable, "-c", WITHOUT_TORCH, str(tmp_path / "root"), str(tmp_path / "staging")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.skipif(not SHARED.is_dir(), reason=f"no recordings at {SHARED}: set DIMA_SHARED_DATA")
def test_real_keyframes_with_all_their_images_are_ingested(tmp_path: Path) -> None:
    spec = {"name": "nuscenes", "version": "v1.0-keyframes", "require_maps": False, "reference_channel": "CAM_FRONT"}
    made = ingest(config(dataset=spec, missing_images="drop"), SHARED / "nuscenes-keyframes", tmp_path / "keyframes")
    tables, directory = made.tables, made.shards
    assert verify(directory)["image_sources"] == {"recorded": 60, "rendered": 0, "missing": 0}
    assert all(ImageShards(directory).read(token).std() > 10 for token in tables.samples["sample_token"])


@pytest.mark.skipif(not SHARED.is_dir(), reason=f"no recordings at {SHARED}: set DIMA_SHARED_DATA")
def test_mini_is_refused_for_its_missing_images_before_any_is_decoded(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"228 of 234 camera images.*9 more errors"):
        ingest(config(), SHARED / "nuscenes-mini", tmp_path / "mini")
    assert not list(tmp_path.rglob("images-*"))


def test_shards_know_the_file_of_every_recorded_image(own_root: Path, tmp_path: Path) -> None:
    (own_root / "samples" / "CAM_BACK" / "scene-0061-3.jpg").unlink()
    shards = ingest(config(missing_images="drop"), own_root, tmp_path).shards
    index = pd.read_parquet(shards / "index.parquet").set_index(["sample_token", "camera"])
    row = index.loc[("scene-0061-3", "CAM_FRONT")]
    path = own_root / row["source"]
    assert path.name == "scene-0061-3.jpg" and row["source_bytes"] == path.stat().st_size
    assert row["source_sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert index.loc[("scene-0061-3", "CAM_BACK")][["source", "source_bytes", "source_sha256"]].isna().all()


def test_images_are_kept_as_jpeg_when_asked(root: Path, tmp_path: Path) -> None:
    raw, jpeg = (ingest(config(image_encoding=name), root, tmp_path / name).shards for name in ("raw", "jpeg"))
    assert verify(jpeg)["encoding"] == "jpeg"
    images = [ImageShards(shards).read("scene-0061-2").astype(int) for shards in (raw, jpeg)]
    assert np.abs(images[0] - images[1]).mean() < 3
