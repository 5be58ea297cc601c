"""One joint step at the paper's scale: memory, samples a second, where the time goes; and the student's speed alone.

    python benchmarks/gpu_step.py                      # vad_tiny and a teacher of LLaVA-1.5-7B's shape, on a GPU
    python benchmarks/gpu_step.py --scale tiny --skip-compile      # the demo's sizes: does the script work?

Weights and images are random: neither time nor memory depends on them. Steps are those of the training loop (bf16,
AdamW, clipped gradients), without and with gradient checkpointing. Shares of time come from steps of their own in
which every part waits until the device is done.
"""

import argparse
import gc
import json
import os
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from parameters import IMAGE_SIZES, TEACHERS_BY_NAME, TEXTS
from planner import keyframe
from rich.progress import track

from dima_pipeline.contracts.batch import SceneBatch, SceneEdits, SceneTargets, SceneWindow, TrainingBatch, VqaPair
from dima_pipeline.contracts.frames import NUM_FUTURE_STEPS
from dima_pipeline.evaluation.modes import ModePlanner
from dima_pipeline.export.bundle import Provenance, export_planner
from dima_pipeline.models.tensors import to_tensors
from dima_pipeline.planners import PLANNERS
from dima_pipeline.serving.bundle import MODEL
from dima_pipeline.surrogates import SURROGATES
from dima_pipeline.teachers import TEACHERS
from dima_pipeline.training.config import StageConfig
from dima_pipeline.training.objective import JointObjective
from dima_pipeline.training.runtime import LocalRuntime
from dima_pipeline.training.trainer import Run, Trainer

SCALES = {"tiny": ("tiny_cpu", "tiny"), "paper": ("vad_tiny", "llava-1.5-7b")}
NUM_AGENTS, NUM_MAP, NUM_POINTS = 24, 16, 20
NUM_PAST, NUM_FUTURE = 2, 2


class Stopwatch:
    """Seconds of each part, less those of the parts within it."""

    def __init__(self, synchronise: Callable[[], None], clock: Callable[[], float] = time.perf_counter) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self._synchronise, self._clock = synchronise, clock
        self._within: list[float] = []

    @contextmanager
    def time(self, part: str) -> Iterator[None]:
        """Count what happens inside."""
        self._synchronise()
        begin = self._clock()
        self._within.append(0.0)
        yield
        self._synchronise()
        taken = self._clock() - begin
        self.seconds[part] += taken - self._within.pop()
        if self._within:
            self._within[-1] += taken

    def watch(self, owner: Any, name: str, part: str) -> None:
        """Count every call of a method from now on."""
        method = getattr(owner, name)

        def timed(*arguments: Any, **options: Any) -> Any:
            with self.time(part):
                return method(*arguments, **options)

        setattr(owner, name, timed)


def build_model(scale: str, device: torch.device) -> tuple[JointObjective, Any]:
    """Planner, teacher and all surrogate tasks, random, on the device; and the planner's configuration."""
    size, teacher_name = SCALES[scale]
    config = PLANNERS.parse({"name": "vad", "size": size})
    with torch.device(device):
        planner = PLANNERS.build(config, image_size=IMAGE_SIZES[size])
        spec = TEACHERS.parse({"name": "causal_lm", **TEACHERS_BY_NAME[teacher_name]})
        teacher = TEACHERS.build(spec, token_dim=planner.token_dim, feature_dim=planner.feature_dim, texts=TEXTS)
        shape = {"token_dim": planner.token_dim, "bev_shape": planner.bev_shape, "teacher_dim": teacher.hidden_dim}
        tasks = [SURROGATES.build(SURROGATES.parse(name), **shape) for name in SURROGATES.names()]
    return JointObjective(planner, teacher, tasks), config


