"""The gate against equal frames: images hashed per second, and the search for equal hashes against brute force.

    python benchmarks/near_duplicates.py

One thread; the rivals run in turn and their results are compared. Hashes have the skew of pictures of roads: their
low frequencies are drawn about a common mean and fall off with the frequency.
"""

import os
import time
from collections.abc import Callable

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from PIL import Image
from scipy.fft import dctn

from dima_pipeline.curation.near_duplicates import MAX_DISTANCE, FrameHashes, HashIndex, hash_frames, same_frames

NUM_CALLS = 3
SIZES = ((96, 160), (384, 640))
NUM_TRAIN, NUM_HELD_OUT = 164_000, 36_000
TRAINVAL = (28_130, 6_019)
BLOCK = 250


def in_turn(*rivals: Callable[[], object]) -> list[float]:
    """Best seconds of each, calls alternating."""
    best = [np.inf] * len(rivals)
    for _ in range(NUM_CALLS):
        for number, rival in enumerate(rivals):
            begin = time.perf_counter()
            rival()
            best[number] = min(best[number], time.perf_counter() - begin)
    return best


def hash_one_by_one(images: np.ndarray) -> list[int]:
    """The usual recipe, image by image: grey, 32 x 32, cosine transform, median."""
    hashes = []
    for image in images.reshape(-1, *images.shape[2:]):
        grey = Image.fromarray(image).convert("L").resize((32, 32), Image.Resampling.BOX)
        low = dctn(np.asarray(grey, float), norm="ortho")[:8, :8].ravel()
        hashes.append(int.from_bytes(np.packbits(low > np.median(low)).tobytes(), "big"))
    return hashes


def time_hashing(height: int, width: int) -> None:
    """Print one line for images of a size."""
    images = np.random.default_rng(0).integers(0, 256, (20, 6, height, width, 3), np.uint8)
    ours, usual = (120 / seconds for seconds in in_turn(lambda: hash_frames(images), lambda: hash_one_by_one(images)))
    print(f"hash {width}x{height}: {ours:,.0f} images/s, one by one {usual:,.0f} images/s ({ours / usual:.1f}x)")


def road_hashes(count: int, rng: np.random.Generator) -> np.ndarray:
    """uint64 (count,)."""
    frequency = np.hypot(*np.mgrid[:8, :8]).ravel()
    mean = np.random.default_rng(1).normal(size=64) / (1 + frequency)
    hashes = np.empty(count, np.uint64)
    for begin in range(0, count, 10_000):
        low = mean + rng.normal(size=(min(10_000, count - begin), 64)) * 2 / (1 + frequency)
        bits = np.packbits(low > np.median(low, axis=1, keepdims=True), axis=1)
        hashes[begin : begin + 10_000] = bits.view(">u8")[:, 0]
    return hashes


def brute_force(known: np.ndarray, queries: np.ndarray) -> np.ndarray:
    """Pairs within the distance by comparing all, as matrix products of signs: the fastest that numpy has."""
    signs = [2 * np.unpackbits(h[:, None].view(np.uint8), axis=1).astype(np.float32) - 1 for h in (known, queries)]
    found = []
    for begin in range(0, len(queries), BLOCK):
        query, row = np.nonzero(signs[1][begin : begin + BLOCK] @ signs[0].T >= 64 - 2 * MAX_DISTANCE)
        found.append(np.stack([row, query + begin], axis=1))
    return np.concatenate(found)


def search(known: np.ndarray, queries: np.ndarray) -> np.ndarray:
    """The same pairs with the index, which is built here."""
    index = HashIndex(known)
    found = []
    for begin in range(0, len(queries), BLOCK):
        row, query = index.search(queries[begin : begin + BLOCK])
        found.append(np.stack([row, query + begin], axis=1))
    return np.concatenate(found)


def time_search() -> None:
    """Print one line for the hashes of one camera, with planted duplicates."""
    rng = np.random.default_rng(0)
    known, queries = road_hashes(NUM_TRAIN, rng), road_hashes(NUM_HELD_OUT, rng)
    queries[:100] = known[:100] ^ np.uint64(0b1101)
    assert (search(known, queries) == brute_force(known, queries)).all()
    ours, brute = in_turn(lambda: search(known, queries), lambda: brute_force(known, queries))
    num_found = len(search(known, queries))
    print(
        f"search {NUM_TRAIN:,} x {NUM_HELD_OUT:,}, {num_found} pairs: {ours:.2f} s, "
        f"brute force {brute:.1f} s ({brute / ours:.0f}x), same pairs"
    )


def time_gate() -> None:
    """Print one line for as many keyframes of six cameras as nuScenes trainval has."""
    rng = np.random.default_rng(0)
    left, right = (
        FrameHashes(np.stack([road_hashes(count, rng) for _ in range(6)], axis=1), np.ones((count, 6), bool))
        for count in TRAINVAL
    )
    (seconds,) = in_turn(lambda: list(same_frames(left, right)))
    print(f"gate {TRAINVAL[0]:,} x {TRAINVAL[1]:,} keyframes of 6 cameras: {seconds:.2f} s")


def main() -> None:
    """Print all of it."""
    for size in SIZES:
        time_hashing(*size)
    time_search()
    time_gate()


if __name__ == "__main__":
    main()
