"""The isolated process for real: hostile and broken files, its limits, its environment; and what its end means."""

import json
import os
import pickle
import signal
from pathlib import Path

import pytest
import torch
from torch import nn

from dima_pipeline.export import foreign_process
from dima_pipeline.export.foreign_process import (
    Foreign,
    Limits,
    bare_environment,
    killed,
    opened,
    read_foreign,
    refused,
)
from foreign_files import Malicious, SmallVad, same, save, vad_checkpoint, with_pickle

MB = 10**6


def refusal(path: Path, **limits) -> str:
    """The message of a file that is refused; it is one line, names the file and gives no advice to be careless."""
    with pytest.raises(ValueError) as caught:
        read_foreign(path, Limits(**limits))
    message = str(caught.value)
    assert message.startswith(str(path))
    assert message.isprintable() and "weights_only" not in message and "Traceback" not in message
    return message


def left(folder: Path, monkeypatch) -> Path:
    """An empty folder for temporary files, to see that none stays."""
    place = folder / "temporary"
    place.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(place))
    return place


def test_a_checkpoint_of_mmdetection_is_read_whole_and_nothing_stays_behind(tmp_path, monkeypatch):
    place = left(tmp_path, monkeypatch)
    model = SmallVad()
    path = save(vad_checkpoint(model), tmp_path / "vad.pth")
    foreign = read_foreign(path, Limits())
    assert (foreign.path, foreign.wrapper) == ("state_dict", "module.")
    assert len(foreign.tensors) == len(model.state_dict()) + 1
    assert [name for name, _ in foreign.skipped] == ["meta", "optimizer"]
    assert foreign.tensors["img_backbone.bn1.num_batches_tracked"].shape == ()
    assert not list(place.iterdir())


@pytest.mark.parametrize("form", ["zip", "legacy", "pickle"])
def test_malicious_code_does_not_run_and_is_named(tmp_path, monkeypatch, form):
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    place, victim, path = left(tmp_path, monkeypatch), tmp_path / "victim", tmp_path / "evil.pth"
    content = {"state_dict": {"a": torch.zeros(2)}, "meta": Malicious(victim)}
    if form == "pickle":
        path.write_bytes(pickle.dumps(Malicious(victim), protocol=2))
    else:
        save(content, path, _use_new_zipfile_serialization=form == "zip")
    assert "posix.system" in refusal(path) or form == "pickle"
    assert not victim.exists()
    assert not list(place.iterdir())
    # The same file is a weapon: what would have happened without care.
    torch.load(path, weights_only=False) if form != "pickle" else pickle.loads(path.read_bytes())
    assert victim.exists()


def test_a_whole_module_is_refused_by_its_class(tmp_path):
    message = refusal(save(nn.Linear(2, 2), tmp_path / "module.pth"))
    assert "torch.nn.modules.linear.Linear" in message and "state_dict" in message


@pytest.mark.parametrize("keep", [600, 4000])
def test_a_file_cut_short_is_refused(tmp_path, keep):
    path = save({"a": torch.zeros(2000)}, tmp_path / "cut.pth")
    path.write_bytes(path.read_bytes()[:keep])
    assert "damaged" in refusal(path)


def test_a_file_of_something_else_is_refused(tmp_path):
    path = tmp_path / "page.pth"
    path.write_text("<html>404</html>")
    assert "no PyTorch checkpoint" in refusal(path)


def test_the_limit_of_memory_is_kept_and_said(tmp_path):
    path = save({"a": torch.zeros(20 * MB)}, tmp_path / "large.pth")
    assert "0.04 GB allowed: raise --memory" in refusal(path, memory_bytes=40 * MB)


def test_a_legacy_file_that_declares_a_huge_storage_is_refused(tmp_path):
    """The storage's length stands in the pickle, as text for numbers beyond 32 bits and 4 bytes here."""
    path = save({"a": torch.zeros(70_000)}, tmp_path / "huge.pth", _use_new_zipfile_serialization=False)
    small, huge = (70_000).to_bytes(4, "little"), (2**31 - 1).to_bytes(4, "little")
    content = path.read_bytes()
    assert small in content
    path.write_bytes(content.replace(small, huge))
    assert "GB allowed" in refusal(path, memory_bytes=200 * MB)


def test_the_limit_of_computing_time_is_kept_and_said(tmp_path):
    path = with_pickle(b"\x80\x02" + b"N" * 30_000_000 + b".", tmp_path / "bomb.pth")
    assert "more than 1 s of computing" in refusal(path, cpu_s=1)


def test_the_limit_of_time_is_kept_and_said(tmp_path):
    assert "more than 0.05 s" in refusal(save({"a": torch.zeros(1)}, tmp_path / "a.pth"), wall_s=0.05)


