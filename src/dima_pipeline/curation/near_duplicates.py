"""The gate against frames of different splits that look the same: perceptual hashes of the camera images, compared.

pHash: the signs of an image's 8x8 lowest frequencies about their median (Zauner, "Implementation and Benchmarking of
Perceptual Image Hash Functions", 2010). The search is exact: split in five, two hashes within four bits share a part
(multi-index hashing; Norouzi et al., CVPR 2012).
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int, UInt8, UInt64

from dima_pipeline.contracts.frames import SPLITS
from dima_pipeline.curation.splits import is_official

Array = np.ndarray
HASH_BITS = 64
MAX_DISTANCE = 4
"""Bits in which the hashes of two images of the same thing may differ."""
MIN_CONTRAST = 2.0
"""Grey levels (RMS of the low frequencies): below it a hash is noise, and all black images have the same one."""
BLOCK = 32
"""Held-out keyframes searched at a time, which bounds memory even where everything looks the same."""
MAX_PAIRS = 1_000_000
"""The search ends after the block that reaches so many pairs: a parked car alone would fill hours."""
THUMBNAIL = 32
_LOW = 8
_PARTS = (13, 13, 13, 13, 12)
_GREY = np.array([0.299, 0.587, 0.114])
_UNKNOWN = HASH_BITS + 1
COLUMNS = ("scene", "split", "sample_token", "other_scene", "other_split", "other_sample_token")


@dataclass(frozen=True, eq=False)
class FrameHashes:
    """Hashes of the camera images of N keyframes; an image without content (black, missing, covered) has none."""

    bits: UInt64[Array, "N C"]
    is_known: Bool[Array, "N C"]

    def __getitem__(self, rows: slice | Array) -> "FrameHashes":
        """Some of the keyframes."""
        return FrameHashes(self.bits[rows], self.is_known[rows])


def hash_frames(images: UInt8[Array, "N C H W 3"]) -> FrameHashes:
    """Hash every image; one at a time, to stay within the processor's cache."""
    *shape, height, width, _ = images.shape
    assert images.dtype == np.uint8
    # Grey, mean over cells and cosine transform are all linear: two small matrices do the three at once.
    rows, columns = _low_frequencies(height), np.kron(_low_frequencies(width), _GREY).T.copy()
    lines = images.reshape(-1, height, width * 3)
    low = np.array([rows @ image.astype(float) @ columns for image in lines]).reshape(*shape, HASH_BITS)
    is_above = low > np.median(low, axis=-1, keepdims=True)
    bits = np.packbits(is_above, axis=-1).view(">u8")[..., 0].astype(np.uint64)
    contrast = np.sqrt((low[..., 1:] ** 2).sum(axis=-1)) / THUMBNAIL
    return FrameHashes(bits, contrast >= MIN_CONTRAST)


def concatenate_hashes(parts: list[FrameHashes]) -> FrameHashes:
    """The keyframes of several scenes as one."""
    return FrameHashes(np.concatenate([p.bits for p in parts]), np.concatenate([p.is_known for p in parts]))


def _low_frequencies(size: int) -> Float[Array, "8 size"]:
    """Mean over ``THUMBNAIL`` cells of ``size`` pixels, then the lowest frequencies of the orthonormal DCT-II."""
    pixel, edges = np.arange(size), np.linspace(0, size, THUMBNAIL + 1)
    overlap = np.minimum(edges[1:, None], pixel + 1) - np.maximum(edges[:-1, None], pixel)
    cells = np.clip(overlap, 0, None) * THUMBNAIL / size
    angles = np.arange(_LOW)[:, None] * (np.arange(THUMBNAIL) + 0.5) * np.pi / THUMBNAIL
    cosines = np.cos(angles) * np.sqrt(2 / THUMBNAIL)
    cosines[0] /= np.sqrt(2)
    return cosines @ cells


