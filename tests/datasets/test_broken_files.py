"""Broken files and links that lead away: each is refused with its name and a reason, or used; nothing outside is read.

All cases are read in one process of their own, whose time, memory and opened files are watched.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import broken_files
from broken_files import CASES, FILE, KEYFRAME, SCENE
from dima_pipeline.contracts.findings import BrokenRecording
from dima_pipeline.datasets._files import check_image, check_inside, find_outside
from dima_pipeline.datasets.t4 import Config, T4Dataset
from t4_root import annotation, make_t4_root

MAX_SECONDS, MAX_MB = 2.0, 500.0


@pytest.fixture(scope="module")
def read(root: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What came of all cases."""
    command = [sys.executable, broken_files.__file__, str(root), str(tmp_path_factory.mktemp("cases"))]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("name", CASES)
def test_a_broken_file_is_refused_by_name_and_reason_or_used(name: str, read: dict[str, Any]) -> None:
    if name == "a file that may not be read" and os.geteuid() == 0:
        pytest.skip("root may read everything")
    case, result = CASES[name], read["cases"][name]
    assert case.outcome in result, result
    assert case.says in result[case.outcome]
    assert result["outside"] == [], "no file outside the root is opened"
    assert result["seconds"] <= MAX_SECONDS
    if case.outcome == "undecodable" or "finding" in result:
        assert FILE in result[case.outcome]
    if "finding" in result:
        finding = result["finding"]
        assert (finding["table"], finding["token"], finding["scene_name"]) == (FILE, KEYFRAME, SCENE)


def test_no_case_takes_much_memory(read: dict[str, Any]) -> None:
    assert read["peak_mb"] <= MAX_MB


def test_a_file_that_links_lead_outside_is_named_with_where_it_leads(tmp_path: Path) -> None:
    root, disk = tmp_path / "root", tmp_path / "disk"
    root.mkdir()
    disk.mkdir()
    (root / "samples").symlink_to(disk)
    path = root / "samples" / "a.jpg"
    with pytest.raises(BrokenRecording, match=r"root/samples/a.jpg leads to .*disk/a.jpg, .*linked_roots$") as error:
        check_inside(path, [root])
    (finding,) = error.value.findings
    assert (finding.check, finding.table) == ("file_outside_dataroot", "samples/a.jpg")
    check_inside(path, [root, disk])
    check_inside(root / "maps" / "not there.json", [root])


def test_a_root_that_is_a_link_itself_holds_its_files(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "root").symlink_to("disk")
    root = tmp_path / "root"
    assert find_outside([root / "a.jpg", root / "..", tmp_path / "disk" / "b.jpg", root], [root]) == {
        root / "..": tmp_path
    }
    assert find_outside([tmp_path / "disk2" / "a.jpg"], [root]), "a folder of a longer name is another one"


def test_relative_roots_hold_relative_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert find_outside([Path("root/a.jpg")], [Path("root")]) == {}
    assert find_outside([Path("other/a.jpg")], [Path("root")]) == {Path("other/a.jpg"): tmp_path / "other" / "a.jpg"}


def test_the_end_of_an_image_is_not_taken_from_a_preview(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    whole = broken_files.JPEG[:2] + broken_files.THUMBNAIL + broken_files.JPEG[2:]
    path.write_bytes(whole)
    assert check_image(path, broken_files.IMAGE_SIZE) is None
    for num_bytes in range(len(whole) - 1, len(whole) // 2, -97):
        path.write_bytes(whole[:num_bytes])
        assert "cut short" in str(check_image(path, broken_files.IMAGE_SIZE))


def test_t4_tables_that_links_lead_outside_are_refused(tmp_path: Path) -> None:
    root = make_t4_root(tmp_path / "root")
    table = annotation(root, "vehicle_state")
    table.rename(tmp_path / "moved.json")
    table.symlink_to(tmp_path / "moved.json")
    with pytest.raises(ValueError, match=r"vehicle_state.json leads to .*moved.json"):
        T4Dataset(Config(), dataroot=root)
    T4Dataset(Config(linked_roots=[str(tmp_path)]), dataroot=root)
