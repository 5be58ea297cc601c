"""``dima import-weights``: checkpoint in, table, report and safetensors out; a mistake is one message, status 2."""

import csv
import json
import re

import pytest
import torch
from click.testing import CliRunner
from safetensors import safe_open
from safetensors.torch import load_file

from dima_pipeline.cli import import_weights as command
from dima_pipeline.cli import main
from dima_pipeline.export import foreign_import
from dima_pipeline.export.foreign_import import Target
from dima_pipeline.export.foreign_map import BUILT_IN
from dima_pipeline.export.foreign_match import Spec
from dima_pipeline.export.foreign_process import Foreign
from dima_pipeline.planners import PLANNERS
from dima_pipeline.storage.manifest import digest
from dima_pipeline.training import foreign_weights
from dima_pipeline.training.foreign_weights import load_weights
from foreign_files import Malicious, SmallVad, same, save, vad_checkpoint
from project_folder import PROJECT


def run(*arguments):
    return CliRunner().invoke(main, ["import-weights", *map(str, arguments)])


def facts_of(path):
    with safe_open(path, framework="pt") as file:
        return json.loads(file.metadata()["dima_import"])


def assert_refused(result, *words):
    assert result.exit_code == 2, result.output
    assert result.stderr.count("Error: ") == 1 and "Traceback" not in result.output
    for word in words:
        assert word in result.stderr


@pytest.fixture
def small_vad(monkeypatch):
    """A stand-in for the planner: the modules of ``SmallVad``."""
    torch.manual_seed(0)
    model = SmallVad()
    specs = {name: Spec.of(tensor) for name, tensor in model.state_dict().items()}
    monkeypatch.setattr(command, "planner_target", lambda name, _: Target(name=f"planner {name}", specs=specs))
    return model


@pytest.fixture
def quick(monkeypatch):
    """Reading without a process, of tensors and not of files: the process has its own tests."""

    def read(state, skipped=()):
        def foreign(path, limits):
            return Foreign(sha256=digest(path), path="", wrapper="", tensors=state, skipped=list(skipped))

        monkeypatch.setattr(foreign_import, "read_foreign", foreign)

    return read


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "weights.pth"
    path.write_bytes(b"anything")
    return path


def test_a_checkpoint_of_vad_fills_a_model_of_the_same_shapes(tmp_path, small_vad):
    path, out, report = (
        save(vad_checkpoint(small_vad), tmp_path / "VAD.pth"),
        tmp_path / "w.safetensors",
        tmp_path / "r.csv",
    )
    done = run(
        path, "--planner", "vad", "--map", "vad", "--strict", "--out", out, "--report", report, "--licence", "MIT"
    )
    assert done.exit_code == 0, done.output
    assert "'module.' was taken off every name" in done.output and "licence: MIT" in done.output
    assert same(load_file(out), small_vad.state_dict())
    other = SmallVad()
    assert load_weights(other, out, strict=True).facts["licence"] == "MIT"
    assert same(other.state_dict(), small_vad.state_dict())
    facts = facts_of(out)
    assert facts["source"] == "VAD.pth" and facts["source_sha256"] == digest(path) and facts["map"] == "vad"
    assert facts["counts"] == {"filled": len(small_vad.state_dict()), "skipped": 3}
    with report.open() as lines:
        rows = list(csv.DictReader(lines))
    assert [row["source"] for row in rows if row["status"] == "skipped"] == [
        "pts_bbox_head.code_weights",
        "meta",
        "optimizer",
    ]
    assert rows[0]["source"] == "img_backbone.conv1.weight" and rows[0]["target_shape"] == "4x3x3x3"


def test_the_planner_of_today_is_filled_from_a_renamed_state_dict(tmp_path, monkeypatch):
    monkeypatch.chdir(PROJECT)
    planner = PLANNERS.build(PLANNERS.parse("vad"), image_size=(96, 160))
    state = {f"net.old_{name}": tensor.half() for name, tensor in planner.state_dict().items()}
    path = save({"state_dict": {**state, "net.old_extra": torch.ones(1)}}, tmp_path / "old.pth")
    (tmp_path / "map.yml").write_text("re:old_(.*): \\1\n")
    out = tmp_path / "w.safetensors"
    done = run(path, "--planner", "vad", "--map", tmp_path / "map.yml", "--prefix", "net.", "--out", out, "--strict")
    assert done.exit_code == 0, done.output
    assert facts_of(out)["counts"] == {"cast": len(state), "unknown": 1}
    assert facts_of(out)["model"] == "planner vad of synthetic"
    load_weights(planner, out, strict=True)
    assert same(planner.state_dict(), {name: tensor.half().float() for name, tensor in planner.state_dict().items()})


