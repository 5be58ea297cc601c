"""What ``dima estimate`` measures: the project's own code on a handful of scenes, for a handful of steps.

Each part runs in a process of its own (``python -m dima_pipeline.cli.probe PART ENVIRONMENT FOLDER``), so that its peak
memory is its own, and leaves ``<part>.json`` in the folder.
"""

import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from dima_pipeline.cli.project import Project, load_project

PARTS = ("data", "training", "export")
NUM_SCENES = 2
"""Of each split."""
NUM_STEPS, NUM_WARM_STEPS = 8, 3
"""Optimiser steps of a stage, and how many of them are not counted."""
NUM_QUESTIONS = 64

Facts = dict[str, Any]


def run_part(part: str, project: Project, folder: Path) -> Facts:
    """Measure in a fresh process; raises ``ValueError`` with the last line of what it said where it fails."""
    command = [sys.executable, "-m", __name__, part, project.environment, str(folder)]
    # Kedro has rich break the lines of tracebacks.
    environment = {**os.environ, "COLUMNS": "1000"}
    done = subprocess.run(command, cwd=project.root, env=environment, capture_output=True, text=True, check=False)
    result = folder / f"{part}.json"
    if done.returncode or not result.is_file():
        lines = done.stderr.strip().splitlines() or [f"it ended with exit status {done.returncode}"]
        raise ValueError(f"measuring {part} failed: {lines[-1]}")
    return json.loads(result.read_text())


class Ticks:
    """Times at which items of a sequence were done: what one costs, and what all share."""

    def __init__(self) -> None:
        self._started_s = time.perf_counter()
        self._times_s: list[float] = []

    def __call__(self, *_: Any) -> None:
        """One more is done."""
        self._times_s.append(time.perf_counter() - self._started_s)

    def facts(self) -> Facts:
        """``each_s`` from the second item on, and ``fixed_s`` before, between and after them."""
        end_s = time.perf_counter() - self._started_s
        first, last, num = self._times_s[0], self._times_s[-1], len(self._times_s)
        each_s = (last - first) / (num - 1) if num > 1 else first
        return {"each_s": each_s, "fixed_s": max(end_s - num * each_s, 0.0)}


def folder_bytes(folder: Path) -> int:
    """Bytes of all files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def peak_bytes() -> int:
    """Peak resident memory of this process."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def measure_data(project: Project, folder: Path) -> Facts:
    """World, ingestion and annotation of ``NUM_SCENES`` scenes of each split."""
    from dima_pipeline.curation.annotate import annotate
    from dima_pipeline.curation.ingest import audit, ingest
    from dima_pipeline.training.windows import TrainingTables

    facts: Facts = {}
    if project.facts["generates_world"]:
        dataroot = folder / "dataroot"
        facts["world"] = _generate(project, dataroot)
        config = replace(project.parameters["ingestion"], scenes=[], val_scenes=[], max_scenes=None)
    else:
        dataroot = project.dataroot()
        config = _on_few_scenes(project.parameters["ingestion"], dataroot)
    ticks = Ticks()
    audit(config, dataroot, folder / "ingestion", report=ticks)
    audited, ticks = ticks.facts(), Ticks()
    made = ingest(config, dataroot, folder / "ingestion", report=ticks)
    tables = made.tables
    facts["ingestion"] = {name: seconds + audited[name] for name, seconds in ticks.facts().items()}
    made.shards.rename(folder / "shards")
    started_s = time.perf_counter()
    pairs, edits, *_ = annotate(project.parameters["annotation"], tables)
    num_scenes = len(tables.scenes)
    facts["annotation"] = {"each_s": (time.perf_counter() - started_s) / num_scenes, "fixed_s": 0.0}
    everything = TrainingTables(
        **{field.name: getattr(tables, field.name) for field in fields(tables)}, vqa_pairs=pairs, scene_edits=edits
    )
    everything.write(folder / "tables")
    frames = [getattr(everything, field.name) for field in fields(everything)]
    facts["num_scenes"] = num_scenes
    facts["num_samples"] = len(tables.samples)
    facts["tables"] = _growth(everything, folder)
    facts["frames_bytes"] = sum(int(frame.memory_usage(deep=True).sum()) for frame in frames)
    return facts


def _generate(project: Project, dataroot: Path) -> Facts:
    from dima_pipeline.curation.splits import synthetic_scene_names
    from dima_pipeline.world.generate import generate

    world = project.parameters["world"]
    small = replace(
        world,
        num_train_scenes=min(NUM_SCENES, world.num_train_scenes),
        num_val_scenes=min(NUM_SCENES, world.num_val_scenes),
    )
    ticks = Ticks()
    generate(small, dataroot, synthetic_scene_names(), progress=ticks)
    fixed_bytes = folder_bytes(dataroot / "maps")
    num_scenes = small.num_train_scenes + small.num_val_scenes
    return {
        **ticks.facts(),
        "fixed_bytes": fixed_bytes,
        "each_bytes": (folder_bytes(dataroot) - fixed_bytes) / num_scenes,
    }


def _on_few_scenes(config: Any, dataroot: Path) -> Any:
    """Ingestion of the first ``NUM_SCENES`` scenes of every split."""
    from dima_pipeline.cli.volumes import recorded_splits

    chosen: dict[str, list[str]] = {}
    for name, split in recorded_splits(config, dataroot).items():
        chosen.setdefault(split, []).append(name)
    names = [name for in_split in chosen.values() for name in in_split[:NUM_SCENES]]
    held_out = [name for name in config.val_scenes if name in names]
    return replace(config, scenes=names, val_scenes=held_out, max_scenes=None)


