"""A Ray of three CPUs for the tests that train in its workers."""

import pytest
import ray

from dima_pipeline.distributed.ray_start import start_ray
from dima_pipeline.storage.runtime import RuntimeConfig


@pytest.fixture(scope="module")
def local_ray(tmp_path_factory):
    patch = pytest.MonkeyPatch()
    patch.setenv("RAY_AUTH_MODE", "disabled")
    patch.delenv("RAY_ADDRESS", raising=False)
    start_ray(RuntimeConfig(work_dir=str(tmp_path_factory.mktemp("ray_work")), num_cpus=3))
    yield
    ray.shutdown()
    patch.undo()
