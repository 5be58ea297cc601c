"""Broken tables, CAN bus files and maps: each fault is found by check, table and token, and nothing else is."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import broken_roots
import read_broken_roots
from broken_roots import OTHER, SCENE
from dima_pipeline.contracts.findings import BrokenRecording
from dima_pipeline.datasets._nuscenes_columns import FIELDS
from dima_pipeline.datasets._nuscenes_findings import CHECKS
from dima_pipeline.datasets._nuscenes_json import MAX_FAULTS
from dima_pipeline.datasets.nuscenes import Config, NuScenesDataset
from nuscenes_root import VERSION, edit_json
from read_broken_roots import CASES

MAX_SECONDS, MAX_MB = 2.0, 500.0


@pytest.fixture(scope="module")
def read(root: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What came of all cases, which are read in one process of their own."""
    command = [sys.executable, read_broken_roots.__file__, str(root), str(tmp_path_factory.mktemp("cases"))]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("name", CASES)
def test_a_fault_is_found_by_check_table_and_token_and_nothing_else_is(name: str, read: dict[str, Any]) -> None:
    if name.endswith("may not be read") and os.geteuid() == 0:
        pytest.skip("root may read everything")
    case, result = CASES[name], read[name]
    assert {(found["check"], found["table"], found["token"]) for found in result["findings"]} == set(case.found), result
    assert bool(result["messages"]) == bool(case.found)
    assert case.says in " ".join(result["messages"])
    assert result["outside"] == [], "no file outside the root is opened"


def test_every_check_has_a_case_that_fails_it() -> None:
    assert CHECKS.keys() <= {check for case in CASES.values() for check, _, _ in case.found}


def test_what_a_scene_holds_is_found_under_its_name(read: dict[str, Any]) -> None:
    for name in ("three things in one scene", "a CAN bus cut in the middle", "a pose of 1e400"):
        assert {found["scene_name"] for found in read[name]["findings"]} == {SCENE}
    assert {found["scene_name"] for found in read["time that steps back once"]["findings"]} == {OTHER}


def dataset(root: Path) -> NuScenesDataset:
    return NuScenesDataset(Config(version=VERSION), dataroot=root)


def test_records_that_fail_alike_are_one_finding_with_their_number(own_root: Path) -> None:
    def change(rows: list) -> None:
        for row in rows[5:9]:
            row["timestamp"] = None
        del rows[2]["scene_token"], rows[3]["scene_token"]

    edit_json(own_root / VERSION / "sample.json", change)
    with pytest.raises(BrokenRecording) as error:
        dataset(own_root)
    found = [(finding.check, finding.token, finding.num) for finding in error.value.findings]
    assert found == [("missing_field", f"{SCENE}-2", 2), ("wrong_type", f"{SCENE}-5", 4)]


def test_a_table_of_broken_records_is_not_read_to_its_end(own_root: Path) -> None:
    path = own_root / VERSION / "log.json"
    path.write_text(json.dumps([{"token": str(number)} for number in range(10 * MAX_FAULTS)]) + "never read")
    with pytest.raises(BrokenRecording) as error:
        dataset(own_root)
    assert [(found.check, found.num) for found in error.value.findings] == [("missing_field", MAX_FAULTS)]


def test_a_scene_that_is_broken_leaves_the_other_one_to_read(own_root: Path) -> None:
    broken_roots.put("ego_pose", broken_roots.POSE, translation=[float("nan")] * 3)(own_root)
    with pytest.raises(BrokenRecording, match=f"translation of record {broken_roots.POSE} is .nan"):
        dataset(own_root).tables(SCENE)
    assert len(dataset(own_root).tables(OTHER).samples) == 10


def test_a_quaternion_that_is_only_rounded_is_made_unit(own_root: Path) -> None:
    def poses() -> Any:
        return dataset(own_root).tables(SCENE).samples[["ego_qw", "ego_qx", "ego_qy", "ego_qz"]].to_numpy()

    before = poses()
    pose = broken_roots.LIDAR_POSE
    broken_roots.put("ego_pose", pose, rotation=(before[3] * 1.0009).tolist())(own_root)
    assert abs(poses() - before).max() < 1e-15


# Any value in any field.

texts = st.sampled_from(["", "..", "/x", "\0", "\ud800", "{}", "x" * 300, f"{SCENE}-3", "slow", "slow-3", "CAM_BACK"])
numbers = st.integers(-3, 3) | st.integers() | st.floats() | st.sampled_from([10**400, 2**63, 1e300, -0.0])
values = st.recursive(
    st.none() | st.booleans() | numbers | texts | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=2),
    max_leaves=5,
)
vectors = st.lists(numbers, min_size=3, max_size=4)