def num_different_bits(left: UInt64[Array, "*P"], right: UInt64[Array, "*P"]) -> Int[Array, "*P"]:
    """Hamming distance; summed in ever wider fields, as numpy counts bits from version 2 on only."""
    word = np.uint64
    value = left ^ right
    value = value - ((value >> word(1)) & word(0x5555555555555555))
    value = (value & word(0x3333333333333333)) + ((value >> word(2)) & word(0x3333333333333333))
    value = (value + (value >> word(4))) & word(0x0F0F0F0F0F0F0F0F)
    return ((value * word(0x0101010101010101)) >> word(56)).astype(np.int64)


class HashIndex:
    """Finds hashes within ``MAX_DISTANCE`` bits of others without comparing all: one sorted list for each part."""

    def __init__(self, bits: UInt64[Array, "L"]) -> None:
        self.bits = bits
        self._lists = []
        for mask in _part_masks():
            parts = bits & mask
            order = np.argsort(parts, kind="stable")
            self._lists.append((mask, parts[order], order))

    def search(self, queries: UInt64[Array, "R"]) -> tuple[Int[Array, "P"], Int[Array, "P"]]:
        """All pairs (row of the index, row of ``queries``) within the distance, each once, ordered by query."""
        found = [np.zeros(0, np.int64)]
        for mask, parts, order in self._lists:
            wanted = queries & mask
            begin, end = np.searchsorted(parts, wanted, "left"), np.searchsorted(parts, wanted, "right")
            query = np.repeat(np.arange(len(queries)), end - begin)
            row = order[_ranges(begin, end)]
            is_close = num_different_bits(self.bits[row], queries[query]) <= MAX_DISTANCE
            found.append(query[is_close] * len(self.bits) + row[is_close])
        pairs = np.unique(np.concatenate(found))
        return pairs % max(len(self.bits), 1), pairs // max(len(self.bits), 1)


def _part_masks() -> list[np.uint64]:
    assert len(_PARTS) > MAX_DISTANCE and sum(_PARTS) == HASH_BITS
    begins = np.cumsum((0, *_PARTS[:-1])).tolist()
    return [np.uint64(((1 << width) - 1) << begin) for begin, width in zip(begins, _PARTS, strict=True)]


def _ranges(begin: Int[Array, "R"], end: Int[Array, "R"]) -> Int[Array, "S"]:
    """``begin[0] ... end[0] - 1, begin[1] ...`` in one array."""
    length = end - begin
    return np.arange(length.sum()) + np.repeat(begin - np.cumsum(length) + length, length)


def same_frames(left: FrameHashes, right: FrameHashes) -> Iterator[tuple[Array, Array, Array]]:
    """Pairs of keyframes that look the same: rows of ``left``, rows of ``right``, distance in bits; block by block.

    They do where at least half of the cameras that both have are within ``MAX_DISTANCE`` bits, and never one alone
    unless there is one only. The distance is that of the last camera needed: 4 or less means the same.
    """
    cameras = range(left.bits.shape[1])
    known = [np.flatnonzero(left.is_known[:, camera]) for camera in cameras]
    indices = [HashIndex(left.bits[rows, camera]) for camera, rows in enumerate(known)]
    for begin in range(0, len(right.bits), BLOCK):
        block = right[begin : begin + BLOCK]
        pairs = [_one_camera(block, camera, indices[camera], known[camera]) for camera in cameras]
        # A single number for each pair: rows of two would be sorted far slower.
        rows, queries = np.divmod(np.unique(np.concatenate(pairs)), BLOCK)
        distance = _frame_distance(left[rows], block[queries])
        is_same = distance <= MAX_DISTANCE
        yield rows[is_same], queries[is_same] + begin, distance[is_same]


def _one_camera(block: FrameHashes, camera: int, index: HashIndex, known: Int[Array, "L"]) -> Int[Array, "P"]:
    """Pairs within the distance as ``row * BLOCK + query``."""
    queries = np.flatnonzero(block.is_known[:, camera])
    row, query = index.search(block.bits[queries, camera])
    return known[row] * BLOCK + queries[query]