def test_the_planner_of_another_environment_is_refused_by_name(file, monkeypatch):
    monkeypatch.chdir(PROJECT)
    assert_refused(run(file, "--planner", "vad2"), "environment synthetic has planner 'vad', not 'vad2'")
    assert_refused(run(file, "--planner", "vad", "--env", "synthetik"), "did you mean 'synthetic'")


def test_malicious_code_leaves_no_file_at_all(tmp_path):
    path = save({"state_dict": {"a": torch.zeros(1)}, "x": Malicious(tmp_path / "victim")}, tmp_path / "evil.pth")
    result = run(path, "--out", tmp_path / "w.safetensors", "--report", tmp_path / "r.json")
    assert_refused(result, str(path), "posix.system", "could run code")
    assert [entry.name for entry in tmp_path.iterdir()] == ["evil.pth"]


def test_half_of_the_names_unknown_is_shown_and_the_rest_is_written(tmp_path, file, small_vad, quick):
    state = dict(list(small_vad.state_dict().items())[:7])
    quick({**state, **{f"other.{place}": torch.zeros(2) for place in range(60)}})
    out, report = tmp_path / "w.safetensors", tmp_path / "r.json"
    done = run(file, "--planner", "vad", "--out", out, "--report", report)
    assert done.exit_code == 0, done.output
    assert "unknown │ 60" in done.output and "missing │" in done.output and "more: --report" in done.output
    assert same(load_file(out), state)
    content = json.loads(report.read_text())
    assert sum(row["status"] == "unknown" for row in content["rows"]) == 60 == content["counts"]["unknown"]


def test_strict_writes_the_report_and_no_weights_and_names_what_is_empty(tmp_path, file, small_vad, quick):
    state = small_vad.state_dict()
    state["trajectory_head.0.weight"] = torch.zeros(5, 4)
    del state["backbone.conv1.bias"]
    quick(state)
    result = run(
        file, "--planner", "vad", "--strict", "--out", tmp_path / "w.safetensors", "--report", tmp_path / "r.csv"
    )
    assert_refused(result, "2 tensors of planner vad are not filled: backbone.conv1.bias, trajectory_head.0.weight")
    assert "[5, 4] in the file, [4, 4] in the model" in result.stdout
    assert not (tmp_path / "w.safetensors").exists() and (tmp_path / "r.csv").exists()


def test_a_file_of_which_nothing_fits_is_refused_without_strict(tmp_path, file, small_vad, quick):
    quick({"elsewhere": torch.zeros(1)})
    assert_refused(run(file, "--planner", "vad", "--out", tmp_path / "w.safetensors"), "nothing of it fits")
    assert not (tmp_path / "w.safetensors").exists()


def test_nan_is_counted_and_named_also_where_the_cast_makes_it(tmp_path, file, small_vad, quick):
    state = small_vad.state_dict()
    state["trajectory_head.0.bias"] = torch.tensor([1.0, float("nan"), float("inf"), 2.0])
    state["trajectory_head.2.bias"] = torch.full((6,), 1e300, dtype=torch.float64)
    quick(state)
    done = run(file, "--planner", "vad", "--out", tmp_path / "w.safetensors")
    assert done.exit_code == 0 and "2 values are NaN or infinite" in done.output
    assert "6 values are NaN" in done.output and "warning: 8 values" in done.output
    assert facts_of(tmp_path / "w.safetensors")["not_finite"] == 8


def test_two_keys_for_one_name_are_refused_with_file_and_keys(tmp_path, file, quick):
    quick({"a.w": torch.zeros(1), "b.w": torch.ones(1)})
    (tmp_path / "map.json").write_text('{"a.": "c.", "b.": "c."}')
    result = run(file, "--map", tmp_path / "map.json", "--out", tmp_path / "w.safetensors")
    assert_refused(result, str(file), "'a.w' and 'b.w' would both become 'c.w'")
    assert not (tmp_path / "w.safetensors").exists()


