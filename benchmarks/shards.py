"""Windows of images (6 cameras x queue 3) read and decoded per second: shards of each encoding, and JPEG files.

``python benchmarks/shards.py [--sizes 160x96 640x384 800x450] [--root /data/nuscenes v1.0-mini]``. Keyframes of which
all images exist are stored again and again, as ``--scenes`` scenes of 40. Windows are drawn at random; rivals take
turns, each in fresh processes, and the best round counts. Cold: their files are dropped from the page cache first.
"""

import argparse
import io
import multiprocessing
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import cycle, islice
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from PIL import Image

from dima_pipeline.datasets._files import read_image
from dima_pipeline.datasets.nuscenes import Config, NuScenesDataset
from dima_pipeline.storage.image_shards import ImageShards, ImageShardWriter

SHARED = Path(__file__).parents[2] / "shared" / "data" / "nuscenes-keyframes"
NUM_KEYFRAMES, QUEUE = 40, 3
NUM_TRAINVAL = 34_149 * 6
CODECS: dict[str, dict[str, Any]] = {
    "JPEG 90 4:2:0": {"format": "JPEG", "quality": 90, "subsampling": "4:2:0"},
    "JPEG 90 4:4:4": {"format": "JPEG", "quality": 90, "subsampling": "4:4:4"},
    "JPEG 95 4:2:0": {"format": "JPEG", "quality": 95, "subsampling": "4:2:0"},
    "JPEG 95 4:4:4": {"format": "JPEG", "quality": 95, "subsampling": "4:4:4"},
    "WebP lossless": {"format": "WEBP", "lossless": True, "quality": 0, "method": 0},
    "PNG": {"format": "PNG", "compress_level": 1},
}
Read = Callable[[int], np.ndarray]
"""Number of a keyframe -> uint8 (6, H, W, 3)."""


class Store(NamedTuple):
    """One way to keep images."""

    directory: Path
    open: Callable[[Path], Read]


def keyframe_files(root: Path, version: str) -> list[list[Path]]:
    """Camera files of the keyframes that have all six."""
    dataset = NuScenesDataset(Config(version=version, require_maps=False, reference_channel="CAM_FRONT"), dataroot=root)
    files = [path for scene in dataset.scene_names() for path in dataset.camera_files(scene)]
    keyframes = [files[begin : begin + 6] for begin in range(0, len(files), 6)]
    return [paths for paths in keyframes if all(path.is_file() for path in paths)]


def open_shards(directory: Path) -> Read:
    """Shards of any encoding."""
    shards = ImageShards(directory)
    return lambda keyframe: shards.read(str(keyframe))


def open_files(size: tuple[int, int], image_size: tuple[int, int] | None, directory: Path) -> Read:
    """JPEG files one by one, decoded and, if asked for, resized as ingestion does."""
    paths = {keyframe.name: sorted(keyframe.iterdir()) for keyframe in directory.iterdir()}
    return lambda keyframe: np.stack([read_image(path, size, image_size) for path in paths[str(keyframe)]])


