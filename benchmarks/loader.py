"""Batches a second by number of readers, and the share of a demo training step that waits for data.

``python benchmarks/loader.py [--sizes 160x96 640x384] [--rounds 5] [--steps 15]``. Hand-made scenes of 40 keyframes,
windows of one past and two future frames, batches of 8. Rivals take turns, and the best round counts. "1 reader, 1
ahead" is what the loop did before it had readers. Stall: the demo's stages (``conf/base``) on the first size.
"""

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import numpy as np
import torch
import yaml
from PIL import Image

from dima_pipeline.storage.image_shards import ImageShards, ImageShardWriter
from dima_pipeline.storage.scene_reader import SceneReader
from dima_pipeline.training.augmentation import Augmentation
from dima_pipeline.training.config import AugmentationConfig, parse_distillation
from dima_pipeline.training.ledger import read_samples
from dima_pipeline.training.loading import Reading, prefetched
from dima_pipeline.training.loop import read_log
from dima_pipeline.training.runtime import LocalRuntime
from dima_pipeline.training.sampling import Sampler
from dima_pipeline.training.stages import plan_stages, train_stage
from dima_pipeline.training.windows import TrainingTables, WindowDataset
from training_cases import make_training_tables

BATCH_SIZE, NUM_KEYFRAMES = 8, 40
RIVALS = {
    "1 reader, 1 ahead": (1, 1),
    "1 reader": (1, 2),
    "2 readers": (2, 4),
    "4 readers": (4, 8),
    "8 readers": (8, 16),
}
PROJECT = Path(__file__).parents[1]
ALONE = SimpleNamespace(rank=0, world_size=1)


def write_shards(tables: TrainingTables, directory: Path, image_size: tuple[int, int]) -> ImageShards:
    """Pictures of soft blobs: JPEG takes about as many bytes for them as for a street."""
    rng = np.random.default_rng(0)
    height, width = image_size
    writer = ImageShardWriter(directory, image_size)
    for scene, samples in tables.samples.groupby("scene_token"):
        coarse = rng.integers(0, 256, (len(samples), 6, height // 8, width // 8, 3), dtype=np.uint8)
        images = (np.stack([soft(one, image_size) for one in keyframe]) for keyframe in coarse)
        writer.add_scene(str(scene), samples["sample_token"].tolist(), images)
    writer.finish()
    return ImageShards(directory)


def soft(coarse: np.ndarray, image_size: tuple[int, int]) -> np.ndarray:
    """``coarse`` enlarged to ``image_size``."""
    return np.asarray(Image.fromarray(coarse).resize(image_size[::-1], Image.Resampling.BICUBIC))


def batches_per_second(data: WindowDataset, reading: Reading, num_batches: int) -> float:
    """Of a training thread that does nothing but ask for the next one."""
    steps, sampler = range(num_batches), Sampler(len(data), BATCH_SIZE, 0)
    started_s = time.perf_counter()
    with prefetched(data, sampler, steps, ALONE, num_micro_batches=1, reading=reading) as loaded:
        for _ in loaded:
            pass
    return num_batches / (time.perf_counter() - started_s)


def compare_readers(tables: TrainingTables, shards: ImageShards, num_rounds: int, num_batches: int) -> None:
    """Print the best round of each rival, without and with augmentation."""
    reader = SceneReader(tables.samples, shards)
    changes = {"plain": None, "augmented": Augmentation(AugmentationConfig(), 0)}
    best: dict[tuple[str, str], float] = {}
    for _ in range(num_rounds):
        for kind, change in changes.items():
            data = WindowDataset(tables, reader, "train", augmentation=change)
            for name, numbers in RIVALS.items():
                found = batches_per_second(data, Reading(*numbers), num_batches)
                best[name, kind] = max(found, best.get((name, kind), 0.0))
    height, width = shards.image_size
    print(f"\n{width}x{height}, {shards.format.encoding}: batches of {BATCH_SIZE} a second")
    for name in RIVALS:
        print(f"  {name:18}" + "".join(f"{kind:>12} {best[name, kind]:8.2f}" for kind in changes), flush=True)


def measure_stall(tables: TrainingTables, shards_dir: Path, directory: Path, num_steps: int) -> None:
    """Print how long both stages of the demo wait for data, as it was and as it is."""
    torch.set_num_threads(2)
    values = yaml.safe_load((PROJECT / "conf/base/parameters_distillation.yml").read_text())["distillation"]
    settings = {"num_steps": num_steps, "checkpoint_every": num_steps}
    values |= {name: {**values[name], **settings} for name in ("pretraining", "joint")} | {"num_development_scenes": 0}
    print(f"\nthe demo's stages, {num_steps} steps each: share of a step that waits for data (without the first step)")
    for name, numbers in list(RIVALS.items())[:2]:
        specs = plan_stages(parse_distillation(values), tables, shards_dir, directory / name.replace(" ", "_"))
        for stage in ("pretraining", "joint"):
            spec = specs[stage]
            train_stage(spec, LocalRuntime(reading=Reading(*numbers, log_samples=True)))
            assert len(read_samples(Path(spec.run_dir))) == num_steps * BATCH_SIZE
            lines = read_log(spec.log_path)
            waited_s = sum(line["data_wait_seconds"] for line in lines[1:])
            busy_s = sum(line["seconds"] for line in lines[1:])
            first_s = lines[0]["data_wait_seconds"]
            print(
                f"  {name:18} {stage:12} step {busy_s / (len(lines) - 1):.3f} s"
                f"   stall {waited_s / (waited_s + busy_s):.2%}   first batch {first_s:.3f} s"
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", nargs="+", default=["160x96", "640x384"], help="the first is trained on")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batches", type=int, default=20, help="per round")
    parser.add_argument("--steps", type=int, default=15, help="of a stage, for the stall; 0 leaves it out")
    options = parser.parse_args()
    tables = make_training_tables(NUM_KEYFRAMES)
    with tempfile.TemporaryDirectory() as temporary:
        for number, text in enumerate(options.sizes):
            width, height = map(int, text.split("x"))
            shards = write_shards(tables, Path(temporary) / text, (height, width))
            compare_readers(tables, shards, options.rounds, options.batches)
            if number == 0 and options.steps:
                measure_stall(tables, shards.directory, Path(temporary), options.steps)


if __name__ == "__main__":
    main()
