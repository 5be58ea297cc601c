"""``dima drivelm``: files in, files out, and one clear message for what is wrong."""

import json

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from dima_pipeline.cli import main
from dima_pipeline.contracts.batch import VqaPair
from dima_pipeline.pipelines.datasets import TableDataset
from drivelm_files import frame, read_strictly, record, write
from hand_scenes import Actor, HandScene, make_tables, straight
from nuscenes_root import VERSION

TABLES = make_tables(HandScene(ego=straight(3, 0.0), actors={"lead": Actor("car", (20, 0, 0))}))
PAIRS = (
    VqaPair("scene-0001-000", "perception", "First?", "1.", ("lead",), "drivelm"),
    VqaPair("scene-0001-001", "behavior", "Ours?", "Straight.", (), "rules"),
)


@pytest.fixture
def folder(tmp_path):
    for name in ("scenes", "samples", "agents"):
        TableDataset(filepath=str(tmp_path / f"{name}.parquet"), licence="test only").save(getattr(TABLES, name))
    rows = [{"pair_id": pair.pair_id, **vars(pair), "objects": list(pair.objects), "check": "passed"} for pair in PAIRS]
    TableDataset(filepath=str(tmp_path / "vqa_pairs.parquet"), licence="test only").save(pd.DataFrame(rows))
    return tmp_path


def run(*arguments):
    done = CliRunner().invoke(main, ["drivelm", *map(str, arguments)])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done


def export(folder, *more, out="out.json"):
    return run("export", "--vqa", folder / "vqa_pairs.parquet", "--tables", folder, "--out", folder / out, *more)


def test_an_export_is_of_the_documented_form_and_says_what_it_holds(folder):
    done = export(folder)
    assert done.exit_code == 0
    assert "1 scenes, 2 frames, 2 pairs" in done.output and "licence of the pairs: test only" in done.output
    assert list(read_strictly(folder / "out.json")["token-scene-0001"].key_frames) == [
        "scene-0001-000",
        "scene-0001-001",
    ]


def test_only_pairs_of_a_named_source_are_exported(folder):
    assert "1 frames, 1 pairs" in export(folder, "--source", "rules").output
    assert export(folder, "--source", "nobody").exit_code == 0
    assert json.loads((folder / "out.json").read_text()) == {}


def test_an_original_comes_back_and_what_is_gone_is_said(folder):
    frames = {"scene-0001-000": frame(record("First?", "1.", cluster=4), record("Gone?", "2."))}
    original = write(folder / "original.json", {"token-scene-0001": {"key_frames": frames}})
    done = export(folder, "--original", original, "--source", "drivelm")
    assert "1 pairs of" in done.output and "are left out" in done.output
    (scene,) = json.loads((folder / "out.json").read_text()).values()
    assert scene["key_frames"]["scene-0001-000"]["QA"]["perception"] == [record("First?", "1.", cluster=4)]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--original", "missing.json"], "missing.json cannot be read: No such file or directory"),
        (["--original", "{folder}"], "is no file"),
        (["--out", "{folder}/no/out.json"], "there is no folder"),
        (["--out", "/proc/out.json"], "/proc/out.json cannot be written"),
        (["--out", "{folder}/vqa_pairs.parquet"], "would replace what is read"),
        (["--vqa", "{folder}/none.parquet"], "none.parquet does not exist: run the pipeline that makes it"),
        (["--tables", "{folder}/none"], "scenes.parquet does not exist"),
        (["--vqa", "{folder}/agents.parquet"], "holds no pairs: it has no column"),
    ],
)
def test_what_cannot_be_exported_is_said_in_one_message_and_nothing_is_written(folder, arguments, message):
    done = export(folder, *(one.format(folder=folder) for one in arguments))
    assert done.exit_code == 1 and message in done.output and "Traceback" not in done.output
    assert not (folder / "out.json").exists()


def test_a_broken_original_leaves_the_file_that_was_there(folder):
    (folder / "out.json").write_text("old")
    original = write(folder / "original.json", '{"token-scene-0001": {')
    done = export(folder, "--original", original)
    assert done.exit_code == 1 and "is no JSON or cut short: scene 'token-scene-0001'" in done.output
    assert (folder / "out.json").read_text() == "old"


def test_a_check_counts_what_resolves_and_names_the_first_of_what_does_not(folder):
    frames = {
        "scene-0001-000": frame(
            record("<c1,CAM_FRONT,800.0,490.0>?", "A car."),
            record("<c2,CAM_FRONT,5.0,5.0>?", "<c3,CAM_ROOF,1.0,1.0> or <c2,CAM_FRONT,5.0,5.0>."),
            record("Empty?", ""),
        ),
        "unknown frame": frame(record("?", "!")),
    }
    path = write(folder / "qa.json", {"token-scene-0001": {"key_frames": frames}, "unknown scene": {}})
    done = run("check", path, "--tables", folder)
    assert done.exit_code == 0
    for line in (
        "2 scenes, 2 frames, 4 questions",
        "3 become pairs, 1 stay in the file alone",
        "1 frames are keyframes here: 2 pairs,",
        "1 of them flagged; 1 of 3 tags mean an agent",
        "1 x no agent within 16 px; first: scene 'token-scene-0001', frame 'scene-0001-000', key '<c2,CAM_FRONT",
        "1 x no camera 'CAM_ROOF'",
        "1 x a scene token that is not in the tables; first: scene 'unknown scene'",
        "1 x a sample token that is not in the tables; first: scene 'token-scene-0001', frame 'unknown frame'",
        "1 x no answer: left aside, not trained on; first: scene 'token-scene-0001', frame 'scene-0001-000'",
    ):
        assert line in done.output


def test_the_form_alone_is_checked_without_tables(tmp_path):
    done = run("check", write(tmp_path / "qa.json", {"a": {"key_frames": {"b": frame(record("?", "!"))}}}))
    assert done.exit_code == 0 and "1 scenes, 1 frames, 1 questions" in done.output and "tags" not in done.output


def test_a_file_is_checked_against_recordings(tmp_path, root):
    done = run("check", write(tmp_path / "qa.json", {"a": {}}), "--dataroot", f"{root}:{VERSION}")
    assert done.exit_code == 0 and "0 frames are keyframes here" in done.output
    done = run("check", tmp_path / "qa.json", "--dataroot", root, "--tables", tmp_path)
    assert done.exit_code == 1 and "one of them is enough" in done.output


def test_a_thousand_faults_are_a_few_lines_that_a_terminal_can_show(tmp_path):
    evil = {f"\x1b[2J{at}": {"key_frames": {"\u202e" * 500: {"QA": {"<b>" * 99: [5]}}}} for at in range(1000)}
    done = run("check", write(tmp_path / "qa.json", evil | {"c": {"key_frames": {"d": {"x": np.inf}}}}))
    assert len(done.output.splitlines()) < 8 and len(done.output) < 2000
    assert done.output.isascii() and all(line.isprintable() for line in done.output.splitlines())