def _growth(tables: Any, folder: Path) -> Facts:
    """Bytes of the parquet tables: of all scenes, and what a further scene adds."""
    first = tables.scenes["scene_token"].iloc[:1]
    tokens = tables.samples.loc[tables.samples["scene_token"].isin(first), "sample_token"]
    parts = {}
    for field in fields(tables):
        frame = getattr(tables, field.name)
        key, known = ("scene_token", first) if "scene_token" in frame else ("sample_token", tokens)
        parts[field.name] = frame[frame[key].isin(known)]
    type(tables)(**parts).write(folder / "first")
    all_bytes, first_bytes = folder_bytes(folder / "tables"), folder_bytes(folder / "first")
    return {"bytes": all_bytes, "each_bytes": (all_bytes - first_bytes) / max(len(tables.scenes) - 1, 1)}


def measure_training(project: Project, folder: Path) -> Facts:
    """A few steps of every stage with the configured models and batch, on the scenes of ``measure_data``."""
    import torch

    from dima_pipeline.training.loop import read_log
    from dima_pipeline.training.runtime import LocalRuntime
    from dima_pipeline.training.stages import plan_stages, train_stage
    from dima_pipeline.training.windows import TrainingTables

    runtime = project.parameters["runtime"]
    torch.set_num_threads(runtime.threads_per_worker)
    config = project.parameters["distillation"]
    short = {"num_steps": NUM_STEPS, "checkpoint_every": NUM_STEPS, "log_every": 1}
    config = replace(
        config,
        num_development_scenes=0,
        pretraining=replace(config.pretraining, **short),
        joint=replace(config.joint, **short),
    )
    tables = TrainingTables.read(folder / "tables")
    facts: Facts = {}
    for stage, spec in plan_stages(config, tables, folder / "shards", folder / "work").items():
        started_s = time.perf_counter()
        train_stage(spec, LocalRuntime(runtime.device))
        seconds = [line["seconds"] for line in read_log(spec.log_path)]
        each_s = statistics.median(seconds[NUM_WARM_STEPS:])
        run_dir = Path(spec.run_dir)
        facts[stage] = {
            "each_s": each_s,
            "fixed_s": max(time.perf_counter() - started_s - NUM_STEPS * each_s, 0.0),
            "checkpoint_bytes": folder_bytes(run_dir / "checkpoints"),
            "model_bytes": folder_bytes(spec.model_dir),
            "log_bytes": spec.log_path.stat().st_size / NUM_STEPS,
        }
    if runtime.device == "cuda":
        facts["device_bytes"] = torch.cuda.max_memory_allocated()
    return facts


def measure_export(project: Project, folder: Path) -> Facts:
    """A bundle of the planner, and how long it and the teacher take over held-out scenes."""
    import torch

    from dima_pipeline.evaluation.planners import plan_scenes
    from dima_pipeline.evaluation.vqa import answer_questions
    from dima_pipeline.export.bundle import Provenance, export_planner
    from dima_pipeline.serving.bundle import PlannerBundle
    from dima_pipeline.storage.image_shards import ImageShards
    from dima_pipeline.storage.scene_reader import SceneReader
    from dima_pipeline.training.stages import load_planner, load_teacher
    from dima_pipeline.training.windows import TrainingTables

    runtime, evaluation = project.parameters["runtime"], project.parameters["evaluation"]
    torch.set_num_threads(runtime.threads_per_worker)
    model = next(path for path in (folder / "work" / "runs").glob("*/model") if (path / "teacher").is_dir())
    planner, config = load_planner(model)
    shards, tables = ImageShards(folder / "shards"), TrainingTables.read(folder / "tables")
    bundle = folder / "bundle"
    export_s = _seconds(
        lambda: export_planner(
            planner,
            config.planner,
            bundle,
            image_size=shards.image_size,
            provenance=Provenance(licence="unknown", training={}),
        )
    )
    reader = SceneReader(tables.samples, shards, command=config.window.command)
    loaded = PlannerBundle.load(bundle)
    plan_s = _seconds(lambda: plan_scenes(loaded, reader, tables.samples, planner="planner"))
    # A teacher of a few steps never stops talking: it is given as many words as most answers have.
    lengths = sorted(len(answer.split()) for answer in tables.vqa_pairs["answer"])
    num_words = lengths[int(0.95 * (len(lengths) - 1))]
    small = replace(
        evaluation,
        num_questions=min(NUM_QUESTIONS, evaluation.num_questions),
        max_new_tokens=min(num_words, evaluation.max_new_tokens),
    )
    teacher = load_teacher(model)
    answer_s = _seconds(
        lambda: answer_questions(
            teacher, planner, reader, samples=tables.samples, vqa_pairs=tables.vqa_pairs, config=small
        )
    )
    return {
        "export_s": export_s,
        "bundle_bytes": folder_bytes(bundle),
        "plan_s": plan_s / len(tables.samples),
        "answer_s": answer_s / max(small.num_questions, 1),
        "num_questions": len(tables.vqa_pairs) / len(tables.samples),
    }


def _seconds(work: Callable[[], Any]) -> float:
    started_s = time.perf_counter()
    work()
    return time.perf_counter() - started_s


def _main(part: str, environment: str, folder: str) -> None:
    measure = {"data": measure_data, "training": measure_training, "export": measure_export}[part]
    facts = measure(load_project(environment), Path(folder))
    (Path(folder) / f"{part}.json").write_text(json.dumps({**facts, "peak_bytes": peak_bytes()}, indent=1))


if __name__ == "__main__":
    _main(*sys.argv[1:])
