"""The doctor: what is sound is ok, what is broken is named with what to do, and nothing is believed without a try."""

import json
import shutil
import socket
import subprocess
import sys
from importlib import metadata
from types import SimpleNamespace

import pytest
from click.testing import CliRunner

from dima_pipeline.cli import checks, doctor, main
from dima_pipeline.cli.checks import Finding, Requirement
from dima_pipeline.cli.recordings import check_recordings, sampled_camera_files
from nuscenes_root import LOCATION, NUM_SAMPLES, VERSION, make_root

GIB = 2**30


def install(monkeypatch, **versions):
    """Only these distributions are installed."""

    def version(name):
        if name not in versions:
            raise metadata.PackageNotFoundError(name)
        return versions[name]

    monkeypatch.setattr(checks.metadata, "version", version)


def test_a_package_that_imports_is_ok():
    assert checks.check_package(Requirement("click", ">=8", ""), True) == Finding(
        "click", "ok", metadata.version("click")
    )


def test_a_package_that_pip_calls_fine_but_does_not_import_is_a_fault(monkeypatch):
    monkeypatch.setitem(checks.IMPORTS, "click", "raise ImportError('click requires NumPy 2.0 or newer')")
    found = checks.check_package(Requirement("click", ">=8", ""), True)
    assert found.state == "fault"
    assert "ImportError: click requires NumPy 2.0 or newer" in found.found


def test_a_package_that_crashes_the_interpreter_is_named_beside_the_sound_ones(monkeypatch):
    monkeypatch.setitem(checks.IMPORTS, "rich", "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)")
    asked = [Requirement(name, "", "") for name in ("click", "rich", "jinja2")]
    done = []
    found = checks.check_packages(asked, True, lambda: done.append(1))
    assert [row.check for row in found] == ["click", "rich", "jinja2"]
    assert [row.state for row in found] == ["ok", "fault", "ok"]
    assert "SIGSEGV" in found[1].found
    assert len(done) == 3


def test_an_import_that_never_ends_is_a_fault(monkeypatch):
    monkeypatch.setattr(checks, "IMPORT_PATIENCE_S", 0.5)
    assert "did not end within" in checks.why(checks.run_python("import time; time.sleep(60)"))


def test_another_version_than_asked_for_is_a_warning(monkeypatch):
    install(monkeypatch, click="7.0")
    found = checks.check_package(Requirement("click", ">=8.2", ""), True)
    assert (found.state, found.found) == ("warning", "7.0, wanted >=8.2")


@pytest.mark.parametrize(
    ("extra", "is_project", "state", "advice"),
    [
        ("", False, "fault", "pip install 'dima_pipeline'"),
        ("teacher", False, "warning", "pip install 'dima_pipeline[teacher]'"),
        ("teacher", True, "fault", "make setup"),
    ],
)
def test_a_missing_package_stops_whoever_needs_it(monkeypatch, extra, is_project, state, advice):
    install(monkeypatch)
    found = checks.check_package(Requirement("torch", ">=2", extra), is_project)
    assert (found.state, found.advice) == (state, advice)


def test_requirements_are_those_of_the_package_without_its_tools():
    found = {requirement.name: requirement for requirement in checks.requirements()}
    assert found["numpy"].extra == "" and found["numpy"].wanted
    assert found["torch"].extra == "teacher"
    assert not {"pytest", "ruff", "kedro-viz", "dima_pipeline"} & set(found)


def test_torchvision_beside_a_cpu_torch_is_a_fault(monkeypatch):
    install(monkeypatch, torchvision="0.28.0", torch="2.13.0+cpu")
    found = checks.check_torchvision()
    assert found.state == "fault" and "0.28.0 beside torch 2.13.0+cpu" in found.found
    install(monkeypatch, torch="2.13.0+cpu")
    assert checks.check_torchvision() is None


def test_little_disk_is_a_warning_and_none_a_fault(monkeypatch, tmp_path):
    for free, state in ((20, "ok"), (3, "warning"), (0.5, "fault")):
        monkeypatch.setattr(checks.shutil, "disk_usage", lambda _, free=free: SimpleNamespace(free=free * GIB))
        found = checks.check_disk(tmp_path / "data" / "not" / "there")
        assert found.state == state
        assert str(tmp_path) in found.found


def test_memory_is_what_the_system_says():
    total, available = checks.memory_bytes()
    assert 0 < available <= total
    assert checks.check_memory().found.endswith("GiB available")


def test_more_threads_than_cores_are_a_warning():
    assert checks.check_cores(1).state == "ok"
    assert checks.check_cores(10_000).state == "warning"


@pytest.mark.parametrize(
    ("device", "seen", "state"),
    [
        ("cpu", [None, []], "ok"),
        ("cuda", [None, []], "fault"),
        ("cuda", ["12.8", [["H200", 140 * GIB]]], "ok"),
        ("cpu", ["12.8", [["H200", 140 * GIB]]], "warning"),
    ],
)
def test_a_gpu_must_be_there_where_it_is_configured_and_used_where_it_is_there(monkeypatch, device, seen, state):
    done = subprocess.CompletedProcess([], 0, stdout=f"some notice\n{json.dumps(seen)}\n", stderr="")
    monkeypatch.setattr(checks, "run_python", lambda _: done)
    found = checks.check_gpu(device)
    assert found.state == state
    assert ("H200 140 GiB" in found.found) == bool(seen[1])