def write_stores(directory: Path, files: list[list[Path]], image_size: tuple[int, int], num_scenes: int) -> dict:
    """The same keyframes in every way; source files are copied, so that all have bytes of their own on the disk."""
    with Image.open(files[0][0]) as image:
        size = image.size
    images = [np.stack([read_image(path, size, image_size) for path in paths]) for paths in files]
    names = {"raw": ("raw", 95), "jpeg 95": ("jpeg", 95), "jpeg 90": ("jpeg", 90)}
    for name, (encoding, quality) in names.items():
        writer = ImageShardWriter(directory / name, image_size, encoding=encoding, jpeg_quality=quality)
        for scene in range(num_scenes):
            numbers = range(scene * NUM_KEYFRAMES, (scene + 1) * NUM_KEYFRAMES)
            writer.add_scene(str(scene), [str(n) for n in numbers], (images[n % len(images)] for n in numbers))
        writer.finish()
    for number, (paths, pixels) in enumerate(islice(zip(cycle(files), cycle(images)), num_scenes * NUM_KEYFRAMES)):
        for name in ("files", "small files"):
            (directory / name / str(number)).mkdir(parents=True)
        for camera, path in enumerate(paths):
            (directory / "files" / str(number) / f"{camera}.jpg").write_bytes(path.read_bytes())
            small = directory / "small files" / str(number) / f"{camera}.jpg"
            Image.fromarray(pixels[camera]).save(small, quality=95, subsampling="4:4:4")
    stores = {f"shards, {name}": Store(directory / name, open_shards) for name in names}
    stores["files, recorded size"] = Store(directory / "files", partial(open_files, size, image_size))
    small_size = image_size[::-1]
    stores["files, resized before"] = Store(directory / "small files", partial(open_files, small_size, None))
    return stores


def read_windows(store: Store, windows: np.ndarray, is_warm: bool, pipe: Connection) -> None:
    """In a process of its own: wall and processor seconds for ``windows``, once told to begin."""
    read = store.open(store.directory)

    def read_all() -> None:
        for window in windows:
            np.stack([read(keyframe) for keyframe in window])

    if is_warm:
        read_all()
    pipe.send("ready")
    pipe.recv()
    wall, start = time.perf_counter(), time.process_time()
    read_all()
    pipe.send((time.perf_counter() - wall, time.process_time() - start))


def measure(store: Store, windows: np.ndarray, num_processes: int, is_warm: bool) -> tuple[float, float]:
    """Windows per second, and per second of a processor."""
    context = multiprocessing.get_context("spawn")
    pipes, processes = [], []
    for part in np.array_split(windows, num_processes):
        here, there = context.Pipe()
        processes.append(context.Process(target=read_windows, args=(store, part, is_warm, there)))
        pipes.append(here)
        processes[-1].start()
    for pipe in pipes:
        pipe.recv()
    if not is_warm:
        drop_from_cache(store.directory)
    for pipe in pipes:
        pipe.send("begin")
    found = [pipe.recv() for pipe in pipes]
    for process in processes:
        process.join()
    return len(windows) / max(wall for wall, _ in found), len(windows) / sum(cpu for _, cpu in found)


def drop_from_cache(directory: Path) -> None:
    """Write what is not written yet, and forget the pages."""
    for path in directory.rglob("*"):
        if path.is_file():
            descriptor = os.open(path, os.O_RDONLY)
            os.fsync(descriptor)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(descriptor)


def compare(stores: dict[str, Store], windows: np.ndarray, rounds: int) -> None:
    """Print a line for each store."""
    cases = [(num_processes, is_warm) for is_warm in (True, False) for num_processes in (1, 2)]
    best = {name: np.zeros((len(cases), 2)) for name in stores}
    for _ in range(rounds):
        for number, case in enumerate(cases):
            for name, store in stores.items():
                best[name][number] = np.maximum(best[name][number], measure(store, windows, *case))
    print(f"{'windows/s':24}{'kB/image':>9}{'trainval GB':>12}{'per core':>10}", end="")
    print("".join(f"{'warm' if is_warm else 'cold'} {number}".rjust(9) for number, is_warm in cases))
    for name, store in stores.items():
        kept = num_bytes(store.directory) / (store_images(windows))
        print(f"{name:24}{kept / 1e3:9.1f}{kept * NUM_TRAINVAL / 1e9:12.1f}{best[name][0, 1]:10.1f}", end="")
        print("".join(f"{wall:9.1f}" for wall, _ in best[name]))


def store_images(windows: np.ndarray) -> int:
    """Images that are stored: the last window reaches the last keyframe."""
    return (int(windows.max()) + 1) * 6


def num_bytes(directory: Path) -> int:
    """Of all files."""
    return sum(path.stat().st_size for path in directory.rglob("*") if path.is_file())


