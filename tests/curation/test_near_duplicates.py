"""The gate against equal frames: hashes against the plain recipe, the search against brute force, the rule by hand and
on real pictures that were encoded again."""

import io
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image
from scipy.fft import dctn

from dima_pipeline.curation import near_duplicates
from dima_pipeline.curation.near_duplicates import (
    BLOCK,
    FrameHashes,
    HashIndex,
    check_near_duplicates,
    concatenate_hashes,
    find_near_duplicates,
    hash_frames,
    num_different_bits,
    same_frames,
)

SHARED = Path(os.environ.get("DIMA_SHARED_DATA", Path(__file__).parents[3] / "shared" / "data"))
REAL = pytest.mark.skipif(not SHARED.is_dir(), reason=f"no recordings at {SHARED}: set DIMA_SHARED_DATA")
WORDS = st.integers(0, 2**64 - 1)


def ones(word: int) -> int:
    return word.bit_count()


def landscape(seed: int, height: int = 96, width: int = 160) -> np.ndarray:
    """uint8 (H, W, 3): a picture with large shapes and some grain."""
    rng = np.random.default_rng(seed)
    coarse = rng.uniform(20, 230, (6, 10, 3)).astype(np.uint8)
    large = np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))
    return np.clip(large + rng.normal(0, 3, large.shape), 0, 255).astype(np.uint8)


def frames(*pictures: np.ndarray) -> np.ndarray:
    """Keyframes of one camera each."""
    return np.stack(pictures)[:, None]


# Hashes


@pytest.mark.parametrize("size", [(96, 160), (50, 33), (24, 40)])
def test_a_hash_is_the_signs_of_the_low_frequencies_about_their_median(size: tuple[int, int]) -> None:
    pictures = [landscape(seed, *size) for seed in range(12)]
    assert hash_frames(frames(*pictures)).bits[:, 0].tolist() == [plain_hash(picture) for picture in pictures]


def plain_hash(picture: np.ndarray) -> int:
    """Step by step: grey, means over 32 x 32 cells, cosine transform, median."""
    height, width, _ = picture.shape
    grey = picture.astype(float) @ [0.299, 0.587, 0.114]
    cells = np.repeat(np.repeat(grey, 32, axis=0), 32, axis=1).reshape(32, height, 32, width).mean(axis=(1, 3))
    low = dctn(cells, norm="ortho")[:8, :8].ravel()
    return int("".join(str(int(bit)) for bit in low > np.median(low)), 2)


def test_every_camera_of_every_keyframe_is_hashed_by_itself() -> None:
    pictures = np.stack([landscape(seed) for seed in range(6)]).reshape(3, 2, 96, 160, 3)
    hashes = hash_frames(pictures)
    assert hashes.bits.shape == (3, 2) and hashes.bits.dtype == np.uint64 and len(np.unique(hashes.bits)) == 6
    assert hashes.bits[2, 1] == hash_frames(frames(pictures[2, 1])).bits[0, 0]
    joined = concatenate_hashes([hashes[:1], hashes[1:]])
    assert (joined.bits == hashes.bits).all() and (joined.is_known == hashes.is_known).all()


