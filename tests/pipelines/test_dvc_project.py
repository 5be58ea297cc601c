"""DVC itself on rendered stages, with the project's own configuration of DVC: what runs again, and what a clone gets.

A shell script stands in for Kedro: it does what each stage of a small graph says, and writes down that it ran.
"""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from kedro.pipeline import Pipeline, node

from dima_pipeline.pipelines.dvc_stages import Environment, render
from project_folder import PROJECT

KEDRO = """#!/bin/sh
set -e
echo "$3" >> "$RUNS"
case "$3" in
  make) mkdir -p data/made && cp conf/base/parameters_make.yml data/made/part.txt ;;
  refine) cat data/made/part.txt conf/base/parameters_refine.yml > data/refined.txt ;;
  score) mkdir -p metrics && printf '{"bytes": %d}' "$(wc -c < data/refined.txt)" > metrics/headline.json ;;
esac
"""
CATALOG: dict[str, dict] = {
    "made": {"filepath": "data/made"},
    "refined": {"filepath": "data/refined.txt"},
    "headline": {"filepath": "metrics/headline.json", "metadata": {"dvc": {"metrics": True}}},
}


def bake(*ingredients):
    """A node function; never called."""


def rendered() -> str:
    """``dvc.yaml`` of made -> refined -> headline."""
    wiring = {
        "make": (["params:make"], "made"),
        "refine": (["made", "params:refine"], "refined"),
        "score": (["refined"], "headline"),
    }
    pipelines = {name: Pipeline([node(bake, *ends, name=name)]) for name, ends in wiring.items()}
    parameters = {f"conf/base/parameters_{name}.yml": {name: {}} for name in ("make", "refine")}
    environment = Environment(
        name="toy", dvc_file="dvc.yaml", catalog=CATALOG, written=CATALOG, parameters=parameters, globals={}
    )
    return render(pipelines, environment, lambda name: ["src"] if name == "make" else [])


@dataclass
class Checkout:
    """A working copy, and the stages that ran in it."""

    path: Path
    runs: Path
    environment: dict[str, str]

    def dvc(self, *arguments: str) -> subprocess.CompletedProcess:
        """Run dvc; what it says is in ``stdout``, errors among it."""
        return self._run(sys.executable, "-m", "dvc", *arguments)

    def git(self, *arguments: str) -> None:
        """Run git."""
        assert self._run("git", *arguments).returncode == 0

    def _run(self, *command: str) -> subprocess.CompletedProcess:
        where = {"cwd": self.path, "env": self.environment}
        return subprocess.run(
            command, **where, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
        )

    def repro(self, *arguments: str) -> list[str]:
        """``dvc repro``; the stages that ran."""
        self.runs.write_text("")
        said = self.dvc("repro", *arguments)
        assert said.returncode == 0, said.stdout
        return self.runs.read_text().split()

    def set_parameter(self, name: str, value: int) -> None:
        """Change what is in the parameter file of a stage."""
        path = self.path / f"conf/base/parameters_{name}.yml"
        path.write_text(yaml.safe_dump({name: {"number": value}}))

    def clone(self, name: str) -> "Checkout":
        """A fresh clone beside this one, so that it has the same remote."""
        self.git("clone", "-q", str(self.path), str(self.path.parent / name))
        return Checkout(self.path.parent / name, self.runs, self.environment)


