"""How workers find each other: by a file on one machine, by the network on a cluster."""

from types import SimpleNamespace

import pytest
import ray
from ray.train.torch import TorchConfig

from dima_pipeline.distributed.rendezvous import LocalTorchConfig, torch_config


@pytest.mark.parametrize(
    ("address", "kind"), [("127.0.0.1", LocalTorchConfig), ("10.0.0.7", TorchConfig), ("fd00::2", TorchConfig)]
)
def test_only_where_all_of_ray_is_on_loopback_a_file_is_used(monkeypatch, tmp_path, address, kind):
    monkeypatch.setattr(ray.util, "get_node_ip_address", lambda: address)
    assert type(torch_config("cpu", tmp_path)) is kind
    assert [torch_config(device, tmp_path).backend for device in ("cpu", "cuda")] == ["gloo", "nccl"]


def test_workers_that_start_again_meet_at_another_file(monkeypatch, tmp_path):
    calls = []

    class Workers(SimpleNamespace):
        def __len__(self):
            return 2

    workers = Workers(
        execute=lambda function: None, execute_single_async=lambda rank, function, **group: calls.append(group)
    )
    monkeypatch.setattr(ray, "get", lambda futures: None)
    config = LocalTorchConfig("gloo", directory=str(tmp_path / "run"))
    for _ in range(2):
        config.backend_cls().on_start(workers, config)
    files = [call["init_method"] for call in calls]
    assert files[0] == files[1] != files[2] == files[3]
    assert all(file.startswith((tmp_path / "run").as_uri()) for file in files)
    assert [(call["world_rank"], call["world_size"]) for call in calls] == [(0, 2), (1, 2)] * 2
