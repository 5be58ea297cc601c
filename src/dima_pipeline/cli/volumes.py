"""How much there is to do, and what it takes: counts and configuration in, lines of disk, memory and hours out.

What is laid out by a formula is exact; what was measured on a few scenes or steps (``probe``) is multiplied by how many
there are, and each line says which.
"""

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Any, Literal

from dima_pipeline.contracts.frames import CAMERAS
from dima_pipeline.curation.config import IngestionConfig
from dima_pipeline.distributed.sweep_config import TuningConfig
from dima_pipeline.storage.runtime import RuntimeConfig
from dima_pipeline.storage.scene_images import ShardFormat
from dima_pipeline.training.config import DistillationConfig, StageConfig

NPY_HEADER_BYTES = 128
JPEG_SHARE = 0.1
"""Of the bytes of raw pixels, at quality 95 and 640 x 384 (``benchmarks/shards.py``)."""
SECTION_S = {"report": 5.0, "drift": 15.0, "Ray starts": 10.0}
"""Read off the demo's runs: they grow little with the data."""
TRAINER_START_S = 15.0
"""Of a trial that starts the Ray trainer."""
PICTURE_BYTES = 500_000
"""Of a keyframe: six cameras and a view from above; once beside the report and once in it."""
PLAN_BYTES = 530
"""Of a held-out keyframe in the tables of plans and scores, over all planners."""
NUM_BUNDLES = 2
"""Planner and control."""
NUM_PLANNED = 4
"""Times a held-out keyframe is planned by a bundle: planner and control, with own and with other images."""

Quantity = Literal["disk", "memory", "time"]
Basis = Literal["exact", "measured", "extrapolated", "assumed"]


@dataclass(frozen=True)
class Line:
    """One row of the estimate."""

    quantity: Quantity
    item: str
    value: float
    """Bytes, or seconds."""
    basis: Basis
    how: str = ""
    is_device: bool = False
    """Memory of a GPU, not of the machine."""


@dataclass(frozen=True)
class Volume:
    """How much data a run handles."""

    num_scenes: int
    num_samples: int
    num_held_out: int
    """Keyframes that evaluation scores."""


def world_volume(num_train: int, num_val: int, num_keyframes: int, split: str) -> Volume:
    """Of a generated world."""
    held_out = {"train": num_train, "val": num_val}.get(split, 0)
    num_scenes = num_train + num_val
    return Volume(num_scenes, num_scenes * num_keyframes, held_out * num_keyframes)


def recorded_splits(config: IngestionConfig, dataroot: Path) -> dict[str, str]:
    """Scene name -> split for the scenes that ingestion would read; raises ``ValueError`` as it does.

    Reads ``scene.json`` alone, which is small.
    """
    from dima_pipeline.curation.ingest import select_scenes
    from dima_pipeline.curation.splits import configured_splits

    recorded = list(_recorded_lengths(dataroot / config.dataset.version))
    return configured_splits(config, select_scenes(config, recorded), recorded)


def recorded_volume(config: IngestionConfig, dataroot: Path, split: str) -> Volume:
    """Of recordings in the nuScenes format."""
    splits = recorded_splits(config, dataroot)
    lengths = _recorded_lengths(dataroot / config.dataset.version)
    num_by_split = Counter[str]()
    for name, of in splits.items():
        num_by_split[of] += lengths[name]
    return Volume(len(splits), sum(num_by_split.values()), num_by_split[split])


def _recorded_lengths(folder: Path) -> dict[str, int]:
    """Scene name -> number of keyframes."""
    path = folder / "scene.json"
    if not path.is_file():
        raise ValueError(f"{path} is missing: DIMA_DATAROOT must be the folder that holds {folder.name}/")
    return {scene["name"]: int(scene["nbr_samples"]) for scene in json.loads(path.read_text())}


def shard_bytes(volume: Volume, image_size: tuple[int, int]) -> int:
    """Image shards (``storage.image_shards``): raw pixels, one file a scene; index and manifest left out."""
    height, width = image_size
    return volume.num_samples * len(CAMERAS) * height * width * 3 + volume.num_scenes * NPY_HEADER_BYTES


def num_kept(stage: StageConfig) -> int:
    """Checkpoints of a stage that are left at its end."""
    kept = stage.keep_last + (stage.best.keep if stage.best is not None else 0)
    return min(kept, ceil(stage.num_steps / stage.checkpoint_every))


def stage_configs(config: DistillationConfig) -> dict[str, StageConfig]:
    """The optimisation of every stage that is done."""
    first = {"pretraining": config.pretraining} if config.start_from is None else {}
    return {**first, "joint": config.joint, "control": config.joint}


