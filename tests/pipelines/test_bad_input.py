"""What a user gets wrong: one clear message from ``kedro run``, no traceback, nothing half-written."""

from pathlib import Path

import pandas as pd
import pytest

from nuscenes_root import LOCATION, VERSION, edit_json

TABLE = f"{VERSION}/sample_annotation.json"
CAMERA = "samples/CAM_BACK"


def cut(root: Path, name: str) -> None:
    """Keep the first half of a file."""
    path = root / name
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def dangle(root: Path, name: str) -> None:
    """Let the third annotation speak of an instance that is not there."""
    edit_json(root / name, lambda rows: rows[2].update(instance_token="nobody"))


def cut_an_image(root: Path, folder: str) -> None:
    """Keep the first half of one JPEG file."""
    cut(root, str(sorted((root / folder).iterdir())[0].relative_to(root)))


@pytest.mark.parametrize(
    ("damage", "messages"),
    [
        (lambda root: cut(root, TABLE), ["sample_annotation.json"]),
        (lambda root: (root / TABLE).unlink(), ["sample_annotation"]),
        (lambda root: dangle(root, TABLE), ["sample_annotation", "nobody"]),
        (lambda root: (root / f"maps/expansion/{LOCATION}.json").unlink(), ["maps/expansion", LOCATION]),
        (lambda root: cut_an_image(root, CAMERA), [CAMERA]),
        (lambda root: sorted((root / CAMERA).iterdir())[3].unlink(), [CAMERA, "1 of 60"]),
    ],
    ids=["truncated table", "missing table", "dangling token", "missing map", "corrupt JPEG", "missing image"],
)
def test_damaged_recordings_are_named_and_nothing_but_the_audit_is_written(
    kedro_run, own_root, tmp_path, capsys, damage, messages
):
    damage(own_root)
    assert kedro_run("--pipelines", "ingestion", dataroot=own_root) == 1
    text = capsys.readouterr().err
    assert text.count("Error:") == 1
    assert "Traceback" not in text
    for message in messages:
        assert message in text
    written = list((tmp_path / "data").glob("02_intermediate/*"))
    assert {path.name for path in written} <= {"audit_findings.parquet"}
    assert all("error" in set(pd.read_parquet(path)["severity"]) for path in written)


@pytest.mark.parametrize(
    ("dataroot", "changes", "messages"),
    [
        (None, {}, ["DIMA_DATAROOT is not set"]),
        ("/nowhere/at/all", {}, ["DIMA_DATAROOT=/nowhere/at/all is no directory"]),
        ("root", {"ingestion": {"dataset": {"version": "v1.0-trainval"}}}, ["v1.0-trainval", VERSION]),
        ("root", {"ingestion": {"dataset": {"name": "nuscene"}}}, ["did you mean 'nuscenes'"]),
        ("root", {"ingestion": {"image_height": "tall"}}, ["image_height", "valid integer"]),
        ("root", {"ingestion": {"image_hight": 90}}, ["image_hight"]),
        ("root", {"ingestion": {"missing_images": "draw"}}, ["missing_images", "'error', 'drop' or 'render'"]),
    ],
    ids=["no root", "wrong root", "wrong version", "unknown plug-in", "wrong type", "unknown key", "wrong choice"],
)
def test_wrong_settings_are_named(kedro_run, root, capsys, dataroot, changes, messages):
    assert (
        kedro_run("--pipelines", "ingestion", dataroot=root if dataroot == "root" else dataroot, changes=changes) == 1
    )
    text = capsys.readouterr().err
    assert text.count("Error:") == 1
    assert "Traceback" not in text
    for message in messages:
        assert message in text


def test_a_later_pipeline_says_which_one_must_run_first(kedro_run, capsys):
    assert kedro_run("--pipelines", "annotation") == 1
    assert "scenes.parquet does not exist: run the pipeline that makes it" in capsys.readouterr().err


def test_a_good_root_goes_through_ingestion_and_annotation(kedro_run, root, tmp_path):
    assert kedro_run("--pipelines", "ingestion,annotation", dataroot=root) == 0
    assert (tmp_path / "data" / "04_feature" / "vqa_pairs.parquet").is_file()
