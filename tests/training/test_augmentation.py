"""Augmentation: a function of seed, epoch and sample; what the projection says lies where, lies there afterwards."""

from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dima_pipeline.contracts.batch import SceneBatch
from dima_pipeline.geometry import image_from_ego, project
from dima_pipeline.storage.scene_reader import SceneReader
from dima_pipeline.training.augmentation import Augmentation, Change, change_image, changed
from dima_pipeline.training.config import AugmentationConfig, parse_distillation
from dima_pipeline.training.windows import WindowDataset
from training_cases import make_training_tables, write_shards

NOTHING = {"brightness": 0, "contrast": 0, "saturation": 0, "hue_deg": 0, "crop": 0}
SAME_COLOUR = np.eye(3, 4)
SIZE = (96, 160)
RED, GREEN, GREY, BLACK = ([200, 30, 30], [30, 180, 60], [120, 120, 120], [0, 0, 0])


def augmentation(seed=0, **ranges):
    return Augmentation(AugmentationConfig(**{**NOTHING, **ranges}), seed)


def scene(images, projection=None, valid=True):
    """One keyframe of one camera."""
    return SceneBatch(
        images=np.array(images, np.uint8)[None, None],
        image_from_ego=(np.eye(3, 4) if projection is None else projection).astype(np.float32)[None, None],
        camera_valid=np.array([[valid]]),
        command=np.zeros(1, np.int64),
        prev_from_ego=np.zeros((1, 3), np.float32),
    )


def coloured(colour, matrix):
    return change_image(np.full((8, 8, 3), colour, np.uint8), matrix, (0, 0, 8, 8))[0, 0].astype(int)


def test_ranges_of_zero_change_no_pixel_and_no_projection():
    images = np.random.default_rng(0).integers(0, 256, (*SIZE, 3), dtype=np.uint8)
    before = scene(images, np.random.default_rng(1).normal(size=(3, 4)))
    changed(before, [augmentation(brightness=0.5, crop=0.5).draw("frame", 3, 1)])  # leaves what it is given alone
    assert np.array_equal(before.images[0, 0], images)
    after = changed(before, [augmentation().draw("frame", 3, 1)])
    assert all(np.array_equal(getattr(before, field.name), getattr(after, field.name)) for field in fields(before))


@settings(max_examples=50)
@given(st.integers(0, 9), st.floats(0, 0.5), st.floats(-8, 8), st.floats(-2, 2))
def test_a_point_of_the_scene_lies_on_its_pixels_after_the_crop(epoch, crop, y_m, z_m):
    """A bright spot is painted where a point 20 m ahead is seen; after the change the new projection finds it."""
    intrinsics = np.array([[80.0, 0, 80], [0, 80, 48], [0, 0, 1]])
    camera_from_ego = np.array([[0.0, -1, 0, 0], [0, 0, -1, 0], [1, 0, 0, 0], [0, 0, 0, 1]])
    matrix = image_from_ego(intrinsics, camera_from_ego)
    point = np.array([[20.0, y_m, z_m]])
    [[u, v]], _ = project(matrix, point)
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]] + 0.5  # where the centres of pixels lie
    spot = 255 * np.exp(-((rows - v) ** 2 + (columns - u) ** 2) / 18)
    after = changed(scene(np.stack([spot] * 3, -1), matrix), [augmentation(crop=crop).draw("frame", epoch, 1)])
    [[u, v]], _ = project(after.image_from_ego[0, 0].astype(float), point)
    if not (12 < u < SIZE[1] - 12 and 12 < v < SIZE[0] - 12):
        return  # cut away, or cut through
    seen = after.images[0, 0, :, :, 0].astype(float)
    found = [(seen * columns).sum() / seen.sum(), (seen * rows).sum() / seen.sum()]
    assert np.abs(np.array(found) - [u, v]).max() < 0.25


def test_a_crop_of_the_right_lower_quarter_shows_that_quarter_at_twice_the_size():
    image = np.zeros((*SIZE, 3), np.uint8)
    image[48:, 80:120], image[48:, 120:] = RED, GREEN
    change = Change(colour=SAME_COLOUR[None], crop=np.array([[0.5, 0.5, 0.5]]))
    matrix = np.array([[80.0, 0, 80, 0], [0, 80, 48, 0], [0, 0, 1, 0]])
    after = changed(scene(image, matrix), [change])
    # But for the seams, where pixels of both sides mix.
    assert (after.images[0, 0, 1:, 1:78] == RED).all() and (after.images[0, 0, 1:, 82:] == GREEN).all()
    # Twice the focal length; the principal point, the middle of the old image, is the corner of the new one.
    assert np.allclose(after.image_from_ego[0, 0], [[160, 0, 0, 0], [0, 160, 0, 0], [0, 0, 1, 0]])


def test_depth_is_left_alone_by_a_crop():
    matrix = np.random.default_rng(0).normal(size=(3, 4))
    after = changed(scene(np.zeros((*SIZE, 3))), [augmentation(crop=0.5).draw("frame", 1, 1)])
    before = changed(scene(np.zeros((*SIZE, 3)), matrix), [augmentation(crop=0.5).draw("frame", 1, 1)])
    assert np.allclose(before.image_from_ego[0, 0, 2], matrix[2], atol=1e-6)
    assert after.image_from_ego[0, 0, 2].tolist() == [0, 0, 1, 0]