def test_pictures_without_content_have_no_hash() -> None:
    shape = (96, 160, 3)
    night = np.random.default_rng(0).normal(3, 2, shape).clip(0, 255).astype(np.uint8)
    dim = (landscape(1) // 10).astype(np.uint8)
    known = hash_frames(frames(np.zeros(shape, np.uint8), np.full(shape, 200, np.uint8), night, dim, landscape(1)))
    assert known.is_known[:, 0].tolist() == [False, False, False, True, True]


# Search


@given(WORDS, WORDS)
def test_distances_are_the_number_of_different_bits(left: int, right: int) -> None:
    found = num_different_bits(np.array([left], np.uint64), np.array([right], np.uint64))
    assert found.tolist() == [ones(left ^ right)]


@given(
    st.lists(WORDS, max_size=8),
    st.lists(st.tuples(st.integers(0, 7), st.sets(st.integers(0, 63), max_size=7)), max_size=12),
)
def test_the_search_finds_what_brute_force_finds(known: list[int], flips: list[tuple[int, set[int]]]) -> None:
    """Queries are known words with up to seven bits flipped: on both sides of the limit."""
    queries = [known[row % len(known)] ^ sum(1 << bit for bit in bits) for row, bits in flips if known]
    rows, found = HashIndex(np.array(known, np.uint64)).search(np.array(queries, np.uint64))
    expected = {(i, j) for i, word in enumerate(known) for j, other in enumerate(queries) if ones(word ^ other) <= 4}
    pairs = list(zip(rows.tolist(), found.tolist(), strict=True))
    assert set(pairs) == expected and len(pairs) == len(expected)


# The rule


def hashes_of(*rows: list[int | None]) -> FrameHashes:
    """Keyframes by the number of low bits set in the hash of each camera; None is unknown."""
    words = [[0 if count is None else (1 << count) - 1 for count in row] for row in rows]
    return FrameHashes(np.array(words, np.uint64), np.array([[count is not None for count in row] for row in rows]))


@pytest.mark.parametrize(
    ("cameras", "distance"),
    [
        ([0, 0, 0, 0, 0, 0], 0),
        ([0, 3, 4, 30, 30, 30], 4),
        ([0, 0, 5, 30, 30, 30], None),
        ([0, 0, 30, None, None, None], 0),
        ([0, 30, None, None, None, None], None),
        ([1, 2, None, None, None, None], 2),
        ([4, None, None, None, None, None], 4),
        ([5, None, None, None, None, None], None),
        ([None] * 6, None),
    ],
)
def test_half_of_the_cameras_that_both_have_must_agree_and_never_one_alone(
    cameras: list[int | None], distance: int | None
) -> None:
    known = hashes_of([0] * 6)
    for left, right in ((known, hashes_of(cameras)), (hashes_of(cameras), known)):
        rows, queries, distances = (np.concatenate(part) for part in zip(*same_frames(left, right), strict=True))
        assert distances.tolist() == ([] if distance is None else [distance])
        assert rows.tolist() == queries.tolist() == [0] * len(distances)


@given(arrays(np.int64, (5, 3), elements=st.integers(-1, 9)), arrays(np.int64, (4, 3), elements=st.integers(-1, 9)))
def test_the_rule_holds_for_exactly_the_pairs_it_names(left: np.ndarray, right: np.ndarray) -> None:
    known, wanted = ([[None if n < 0 else int(n) for n in row] for row in side] for side in (left, right))
    expected = set()
    for i, row in enumerate(known):
        for j, other in enumerate(wanted):
            shared = [abs(a - b) for a, b in zip(row, other, strict=True) if a is not None and b is not None]
            if shared and sum(d <= 4 for d in shared) >= min(len(shared), 2):
                expected.add((i, j))
    blocks = same_frames(hashes_of(*known), hashes_of(*wanted))
    assert {pair for rows, found, _ in blocks for pair in zip(rows, found, strict=True)} == expected


def test_blocks_name_the_right_rows() -> None:
    rng = np.random.default_rng(0)
    words = rng.integers(0, 2**63, (2 * BLOCK + 5, 2), dtype=np.uint64)
    hashes = FrameHashes(words, np.ones(words.shape, bool))
    pairs = [np.stack([rows, found], axis=1) for rows, found, _ in same_frames(hashes, hashes)]
    assert np.concatenate(pairs).tolist() == [[row, row] for row in range(len(words))]


# The gate


def recording(*scenes: tuple[str, str, list[int]]) -> tuple[pd.DataFrame, pd.DataFrame, FrameHashes]:
    """``samples``, ``scenes`` and hashes of scenes (name, split, picture by keyframe): one number, one picture."""
    samples = [(f"token-{name}", f"{name}-{index}") for name, _, seen in scenes for index in range(len(seen))]
    table = pd.DataFrame([(f"token-{name}", name, split) for name, split, _ in scenes])
    words = [np.random.default_rng(seen).integers(0, 2**63, 6, dtype=np.uint64) for *_, all in scenes for seen in all]
    return (
        pd.DataFrame(samples, columns=["scene_token", "sample_token"]),
        table.set_axis(["scene_token", "name", "split"], axis=1),
        FrameHashes(np.array(words), np.ones((len(words), 6), bool)),
    )


def test_equal_frames_are_found_across_splits_only_one_row_for_each_pair_of_scenes() -> None:
    found = find_near_duplicates(
        *recording(
            ("d", "test", [9, 20, 7]),
            ("a", "train", [1, 2, 3, 3]),
            ("b", "train", [1, 2, 3]),
            ("c", "val", [7, 3, 8]),
        )
    )
    assert found[["scene", "split", "other_scene", "other_split", "num_pairs"]].to_numpy().tolist() == [
        ["a", "train", "c", "val", 2],
        ["b", "train", "c", "val", 1],
        ["c", "val", "d", "test", 1],
    ]
    assert found.loc[0, ["sample_token", "other_sample_token", "distance_bits"]].tolist() == ["a-2", "c-1", 0]


def test_the_closest_frames_of_two_scenes_are_named() -> None:
    samples, scenes, hashes = recording(("a", "train", [1, 1, 1]), ("b", "val", [2, 1]))
    hashes.bits[:2] ^= np.array([[7], [1]], np.uint64)
    found = find_near_duplicates(samples, scenes, hashes)
    assert found[["sample_token", "other_sample_token", "distance_bits", "num_pairs"]].to_numpy().tolist() == [
        ["a-2", "b-1", 0, 3]
    ]


@pytest.mark.parametrize("splits", [("train", "train"), ("val", "val"), ("test", "test")])
def test_scenes_of_one_split_may_look_alike(splits: tuple[str, str]) -> None:
    found = find_near_duplicates(*recording(("a", splits[0], [1]), ("b", splits[1], [1])))
    assert found.empty and "distance_bits" in found
    check_near_duplicates(found, "")


def test_the_refusal_names_keyframes_scenes_splits_distance_count_and_the_way_out() -> None:
    found = find_near_duplicates(*recording(("a", "train", [1, 2]), ("b", "val", [2, 5]), ("c", "test", [2])))
    with pytest.raises(ValueError) as error:
        check_near_duplicates(found, "v1.0-mine")
    text = str(error.value)
    for part in (
        "a (train) and b (val)",
        "a-1 and b-0",
        "by 0 of 64 bits",
        "3 pairs of keyframes",
        "3 pairs of scenes",
    ):
        assert part in text
    assert "val_scenes or splits_file" in text


def test_a_parked_car_ends_the_search_early(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(near_duplicates, "MAX_PAIRS", 100)
    parked = find_near_duplicates(*recording(("a", "train", [1] * 10), ("b", "val", [1] * 5 * BLOCK)))
    assert parked["num_pairs"].tolist() == [10 * BLOCK]
    with pytest.raises(ValueError, match=f"as do at least {10 * BLOCK} pairs"):
        check_near_duplicates(parked, "")


def test_official_splits_are_reported_and_not_refused() -> None:
    found = find_near_duplicates(*recording(("a", "train", [1]), ("b", "val", [1])))
    check_near_duplicates(found, "v1.0-trainval")
    assert len(found) == 1


# Real pictures


def real_pictures() -> list[Image.Image]:
    files = sorted(SHARED.glob("*/samples/CAM_*/*.jpg"))
    return [Image.open(file).convert("RGB") for file in files[::4]]


def to_shard(picture: Image.Image) -> np.ndarray:
    return np.asarray(picture.resize((160, 96), Image.Resampling.BILINEAR))


def encoded_again(picture: Image.Image) -> Image.Image:
    stream = io.BytesIO()
    picture.save(stream, "JPEG", quality=50)
    return Image.open(stream).convert("RGB")


CHANGES = {
    "JPEG of quality 50": encoded_again,
    "half the size": lambda picture: picture.resize((picture.width // 2, picture.height // 2)),
    "10 % brighter": lambda picture: picture.point(lambda value: min(255, round(1.1 * value))),
    "10 % darker": lambda picture: picture.point(lambda value: round(0.9 * value)),
    "8 pixels aside": lambda picture: picture.crop((8, 0, picture.width, picture.height)),
    "all at once": lambda picture: encoded_again(picture.point(lambda value: min(255, round(1.1 * value))).reduce(2)),
}


@REAL
@pytest.mark.parametrize("change", CHANGES)
def test_a_real_picture_that_was_changed_a_little_is_the_same_picture(change: str) -> None:
    pictures = real_pictures()
    before = hash_frames(frames(*map(to_shard, pictures)))
    after = hash_frames(frames(*(to_shard(CHANGES[change](picture)) for picture in pictures)))
    assert before.is_known.all()
    assert num_different_bits(before.bits, after.bits).max() <= 4


@REAL
def test_different_real_drives_are_far_from_each_other() -> None:
    files = sorted(SHARED.glob("*/samples/CAM_FRONT/*.jpg"))
    log = np.array([file.name.split("__")[0] for file in files])
    bits = hash_frames(frames(*(to_shard(Image.open(file)) for file in files))).bits[:, 0]
    distance = num_different_bits(bits[:, None], bits[None])
    assert len(set(log)) >= 3 and distance[log[:, None] != log].min() >= 16