def random_windows(num_scenes: int, count: int) -> np.ndarray:
    """Numbers of keyframes (count, queue), within a scene; the last window is the last of the last scene."""
    rng = np.random.default_rng(0)
    first = rng.integers(num_scenes, size=count) * NUM_KEYFRAMES + rng.integers(NUM_KEYFRAMES - QUEUE + 1, size=count)
    first[-1] = num_scenes * NUM_KEYFRAMES - QUEUE
    return first[:, None] + np.arange(QUEUE)


def compare_codecs(images: list[np.ndarray]) -> None:
    """Print a line for each codec: bytes, milliseconds of a processor to encode and decode, and what it loses."""
    print(f"{'codec':16}{'kB/image':>9}{'trainval GB':>12}{'encode ms':>11}{'decode ms':>11}{'PSNR dB':>9}{'max':>5}")
    for name, options in CODECS.items():
        encode_ms, contents = best_ms(partial(encoded, images, options), len(images))
        decode_ms, decoded = best_ms(partial(decode_all, contents), len(images))
        errors = [np.abs(ours.astype(int) - image) for ours, image in zip(decoded, images, strict=True)]
        squared = np.mean([np.mean(error**2) for error in errors])
        kept = np.mean([len(content) for content in contents])
        psnr = 10 * np.log10(255**2 / squared) if squared else np.inf
        worst = max(error.max() for error in errors)
        line = f"{name:16}{kept / 1e3:9.1f}{kept * NUM_TRAINVAL / 1e9:12.1f}{encode_ms:11.2f}{decode_ms:11.2f}"
        print(f"{line}{psnr:9.1f}{worst:5}")


def encoded(images: list[np.ndarray], options: dict[str, Any]) -> list[bytes]:
    """The images as files in memory."""
    buffers = [io.BytesIO() for _ in images]
    for image, buffer in zip(images, buffers, strict=True):
        Image.fromarray(image).save(buffer, **options)
    return [buffer.getvalue() for buffer in buffers]


def decode_all(contents: list[bytes]) -> list[np.ndarray]:
    """The pixels of files in memory."""
    return [np.asarray(Image.open(io.BytesIO(content))) for content in contents]


def best_ms(run: Callable[[], list], count: int) -> tuple[float, list]:
    """Least processor time in milliseconds for each of ``count`` things over a few calls, and what came back."""
    best = np.inf
    for _ in range(4):
        start = time.process_time()
        found = run()
        best = min(best, time.process_time() - start)
    return 1e3 * best / count, found


def sources(arguments: argparse.Namespace) -> Iterator[list[list[Path]]]:
    """Keyframes of the roots that are there."""
    for root, version in arguments.root or [(str(SHARED), "v1.0-keyframes")]:
        files = keyframe_files(Path(root), version)
        mean = np.mean([path.stat().st_size for keyframe in files for path in keyframe])
        print(f"\n== {version}: {len(files)} keyframes, {mean / 1e3:.1f} kB a file")
        yield files


def main() -> None:
    """Parse the arguments and compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", nargs=2, action="append", metavar=("DATAROOT", "VERSION"))
    parser.add_argument("--sizes", nargs="+", default=["160x96", "640x384", "800x450"])
    parser.add_argument("--scenes", type=int, default=4)
    parser.add_argument("--windows", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    for files in sources(arguments):
        for width, height in (map(int, size.split("x")) for size in arguments.sizes):
            print(f"\n{width}x{height}")
            with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR")) as directory:
                stores = write_stores(Path(directory), files, (height, width), arguments.scenes)
                windows = random_windows(arguments.scenes, arguments.windows)
                read = open_shards(Path(directory) / "raw")
                compare_codecs([image for n in range(min(len(files), 10)) for image in read(n)])
                compare(stores, windows, arguments.rounds)


if __name__ == "__main__":
    main()