def disk_lines(volume: Volume, parameters: Mapping[str, Any], measured: Mapping[str, Any]) -> Iterator[Line]:
    """Bytes by artefact."""
    data, training, export = (measured[part] for part in ("data", "training", "export"))
    per_scene = f"from {data['num_scenes']} scenes"
    if "world" in data:
        world = data["world"]["fixed_bytes"] + volume.num_scenes * data["world"]["each_bytes"]
        yield Line("disk", "dataroot", world, "extrapolated", per_scene)
    ingestion = parameters["ingestion"]
    height, width = ingestion.image_size
    how = f"{volume.num_samples} keyframes x {len(CAMERAS)} x {height} x {width} x 3"
    shards = shard_bytes(volume, ingestion.image_size)
    if ShardFormat.choose(ingestion.image_size, ingestion.image_encoding).encoding == "raw":
        yield Line("disk", "image shards", shards, "exact", how)
    else:
        yield Line("disk", "image shards", shards * JPEG_SHARE, "assumed", f"{how}, {JPEG_SHARE:.0%} of it as JPEG")
    tables = data["tables"]["bytes"] + (volume.num_scenes - data["num_scenes"]) * data["tables"]["each_bytes"]
    how = f"{per_scene}; and copies in the work folder: by scene, and for the workers"
    yield Line("disk", "tables", 3 * tables, "extrapolated", how)
    checkpoints = models = 0.0
    for name, stage in stage_configs(parameters["distillation"]).items():
        checkpoints += (
            num_kept(stage) * training[name]["checkpoint_bytes"] + stage.num_steps * training[name]["log_bytes"]
        )
        models += training[name]["model_bytes"] * (1 if name == "pretraining" else 2)
    yield Line("disk", "checkpoints and logs", checkpoints, "measured", "one saved, times those kept of each stage")
    yield Line("disk", "models", models, "measured", "and the copies that are published")
    yield Line("disk", "bundles", NUM_BUNDLES * export["bundle_bytes"], "measured")
    if (tuning := parameters.get("tuning")) is not None and tuning.num_trials:
        kept = min(parameters["distillation"].joint.keep_last, ceil(tuning.num_steps / tuning.report_every))
        trial = kept * training["joint"]["checkpoint_bytes"] + training["joint"]["model_bytes"]
        yield Line(
            "disk", "sweep", tuning.num_trials * trial, "measured", f"{tuning.num_trials} trials, until the sweep ends"
        )
    evaluation = parameters["evaluation"]
    scores = volume.num_held_out * PLAN_BYTES + 2 * evaluation.num_pictures * PICTURE_BYTES
    yield Line("disk", "plans, scores, pictures, report", scores, "assumed", "sizes of the demo's")


def memory_lines(volume: Volume, parameters: Mapping[str, Any], measured: Mapping[str, Any]) -> Iterator[Line]:
    """Peak resident bytes of the processes that need most, which do not run at the same time."""
    data, training, export = (measured[part] for part in ("data", "training", "export"))
    frames = data["frames_bytes"] / data["num_scenes"] * max(volume.num_scenes - data["num_scenes"], 0)
    yield Line("memory", "ingestion and annotation", data["peak_bytes"] + 2 * frames, "extrapolated", "tables, twice")
    workers = parameters["runtime"].num_workers
    how = f"{workers} x (peak of the measured steps + tables)"
    yield Line("memory", "training", workers * (training["peak_bytes"] + frames), "extrapolated", how)
    yield Line("memory", "export and evaluation", export["peak_bytes"] + frames, "extrapolated", "peak + tables")
    if "device_bytes" in training:
        yield Line(
            "memory",
            "GPU, a worker",
            training["device_bytes"],
            "measured",
            "peak of the measured steps",
            is_device=True,
        )


def time_lines(volume: Volume, parameters: Mapping[str, Any], measured: Mapping[str, Any]) -> Iterator[Line]:
    """Seconds by pipeline on this machine."""
    data, training, export = (measured[part] for part in ("data", "training", "export"))
    runtime, evaluation = parameters["runtime"], parameters["evaluation"]
    per_scene = f"from {data['num_scenes']} scenes"
    for name, processes in (("world", runtime.num_processes), ("ingestion", runtime.num_processes), ("annotation", 1)):
        if name in data:
            seconds = data[name]["fixed_s"] + volume.num_scenes * data[name]["each_s"] / processes
            how = per_scene if processes == 1 else f"{per_scene}, {processes} processes"
            yield Line("time", name, seconds, "extrapolated", how)
    for name, stage in stage_configs(parameters["distillation"]).items():
        each_s = training[name]["each_s"] / runtime.num_workers
        seconds = training[name]["fixed_s"] + stage.num_steps * each_s
        yield Line(
            "time", f"distillation: {name}", seconds, "extrapolated", f"{stage.num_steps} steps of {each_s:.3f} s"
        )
    if (tuning := parameters.get("tuning")) is not None and tuning.num_trials:
        how = f"at most: {tuning.num_trials} trials x {tuning.num_steps} steps, none stopped early"
        yield Line("time", "tuning", sweep_seconds(tuning, runtime, training["joint"]["each_s"]), "extrapolated", how)
    yield Line("time", "export", NUM_BUNDLES * export["export_s"], "measured", f"{NUM_BUNDLES} bundles")
    num_questions = min(evaluation.num_questions, volume.num_held_out * export["num_questions"])
    seconds = volume.num_held_out * NUM_PLANNED * export["plan_s"] + num_questions * export["answer_s"]
    yield Line(
        "time", "evaluation", seconds, "extrapolated", f"{volume.num_held_out} keyframes, {num_questions:.0f} questions"
    )
    for name, seconds in SECTION_S.items():
        yield Line("time", name, seconds, "assumed", "as in the demo")


def sweep_seconds(tuning: TuningConfig, runtime: RuntimeConfig, joint_s: float) -> float:
    """A sweep in which no trial is stopped early; ``joint_s`` is a joint step with the threads of a worker."""
    if tuning.trials == "trainer":
        return tuning.num_trials * (TRAINER_START_S + tuning.num_steps * joint_s / runtime.num_workers)
    # A trial has one core, and several run side by side.
    return tuning.num_trials * tuning.num_steps * joint_s * runtime.threads_per_worker / tuning.max_concurrent
