"""Images and intrinsics are resized in different places: a point must stay where its projection says."""

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from dima_pipeline.contracts.frames import CAMERAS
from dima_pipeline.datasets._files import read_image
from dima_pipeline.storage.scene_reader import projections

RECORDED = [(160, 90), (161, 89), (99, 121)]
STORED = [(45, 80), (48, 80), (97, 161), (61, 61), (30, 77)]


@pytest.mark.parametrize("recorded", RECORDED)
@pytest.mark.parametrize("stored", STORED)
@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_a_point_lies_where_its_projection_says_after_any_resize(tmp_path, recorded, stored, suffix):
    # The camera looks along x with its centre in the image's; the point lies to the left of it and above.
    width, height = recorded
    row = {f"{camera.lower()}_{key}": value for camera in CAMERAS for key, value in {
        "width": width, "height": height, "intrinsics": np.array([50, 0, width / 2, 0, 50, height / 2, 0, 0, 1.0]),
        "camera_from_ego": np.array([0, -1, 0, 0, 0, 0, -1, 0, 1, 0, 0, 0, 0, 0, 0, 1.0])}.items()}  # fmt: skip
    point = np.array([10, 2.3, 1.7, 1])
    at = np.array([width / 2 - 50 * 0.23, height / 2 - 50 * 0.17])
    blob = [np.exp(-((np.arange(size) + 0.5 - middle) ** 2) / 72) for size, middle in zip(recorded, at, strict=True)]
    image = (255 * blob[1][:, None, None] * blob[0][:, None]).repeat(3, 2).round().astype(np.uint8)
    Image.fromarray(image).save(tmp_path / f"x.{suffix}", quality=98)
    found = read_image(tmp_path / f"x.{suffix}", recorded, stored)[..., 1].astype(float)
    found[found < 8] = 0
    centre = [(found.sum(axis) * (np.arange(found.shape[1 - axis]) + 0.5)).sum() / found.sum() for axis in (0, 1)]
    projected = projections(pd.DataFrame([row]), stored)[0, 0] @ point
    assert np.abs(projected[:2] / projected[2] - centre).max() < 0.06
