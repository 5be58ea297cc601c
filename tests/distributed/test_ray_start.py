"""How Ray is started: on loopback, with its token, without requests; and what is said of it. No Ray runs here."""

import logging
import os
import stat
from types import SimpleNamespace

import pytest
import ray
from ray._private import ray_constants, services

from dima_pipeline.distributed import ray_start
from dima_pipeline.distributed.ray_start import ENVIRONMENT, _only_this_machine, start_ray
from dima_pipeline.storage.runtime import RuntimeConfig

DASHBOARD, RAYLET = ray_constants.PROCESS_TYPE_DASHBOARD, ray_constants.PROCESS_TYPE_RAYLET


@pytest.fixture
def home(monkeypatch, tmp_path):
    """An empty home, and an environment that says nothing of Ray and is put back as it was."""
    for name in (*ENVIRONMENT, "RAY_ADDRESS", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    return tmp_path


@pytest.fixture
def init_calls(monkeypatch, home):
    """Options of each call of ``ray.init``, which does nothing but find port 8265 taken."""
    calls = []

    def init(**options):
        calls.append({**options, "has_clusters": ray_constants.ENABLE_RAY_CLUSTER})
        return SimpleNamespace(dashboard_url="127.0.0.1:8266" if options.get("include_dashboard") else "")

    monkeypatch.setattr(ray, "init", init)
    return calls


def test_every_process_is_told_of_loopback_and_only_the_dashboard_is_kept_from_requests(monkeypatch):
    started = []
    monkeypatch.setattr(services, "start_ray_process", lambda command, kind, **options: started.append(options))
    before = services.start_ray_process, ray_constants.ENABLE_RAY_CLUSTER
    with _only_this_machine():
        services.start_ray_process(["x"], DASHBOARD, env_updates={"a": "b"})
        services.start_ray_process(["x"], RAYLET)
    assert (services.start_ray_process, ray_constants.ENABLE_RAY_CLUSTER) == before
    dashboard, raylet = (options["env_updates"] for options in started)
    assert dashboard["a"] == "b"
    assert dashboard["http_proxy"] == dashboard["https_proxy"] == "http://127.0.0.1:9"
    assert "127.0.0.1" in dashboard["no_proxy"]
    assert raylet["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] == "0" and raylet["GLOO_SOCKET_IFNAME"] in ("lo", "lo0")
    assert "http_proxy" not in raylet


def test_a_cluster_is_used_where_the_environment_names_one(monkeypatch, home, init_calls):
    monkeypatch.setenv("RAY_ADDRESS", "ray-head:6379")
    start_ray(RuntimeConfig(work_dir="w", num_cpus=2))
    (call,) = init_calls
    assert "num_cpus" not in call and "include_dashboard" not in call
    assert call["has_clusters"] == ray_constants.ENABLE_RAY_CLUSTER
    assert os.environ["RAY_AUTH_MODE"] == "token"
    assert not (home / ".ray").exists()


def test_a_ray_of_our_own_gets_what_the_configuration_says_and_stays_on_loopback(init_calls):
    start_ray(RuntimeConfig(work_dir="w", num_cpus=2, use_dashboard=True, object_store_mb=100))
    (call,) = init_calls
    assert call["num_cpus"] == 2 and call["object_store_memory"] == 100 * 2**20
    assert call["include_dashboard"] and call["dashboard_host"] == "127.0.0.1"
    assert call["has_clusters"] is False


def test_where_the_dashboard_is_and_how_to_log_in_is_said_once_with_its_true_port(init_calls, caplog):
    caplog.set_level(logging.INFO)
    start_ray(RuntimeConfig(work_dir="w", use_dashboard=True))
    assert [record.getMessage() for record in caplog.records] == [
        "Ray dashboard while this run lasts: http://127.0.0.1:8266 "
        "(log in with the token that `ray get-auth-token` prints)"
    ]


def test_without_a_dashboard_nothing_is_said(init_calls, caplog):
    caplog.set_level(logging.INFO)
    start_ray(RuntimeConfig(work_dir="w"))
    assert not caplog.records


def test_the_token_is_for_its_owner_alone_from_the_start_and_an_old_one_is_closed(home, init_calls):
    token = home / ".ray" / "auth_token"
    start_ray(RuntimeConfig(work_dir="w"))
    assert stat.S_IMODE(token.stat().st_mode) == 0o600
    token.write_text("abc")
    token.chmod(0o644)
    start_ray(RuntimeConfig(work_dir="w"))
    assert stat.S_IMODE(token.stat().st_mode) == 0o600 and token.read_text() == "abc"


@pytest.mark.parametrize(
    ("name", "value"), [("RAY_AUTH_MODE", "disabled"), ("RAY_AUTH_TOKEN", "abc"), ("RAY_AUTH_TOKEN_PATH", "/x")]
)
def test_a_users_own_way_with_tokens_is_left_alone(monkeypatch, home, init_calls, name, value):
    monkeypatch.setenv(name, value)
    start_ray(RuntimeConfig(work_dir="w"))
    assert os.environ[name] == value and not (home / ".ray").exists()


def test_what_the_user_says_of_ray_counts_more_than_what_we_say(monkeypatch, home):
    monkeypatch.setattr(ray, "is_initialized", lambda: True)
    monkeypatch.setattr(ray, "init", lambda **options: pytest.fail("Ray runs already"))
    monkeypatch.setenv("RAY_DEDUP_LOGS", "0")
    start_ray(RuntimeConfig(work_dir="w"))
    assert {name: os.environ[name] for name in ENVIRONMENT} == {**ray_start.ENVIRONMENT, "RAY_DEDUP_LOGS": "0"}
    assert (ENVIRONMENT["RAY_AUTH_MODE"], ENVIRONMENT["RAY_USAGE_STATS_ENABLED"]) == ("token", "0")
