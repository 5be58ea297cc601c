"""What is seen from outside while two workers train: one Ray with its dashboard, watched as the training goes on."""

import json
import logging
import re
import stat
import urllib.error
import urllib.request
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
import ray
from ray._raylet import AuthenticationTokenLoader

from dima_pipeline.distributed import ray_start
from dima_pipeline.distributed.ray_runtime import launch
from dima_pipeline.distributed.ray_start import ENVIRONMENT, start_ray
from dima_pipeline.storage.runtime import RuntimeConfig
from dima_pipeline.training.config import parse_distillation
from dima_pipeline.training.loop import read_log
from dima_pipeline.training.stages import plan_stages
from training_cases import make_training_tables, write_shards

RUNS = "/api/train/v2/runs/v1"
SAMPLE = re.compile(r"^ray_(dima_\w+){(.*)} (\S+)$", re.MULTILINE)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """An empty home and an environment that says nothing of Ray, but that metrics are wanted each second."""
    patch = pytest.MonkeyPatch()
    for name in (*ENVIRONMENT, "RAY_ADDRESS", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        patch.setenv(name, "")
        patch.delenv(name)
    patch.setenv("RAY_metrics_report_interval_ms", "1000")
    patch.setenv("HOME", str(tmp_path_factory.mktemp("home")))
    AuthenticationTokenLoader.instance().reset_cache()
    yield Path.home()
    ray.shutdown()
    patch.undo()
    AuthenticationTokenLoader.instance().reset_cache()


@pytest.fixture(scope="module")
def seen(home, tmp_path_factory):
    """All that was seen: sockets, metrics, Train runs while it trained and after, what was logged."""
    tables, directory = make_training_tables(), tmp_path_factory.mktemp("dashboard")
    write_shards(tables, directory / "shards")
    stage = {"num_steps": 40, "batch_size": 4, "checkpoint_every": 20}
    config = parse_distillation({"planner": {"name": "doubles.fake_planner", "pause_s": 0.1}, "pretraining": stage})
    spec = plan_stages(config, tables, directory / "shards", directory / "work")["pretraining"]
    runtime = RuntimeConfig(work_dir=str(directory / "work"), num_cpus=3, num_workers=2, use_dashboard=True)
    seen = SimpleNamespace(spec=spec, sockets=set(), samples={}, running=[])
    with logged() as seen.messages:
        start_ray(runtime)
    seen.token = (home / ".ray" / "auth_token").read_text()
    seen.url = re.search(r"http://[\d.:]+", seen.messages[-1]).group()
    metrics_url = f"http://127.0.0.1:{ray.nodes()[0]['MetricsExportPort']}/metrics"

    def look(progress):
        seen.sockets |= listening()
        seen.running.append(json.loads(get(seen.url + RUNS, seen.token)[1])["train_runs"][0])
        found = SAMPLE.findall(get(metrics_url)[1])
        seen.samples |= {(name, *sorted(re.findall(r'(\w+)="([^"]*)"', tags))): float(v) for name, tags, v in found}

    launch([spec], runtime, show=look)
    seen.finished = json.loads(get(seen.url + RUNS, seen.token)[1])["train_runs"][0]
    return seen


@contextmanager
def logged():
    """A list that fills with the messages of ``ray_start``."""
    messages = []
    handler, logger = logging.Handler(), logging.getLogger(ray_start.__name__)
    handler.emit = lambda record: messages.append(record.getMessage())
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    yield messages
    logger.removeHandler(handler)
    logger.setLevel(level)


def get(url, token=None):
    """Status and text of an answer."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=20) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, ""


def listening():
    """(process, address, port) of what this process and its children listen on."""
    here = psutil.Process()
    names = {process.pid: process.name() for process in [here, *here.children(recursive=True)]}
    sockets = psutil.net_connections("tcp")
    return {(names[s.pid], *s.laddr) for s in sockets if s.status == psutil.CONN_LISTEN and s.pid in names}


def values(seen, gauge, **tags):
    """The last value of a gauge by its tags, of the samples that have ``tags``."""
    return {
        tuple(value for name, value in sample if name in ("term", "rank")): number
        for (found, *sample), number in seen.samples.items()
        if found == gauge and tags.items() <= dict(sample).items()
    }


@pytest.mark.parametrize("path", ["/api/version", "/api/jobs/", RUNS, "/api/v0/actors", "/nodes?view=summary"])
def test_the_dashboard_answers_nobody_without_the_token(seen, path):
    assert get(seen.url + path)[0] == 401
    assert get(seen.url + path, "0" * 64)[0] in (401, 403)
    assert get(seen.url + path, seen.token)[0] == 200


def test_the_token_is_for_its_owner_alone_and_is_not_logged(home, seen):
    assert stat.S_IMODE((home / ".ray" / "auth_token").stat().st_mode) == 0o600
    assert len(seen.token) == 64 and seen.token not in "".join(seen.messages)


def test_dashboard_workers_and_everything_else_listen_on_loopback_only(seen):
    addresses = {address for _, address, _ in seen.sockets}
    assert addresses == {"127.0.0.1", "::ffff:127.0.0.1"}
    assert int(seen.url.rpartition(":")[2]) in {port for _, _, port in seen.sockets}
    names = {name for name, _, _ in seen.sockets}
    assert {"gcs_server", "raylet"} <= names and any("TrainWo" in name for name in names)


def test_the_train_run_is_shown_by_a_readable_name_and_its_status(seen):
    assert re.fullmatch(r"distillation-[0-9a-f]{8}", seen.finished["name"])
    assert "RUNNING" in [run["status"] for run in seen.running]
    assert seen.finished["status"] == "FINISHED"


def test_loss_terms_are_metrics_of_the_stage_and_run_with_values_of_the_log(seen):
    losses = values(seen, "dima_loss", stage="pretraining", run=seen.spec.name)
    assert losses.keys() == {("planning/trajectory_l1",), ("total",)}
    assert losses["total",] in [line["terms"]["total"] for line in read_log(seen.spec.log_path)]


def test_throughput_of_all_and_memory_of_each_worker_are_metrics(seen):
    (throughput,) = values(seen, "dima_samples_per_second", stage="pretraining").values()
    assert 4 < throughput < 4 / 0.1
    assert values(seen, "dima_resident_memory_bytes").keys() == {("0",), ("1",)}
    assert min(values(seen, "dima_resident_memory_bytes").values()) > 50e6
    assert values(seen, "dima_data_wait_seconds").keys() == {("0",), ("1",)}
    (step,) = values(seen, "dima_step").values()
    assert 0 < step < 40