@pytest.fixture(scope="module")
def one_root(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """For all examples, each of which changes a table and puts it back."""
    return broken_roots.copy(root, tmp_path_factory.mktemp("one") / "root")


@settings(max_examples=120, deadline=None)
@given(st.data())
def test_a_root_with_any_value_in_any_field_is_read_or_refused(one_root: Path, data: st.DataObject) -> None:
    path = one_root / VERSION / f"{data.draw(st.sampled_from(sorted(FIELDS)))}.json"
    content = path.read_bytes()
    rows = json.loads(content)
    row = data.draw(st.sampled_from(rows))
    field = data.draw(st.sampled_from(sorted(row)))
    same = st.sampled_from([other[field] for other in rows])
    row[field] = data.draw(st.one_of(values, vectors, same))
    path.write_text(json.dumps(rows))
    try:
        read_all(one_root)
    except ValueError as error:
        assert str(one_root) in str(error)
    finally:
        path.write_bytes(content)


@settings(max_examples=80, deadline=None)
@given(st.data())
def test_a_map_or_can_bus_with_any_value_anywhere_is_read_or_refused(one_root: Path, data: st.DataObject) -> None:
    path = one_root / data.draw(st.sampled_from([broken_roots.MAP, broken_roots.CAN]))
    content = path.read_bytes()
    whole = part = json.loads(content)
    while True:
        place = data.draw(st.sampled_from(sorted(part) if isinstance(part, dict) else range(len(part))))
        if not isinstance(part[place], dict | list) or not part[place] or data.draw(st.integers(0, 3)) == 0:
            break
        part = part[place]
    part[place] = data.draw(st.one_of(values, vectors))
    path.write_text(json.dumps(whole))
    try:
        read_all(one_root)
    except BrokenRecording as error:
        assert [finding.table for finding in error.findings] == [str(path.relative_to(one_root))]
    finally:
        path.write_bytes(content)


def read_all(root: Path) -> None:
    found = dataset(root)
    for scene_name in found.scene_names():
        found.fingerprint(scene_name)
        found.tables(scene_name)
        found.sweeps(scene_name)


# A million records.

MEASURED = """
import json, re, resource, sys, time
from pathlib import Path
from dima_pipeline.contracts.findings import BrokenRecording
from dima_pipeline.datasets._nuscenes_store import RecordStore
resource.setrlimit(resource.RLIMIT_CPU, (60, 60))
def peak_mb():
    # Not getrusage: its peak begins with that of the process which started this one.
    return int(re.search(r"VmHWM:\\s*(\\d+)", Path("/proc/self/status").read_text())[1]) / 1024
before_mb, cpu_s, started_s = peak_mb(), time.process_time(), time.perf_counter()
try:
    RecordStore.open(Path(sys.argv[1]))
except BrokenRecording as error:
    result = {"findings": [[found.check, found.table, found.token, found.num] for found in error.findings]}
    result |= {"cpu_s": time.process_time() - cpu_s, "wall_s": time.perf_counter() - started_s}
    print(json.dumps(result | {"extra_mb": peak_mb() - before_mb}))
"""
MILLION = 10**6
FLOODS = {
    "dangling": ({"sample_token": "gone"}, [["dangling_token", "sample_annotation", "0", MILLION]]),
    "circular": (
        {"prev": "@", "next": "@"},
        [["cyclic_chain", "sample_annotation", "0", MILLION], ["duplicate_box", "sample_annotation", "0", MILLION]],
    ),
}


def spelled(row: dict[str, Any]) -> Iterator[str]:
    """A million records, ``@`` replaced by their numbers."""
    parts = json.dumps(row).split("@")
    for start in range(0, MILLION, 10_000):
        yield "".join(f", {f'{number}'.join(parts)}" for number in range(start, start + 10_000))


@pytest.mark.slow
@pytest.mark.parametrize("name", FLOODS)
def test_a_million_faults_are_refused_in_two_seconds_and_500_mb(
    own_root: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    changes, findings = FLOODS[name]
    path = own_root / VERSION / "sample_annotation.json"
    rows = json.loads(path.read_text())
    with path.open("w") as file:
        file.write(json.dumps(rows)[:-1])
        file.writelines(spelled({**rows[0], "token": "@", "prev": "", "next": "", **changes}))
        file.write("]")
    command = [sys.executable, "-c", MEASURED, str(own_root / VERSION)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    measured = json.loads(done.stdout)
    with capsys.disabled():
        print(f"\n{path.stat().st_size / 1e6:.0f} MB, {name}: {measured}")  # noqa: T201
    assert measured["findings"] == findings
    # Seconds of the processor: what else runs on the machine does not count.
    assert measured["cpu_s"] <= MAX_SECONDS and measured["extra_mb"] <= MAX_MB
    path.unlink()
