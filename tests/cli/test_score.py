"""``dima score``: a file in, a table and a JSON file out; what is wrong with the file is one message and status 2."""

import io
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dima_pipeline.cli import main
from dima_pipeline.cli import score as score_file
from dima_pipeline.scoring.files import SHAPES
from dima_pipeline.scoring.horizons import HorizonRule
from dima_pipeline.scoring.protocols import PROTOCOLS
from project_folder import PROJECT
from score_files import EVERY_PROTOCOL, KEYS, NUMBERS, hand_arrays, in_ego_frame, save

DOCS = PROJECT / "docs" / "scoring.md"
HEAVY = ("rich", "pandas", "torch", "kedro", "scipy", "shapely", "matplotlib", "pyarrow", "ray", "onnxruntime", "yaml")
SCORE_WITHOUT = f"""
import sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {HEAVY!r}:
            raise ImportError(name + " is blocked")

sys.meta_path.insert(0, Blocker())
from dima_pipeline.cli import main
main()
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return save(tmp_path / "plans.npz")


def score(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["score", *map(str, arguments)])


def strict(path: Path) -> dict:
    """The content of a JSON file that has no NaN and no Infinity."""
    return json.loads(path.read_text(), parse_constant=pytest.fail)


def assert_refused(result: Result, message: str) -> None:
    assert result.exit_code == 2
    assert isinstance(result.exception, SystemExit)
    assert result.stdout == ""
    assert result.stderr.count("Error: ") == 1
    assert "Traceback" not in result.stderr
    assert message in result.stderr


def test_the_json_file_holds_the_numbers_of_every_protocol(file, tmp_path):
    result = score(file, "--frame", "lidar", "--json", tmp_path / "out.json")
    assert result.exit_code == 0, result.output
    out = strict(tmp_path / "out.json")
    assert tuple(out) == EVERY_PROTOCOL
    for name, expected in NUMBERS.items():
        assert out[name]["num_samples"] == expected["num_samples"]
        for metric in ("l2_m", "box_collision", "gt_box_collision"):
            assert out[name][metric] == pytest.approx(dict(zip(KEYS, expected[metric], strict=True)), abs=1e-9)
        assert "per_step" not in out[name]


def test_steps_are_written_when_asked_for(file, tmp_path):
    score(file, "--frame", "lidar", "--protocol", "uniad", "--per-step", "--json", tmp_path / "out.json")
    steps = strict(tmp_path / "out.json")["uniad"]["per_step"]
    assert steps["box_collision"] == [[0] * 6, [0, 1, 0, 0, 0, 0], [0] * 6, [0, 0, 0, 1, 0, 0]]
    assert steps["gt_box_collision"] == [[0] * 6] * 4
    assert steps["counted"] == [[1] * 6] * 4


def test_protocols_come_in_the_order_that_was_asked_for_and_once(file, tmp_path):
    score(file, "--frame", "lidar", "--protocol", "standardised, vad,standardised", "--json", tmp_path / "out.json")
    assert list(strict(tmp_path / "out.json")) == ["standardised", "vad"]


def test_the_place_of_the_lidar_is_an_option(tmp_path):
    file = save(tmp_path / "ego.npz", in_ego_frame(hand_arrays(), 4.0))
    for ahead_m, is_right in (("4.0", True), ("0.943713", False)):
        arguments = ("--frame", "ego", "--protocol", "vad", "--lidar-ahead", ahead_m, "--json", tmp_path / "out.json")
        assert score(file, *arguments).exit_code == 0
        found = strict(tmp_path / "out.json")["vad"]["box_collision"]["3"]
        assert (found == pytest.approx(1 / 18)) == is_right


def test_people_get_a_table_with_or_without_a_file(file, tmp_path):
    plain = score(file, "--frame", "lidar")
    assert plain.stdout == score(file, "--frame", "lidar", "--json", tmp_path / "out.json").stdout
    rows = [line for line in plain.stdout.splitlines() if line.startswith("uniad")]
    assert "4 of 4" in rows[0]
    assert "1.75 / 1.75 / 0.75 / 1.42 / 1.42  25.00 / 25.00 / 0.00 / 16.67 / 8.33" in rows[0]
    markdown = score(file, "--frame", "lidar", "--markdown").stdout.splitlines()
    assert markdown[3].startswith("| uniad | 4 of 4 | vehicle | 1.75 / 1.75 / 0.75 / 1.42 / 1.42 |")


def test_nothing_counted_is_null_with_a_warning(tmp_path):
    mask = hand_arrays()["fut_mask"]
    mask[:, 5] = False
    file = save(tmp_path / "plans.npz", fut_mask=mask)
    result = score(file, "--frame", "lidar", "--protocol", "vad,uniad", "--json", tmp_path / "out.json")
    assert result.exit_code == 0
    assert strict(tmp_path / "out.json")["vad"]["l2_m"] == dict.fromkeys(KEYS)
    assert result.stderr == "warning: vad counts nothing at all: no sample has a complete future\n"


def test_the_wrong_frame_is_refused_unless_it_is_meant(file):
    assert_refused(score(file, "--frame", "ego"), "--frame lidar looks right; --no-frame-check")
    assert score(file, "--frame", "ego", "--no-frame-check").exit_code == 0


def test_options_that_make_no_sense_are_refused(file, tmp_path):
    assert_refused(score(file), "--frame")
    assert_refused(score(file, "--frame", "camera"), "camera")
    assert_refused(score(file, "--frame", "lidar", "--protocol", "vad,unaid"), "did you mean 'uniad'?")
    assert_refused(score(file, "--frame", "lidar", "--protocol", ""), "no protocol ''")
    assert_refused(score(file, "--frame", "lidar", "--lidar-ahead", "nan"), "lidar_ahead_m is nan")
    assert_refused(score(file, "--frame", "lidar", "--per-step"), "name one with --json")
    assert_refused(score(tmp_path / "none.npz", "--frame", "lidar"), "there is no file")


def test_json_goes_only_where_a_file_can_be(file, tmp_path):
    content = file.read_bytes()
    (tmp_path / "link.npz").symlink_to(file)
    for path, message in (
        (tmp_path / "none" / "out.json", "there is no folder"),
        (tmp_path, "is no file"),
        (file, "would replace the file that is scored"),
        (tmp_path / "link.npz", "would replace the file that is scored"),
    ):
        assert_refused(score(file, "--frame", "lidar", "--json", path), message)
    assert file.read_bytes() == content


def test_a_failed_write_leaves_the_old_file_and_nothing_else(file, tmp_path, monkeypatch):
    (tmp_path / "out.json").write_text("old")
    before = sorted(tmp_path.iterdir())

    def full(file: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)  # the new content lies beside the old file by then
    result = score(file, "--frame", "lidar", "--json", tmp_path / "out.json")
    assert result.exit_code == 2
    assert "out.json cannot be written: No space left on device" in result.stderr
    assert (tmp_path / "out.json").read_text() == "old"
    assert sorted(tmp_path.iterdir()) == before


def without(*names: str, **changes: object) -> bytes:
    buffer = io.BytesIO()
    arrays = {name: array for name, array in (hand_arrays() | changes).items() if name not in names}
    np.savez(buffer, **arrays)
    return buffer.getvalue()


BAD_FILES = {
    "text": (b"pred", "is no .npz file"),
    "truncated": (without()[:-100], "is a broken .npz file"),
    "a lone array": (b"\x93NUMPY\x01\x00" + bytes(80), "single .npy array"),
    "no arrays": (without(*SHAPES), "has no array 'pred', 'gt', 'fut_mask', 'boxes', 'box_mask', 'kind'; it has none"),
    "missing": (without("box_mask"), "has no array 'box_mask'; it has 'pred', 'gt', 'fut_mask', 'boxes', 'kind'"),
    "shape": (without(pred=np.zeros((4, 5, 2))), "'pred' has shape (4, 5, 2), expected (N, 6, 2); steps are 0.5"),
    "objects": (without(kind=np.array([[None]])), "'kind' holds Python objects, which are never loaded"),
    "text in it": (without(gt=np.full((4, 6, 2), "a")), "'gt' is of type <U1: expected numbers"),
    "mask": (without(fut_mask=np.full((4, 6), 2)), "'fut_mask' is 2 at [0, 0]: expected booleans or 0 and 1"),
    "nan": (without(pred=np.full((4, 6, 2), np.nan)), "'pred' is nan at [0, 0, 0]: fut_mask says that it is known"),
    "inf": (without(boxes=np.full((4, 6, 2, 5), np.inf)), "'boxes' is inf at [1, 0, 0, 0]: box_mask says"),
    "size": (without(boxes=np.zeros((4, 6, 2, 5))), "'boxes' is 0.0 at [1, 0, 0, 3]: length and width"),
    "kind": (without(kind=np.full((4, 2), 7)), "'kind' is 7.0 at [1, 0]: expected 0 vehicle, 1 pedestrian, 2 other"),
    "empty": (without(**{name: array[:0] for name, array in hand_arrays().items()}), "hold no samples (N = 0)"),
}


@pytest.mark.parametrize(("content", "message"), BAD_FILES.values(), ids=BAD_FILES)
def test_a_bad_file_is_one_message_and_no_json(tmp_path, content, message):
    (tmp_path / "plans.npz").write_bytes(content)
    assert_refused(score(tmp_path / "plans.npz", "--frame", "lidar", "--json", tmp_path / "out.json"), message)
    assert not (tmp_path / "out.json").exists()


def corrupted(data: st.DataObject, array: np.ndarray) -> np.ndarray | None:
    """An array with another type, another shape or other values; or none."""
    way = data.draw(st.sampled_from(["type", "shape", "value", "none"]))
    if way == "none":
        return None
    if way == "type":
        kinds = ("f2", "f4", "f8", "g", "i1", "u8", "?", "c16", "U3", "S3", "M8[s]", "O")
        return array.astype(np.int64).astype(data.draw(st.sampled_from(kinds)))
    if way == "shape":
        axis = data.draw(st.integers(0, array.ndim - 1))
        changes = (lambda a: np.repeat(a, 2, axis), lambda a: np.take(a, [], axis), lambda a: a.mean(axis), np.ravel)
        return data.draw(st.sampled_from(changes))(array.astype(float))
    array = array.astype(data.draw(st.sampled_from([np.float32, np.float64, np.longdouble])))
    for _ in range(data.draw(st.integers(1, 3))):
        array.flat[data.draw(st.integers(0, array.size - 1))] = data.draw(
            st.floats() | st.sampled_from([-1, 0, 1, 1e6])
        )
    return array


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=150)
@given(data=st.data())
def test_whatever_is_wrong_with_one_array_is_scored_or_refused(tmp_path, data):
    name = data.draw(st.sampled_from(sorted(SHAPES)))
    with np.errstate(all="ignore"):
        file = save(tmp_path / "plans.npz", **{name: corrupted(data, hand_arrays()[name])})
    out = tmp_path / "out.json"
    out.unlink(missing_ok=True)
    result = score(file, "--frame", data.draw(st.sampled_from(["lidar", "ego"])), "--json", out, "--no-frame-check")
    if result.exit_code == 0:
        assert all(value is not None for value in strict(out)["uniad"]["l2_m"].values())
    else:
        assert_refused(result, "array")


def test_the_base_install_is_enough(file, tmp_path):
    arguments = ["score", str(file), "--frame", "lidar", "--json", str(tmp_path / "out.json")]
    done = subprocess.run(
        [sys.executable, "-c", SCORE_WITHOUT, *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert strict(tmp_path / "out.json")["vad"]["num_samples"] == 3


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", DOCS.read_text(), re.DOTALL)


def test_the_page_for_users_says_what_comes_out(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("make_plans.py").write_text(blocks("python")[0])
    outputs = []
    for command in "".join(blocks("bash")).splitlines():
        program, *arguments = shlex.split(command)
        if program == "python":
            subprocess.run([sys.executable, *arguments], check=True)
        else:
            result = CliRunner().invoke(main, arguments)
            assert result.exit_code == 0, result.output
            outputs.append(result.stdout)
    assert outputs[0] == blocks("text")[0]
    assert strict(Path("vad.json")) == json.loads(blocks("json")[0])


RULES: dict[HorizonRule, str] = {
    "at": "the step at h",
    "mean": "mean of the steps up to h",
    "any": "any collision up to h",
}
INCOMPLETE = {"drop_sample": "sample left out", "count_as_zero": "step counts as 0", "drop_step": "step left out"}


@pytest.mark.parametrize("name", PROTOCOLS)
def test_the_page_for_users_has_what_the_protocols_do(name):
    protocol = PROTOCOLS[name]
    line = next(line for line in DOCS.read_text().splitlines() if line.startswith(f"| `{name}` |"))
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    assert cells[1:3] == [protocol.frame or "as in the file", protocol.footprint]
    assert cells[4:] == [
        " + ".join(protocol.classes),
        INCOMPLETE[protocol.incomplete],
        RULES[protocol.l2_rule],
        RULES[protocol.collision_rule],
    ]


def test_all_protocols_are_the_default():
    assert score_file.ALL_PROTOCOLS.split(",") == list(PROTOCOLS)
