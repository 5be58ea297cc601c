"""A Ray of three CPUs for the tests that train in its workers."""

import pytest
import ray
import torch

from dima_pipeline.distributed.ray_start import start_ray
from dima_pipeline.storage.runtime import RuntimeConfig


@pytest.fixture(autouse=True)
def one_thread():
    """As many as a worker has: on some processors sums differ in the last bit with the number of threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def local_ray(tmp_path_factory):
    patch = pytest.MonkeyPatch()
    patch.setenv("RAY_AUTH_MODE", "disabled")
    patch.delenv("RAY_ADDRESS", raising=False)
    start_ray(RuntimeConfig(work_dir=str(tmp_path_factory.mktemp("ray_work")), num_cpus=3))
    yield
    ray.shutdown()
    patch.undo()