def random_batch(batch_size: int, image_size: tuple[int, int]) -> TrainingBatch:
    """Noise of the right shapes: past and future keyframes, targets, an added vehicle and a question a sample."""
    rng = np.random.default_rng(0)

    def frame() -> SceneBatch:
        one = keyframe(image_size)
        return SceneBatch(**{f.name: np.repeat(getattr(one, f.name), batch_size, 0) for f in fields(one)})

    def noise(*shape: int) -> np.ndarray:
        return rng.normal(0, 10, (batch_size, *shape)).astype(np.float32)

    def ones(*shape: int) -> np.ndarray:
        return np.ones((batch_size, *shape), bool)

    pairs = tuple((VqaPair(f"sample-{i}", "planning", *TEXTS),) for i in range(batch_size))
    return TrainingBatch(
        sample_tokens=tuple(f"sample-{i}" for i in range(batch_size)),
        window=SceneWindow(
            past=tuple(frame() for _ in range(NUM_PAST)),
            past_valid=ones(NUM_PAST),
            current=frame(),
            future=tuple(frame() for _ in range(NUM_FUTURE)),
            future_valid=ones(NUM_FUTURE),
        ),
        targets=SceneTargets(
            ego_future=noise(NUM_FUTURE_STEPS, 3),
            ego_future_valid=ones(NUM_FUTURE_STEPS),
            agent_box=np.abs(noise(NUM_AGENTS, 7)) + 1,
            agent_category=rng.integers(0, 8, (batch_size, NUM_AGENTS)),
            agent_valid=ones(NUM_AGENTS),
            agent_future=noise(NUM_AGENTS, NUM_FUTURE_STEPS, 2),
            agent_future_valid=ones(NUM_AGENTS, NUM_FUTURE_STEPS),
            map_points=noise(NUM_MAP, NUM_POINTS, 2),
            map_kind=rng.integers(0, 3, (batch_size, NUM_MAP)),
            map_valid=ones(NUM_MAP),
        ),
        edits=SceneEdits(
            kind=np.ones(batch_size, int),
            box=np.abs(noise(7)) + 1,
            category=np.zeros(batch_size, int),
            future=noise(NUM_FUTURE_STEPS, 2),
            path=noise(NUM_FUTURE_STEPS, 2),
            path_valid=ones(NUM_FUTURE_STEPS),
        ),
        pairs=pairs,
        edit_pairs=pairs,
    )


def try_training(
    model: JointObjective, batch: TrainingBatch, device: torch.device, asked: argparse.Namespace, *, saves_memory: bool
) -> dict[str, Any]:
    """``measure_training``, or that the memory does not suffice."""
    gc.collect()  # the optimiser of the run before
    try:
        return measure_training(model, batch, device, asked, saves_memory=saves_memory)
    except torch.OutOfMemoryError as error:
        what = str(error).splitlines()[0]
    model.zero_grad(set_to_none=True)
    torch.cuda.empty_cache()
    return {"gradient_checkpointing": saves_memory, "out_of_memory": what}


def measure_training(
    model: JointObjective, batch: TrainingBatch, device: torch.device, asked: argparse.Namespace, *, saves_memory: bool
) -> dict[str, Any]:
    """Peak memory, samples a second and shares of time of the loop's own steps."""
    stage = StageConfig(num_steps=10**6, batch_size=asked.batch_size, precision="bf16", warmup_steps=0)
    what = f"joint step, gradient checkpointing {'on' if saves_memory else 'off'}"
    with tempfile.TemporaryDirectory() as folder:
        run = Run(stage=stage, seed=0, digest="benchmark", directory=Path(folder))
        trainer = Trainer(model, run, LocalRuntime(device, gradient_checkpointing=saves_memory))
        trainer.step(0, [batch])
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        seconds = []
        for step in track(range(1, asked.num_steps + 1), what):
            begin = time.perf_counter()
            result = trainer.step(step, [batch])  # reads the terms: the device is done
            seconds.append(time.perf_counter() - begin)
            assert not result.skipped, f"{result.skipped} not finite"
        peak = torch.cuda.max_memory_allocated(device) / 2**30 if device.type == "cuda" else None
        shares = measure_shares(trainer, batch, device, asked.num_steps)
    return {
        "gradient_checkpointing": saves_memory,
        "peak_memory_gib": peak,
        "samples_per_s": asked.batch_size / statistics.median(seconds),
        "slowest_samples_per_s": asked.batch_size / max(seconds),
        "fastest_samples_per_s": asked.batch_size / min(seconds),
        "shares": shares,
    }