def test_a_rule_of_your_own_that_fits_nothing_is_said_and_those_of_a_built_in_map_are_not(tmp_path, file, quick):
    quick({"a.w": torch.zeros(1)})
    (tmp_path / "map.yml").write_text("img_backbon.: x.\n")
    assert "rules of the map that no name fits: img_backbon." in run(file, "--map", tmp_path / "map.yml").output
    assert "no name fits" not in run(file, "--map", "vad").output


def test_the_manual_names_only_options_and_maps_that_are_there():
    text = (PROJECT / "docs" / "import_weights.md").read_text()
    options = {name for parameter in command.import_weights_command.params for name in parameter.opts}
    named = set(re.findall(r"--[a-z]+", text))
    assert named and named <= options
    assert all(f"`{name}`" in text for name in BUILT_IN)


def test_a_broken_expression_is_refused_before_the_file_is_read(tmp_path):
    (tmp_path / "map.yml").write_text("'re:(': x\n")
    assert_refused(run(tmp_path / "nowhere.pth", "--map", tmp_path / "map.yml"), "map.yml", "no regular expression")


def test_the_same_input_gives_the_same_bytes(tmp_path, file, quick):
    quick({"b": torch.ones(2), "a": torch.tensor(3)})
    for name in ("1.safetensors", "2.safetensors"):
        assert run(file, "--out", tmp_path / name, "--licence", "MIT").exit_code == 0
    assert (tmp_path / "1.safetensors").read_bytes() == (tmp_path / "2.safetensors").read_bytes()


def test_without_out_it_is_a_look(tmp_path, file, quick):
    quick({"a": torch.zeros(1)}, [("meta", "beside the weights: str")])
    done = run(file)
    assert done.exit_code == 0 and "nothing is written" in done.output and "no licence was given" in done.output
    assert [entry.name for entry in tmp_path.iterdir()] == ["weights.pth"]


def test_names_from_outside_are_no_markup(tmp_path, file, small_vad, quick):
    quick({**small_vad.state_dict(), "[bold]x[/nothing]": torch.zeros(1)})
    assert "[bold]x[/nothing]" in run(file, "--planner", "vad").output


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--strict"], "name one with --planner"),
        (["--env", "synthetic"], "name one with --planner"),
        (["--out", "{}/w.pth"], "has to end in .safetensors"),
        (["--out", "{}/none/w.safetensors"], "there is no folder"),
        (["--out", "{}/folder.safetensors"], "is no file"),
        (["--out", "{}/loop.safetensors"], "loop.safetensors"),
        (["--report", "{}/r.txt"], "has to end in .csv or .json"),
        (["--memory", "0"], "--memory"),
        (["--seconds", "x"], "--seconds"),
    ],
)
def test_options_that_cannot_be_meant_are_refused(tmp_path, file, options, words):
    (tmp_path / "folder.safetensors").mkdir()
    (tmp_path / "loop.safetensors").symlink_to(tmp_path / "loop.safetensors")
    assert_refused(run(file, *(option.format(tmp_path) for option in options)), words)


def test_the_file_that_is_read_is_never_replaced(tmp_path):
    source = tmp_path / "w.safetensors"
    source.write_bytes(b"precious")
    (tmp_path / "link.safetensors").symlink_to(source)
    assert_refused(run(source, "--out", tmp_path / "link.safetensors"), "would replace the file that is read")
    assert source.read_bytes() == b"precious"


def test_a_full_disk_leaves_the_old_file(tmp_path, file, quick, monkeypatch):
    import errno
    import os

    quick({"a": torch.zeros(1)})
    out = tmp_path / "w.safetensors"
    out.write_bytes(b"old")

    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    assert_refused(run(file, "--out", out), "is full")
    assert out.read_bytes() == b"old" and not list(tmp_path.glob("*.partial"))


def test_what_writes_and_what_loads_agree_where_the_facts_lie():
    assert foreign_weights.FACTS == foreign_import.FACTS
