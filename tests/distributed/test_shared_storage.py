"""On a cluster, a folder that some machine does not see is refused (``test_ray_runtime`` asks a real machine)."""

from pathlib import Path

import pytest
import ray

from dima_pipeline.distributed import shared_storage
from dima_pipeline.distributed.shared_storage import require_shared, unseen
from dima_pipeline.storage.runtime import RuntimeConfig


def test_a_file_that_is_not_there_or_says_something_else_is_unseen(tmp_path):
    (tmp_path / "a").write_text("one")
    right = shared_storage._digest(tmp_path / "a")
    expected = {str(tmp_path / "a"): right, str(tmp_path / "b"): right}
    assert unseen(expected) == [str(tmp_path / "b")]
    (tmp_path / "a").write_text("two")
    assert unseen(expected) == [str(tmp_path / "a"), str(tmp_path / "b")]


def test_one_machine_shares_with_nobody(monkeypatch):
    monkeypatch.setattr(ray, "nodes", lambda: [node("here", True), node("gone", False)])
    monkeypatch.setattr(shared_storage, "require_on", lambda *arguments: pytest.fail("asked"))
    require_shared(Path("/nowhere"), [])


def node(name, is_alive):
    return {"NodeID": name, "NodeManagerHostname": name, "Alive": is_alive}


@pytest.mark.parametrize(
    ("given", "path"),
    [("data/work", "data/work"), ("/mnt/work", "/mnt/work"), ("file:///mnt/my%20work", "/mnt/my work")],
)
def test_a_work_folder_is_a_path_or_a_file_uri(given, path):
    assert RuntimeConfig(work_dir=given).work_dir == path


@pytest.mark.parametrize("given", ["s3://bucket/work", "file://server/work"])
def test_a_work_folder_that_is_no_file_system_is_refused(given):
    with pytest.raises(ValueError, match="is no folder: checkpoints are renamed in place"):
        RuntimeConfig(work_dir=given)
