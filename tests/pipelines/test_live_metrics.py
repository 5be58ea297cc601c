"""DVCLive: each line of the log as files, none of it sent anywhere or added to git."""

import csv
import json
import math
import os
import socket
import subprocess

import pytest

from dima_pipeline.pipelines.distillation.live import live_metrics, metrics_of


def line(step, total=2.0, **more):
    terms = {"planning/agent_box": 0.5, "total": total}
    return {"step": step, "seconds": 0.25, "samples_per_second": 8.0, "terms": terms, **more}


def values(directory, name):
    with (directory / "plots" / "metrics" / f"{name}.tsv").open() as file:
        return [(int(row["step"]), float(row[name.rpartition("/")[2]])) for row in csv.DictReader(file, delimiter="\t")]


@pytest.fixture
def no_network(monkeypatch):
    """Fails what opens a connection; a token for DVC Studio is there, which DVCLive would use."""

    def refuse(self, address):
        pytest.fail(f"a connection to {address}")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *arguments, **options: pytest.fail(f"looks up {arguments}"))
    monkeypatch.setenv("DVC_STUDIO_TOKEN", "isat_0123")
    monkeypatch.setenv("DVC_STUDIO_REPO_URL", "https://example.com/a.git")


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """A git repository with a commit, where DVC runs an experiment."""
    for arguments in (["init", "-q"], ["commit", "-q", "--allow-empty", "-m", "first"]):
        identity = ["-c", "user.name=n", "-c", "user.email=e@example.com"]
        subprocess.run(["git", *identity, *arguments], cwd=tmp_path, check=True)
    (tmp_path / ".dvc").mkdir()
    (tmp_path / ".dvc" / "config").write_text("")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    monkeypatch.setenv("DVC_EXP_BASELINE_REV", "0" * 40)
    return tmp_path


def git(directory, *arguments):
    return subprocess.run(["git", *arguments], cwd=directory, check=True, capture_output=True, text=True).stdout


def test_every_number_of_a_line_becomes_a_curve_without_network_and_without_git(repository, no_network):
    before = git(repository, "for-each-ref"), git(repository, "rev-parse", "HEAD")
    with live_metrics(repository / "live", is_wanted=True) as write:
        write("joint", line(0, encoder={"norm/total": 3.0}))
        write("joint", line(5, 1.0))
        write("control", line(0, math.nan))
    assert values(repository / "live" / "joint", "total") == [(0, 2.0), (5, 1.0)]
    assert values(repository / "live" / "joint", "planning/agent_box") == [(0, 0.5), (5, 0.5)]
    assert values(repository / "live" / "joint", "encoder/norm/total") == [(0, 3.0)]
    assert values(repository / "live" / "joint", "run/samples_per_second") == [(0, 8.0), (5, 8.0)]
    latest = json.loads((repository / "live" / "joint" / "metrics.json").read_text())
    assert (latest["step"], latest["total"], latest["planning"]["agent_box"]) == (5, 1.0, 0.5)
    assert math.isnan(values(repository / "live" / "control", "total")[0][1])
    assert (git(repository, "for-each-ref"), git(repository, "rev-parse", "HEAD")) == before
    assert git(repository, "diff", "--cached", "--name-only") == ""
    assert not list(repository.rglob("dvc.yaml"))


def test_the_environment_is_afterwards_what_it_was(monkeypatch, tmp_path):
    monkeypatch.setenv("DVC_EXP_NAME", "mine")
    monkeypatch.delenv("DVC_STUDIO_OFFLINE", raising=False)
    before = dict(os.environ)
    with live_metrics(tmp_path, is_wanted=True):
        assert os.environ["DVC_STUDIO_OFFLINE"] == "1" and "DVC_EXP_NAME" not in os.environ
    assert dict(os.environ) == before


def test_a_run_that_is_started_again_writes_its_curves_anew(tmp_path):
    for _ in range(2):
        with live_metrics(tmp_path, is_wanted=True) as write:
            write("joint", line(0))
    assert values(tmp_path / "joint", "total") == [(0, 2.0)]


def test_a_folder_that_cannot_be_written_is_a_warning_and_no_end_of_training(tmp_path, caplog):
    (tmp_path / "joint").write_text("a file where the folder should be")
    with live_metrics(tmp_path, is_wanted=True) as write:
        write("joint", line(0))
        write("joint", line(1))
    assert caplog.text.count("no more DVCLive files") == 1


def test_not_wanted_is_nothing(tmp_path):
    with live_metrics(tmp_path, is_wanted=False) as write:
        assert write is None


def test_the_words_of_a_line_are_no_metrics():
    assert metrics_of(line(3, skipped=["total"])) == {
        "planning/agent_box": 0.5,
        "total": 2.0,
        "run/seconds": 0.25,
        "run/samples_per_second": 8.0,
    }
