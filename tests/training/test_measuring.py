"""The meter: throughput and waiting over the steps since it was read last, memory as it is."""

import psutil
import pytest
import torch

from dima_pipeline.training import measuring
from dima_pipeline.training.measuring import Meter


@pytest.fixture
def clock(monkeypatch):
    """Seconds that pass only when a test says so."""
    now = [100.0]
    monkeypatch.setattr(measuring.time, "perf_counter", lambda: now[0])
    return now


def test_throughput_counts_all_that_took_time_and_waiting_is_a_mean_over_steps(clock):
    meter = Meter(8, torch.device("cpu"))
    for waited_s in (0.5, 1.5):
        meter.step_done(waited_s)
    clock[0] += 4
    measured = meter.read()
    assert (measured["samples_per_second"], measured["data_wait_seconds"]) == (4.0, 1.0)
    assert measured["data_stall_share"] == 0.5


def test_each_reading_starts_anew(clock):
    meter = Meter(8, torch.device("cpu"))
    meter.step_done(3.0)
    clock[0] += 4
    meter.read()
    meter.step_done(0.25)
    clock[0] += 0.5
    measured = meter.read()
    assert (measured["samples_per_second"], measured["data_wait_seconds"]) == (16.0, 0.25)


def test_memory_is_that_of_this_process():
    meter = Meter(1, torch.device("cpu"))
    kept = torch.ones(2**24)
    meter.step_done(0.0)
    measured = meter.read()
    assert kept.nbytes < measured["resident_memory_bytes"] < 2 * psutil.Process().memory_info().rss
    assert "device_memory_bytes" not in measured


def test_on_a_gpu_its_memory_is_measured_too(monkeypatch):
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: {1: 12345}[device.index])
    meter = Meter(1, torch.device("cuda", 1))
    meter.step_done(0.0)
    assert meter.read()["device_memory_bytes"] == 12345