def measure_shares(trainer: Trainer, batch: TrainingBatch, device: torch.device, num_steps: int) -> dict[str, float]:
    """Share of each part in the time of a step; ``rest`` is what is in none of them."""
    watch = Stopwatch(lambda: torch.cuda.synchronize(device) if device.type == "cuda" else None)
    model = trainer.model
    owners = [(model.planner, "encode", "encode"), (model.planner, "plan", "plan"), (model.planner, "losses", "losses")]
    owners += [(model.teacher, "forward", "teacher"), (trainer.optimizer, "step", "optimiser")]
    owners += [(task, method, "tasks") for task in model.surrogates for method in ("prepare", "losses", "metrics")]
    watched = [(owner, name) for owner, name, _ in owners if hasattr(owner, name)]
    plain_backward = torch.Tensor.backward
    try:
        for owner, name, part in owners:
            if hasattr(owner, name):
                watch.watch(owner, name, part)
        watch.watch(torch.Tensor, "backward", "backward")
        for step in range(1, num_steps + 1):
            with watch.time("rest"):
                trainer.step(step, [batch])
    finally:
        for owner, name in watched:
            delattr(owner, name)
        torch.Tensor.backward = plain_backward  # type: ignore[method-assign]
    total = sum(watch.seconds.values())
    return {part: seconds / total for part, seconds in sorted(watch.seconds.items(), key=lambda item: -item[1])}


def measure_student(
    planner: Any, config: Any, device: torch.device, num_runs: int, *, is_compiled: bool
) -> dict[str, Any]:
    """Keyframes a second at batch 1, with a memory, in torch, torch.compile and ONNX Runtime; why not where not.

    Torch has its inputs on the device already, ONNX Runtime takes them from the host each time.
    """
    image_size = planner.image_size
    batch = keyframe(image_size)
    runs: dict[str, Callable[[], Callable[[], Any]]] = {
        "torch": lambda: _step(planner, batch, device),
        "torch bf16": lambda: _in_bf16(planner, batch, device),
    }
    if is_compiled:
        runs["torch.compile"] = lambda: _step(planner, batch, device, torch.compile)
    with tempfile.TemporaryDirectory() as folder:
        bundle = Path(folder) / "bundle"
        export_planner(
            planner.cpu(), config, bundle, image_size=image_size, provenance=Provenance(licence="-", training={})
        )
        planner.to(device)
        for provider in _providers(device):
            runs[f"onnx {provider}"] = lambda provider=provider: _in_onnx(bundle / MODEL, planner, batch, provider)
        found = {}
        for name, prepare in track(runs.items(), "student"):
            try:
                found[name] = _per_second(prepare(), device, num_runs)
            except Exception as error:  # noqa: BLE001  # what keeps it from running is the answer
                found[name] = f"not measured: {type(error).__name__}: {str(error).splitlines()[0][:200]}"
    return found


def _in_bf16(planner: Any, batch: SceneBatch, device: torch.device) -> Callable[[], Any]:
    run = _step(planner, batch, device)

    def in_bf16() -> Any:
        with torch.autocast(device.type, torch.bfloat16):
            return run()

    return in_bf16


def _step(planner: Any, batch: SceneBatch, device: torch.device, change: Callable[..., Any] = lambda f: f) -> Any:
    """Encode and plan on tensors that are on the device already."""
    tensors = to_tensors(batch, str(device))
    with torch.no_grad():
        _, memory = ModePlanner(planner).plan(batch, None)
    memory = to_tensors(memory, str(device))

    def encode_and_plan() -> Any:
        beam, _ = planner.encode(tensors, memory)
        return planner.plan(beam, tensors).trajectory

    changed = change(encode_and_plan)

    def run() -> Any:
        with torch.no_grad():
            return changed()

    return run


