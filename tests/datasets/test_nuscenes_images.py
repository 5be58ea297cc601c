"""Decoding of camera files."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from dima_pipeline.contracts.frames import CAMERAS
from dima_pipeline.datasets._files import check_image, read_image
from dima_pipeline.datasets.nuscenes import Config, NuScenesDataset
from nuscenes_root import VERSION, gray


def gradient(width: int, height: int) -> Image.Image:
    """Red rises to the right, green downwards."""
    red, green = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
    return Image.fromarray(np.dstack([red, green, 0 * red]).astype(np.uint8))


@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_a_reduced_image_shows_the_same_places_as_the_full_one(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"image.{suffix}"
    gradient(1600, 900).save(path, **({"quality": 95} if suffix == "jpg" else {}))
    reduced = read_image(path, (1600, 900), (96, 160)).astype(float)
    assert reduced.shape == (96, 160, 3)
    centre = (np.arange(160) + 0.5) * 10 / 1600 * 255
    assert np.abs(reduced[48, :, 0] - centre).max() < 4
    assert np.abs(reduced[:, 80, 1] - (np.arange(96) + 0.5) / 96 * 255).max() < 4


def test_a_size_that_no_power_of_two_divides_shifts_nothing(tmp_path: Path) -> None:
    path = tmp_path / "image.jpg"
    gradient(166, 94).save(path, quality=98, subsampling=0)
    reduced = read_image(path, (166, 94), (9, 16)).astype(float)
    assert np.abs(reduced[4, :, 0] - (np.arange(16) + 0.5) / 16 * 255).max() < 2
    assert np.abs(reduced[:, 8, 1] - (np.arange(9) + 0.5) / 9 * 255).max() < 2.5


def test_images_come_by_camera_at_the_recorded_or_the_asked_size(dataset: NuScenesDataset) -> None:
    sample = dataset.tables("scene-0061").samples.iloc[2]
    full, small = dataset.images(sample), dataset.images(sample, (24, 40))
    assert list(full) == list(CAMERAS)
    for camera in CAMERAS:
        assert full[camera].shape == (90, 160, 3) and small[camera].shape == (24, 40, 3)
        assert abs(int(small[camera].mean()) - gray(camera, 2)) <= 2


def test_a_jpeg_that_was_cut_short_is_named(own_root: Path) -> None:
    path = own_root / "samples" / "CAM_FRONT" / "scene-0061-0.jpg"
    path.write_bytes(path.read_bytes()[:-60])
    dataset = NuScenesDataset(Config(version=VERSION), dataroot=own_root)
    with pytest.raises(ValueError, match=r"CAM_FRONT/scene-0061-0.jpg cannot be decoded .*copy it again"):
        dataset.images(dataset.tables("scene-0061").samples.iloc[0], (24, 40))


def test_what_is_no_picture_is_named(tmp_path: Path) -> None:
    path = tmp_path / "page.jpg"
    path.write_text("<html>403</html>")
    with pytest.raises(ValueError, match=r"page.jpg cannot be decoded"):
        read_image(path, (160, 90))


def test_other_formats_than_jpeg_and_png_are_not_opened(tmp_path: Path) -> None:
    path = tmp_path / "image.jpg"
    gradient(160, 90).save(path, format="BMP")
    with pytest.raises(ValueError, match=r"image.jpg cannot be decoded"):
        read_image(path, (160, 90))


def test_an_image_of_another_size_than_the_tables_say_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "image.png"
    gradient(80, 45).save(path)
    with pytest.raises(ValueError, match=r"is \(80, 45\) pixels, sample_data.json says \(160, 90\)"):
        read_image(path, (160, 90))


def test_an_enormous_image_is_not_decoded(tmp_path: Path) -> None:
    path = tmp_path / "image.png"
    Image.new("1", (8000, 8000)).save(path)
    with pytest.raises(ValueError, match=r"claims .* pixels, more than"):
        read_image(path, (8000, 8000))
    Image.new("1", (20000, 20000)).save(path)
    with pytest.raises(ValueError, match=r"image.png (cannot be decoded|claims)"):
        read_image(path, (20000, 20000))


def test_an_image_that_was_replaced_by_a_link_out_is_not_opened(own_root: Path, tmp_path: Path) -> None:
    dataset = NuScenesDataset(Config(version=VERSION), dataroot=own_root)
    sample = dataset.tables("scene-0061").samples.iloc[0]
    path = own_root / "samples" / "CAM_FRONT" / "scene-0061-0.jpg"
    path.rename(tmp_path / "moved.jpg")
    path.symlink_to(tmp_path / "moved.jpg")
    with pytest.raises(ValueError, match=r"scene-0061-0.jpg leads to .*moved.jpg, outside the dataroot"):
        dataset.images(sample)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changes=st.lists(st.tuples(st.integers(0, 699), st.integers(0, 255)), max_size=6))
@pytest.mark.parametrize("form", ["JPEG", "PNG"])
def test_a_damaged_image_is_decoded_or_refused_and_nothing_else(
    tmp_path: Path, form: str, changes: list[tuple[int, int]]
) -> None:
    path = tmp_path / "image"
    gradient(80, 45).save(path, form)
    content = bytearray(path.read_bytes())
    for place, value in changes:
        content[place % len(content)] = value
    path.write_bytes(content)
    reason = check_image(path, (80, 45))
    try:
        image = read_image(path, (80, 45))
    except ValueError as error:
        assert str(error).startswith(f"{path} {reason or 'cannot be decoded'}")
    else:
        assert reason is None and image.shape == (45, 80, 3)
