"""The estimate: formulas against real artefacts made small, sums against numbers typed by hand; no clock is judged."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from dima_pipeline.cli import estimate, main, probe, volumes
from dima_pipeline.cli.project import Project
from dima_pipeline.cli.volumes import Line, Volume
from dima_pipeline.curation.annotate import AnnotationConfig
from dima_pipeline.curation.config import IngestionConfig
from dima_pipeline.distributed.sweep_config import TuningConfig
from dima_pipeline.evaluation.config import EvaluationConfig
from dima_pipeline.storage.image_shards import ImageShardWriter
from dima_pipeline.storage.runtime import RuntimeConfig
from dima_pipeline.training.checkpoints import Checkpoint, CheckpointStore
from dima_pipeline.training.config import StageConfig, parse_distillation
from nuscenes_root import NUM_SAMPLES, VERSION, make_root

MB = 10**6


def recordings(**options) -> IngestionConfig:
    return IngestionConfig(dataset={"name": "nuscenes", "version": VERSION}, **options)


def hand_typed() -> tuple[dict, dict]:
    """Parameters, and what a probe would have found."""
    distillation = parse_distillation(
        {
            "planner": {"name": "vad"},
            "pretraining": {"num_steps": 100, "checkpoint_every": 10, "keep_last": 2},
            "joint": {"num_steps": 50, "checkpoint_every": 50, "keep_last": 2},
        }
    )
    parameters = {
        "ingestion": recordings(image_height=10, image_width=20),
        "distillation": distillation,
        "evaluation": EvaluationConfig(num_questions=100, num_pictures=2),
        "runtime": RuntimeConfig(work_dir="work", num_processes=2, num_workers=2, threads_per_worker=2),
    }
    stage = {"fixed_s": 1.0, "checkpoint_bytes": 3 * MB, "model_bytes": 2 * MB, "log_bytes": 0.0}
    measured = {
        "data": {
            "num_scenes": 2,
            "world": {"each_s": 4.0, "fixed_s": 3.0, "fixed_bytes": 7 * MB, "each_bytes": 5 * MB},
            "ingestion": {"each_s": 0.5, "fixed_s": 2.0},
            "annotation": {"each_s": 0.25, "fixed_s": 0.0},
            "tables": {"bytes": 3 * MB, "each_bytes": MB},
            "frames_bytes": 20 * MB,
            "peak_bytes": 300 * MB,
        },
        "training": {
            "pretraining": {**stage, "each_s": 0.2},
            "joint": {**stage, "each_s": 0.8, "checkpoint_bytes": 9 * MB, "model_bytes": 6 * MB},
            "control": {**stage, "each_s": 0.2},
            "peak_bytes": 900 * MB,
        },
        "export": {
            **{"export_s": 10.0, "bundle_bytes": 4 * MB, "plan_s": 0.01, "answer_s": 0.02},
            **{"num_questions": 3.0, "peak_bytes": 500 * MB},
        },
    }
    return parameters, measured


def values(kind, volume: Volume, parameters: dict, measured: dict) -> dict[str, float]:
    return {line.item: line.value for line in kind(volume, parameters, measured)}


def test_image_shards_are_estimated_to_the_byte(tmp_path):
    writer = ImageShardWriter(tmp_path, image_size=(10, 20))
    writer.add_scene("a", ["a0", "a1", "a2"], np.zeros((3, 6, 10, 20, 3), np.uint8))
    writer.add_scene("b", ["b0"], np.zeros((1, 6, 10, 20, 3), np.uint8))
    written = sum(path.stat().st_size for path in tmp_path.glob("*.npy"))
    assert volumes.shard_bytes(Volume(2, 4, 0), (10, 20)) == written


@pytest.mark.parametrize(
    ("num_steps", "every", "keep_last"), [(10, 3, 2), (10, 5, 4), (3, 10, 2), (9, 3, 5), (1, 1, 1)]
)
def test_as_many_checkpoints_are_counted_as_a_run_leaves(tmp_path, num_steps, every, keep_last):
    store = CheckpointStore(tmp_path, keep_last)
    for step in range(num_steps):
        if (step + 1) % every == 0 or step + 1 == num_steps:
            model = {"w": torch.zeros(2)}
            store.save(Checkpoint(step=step + 1, model=model, optimizer={"state": {}, "param_groups": []}, facts={}))
    stage = StageConfig(num_steps=num_steps, checkpoint_every=every, keep_last=keep_last)
    assert volumes.num_kept(stage) == len(store.paths())


def test_disk_is_what_was_measured_times_how_many_there_are():
    parameters, measured = hand_typed()
    found = values(volumes.disk_lines, Volume(10, 300, 60), parameters, measured)
    assert found["dataroot"] == (7 + 10 * 5) * MB
    assert found["image shards"] == 300 * 6 * 10 * 20 * 3 + 10 * 128
    assert found["tables"] == 3 * (3 + 8) * MB
    # Two of pretraining and, saved once, one of joint and of control.
    assert found["checkpoints and logs"] == (2 * 3 + 9 + 3) * MB
    assert found["models"] == (2 + 2 * 6 + 2 * 2) * MB
    assert found["bundles"] == 8 * MB
    assert "sweep" not in found


def test_recordings_are_no_disk_of_ours_and_no_time():
    parameters, measured = hand_typed()
    del measured["data"]["world"]
    assert "dataroot" not in values(volumes.disk_lines, Volume(10, 300, 60), parameters, measured)
    assert "world" not in values(volumes.time_lines, Volume(10, 300, 60), parameters, measured)


def test_hours_are_steps_and_scenes_at_the_measured_pace():
    parameters, measured = hand_typed()
    found = values(volumes.time_lines, Volume(10, 300, 60), parameters, measured)
    assert found["world"] == 3 + 10 * 4 / 2
    assert found["ingestion"] == 2 + 10 * 0.5 / 2
    assert found["annotation"] == 10 * 0.25
    # Two workers share the batch.
    assert found["distillation: pretraining"] == pytest.approx(1 + 100 * 0.2 / 2)
    assert found["distillation: joint"] == pytest.approx(1 + 50 * 0.8 / 2)
    assert found["distillation: control"] == pytest.approx(1 + 50 * 0.2 / 2)
    assert found["export"] == 20
    # 60 keyframes, four times; 100 of their 180 questions.
    assert found["evaluation"] == pytest.approx(60 * 4 * 0.01 + 100 * 0.02)


def test_a_sweep_is_its_trials():
    parameters, measured = hand_typed()
    space = {"joint.learning_rate": {"kind": "loguniform", "low": 1e-4, "high": 1e-2}}
    parameters["tuning"] = TuningConfig(num_trials=6, num_steps=40, report_every=20, max_concurrent=3, space=space)
    volume = Volume(10, 300, 60)
    assert values(volumes.disk_lines, volume, parameters, measured)["sweep"] == 6 * (2 * 9 + 6) * MB
    # A trial has one thread where a worker has two.
    assert values(volumes.time_lines, volume, parameters, measured)["tuning"] == pytest.approx(6 * 40 * 1.6 / 3)
    parameters["tuning"] = replace(parameters["tuning"], trials="trainer")
    # The two workers of a trainer share the batch; it takes 15 s to start.
    found = values(volumes.time_lines, volume, parameters, measured)
    assert found["tuning"] == pytest.approx(6 * (15 + 40 * 0.8 / 2))
    parameters["tuning"] = replace(parameters["tuning"], num_trials=0)
    assert "tuning" not in values(volumes.time_lines, volume, parameters, measured)


def test_memory_grows_with_the_tables_and_the_workers():
    parameters, measured = hand_typed()
    found = values(volumes.memory_lines, Volume(10, 300, 60), parameters, measured)
    # Eight scenes more than were measured, of 10 MB each.
    assert found["ingestion and annotation"] == (300 + 2 * 80) * MB
    assert found["training"] == 2 * (900 + 80) * MB
    assert found["export and evaluation"] == (500 + 80) * MB
    measured["training"]["device_bytes"] = 5 * 10**9
    lines = list(volumes.memory_lines(Volume(10, 300, 60), parameters, measured))
    assert estimate.total(lines, "memory") == 2 * 980 * MB, "memory of a GPU is not the machine's"


def test_what_does_not_fit_is_said_with_both_numbers():
    lines = [
        Line("disk", "shards", 300e9, "exact"),
        Line("disk", "models", 10e9, "measured"),
        Line("memory", "training", 9e9, "measured"),
        Line("memory", "ingestion", 8e9, "measured"),
    ]
    (warning,) = estimate.shortages(lines, {"disk": int(53e9), "memory": int(10e9)})
    assert warning.startswith("needs 310.0 GB of disk, 53.0 GB free: ")
    assert estimate.shortages(lines, {"disk": int(320e9), "memory": int(10e9)}) == []


def test_a_busy_machine_is_said_to_be_slower_than_it_could_be():
    assert estimate.busyness(3.9, 2) == []
    (warning,) = estimate.busyness(12.0, 2)
    assert "load 12.0 on 2 cores" in warning


@pytest.mark.parametrize(
    ("value", "quantity", "text"),
    [
        (1.5e9, "disk", "1.5 GB"),
        (2.5e6, "memory", "2.5 MB"),
        (500, "disk", "0.5 kB"),
        (59, "time", "59.0 s"),
        (90, "time", "1.5 min"),
        (5400, "time", "1.5 h"),
    ],
)
def test_numbers_have_a_unit_that_suits_them(value, quantity, text):
    assert estimate.readable(value, quantity) == text


def test_recordings_are_counted_from_their_tables(tmp_path):
    root = make_root(tmp_path)
    # scene-0061 is official mini_train, scene-0103 mini_val.
    assert volumes.recorded_volume(recordings(), root, "val") == Volume(2, 2 * NUM_SAMPLES, NUM_SAMPLES)
    assert volumes.recorded_volume(recordings(max_scenes=1), root, "val") == Volume(1, NUM_SAMPLES, 0)
    with pytest.raises(ValueError, match=r"scene\.json is missing"):
        volumes.recorded_volume(recordings(), tmp_path / "nowhere", "val")


def test_a_world_is_counted_from_its_parameters():
    assert volumes.world_volume(32, 10, 30, "val") == Volume(42, 1260, 300)
    assert volumes.world_volume(32, 10, 30, "train").num_held_out == 960


def test_ticks_tell_what_one_costs_from_what_all_share(monkeypatch):
    clock = iter([0.0, 5.0, 7.0, 9.0, 10.0])
    monkeypatch.setattr(probe.time, "perf_counter", lambda: next(clock))
    ticks = probe.Ticks()
    for _ in range(3):
        ticks()
    # Four of the ten seconds are two further items; the first cost two as well.
    assert ticks.facts() == {"each_s": 2.0, "fixed_s": 4.0}


def recorded_project(root: Path, monkeypatch) -> Project:
    monkeypatch.setenv("DIMA_DATAROOT", str(root))
    return Project(
        root=root,
        environment="hand",
        facts={"generates_world": False, "data_dir": "out"},
        parameters={"ingestion": recordings(image_height=16, image_width=32), "annotation": AnnotationConfig()},
    )


def test_data_is_measured_by_making_it(tmp_path, monkeypatch):
    root = make_root(tmp_path / "root")
    folder = tmp_path / "made"
    folder.mkdir()
    facts = probe.measure_data(recorded_project(root, monkeypatch), folder)
    assert (facts["num_scenes"], facts["num_samples"]) == (2, 2 * NUM_SAMPLES)
    assert "world" not in facts
    volume = Volume(2, 2 * NUM_SAMPLES, NUM_SAMPLES)
    shards = sum(path.stat().st_size for path in (folder / "shards").glob("*.npy"))
    assert volumes.shard_bytes(volume, (16, 32)) == shards
    assert facts["tables"]["bytes"] == sum(path.stat().st_size for path in (folder / "tables").iterdir())
    assert 0 < facts["tables"]["each_bytes"] < facts["tables"]["bytes"]
    assert facts["ingestion"]["each_s"] > 0 and facts["annotation"]["each_s"] > 0
    assert facts["frames_bytes"] > 0


def test_large_images_are_kept_as_jpeg_and_take_a_share_of_their_pixels():
    parameters, measured = hand_typed()
    sizes = {}
    for encoding in ("raw", "jpeg"):
        changed = {**parameters, "ingestion": recordings(image_height=10, image_width=20, image_encoding=encoding)}
        lines = volumes.disk_lines(Volume(2, 40, 20), changed, measured)
        sizes[encoding] = next(line for line in lines if line.item == "image shards")
    assert sizes["raw"].basis == "exact" and sizes["jpeg"].basis == "assumed"
    assert sizes["jpeg"].value == pytest.approx(volumes.JPEG_SHARE * sizes["raw"].value)


def test_a_measurement_that_fails_says_why(tmp_path, monkeypatch):
    monkeypatch.delenv("KEDRO_LOGGING_CONFIG", raising=False)  # a path in the project, which this folder is not
    somewhere = SimpleNamespace(environment="nowhere", root=tmp_path)
    with pytest.raises(ValueError, match=r"measuring data failed: .*is in no Kedro project"):
        probe.run_part("data", somewhere, tmp_path)


def test_the_command_writes_what_it_shows(tmp_path, monkeypatch):
    parameters, measured = hand_typed()
    distillation = replace(parameters["distillation"], teacher={"name": "causal_lm"})
    here = Project(
        root=tmp_path,
        environment="nuscenes",
        facts={"generates_world": False, "data_dir": "data"},
        parameters={**parameters, "distillation": distillation},
    )
    monkeypatch.setenv("DIMA_DATAROOT", str(make_root(tmp_path / "root")))
    monkeypatch.setattr(estimate, "load_project", lambda environment: here)
    monkeypatch.setattr(estimate, "measure", lambda _: measured)
    monkeypatch.setattr(estimate.os, "getloadavg", lambda: (0.0, 0.0, 0.0))
    monkeypatch.setattr(estimate, "free_bytes", lambda _: {"disk": 10**15, "memory": 100 * MB})
    result = CliRunner().invoke(main, ["estimate", "--env", "nuscenes", "--json", str(tmp_path / "found.json")])
    assert result.exit_code == 0, result.output
    assert "warning: needs 1.8 GB of memory, 0.1 GB free" in " ".join(result.output.split())
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["volume"]["num_samples"] == 2 * NUM_SAMPLES
    assert {line["quantity"] for line in found["lines"]} == {"disk", "memory", "time"}
    assert len(found["warnings"]) == 1


def test_without_a_teacher_there_is_nothing_to_estimate(tmp_path, monkeypatch):
    parameters, _ = hand_typed()
    here = Project(root=tmp_path, environment="x", facts={}, parameters=parameters)
    monkeypatch.setattr(estimate, "load_project", lambda environment: here)
    result = CliRunner().invoke(main, ["estimate"])
    assert result.exit_code == 1
    assert "distillation.teacher is null" in result.output