def _frame_distance(left: FrameHashes, right: FrameHashes) -> Int[Array, "P"]:
    is_shared = left.is_known & right.is_known
    distances = np.sort(np.where(is_shared, num_different_bits(left.bits, right.bits), _UNKNOWN), axis=1)
    num_shared = is_shared.sum(axis=1)
    num_needed = np.minimum(num_shared, np.maximum(2, (num_shared + 1) // 2))
    return np.take_along_axis(distances, np.maximum(num_needed - 1, 0)[:, None], axis=1)[:, 0]


def find_near_duplicates(samples: pd.DataFrame, scenes: pd.DataFrame, hashes: FrameHashes) -> pd.DataFrame:
    """Pairs of scenes of different splits with keyframes that look the same, and the closest keyframes of each.

    ``hashes`` are in the order of ``samples``. One row per pair of scenes, ``scene`` in the earlier split (train, val,
    test), the closest first: columns ``COLUMNS``, distance_bits, num_pairs (of keyframes; once they
    are ``MAX_PAIRS`` in all, the rest is not counted).
    """
    assert len(hashes.bits) == len(samples), (len(hashes.bits), len(samples))
    split = samples["scene_token"].map(scenes.set_index("scene_token")["split"]).to_numpy()
    scene = samples["scene_token"].map(scenes.set_index("scene_token")["name"]).to_numpy()
    keyframes = pd.DataFrame({"scene": scene, "split": split, "sample_token": samples["sample_token"].to_numpy()})
    blocks = [_matches(keyframes.iloc[:0], keyframes.iloc[:0], np.zeros(0, np.int64))]
    num_pairs = 0
    for left, right, distance in _across_splits(split, hashes):
        blocks.append(_matches(keyframes.iloc[left], keyframes.iloc[right], distance))
        num_pairs += len(distance)
        if num_pairs >= MAX_PAIRS:
            break
    return _by_scenes(pd.concat(blocks, ignore_index=True)).reset_index(drop=True)


def _across_splits(split: Array, hashes: FrameHashes) -> Iterator[tuple[Array, Array, Array]]:
    """``same_frames`` of every split against those before it, as rows of ``hashes``."""
    for number, held_out in enumerate(SPLITS[1:], start=1):
        earlier, later = np.flatnonzero(np.isin(split, SPLITS[:number])), np.flatnonzero(split == held_out)
        for rows, queries, distance in same_frames(hashes[earlier], hashes[later]):
            yield earlier[rows], later[queries], distance


def _matches(left: pd.DataFrame, right: pd.DataFrame, distance: Int[Array, "P"]) -> pd.DataFrame:
    pair = pd.concat([left.reset_index(drop=True), right.reset_index(drop=True)], axis=1)
    pair.columns = pd.Index(COLUMNS)
    return _by_scenes(pair.assign(distance_bits=distance, num_pairs=1))


def _by_scenes(pairs: pd.DataFrame) -> pd.DataFrame:
    """One row per pair of scenes: the closest keyframes, the first of them where several are, and how many in all."""
    ordered = pairs.sort_values(["distance_bits", *COLUMNS], kind="stable")
    total = ordered.groupby(["scene", "other_scene"])["num_pairs"].transform("sum")
    return ordered.assign(num_pairs=total).drop_duplicates(["scene", "other_scene"])


def check_near_duplicates(found: pd.DataFrame, version: str) -> None:
    """Refuse splits that share frames (``find_near_duplicates``), but for the official ones, which cannot be mended.

    ``version`` is empty where the user chose the splits (``splits.split_version``). Raises ``ValueError`` that names
    the closest two keyframes.
    """
    if found.empty or is_official(version):
        return
    row, num_pairs = found.iloc[0], found["num_pairs"].sum()
    raise ValueError(
        f"{row['scene']} ({row['split']}) and {row['other_scene']} ({row['other_split']}) hold the same frame: "
        f"keyframes {row['sample_token']} and {row['other_sample_token']} differ by {row['distance_bits']} of "
        f"{HASH_BITS} bits where up to {MAX_DISTANCE} mean the same picture, as do "
        f"{'at least ' if num_pairs >= MAX_PAIRS else ''}{num_pairs:,} pairs of keyframes in {len(found):,} pairs of "
        "scenes; a planner would be scored on what it was trained on. Move both scenes into one split with val_scenes "
        "or splits_file, or leave one out with scenes"
    )