def test_colours_change_as_their_names_say():
    colour = augmentation(brightness=0.1, contrast=0.5, saturation=0.5, hue_deg=30)._colour
    assert coloured(GREY, colour(1, 0, 0, 0)).tolist() == [146, 146, 146]  # 0.1 of 255 brighter
    assert coloured(GREY, colour(0, -0.5, 0, 0)).tolist() == [90, 90, 90]
    assert coloured(GREY, colour(0, 0, 1, 1)).tolist() == GREY  # grey has neither saturation nor hue
    spread = [np.ptp(coloured(RED, colour(0, 0, by, 0))) for by in (-1, 0, 1)]
    assert spread[0] < spread[1] < spread[2]
    turned = coloured(RED, colour(0, 0, 0, 1))
    assert turned.argmax() == 0 and turned[1] != turned[2]  # another red, and still a red
    assert coloured([250, 250, 250], colour(1, 1, 0, 0)).tolist() == [255, 255, 255]  # no overflow


@given(st.tuples(*[st.floats(-1, 1)] * 4))
def test_at_the_widest_ranges_of_hue_and_saturation_red_stays_red_and_green_green(values):
    config = AugmentationConfig(brightness=0, contrast=0.5, saturation=0.5, hue_deg=30)
    matrix = Augmentation(config, 0)._colour(*values)
    assert coloured(RED, matrix).argmax() == 0
    assert coloured(GREEN, matrix).argmax() == 1


def test_the_same_seed_epoch_and_sample_give_the_same_change_and_any_other_one_another():
    def drawn(seed, token, epoch):
        change = augmentation(seed, brightness=0.3, crop=0.3).draw(token, epoch, 6)
        return np.concatenate([change.colour.ravel(), change.crop.ravel()])

    first = drawn(1, "a", 0)
    assert np.array_equal(first, drawn(1, "a", 0))
    assert not any(np.array_equal(first, other) for other in (drawn(2, "a", 0), drawn(1, "b", 0), drawn(1, "a", 1)))
    cameras = augmentation(crop=0.3).draw("a", 0, 6).crop
    assert len(np.unique(cameras[:, 2])) == 6  # each camera by itself


@given(st.integers(0, 2**31), st.integers(0, 100))
def test_a_crop_stays_within_the_image_and_within_its_range(seed, epoch):
    left, top, kept = augmentation(seed, crop=0.4).draw("frame", epoch, 6).crop.T
    assert (kept >= 0.6).all() and (kept <= 1).all()
    assert (
        (left >= 0).all() and (top >= 0).all() and (left + kept <= 1 + 1e-12).all() and (top + kept <= 1 + 1e-12).all()
    )


def test_a_missing_camera_stays_black_and_keeps_its_projection():
    before = scene(np.zeros((*SIZE, 3)), np.ones((3, 4)), valid=False)
    after = changed(before, [augmentation(brightness=0.5, crop=0.5).draw("frame", 0, 1)])
    assert not after.images.any() and (after.image_from_ego == 1).all()


@pytest.fixture(scope="module")
def tables():
    return make_training_tables()


@pytest.fixture(scope="module")
def shards(tables, tmp_path_factory):
    return write_shards(tables, tmp_path_factory.mktemp("augmented") / "shards")


def dataset(tables, shards, change=None):
    return WindowDataset(tables, SceneReader(tables.samples, shards), "train", augmentation=change)


def test_only_images_and_projections_of_a_batch_change_and_not_those_on_disk(tables, shards):
    change = augmentation(brightness=0.3, contrast=0.3, crop=0.2)
    plain, other = dataset(tables, shards), dataset(tables, shards, change)
    before, after = plain.batch(np.array([2, 5])), other.batch(np.array([2, 5]))
    assert not np.array_equal(before.window.current.images, after.window.current.images)
    assert not np.array_equal(before.window.future[1].images, after.window.future[1].images)
    for name in ("camera_valid", "command", "prev_from_ego"):
        assert np.array_equal(getattr(before.window.current, name), getattr(after.window.current, name))
    for field in fields(before.targets):
        assert np.array_equal(getattr(before.targets, field.name), getattr(after.targets, field.name))
    assert before.pairs == after.pairs and before.sample_tokens == after.sample_tokens
    assert np.array_equal(before.window.current.images, plain.batch(np.array([2, 5])).window.current.images)


def test_a_sample_is_changed_alike_in_any_batch_and_otherwise_in_the_next_epoch(tables, shards):
    data = dataset(tables, shards, augmentation(contrast=0.3, crop=0.2))
    alone = data.batch(np.array([4]), np.array([1])).window.current
    among = data.batch(np.array([1, 4, 4]), np.array([1, 1, 2])).window.current
    assert np.array_equal(alone.images[0], among.images[1])
    assert np.array_equal(alone.image_from_ego[0], among.image_from_ego[1])
    assert not np.array_equal(among.images[1], among.images[2])


def test_all_frames_of_a_window_share_the_change(tables, shards):
    change = augmentation(brightness=0.2, crop=0.3)
    window = dataset(tables, shards, change).batch(np.array([3])).window
    plain = dataset(tables, shards).batch(np.array([3])).window
    for after, before in zip(
        (*window.past, window.current, *window.future), (*plain.past, plain.current, *plain.future), strict=True
    ):
        expected = changed(before, [change.draw(tables.samples["sample_token"][3], 0, 6)])
        assert np.array_equal(after.images, expected.images)


def test_augmentation_is_off_unless_the_configuration_names_it():
    config = parse_distillation({"planner": "vad"})
    assert config.window.augmentation is None
    named = parse_distillation({"planner": "vad", "window": {"augmentation": {"crop": 0.2}}})
    assert named.window.augmentation == replace(AugmentationConfig(), crop=0.2)
    with pytest.raises(ValueError, match="flip"):
        parse_distillation({"planner": "vad", "window": {"augmentation": {"flip": True}}})
    with pytest.raises(ValueError, match="hue_deg"):
        parse_distillation({"planner": "vad", "window": {"augmentation": {"hue_deg": 90}}})
