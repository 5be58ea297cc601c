"""The gates against leaks on real recordings, where they are: ``../shared/data``, or ``DIMA_SHARED_DATA``."""

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from dima_pipeline.curation.config import IngestionConfig
from dima_pipeline.curation.conversion import scene_images
from dima_pipeline.curation.geography import geographic_overlap
from dima_pipeline.curation.near_duplicates import FrameHashes, concatenate_hashes, find_near_duplicates, hash_frames
from dima_pipeline.curation.splits import check_leakage, configured_splits
from dima_pipeline.datasets.nuscenes import Config, NuScenesDataset

SHARED = Path(os.environ.get("DIMA_SHARED_DATA", Path(__file__).parents[3] / "shared" / "data"))
STANDING = ["1b45a97a0e5e49fe9cd345dd4bd729c3", "d5e16062410f4e329d31a881b28e5c1c"]
"""Keyframes of scene-9003, 2.5 s apart: the car waits at a red light, other cars go by."""

pytestmark = pytest.mark.skipif(not SHARED.is_dir(), reason=f"no recordings at {SHARED}: set DIMA_SHARED_DATA")


@pytest.fixture(scope="module")
def photos() -> tuple[pd.DataFrame, FrameHashes]:
    """Table ``samples`` of ten real keyframes with all their images, and the hashes of these."""
    config = Config(version="v1.0-keyframes", require_maps=False, reference_channel="CAM_FRONT")
    dataset = NuScenesDataset(config, dataroot=SHARED / "nuscenes-keyframes")
    scenes = [scene_images(dataset, dataset.tables(name), (96, 160)) for name in dataset.scene_names()]
    samples = pd.concat([samples for _, samples in scenes], ignore_index=True)
    return samples, concatenate_hashes([hash_frames(images) for images, _ in scenes])


def one_scene_each(samples: pd.DataFrame, held_out: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The keyframes as scenes of their own, one of them held out."""
    names = [f"keyframe-{number}" for number in range(len(samples))]
    splits = ["val" if number == held_out else "train" for number in range(len(samples))]
    return samples.assign(scene_token=names), pd.DataFrame({"scene_token": names, "name": names, "split": splits})


def test_of_real_photos_those_of_a_waiting_car_are_near_duplicates_and_no_others(
    photos: tuple[pd.DataFrame, FrameHashes],
) -> None:
    samples, hashes = photos
    assert hashes.is_known.all()
    found = pd.concat([find_near_duplicates(*one_scene_each(samples, row), hashes) for row in range(len(samples))])
    pairs = found[["sample_token", "other_sample_token"]].to_numpy()
    assert sorted(map(tuple, pairs)) == sorted([tuple(STANDING), tuple(STANDING[::-1])])
    assert (found["distance_bits"] == 2).all()


def test_the_official_halves_of_mini_share_no_log_and_no_street() -> None:
    config = Config(version="v1.0-mini")
    dataset = NuScenesDataset(config, dataroot=SHARED / "nuscenes-mini")
    tables = [dataset.tables(name) for name in dataset.scene_names()]
    samples, scenes = (pd.concat([getattr(table, name) for table in tables]) for name in ("samples", "scenes"))
    splits = configured_splits(IngestionConfig(dataset=config), dataset.scene_names(), dataset.scene_names())
    scenes["split"] = scenes["name"].map(splits)
    assert check_leakage(scenes, "v1.0-mini") == []
    for radius_m in (5.0, 50.0):
        overlap = geographic_overlap(samples, scenes, radius_m).set_index("location")
        assert overlap["num_keyframes"].to_dict() == {"boston-seaport": 40, "singapore-queenstown": 41}
        assert not overlap["num_near"].any()
    # The same towns, some streets away.
    assert nearest_m(samples, scenes, "boston-seaport") == pytest.approx(822, abs=1)
    assert nearest_m(samples, scenes, "singapore-queenstown") == pytest.approx(1319, abs=1)
    near = geographic_overlap(samples, scenes, 900.0).set_index("location")["num_near"]
    assert near["boston-seaport"] > 20 and near["singapore-queenstown"] == 0


def nearest_m(samples: pd.DataFrame, scenes: pd.DataFrame, location: str) -> float:
    """Between the two halves of a town, from every keyframe to every other."""
    facts = samples.merge(scenes[["scene_token", "split", "location"]], on="scene_token")
    here = facts[facts["location"] == location]
    train, val = (here.loc[here["split"] == split, ["ego_x_m", "ego_y_m"]].to_numpy() for split in ("train", "val"))
    return float(np.linalg.norm(train[:, None] - val[None], axis=-1).min())