@pytest.mark.parametrize(("address", "state"), [("127.0.0.1", "ok"), ("0.0.0.0", "warning")])
def test_a_taken_port_says_on_which_interface(address, state):
    with socket.socket() as server:
        server.bind((address, 0))
        server.listen()
        port = server.getsockname()[1]
        found = checks.check_port(port, use_dashboard=False)
        assert f"port {port} is taken" in found.found
        if sys.platform == "linux":
            assert checks.listeners(port) == [address]
            assert found.state == state
            assert checks.check_port(port, use_dashboard=True).state == "warning"
    assert f"port {port} is free" in checks.check_port(port, use_dashboard=False).found


def test_a_cluster_needs_no_port_here(monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    (found,) = checks.check_ray(True, 200)
    assert found.state == "ok" and "10.0.0.1:6379" in found.found


def look(root, require_maps=True, missing_images="error"):
    return {row.check: row for row in check_recordings(str(root), VERSION, require_maps, missing_images)}


def test_a_whole_root_is_ok(tmp_path):
    found = look(make_root(tmp_path))
    assert [row.state for row in found.values()] == ["ok"] * 4
    assert f"2 scenes, {2 * NUM_SAMPLES} keyframes" in found["recordings"].found
    assert found["CAN bus"].found == "1 of 2 scenes"


@pytest.mark.parametrize(
    ("damage", "check", "text"),
    [
        (lambda root: (root / VERSION / "sample.json").unlink(), "recordings", "lacks sample.json"),
        (lambda root: (root / VERSION / "scene.json").write_text("[{"), "recordings", "no valid JSON"),
        (lambda root: (root / "maps" / "expansion" / f"{LOCATION}.json").unlink(), "map expansion", "is missing"),
        (
            lambda root: (root / "maps" / "expansion" / f"{LOCATION}.json").write_text("{}"),
            "map expansion",
            "1.3 or later",
        ),
        (lambda root: shutil.rmtree(root / "samples" / "CAM_BACK"), "camera files", "sampled files are there"),
    ],
    ids=["table", "cut table", "map", "old map", "images"],
)
def test_a_broken_root_is_a_fault_that_names_what_is_broken(tmp_path, damage, check, text):
    root = make_root(tmp_path)
    damage(root)
    found = look(root)[check]
    assert found.state == "fault"
    assert text in found.found and found.advice


def test_what_the_configuration_puts_up_with_is_a_warning(tmp_path):
    root = make_root(tmp_path)
    shutil.rmtree(root / "samples" / "CAM_BACK")
    shutil.rmtree(root / "maps" / "expansion")
    shutil.rmtree(root / "can_bus")
    found = look(root, require_maps=False, missing_images="render")
    assert [found[name].state for name in ("camera files", "map expansion", "CAN bus")] == ["warning"] * 3
    num_files = 2 * NUM_SAMPLES * 6
    assert f"{num_files * 5 // 6} of {num_files} sampled files are there" in found["camera files"].found


@pytest.mark.parametrize("root", ["", "/nowhere/at/all"])
def test_no_root_is_a_fault(root):
    found = look(root)
    assert list(found) == ["recordings"] and found["recordings"].state == "fault"
    assert "DIMA_DATAROOT" in found["recordings"].found


def test_camera_files_of_a_large_table_are_sampled_without_reading_it(tmp_path):
    rows = [{"filename": f"sweeps/CAM_BACK/{at}.jpg"} for at in range(40_000)]
    rows += [{"filename": f"samples/CAM_FRONT/{at}.jpg"} for at in range(20_000)]
    table = tmp_path / "sample_data.json"
    table.write_text(json.dumps(rows, indent=0))
    names = sampled_camera_files(table)
    assert 500 < len(names) < 19_000
    assert all(name.startswith("samples/CAM_FRONT/") for name in names)
    assert f"samples/CAM_FRONT/{19_999}.jpg" in names


@pytest.mark.parametrize(("state", "status"), [("ok", 0), ("warning", 0), ("fault", 1)])
def test_the_exit_status_is_1_for_faults_alone(monkeypatch, tmp_path, state, status):
    seen = []
    rows = [Finding("disk", "ok", "much"), Finding("[bold]x", state, "this [red] is", "do that")]
    monkeypatch.setattr(doctor, "examine", lambda environment: seen.append(environment) or rows)
    result = CliRunner().invoke(main, ["doctor", "--env", "nuscenes", "--json", str(tmp_path / "found.json")])
    assert result.exit_code == status, result.output
    assert seen == ["nuscenes"]
    assert "this [red] is" in result.output and "[bold]x" in result.output
    assert json.loads((tmp_path / "found.json").read_text())[1] == {
        **{"check": "[bold]x", "state": state, "found": "this [red] is", "advice": "do that"},
    }


def test_outside_of_a_project_the_machine_is_examined_all_the_same(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(checks, "requirements", list)
    found = {row.check: row for row in doctor.examine("synthetic")}
    assert found["project"].state == "warning" and "in no Kedro project" in found["project"].found
    assert {"Python", "disk", "memory"} <= set(found)
    assert "recordings" not in found


def test_the_table_is_plain_where_there_is_no_rich(monkeypatch, capsys):
    monkeypatch.setattr(doctor.importlib.util, "find_spec", lambda name: None)
    doctor.show([Finding("disk", "warning", "little", "tidy up")])
    assert capsys.readouterr().out == "disk | warning | little | tidy up\n"
