"""How long one keyframe takes: the torch planner against its ONNX bundle, at batch 1 on one thread.

``python benchmarks/planner.py [--bundle data/.../bundle] [--repeats 50]``; without a bundle an untrained planner is
exported first, which does not change what it costs.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from dima_pipeline.contracts.batch import SceneBatch
from dima_pipeline.contracts.frames import CAMERAS
from dima_pipeline.export.bundle import Provenance, export_planner, load_planner, plan_step
from dima_pipeline.planners import PLANNERS
from dima_pipeline.serving.bundle import PlannerBundle

IMAGE_SIZE = (96, 160)


def percentiles_ms(run: Callable[[], object], repeats: int) -> tuple[float, float]:
    """Median and 95th percentile of the wall time of ``run``, after a tenth as many runs to warm up."""
    for _ in range(max(repeats // 10, 2)):
        run()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        run()
        times.append(1e3 * (time.perf_counter() - start))
    return float(np.percentile(times, 50)), float(np.percentile(times, 95))


def keyframe(image_size: tuple[int, int]) -> SceneBatch:
    """Noise from six cameras that look straight ahead: the work does not depend on what is seen."""
    height, width = image_size
    camera = np.array([[width / 2, -width / 2, 0, 0], [height / 2, 0, -height / 2, height], [1, 0, 0, 0]], np.float32)
    return SceneBatch(
        images=np.random.default_rng(0).integers(0, 256, (1, len(CAMERAS), height, width, 3), dtype=np.uint8),
        image_from_ego=np.repeat(camera[None, None], len(CAMERAS), 1),
        camera_valid=np.ones((1, len(CAMERAS)), bool),
        command=np.zeros(1, np.int64),
        prev_from_ego=np.zeros((1, 3), np.float32),
    )


def untrained_bundle(directory: Path) -> Path:
    """A bundle of the default planner and how long the export took."""
    config = PLANNERS.parse("vad")
    planner = PLANNERS.build(config, image_size=IMAGE_SIZE)
    provenance = Provenance(licence="Apache-2.0", training={"run": "untrained"})
    start = time.perf_counter()
    export_planner(planner, config, directory / "bundle", image_size=IMAGE_SIZE, provenance=provenance)
    print(f"export {time.perf_counter() - start:.1f} s")
    return directory / "bundle"


def compare(directory: Path, repeats: int) -> None:
    """Print both latencies and their ratio."""
    planner, _ = load_planner(directory)
    bundle = PlannerBundle.load(directory, num_threads=1)
    batch = keyframe(bundle.card.image_size)
    memory, own = bundle.plan(batch)[1], plan_step(planner, batch, None)[1]
    onnx_ms = percentiles_ms(lambda: bundle.plan(batch, memory), repeats)
    torch_ms = percentiles_ms(lambda: plan_step(planner, batch, own), repeats)
    print(f"torch  p50 {torch_ms[0]:.2f} ms  p95 {torch_ms[1]:.2f} ms")
    print(f"onnx   p50 {onnx_ms[0]:.2f} ms  p95 {onnx_ms[1]:.2f} ms")
    print(f"ratio  {torch_ms[0] / onnx_ms[0]:.2f}")


def main() -> None:
    """Parse the arguments and compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bundle", type=Path)
    parser.add_argument("--repeats", type=int, default=50)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as scratch:
        compare(arguments.bundle or untrained_bundle(Path(scratch)), arguments.repeats)


if __name__ == "__main__":
    main()
