"""Five SIGKILLs of a worker and five of the driver, two of them while a checkpoint is written: only time is lost."""

import logging
import os
import random

import pytest
import torch

from dima_pipeline.training.loop import read_log
from dima_pipeline.training.runtime import LocalRuntime
from dima_pipeline.training.stages import load_planner, train_stage
from training_runs import (
    EVERY,
    has_logged,
    is_writing,
    kill_worker,
    lines,
    lost_steps,
    make_spec,
    start,
    until,
    wait_for_end_of,
    worker_pid,
)

pytestmark = pytest.mark.slow
logger = logging.getLogger(__name__)

NUM_KILLS = 5
OPTIONS = {"num_steps": 200, "pause_s": 0.1}
"""Slow enough that a worker whose driver was killed does not finish before it ends too."""
WRITING = 2
"""Which kill waits for a checkpoint that is being written."""


def moments(seed):
    """Steps at random, one in each fifth of the run."""
    rng, part = random.Random(seed), OPTIONS["num_steps"] // NUM_KILLS
    return [number * part + rng.randrange(1, part // 2) for number in range(NUM_KILLS)]


def is_time(spec, number, step):
    return is_writing(spec, step) if number == WRITING else has_logged(spec, step)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The unbroken run, in this process."""
    before, fsync = torch.get_num_threads(), os.fsync
    torch.set_num_threads(1)
    spec = make_spec(tmp_path_factory.mktemp("whole"), **OPTIONS)
    train_stage(spec, LocalRuntime())
    os.fsync = fsync
    torch.set_num_threads(before)
    return spec


def check_end(spec, whole, at_kills):
    assert len(at_kills) == NUM_KILLS
    lost = [lost_steps(at_kill, lines(spec)) for at_kill in at_kills]
    assert max(lost) <= EVERY
    logs = [[(line["step"], line["terms"]) for line in read_log(one.log_path)] for one in (spec, whole)]
    assert logs[0] == logs[1]
    ends = [load_planner(one.model_dir)[0].state_dict() for one in (spec, whole)]
    apart = max(float((ends[0][name] - ends[1][name]).abs().max()) for name in ends[1])
    logger.info("steps lost: %s, weights apart: %s", lost, apart)
    assert apart == 0.0


def test_five_kills_of_the_driver(whole, tmp_path):
    spec, at_kills = make_spec(tmp_path, **OPTIONS), []
    for number, step in enumerate(moments(1)):
        process = start(tmp_path, "ray", **OPTIONS)
        try:
            until(lambda number=number, step=step: is_time(spec, number, step), process, tmp_path)
        finally:
            process.kill()
            process.wait()
        was_at = len(lines(spec))
        wait_for_end_of(worker_pid(spec))
        at_kills.append(lines(spec))
        logger.info("driver killed after step %d, its worker ended after step %d", was_at - 1, len(at_kills[-1]) - 1)
        assert len(at_kills[-1]) < OPTIONS["num_steps"], "the worker finished alone"
    assert start(tmp_path, "ray", **OPTIONS).wait(timeout=300) == 0, (tmp_path / "output.txt").read_text()
    check_end(spec, whole, at_kills)


def test_five_kills_of_the_worker(whole, tmp_path):
    spec, at_kills, pids = make_spec(tmp_path, **OPTIONS), [], []
    process = start(tmp_path, "ray", **OPTIONS)
    try:
        for number, step in enumerate(moments(2)):
            until(
                lambda number=number, step=step: is_time(spec, number, step) and worker_pid(spec) not in pids,
                process,
                tmp_path,
            )
            pids.append(kill_worker(spec))
            at_kills.append(lines(spec))
        assert process.wait(timeout=300) == 0, (tmp_path / "output.txt").read_text()
    finally:
        process.kill()
        process.wait()
    assert len(set(pids)) == NUM_KILLS
    check_end(spec, whole, at_kills)
