"""Ray's dashboard process gets a closed proxy, the others what they had; afterwards Ray is as it was."""

from ray._private import ray_constants, services

from dima_pipeline.distributed.ray_runtime import _dashboard_stays_here


def test_only_the_dashboard_is_kept_from_requests(monkeypatch):
    started = []
    monkeypatch.setattr(services, "start_ray_process", lambda command, kind, **options: started.append((kind, options)))
    before = services.start_ray_process
    with _dashboard_stays_here():
        services.start_ray_process(["x"], ray_constants.PROCESS_TYPE_DASHBOARD, env_updates={"a": "b"})
        services.start_ray_process(["x"], ray_constants.PROCESS_TYPE_RAYLET, env_updates={"a": "b"})
    assert services.start_ray_process is before
    (_, dashboard), (_, raylet) = started
    assert dashboard["env_updates"]["a"] == "b"
    assert dashboard["env_updates"]["http_proxy"] == "http://127.0.0.1:9"
    assert "127.0.0.1" in dashboard["env_updates"]["no_proxy"]
    assert raylet["env_updates"] == {"a": "b"}
