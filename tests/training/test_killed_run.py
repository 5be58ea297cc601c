"""The loop killed with SIGKILL at a random step and while it writes a checkpoint: it ends as if nothing had been."""

import os
import random

import pytest
import torch

from dima_pipeline.training.loop import read_log
from dima_pipeline.training.runtime import LocalRuntime
from dima_pipeline.training.stages import load_planner, train_stage
from training_runs import EVERY, STAGE, has_logged, is_writing, lines, lost_steps, make_spec, start, until


def killed_when(folder, is_time):
    process = start(folder, "local")
    try:
        until(is_time, process, folder)
    finally:
        process.kill()
        process.wait()


@pytest.mark.slow
def test_a_run_that_is_killed_twice_ends_with_the_weights_and_losses_of_an_unbroken_one(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "fsync", os.fsync)  # put back what the planner changes
    (tmp_path / "broken").mkdir()
    broken, whole = make_spec(tmp_path / "broken"), make_spec(tmp_path / "whole")
    step = random.Random(0).randrange(7, 20)
    killed_when(tmp_path / "broken", lambda: has_logged(broken, step))
    first = lines(broken)
    killed_when(tmp_path / "broken", lambda: is_writing(broken, after_step=30))
    second = lines(broken)
    for spec in (broken, whole):
        train_stage(spec, LocalRuntime())
    assert 0 < lost_steps(first, lines(broken)) <= EVERY
    assert 0 < lost_steps(second, lines(broken)) <= EVERY
    logs = [[(line["step"], line["terms"]) for line in read_log(spec.log_path)] for spec in (broken, whole)]
    assert logs[0] == logs[1] and len(logs[0]) == STAGE["num_steps"]
    ends = [load_planner(spec.model_dir)[0].state_dict() for spec in (broken, whole)]
    assert all(torch.equal(ends[0][name], ends[1][name]) for name in ends[1])
