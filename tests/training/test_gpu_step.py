"""The benchmark of the paper-scale step, at the demo's sizes on the CPU: it measures what it says, of the real loop."""

import json
from pathlib import Path
from typing import Any

import gpu_step
import pytest
import torch


@pytest.mark.slow
def test_a_tiny_run_measures_steps_shares_and_the_student(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--num-steps", "1", "--num-runs", "2", "--skip-compile", "--json", str(tmp_path / "found.json")]
    found = gpu_step.main(["--scale", "tiny", "--device", "cpu", *options])
    assert [row["gradient_checkpointing"] for row in found["training"]] == [False, True]
    for row in found["training"]:
        assert sum(row["shares"].values()) == pytest.approx(1)
        assert row["shares"].keys() == {"encode", "plan", "losses", "teacher", "tasks", "backward", "optimiser", "rest"}
        assert 0 < row["slowest_samples_per_s"] <= row["samples_per_s"] <= row["fastest_samples_per_s"]
        assert row["peak_memory_gib"] is None, "memory is that of a GPU"
    assert {"torch", "torch bf16", "onnx CPUExecutionProvider"} == found["student"].keys()
    assert all(isinstance(value, float) and value > 0 for value in found["student"].values()), found["student"]
    assert json.loads((tmp_path / "found.json").read_text()) == found
    assert "not measured" in capsys.readouterr().out


def test_a_part_within_a_part_counts_once() -> None:
    now = iter([0.0, 1.0, 4.0, 10.0])
    watch = gpu_step.Stopwatch(lambda: None, clock=lambda: next(now))
    with watch.time("outer"), watch.time("inner"):
        pass
    assert watch.seconds == {"outer": 7.0, "inner": 3.0}


def test_the_paper_scale_is_vad_tiny_and_seven_billion_weights() -> None:
    model, config = gpu_step.build_model("paper", torch.device("meta"))
    assert config.size == "vad_tiny" and len(model.tasks) == 4
    assert 6.7e9 < sum(p.numel() for p in model.teacher.language_model.parameters() if not p.requires_grad) < 6.8e9


def test_a_run_that_does_not_fit_is_told_and_the_others_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def measure(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB\nmore")

    monkeypatch.setattr(gpu_step, "measure_training", measure)
    model: Any = torch.nn.Linear(1, 1)
    found = gpu_step.try_training(model, *[None] * 3, saves_memory=False)  # type: ignore[arg-type]
    assert found == {
        "gradient_checkpointing": False,
        "out_of_memory": "CUDA out of memory. Tried to allocate 2 GiB",
    }


def test_seven_billion_weights_are_refused_without_a_gpu(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        gpu_step.main(["--scale", "paper", "--device", "cpu"])
    assert "--scale tiny runs here" in capsys.readouterr().err