def _providers(device: torch.device) -> list[str]:
    """Of ONNX Runtime, as far as they are installed."""
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    import onnxruntime

    wanted = ["TensorrtExecutionProvider", "CUDAExecutionProvider"] if device.type == "cuda" else []
    return [name for name in [*wanted, "CPUExecutionProvider"] if name in onnxruntime.get_available_providers()]


def _in_onnx(path: Path, planner: Any, batch: SceneBatch, provider: str) -> Callable[[], Any]:
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=[provider])
    if provider not in session.get_providers():
        raise RuntimeError(f"{provider} does not load here: ONNX Runtime took {session.get_providers()} instead")
    _, memory = ModePlanner(planner).plan(batch, None)
    known = {f.name: getattr(batch, f.name) for f in fields(batch)}
    known |= {"memory_bev": memory.bev, "memory_valid": memory.is_valid}
    feeds = {node.name: known[node.name] for node in session.get_inputs()}
    return lambda: session.run(None, feeds)


def _per_second(run: Callable[[], Any], device: torch.device, num_runs: int) -> float:
    """Median over ``num_runs`` after three to warm up."""
    seconds = []
    for number in range(3 + num_runs):
        begin = time.perf_counter()
        run()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        if number >= 3:
            seconds.append(time.perf_counter() - begin)
    return 1 / statistics.median(seconds)


def show(found: Mapping[str, Any]) -> None:
    """Markdown tables."""
    print(f"\n{found['planner']} + {found['teacher']}, batch {found['batch_size']}, bf16, on {found['device']}\n")
    print("| gradient checkpointing | peak memory (GiB) | samples/s (slowest to fastest step) | share of time |")
    print("| --- | --- | --- | --- |")
    for row in found["training"]:
        name = "on" if row["gradient_checkpointing"] else "off"
        if "out_of_memory" in row:
            print(f"| {name} | {row['out_of_memory']} | | |")
            continue
        memory = "not measured" if row["peak_memory_gib"] is None else f"{row['peak_memory_gib']:.1f}"
        speed = f"{row['samples_per_s']:.2f} ({row['slowest_samples_per_s']:.2f} to {row['fastest_samples_per_s']:.2f})"
        shares = ", ".join(f"{part} {100 * share:.0f} %" for part, share in row["shares"].items())
        print(f"| {name} | {memory} | {speed} | {shares} |")
    print("\n| student, batch 1 | keyframes/s |\n| --- | --- |")
    for name, value in found["student"].items():
        print(f"| {name} | {value if isinstance(value, str) else f'{value:.1f}'} |")


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    """Measure, print, and write JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", choices=SCALES, default="paper")
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto")
    parser.add_argument("--batch-size", type=int, default=1)
    parser.add_argument("--num-steps", type=int, default=10)
    parser.add_argument("--num-runs", type=int, default=50, help="of the student alone")
    parser.add_argument("--skip-compile", action="store_true", help="torch.compile takes minutes on a CPU")
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args(arguments)
    name = ("cuda" if torch.cuda.is_available() else "cpu") if asked.device == "auto" else asked.device
    if asked.scale == "paper" and name == "cpu":
        parser.error("a teacher of seven billion weights needs a GPU; --scale tiny runs here")
    device = torch.device(name)
    torch.manual_seed(0)
    model, config = build_model(asked.scale, device)
    batch = random_batch(asked.batch_size, model.planner.image_size)
    found = {
        "planner": SCALES[asked.scale][0],
        "teacher": SCALES[asked.scale][1],
        "batch_size": asked.batch_size,
        "device": torch.cuda.get_device_name(device) if name == "cuda" else "CPU",
        "training": [
            try_training(model, batch, device, asked, saves_memory=saves_memory) for saves_memory in (False, True)
        ],
    }
    model.teacher = None
    found["student"] = measure_student(
        model.planner, config, device, asked.num_runs, is_compiled=not asked.skip_compile
    )
    show(found)
    if asked.json is not None:
        asked.json.write_text(json.dumps(found, indent=1))
    return found


if __name__ == "__main__":
    main()