def test_what_is_no_file_is_refused_before_it_is_read(tmp_path):
    (tmp_path / "folder.pth").mkdir()
    (tmp_path / "empty.pth").touch()
    (tmp_path / "one.pth").symlink_to(tmp_path / "two.pth")
    (tmp_path / "two.pth").symlink_to(tmp_path / "one.pth")
    os.mkfifo(tmp_path / "pipe.pth")
    assert "is a folder" in refusal(tmp_path / "folder.pth")
    assert "empty (0 bytes)" in refusal(tmp_path / "empty.pth")
    assert "Too many levels of symbolic links" in refusal(tmp_path / "one.pth")
    assert "no ordinary file" in refusal(tmp_path / "pipe.pth")
    assert "No such file" in refusal(tmp_path / "nowhere.pth")


SPY = """
import json, os
told = {"home": os.environ["HOME"] == os.getcwd(), "names": sorted(os.environ), "files": os.listdir()}
json.dump({"error": "RefusedError", "message": json.dumps(told)}, open("refusal.json", "w"))
raise SystemExit(1)
"""


def test_the_process_gets_nothing_of_our_environment_and_an_empty_folder(tmp_path, monkeypatch):
    for name in ("MY_TOKEN", "HTTPS_PROXY", "PYTHONPATH", "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"):
        monkeypatch.setenv(name, "secret")
    spy = tmp_path / "spy.py"
    spy.write_text(SPY)
    monkeypatch.setattr(foreign_process, "READER", spy)
    monkeypatch.setattr(foreign_process, "printable", str)
    path = save({"a": torch.zeros(1)}, tmp_path / "a.pth")
    told = json.loads(refusal(path).removeprefix(f"{path}: "))
    assert told["home"] and told["files"] == ["stderr"]
    assert set(told["names"]) <= {*bare_environment(tmp_path), "LC_CTYPE", "PWD", "SHLVL", "_"}


def test_a_file_that_changes_while_it_is_read_is_refused(tmp_path, monkeypatch):
    path = save({"a": torch.zeros(1)}, tmp_path / "a.pth")

    def changing(*_):
        path.write_bytes(path.read_bytes() + b"x")

    monkeypatch.setattr(foreign_process, "run_reader", changing)
    with pytest.raises(ValueError, match="was changed while it was read"):
        read_foreign(path, Limits())


def reason(folder: Path, error: str, message: str) -> str:
    (folder / "refusal.json").write_text(json.dumps({"error": error, "message": message}))
    return refused(folder, 100 * MB)


def test_what_torch_says_is_put_into_our_words(tmp_path):
    assert "TorchScript program" in reason(tmp_path, "RuntimeError", "Cannot use it with TorchScript archives")
    assert "oldest format" in reason(tmp_path, "RuntimeError", "files saved in the legacy .tar format")
    assert "0.10 GB allowed" in reason(tmp_path, "MemoryError", "")
    with pytest.raises(ValueError, match=r"disk of .* is full"):
        reason(tmp_path, "SafetensorError", "No space left on device (os error 28)")


def test_a_reason_cannot_write_on_the_terminal(tmp_path):
    said = reason(tmp_path, "KeyError", "\x1b[2Jgone\x07" + "x" * 1000)
    assert said.isprintable() and len(said) < 300


def test_a_reader_without_a_reason_is_quoted(tmp_path):
    (tmp_path / "stderr").write_text("first\nModuleNotFoundError: No module named 'torch'\n")
    assert "No module named 'torch'" in refused(tmp_path, 1)


def test_each_way_to_be_killed_has_its_words():
    assert "raise --seconds" in killed(signal.SIGXCPU, Limits(cpu_s=3))
    assert "too little memory" in killed(signal.SIGKILL, Limits())
    assert "SIGSEGV" in killed(signal.SIGSEGV, Limits())


@pytest.mark.parametrize(
    "facts",
    [
        "not json",
        '{"path": [], "wrapper": "", "order": ["b"], "skipped": []}',
        '{"path": [], "wrapper": "", "order": ["a"], "skipped": [["x"]]}',
        '{"path": [], "wrapper": 3, "order": ["a"], "skipped": []}',
        '{"path": [], "wrapper": "\\u001b[2J", "order": ["a"], "skipped": []}',
    ],
)
def test_a_reader_that_was_taken_over_is_not_believed(tmp_path, monkeypatch, facts):
    from safetensors.torch import save_file

    def taken_over(_file, folder, *_):
        save_file({"a": torch.zeros(1)}, folder / "tensors.safetensors")
        (folder / "facts.json").write_text(facts)

    monkeypatch.setattr(foreign_process, "run_reader", taken_over)
    with pytest.raises(ValueError, match="do not trust it"):
        read_foreign(save({"a": torch.zeros(1)}, tmp_path / "a.pth"), Limits())


def test_the_digest_is_that_of_the_checkpoint(tmp_path):
    from dima_pipeline.storage.manifest import digest

    path = save({"a": torch.ones(3)}, tmp_path / "a.pth")
    foreign = read_foreign(path, Limits())
    assert isinstance(foreign, Foreign) and foreign.sha256 == digest(path)
    assert same(foreign.tensors, {"a": torch.ones(3)})
    with opened(path) as file:
        assert file.read(2) == b"PK"