@pytest.fixture(scope="module")
def pushed(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """A project after ``dvc repro``, commit and ``dvc push``."""
    top = tmp_path_factory.mktemp("shelf")
    path = top / "project"
    (path / "conf" / "base").mkdir(parents=True)
    (path / "src").mkdir()
    (path / "src" / "code.py").write_text("1\n")
    for name in (".dvc/config", ".dvc/.gitignore", ".dvcignore", ".gitignore"):
        (path / name).parent.mkdir(exist_ok=True)
        shutil.copy(PROJECT / name, path / name)
    (path / "dvc.yaml").write_text(rendered())
    (top / "bin").mkdir()
    (top / "bin" / "kedro").write_text(KEDRO)
    (top / "bin" / "kedro").chmod(0o755)
    who = {f"GIT_{role}_{key}": "tester@example.org" for role in ("AUTHOR", "COMMITTER") for key in ("NAME", "EMAIL")}
    runs = top / "runs.txt"
    own = {"PATH": f"{top / 'bin'}:{os.environ['PATH']}", "RUNS": str(runs), "DVC_SITE_CACHE_DIR": str(top / "site")}
    checkout = Checkout(path, runs, {**os.environ, **who, **own})
    checkout.set_parameter("make", 1)
    checkout.set_parameter("refine", 10)
    checkout.git("init", "-q")
    checkout.git("add", "-A")
    checkout.git("commit", "-qm", "before")
    assert checkout.repro() == ["make", "refine", "score"]
    checkout.git("add", "-A")
    checkout.git("commit", "-qm", "after")
    assert checkout.dvc("push").returncode == 0
    return checkout


def test_the_remote_lies_beside_the_project_and_is_verified(pushed):
    assert (pushed.path.parent / "dima_remote").is_dir()
    assert pushed.dvc("remote", "list").stdout.split() == [
        "shelf",
        str(pushed.path.parent / "dima_remote"),
        "(default)",
    ]
    assert pushed.dvc("config", "remote.shelf.verify").stdout.strip() == "true"
    assert pushed.dvc("config", "core.analytics").stdout.strip() == "false"


def test_a_clone_pulls_what_was_pushed_runs_nothing_and_has_the_same_metrics(pushed):
    clone = pushed.clone("clone")
    assert not (clone.path / "data").exists()
    said = clone.dvc("pull")
    assert said.returncode == 0, said.stdout
    assert clone.repro() == []
    assert clone.dvc("metrics", "diff", "--json").stdout.strip() == "{}"
    assert (clone.path / "metrics/headline.json").read_text() == (pushed.path / "metrics/headline.json").read_text()


def test_only_what_lies_below_a_change_runs_again(pushed):
    clone = pushed.clone("changed")
    clone.dvc("pull")
    clone.set_parameter("refine", 2000)
    assert clone.repro() == ["refine", "score"]
    assert clone.repro() == []
    assert '"diff": 2' in clone.dvc("metrics", "diff", "--json").stdout  # 10 became 2000: two bytes more
    (clone.path / "src" / "__pycache__").mkdir()
    (clone.path / "src" / "__pycache__" / "code.pyc").write_text("compiled")
    assert clone.repro() == []
    (clone.path / "src" / "code.py").write_text("2\n")
    assert clone.repro() == ["make"]  # which writes the same again, so nothing below it has to run


def test_an_experiment_changes_a_parameter_and_runs_what_is_below_it(pushed):
    clone = pushed.clone("experiment")
    clone.dvc("pull")
    clone.runs.write_text("")
    said = clone.dvc("exp", "run", "-S", "conf/base/parameters_refine.yml:refine.number=3000")
    assert said.returncode == 0, said.stdout
    assert clone.runs.read_text().split() == ["refine", "score"]
    assert '"diff": 2' in clone.dvc("metrics", "diff", "--json").stdout


@pytest.mark.parametrize("out", ["data/refined.txt", "data/made"])
def test_a_flipped_byte_in_the_remote_is_refused_by_name(pushed, out):
    remote = pushed.path.parent / "dima_remote"
    kept = shutil.copytree(remote, remote.with_name("kept"))
    try:
        content = ((pushed.path / out) if out.endswith(".txt") else (pushed.path / out / "part.txt")).read_bytes()
        (damaged,) = [path for path in remote.rglob("*") if path.is_file() and path.read_bytes() == content]
        damaged.chmod(0o644)
        damaged.write_bytes(bytes([content[0] ^ 1]) + content[1:])
        clone = pushed.clone(f"refused_{Path(out).stem}")
        said = clone.dvc("pull")
        assert said.returncode != 0
        assert f"Checkout failed for following targets:\n{out}" in said.stdout
        assert not (clone.path / out).exists()
    finally:
        # DVC takes a damaged object out of the remote.
        shutil.rmtree(remote)
        kept.rename(remote)
