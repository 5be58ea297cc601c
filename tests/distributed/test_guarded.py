"""The driver's part: a verdict in place of Ray's error, and the end of a worker whose process is stopped."""

import os
import signal
import socket
import subprocess
import sys
import time

import psutil
import pytest
from ray.train import TrainingFailedError

from dima_pipeline.distributed.watchdog import guarded
from dima_pipeline.training.beats import FOLDER, Beat, write_beat
from dima_pipeline.training.verdict import publish_verdict, read_verdict


def test_what_an_earlier_run_left_is_cleared_and_a_run_without_faults_is_left_alone(tmp_path):
    publish_verdict(tmp_path, "rank 3 hung yesterday")
    with guarded([tmp_path], 1, 60.0):
        assert read_verdict(tmp_path) is None


def test_dead_workers_are_told_by_the_verdict_where_there_is_one_and_by_ray_where_there_is_none(tmp_path):
    with pytest.raises(ValueError, match="rank 1 hangs"), guarded([tmp_path / "a", tmp_path / "b"], 2, 60.0):
        publish_verdict(tmp_path / "b", "rank 1 hangs")
        publish_verdict(tmp_path / "b", "rank 0 does not: the first verdict stays")
        raise TrainingFailedError("two workers died")
    with pytest.raises(TrainingFailedError), guarded([tmp_path / "a"], 2, 60.0):
        raise TrainingFailedError("two workers died")


def frozen_beat(process, **options):
    facts = {"rank": 0, "step": 4, "phase": "forward", "num_beats": 1, "since_s": 0.1, "limit_s": 0.5, "num_written": 9}
    place = {"host": socket.gethostname(), "pid": process.pid, "created_s": process.create_time()}
    return Beat(**facts, **{**place, **options}, num_exchanges={"exchange": 4, "report": 0})


@pytest.fixture
def stopped():
    """A process that is there and does not run."""
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(100)"])
    os.kill(process.pid, signal.SIGSTOP)
    yield psutil.Process(process.pid)
    process.kill()
    process.wait()


def ended_within(directory, process, beat, seconds):
    with guarded([directory], 1, 0.5):
        (directory / FOLDER).mkdir(parents=True)
        write_beat(directory, beat)
        deadline_s = time.monotonic() + seconds
        while process.status() != psutil.STATUS_ZOMBIE and time.monotonic() < deadline_s:
            time.sleep(0.02)
    return process.status() == psutil.STATUS_ZOMBIE


def test_a_stopped_worker_is_named_and_killed(tmp_path, stopped):
    assert ended_within(tmp_path, stopped, frozen_beat(stopped), 30)
    assert "rank 0" in read_verdict(tmp_path) and "does not run any more" in read_verdict(tmp_path)


@pytest.mark.parametrize("other", [{"host": "elsewhere"}, {"created_s": 0.0}])
def test_a_process_that_only_has_the_number_of_a_worker_is_left_alone(tmp_path, stopped, other):
    assert not ended_within(tmp_path, stopped, frozen_beat(stopped, **other), 2)
    assert read_verdict(tmp_path) is None
