"""Evidently's page: the numbers of the table, the same bytes every time, nothing sent and nothing from outside."""

import json
import re
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from dima_pipeline.monitoring.config import DriftConfig, WindowConfig
from dima_pipeline.monitoring.drift import judge, score_drift
from dima_pipeline.monitoring.windows import cut_windows
from dima_pipeline.storage.manifest import verify
from drift_tables import FEATURES, make_drift_tables

KNOWN = ["num_vehicles", "brightness", "speed_mps", "planned_turn_rad"]
"""Few, as Evidently draws a picture of each."""
TABLES = make_drift_tables()
TABLES.features[[name for name in FEATURES if name not in KNOWN]] = np.nan
DARK = WindowConfig(split="train", slice="night")
NIGHT = DriftConfig(current=DARK, num_splits=200, min_samples=10, num_components=1)


def write(directory: Path, config: DriftConfig = NIGHT) -> tuple[pd.DataFrame, dict]:
    """The scores of the windows, and what ``drift.json`` says."""
    from dima_pipeline.monitoring.evidently_page import write_page

    directory.mkdir()
    windows = cut_windows(TABLES.features, TABLES.scenes, TABLES.slice_members, config)
    scores = score_drift(windows, TABLES.slice_members, config)
    verdict = judge(windows, scores, config)
    write_page(directory, windows, scores, slice_members=TABLES.slice_members, verdict=verdict, config=config)
    return scores, json.loads((directory / "drift.json").read_text())


def refuse(*_: object) -> None:
    raise AssertionError("a connection was opened")


@pytest.fixture(scope="module", name="written")
def write_night(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, pd.DataFrame, dict]:
    """The page of the dark scenes, made without a network."""
    directory = tmp_path_factory.mktemp("page") / "drift"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", refuse)
        patch.setattr(socket, "getaddrinfo", refuse)
        return directory, *write(directory)


def metrics(facts: dict, kind: str) -> list[dict]:
    return [metric for metric in facts["evidently"]["metrics"] if metric["metric_name"].startswith(kind)]


def test_evidently_reports_the_values_of_the_table_and_judges_alike(written: tuple[Path, pd.DataFrame, dict]):
    _, scores, facts = written
    rows = scores[(scores["slice"] == "all") & ~scores["too_few"]].set_index("feature")
    tests = {test["name"]: test["status"] for test in facts["evidently"]["tests"]}
    values = {metric["config"]["column"]: metric["value"] for metric in metrics(facts, "ValueDrift")}
    assert values == pytest.approx(rows["value"].to_dict(), rel=1e-9, abs=1e-9)
    for feature, drifted in rows["drifted"].items():
        assert tests[f"Value Drift for column {feature}"] == ("FAIL" if drifted else "SUCCESS")
    assert rows.index[rows["drifted"]].tolist() == ["brightness"]


def test_evidently_counts_drifted_features_for_all_keyframes_and_for_each_judged_slice(
    written: tuple[Path, pd.DataFrame, dict],
):
    _, scores, facts = written
    counts = metrics(facts, "DriftedColumnsCount")
    assert [metric["value"]["count"] for metric in counts] == [1, 1]
    assert counts[1]["config"]["columns"][1] == "start: brightness"
    shares = [test for test in facts["evidently"]["tests"] if test["name"].startswith("Share")]
    assert [test["status"] for test in shares] == ["FAIL", "FAIL"]
    assert shares[1]["description"].startswith("Slice start: ")
    assert facts["verdict"]["share_by_slice"]["start"] == pytest.approx(counts[1]["value"]["share"])
    assert len(facts["scores"]) == len(scores)


def test_the_page_says_which_slices_were_too_few_and_what_drifted(written: tuple[Path, pd.DataFrame, dict]):
    page = (written[0] / "index.html").read_text()
    assert "Slice rare: 1 current against 0 reference keyframes, too few to judge" in page
    assert re.search(r"Every keyframe: 48 current against 72 reference keyframes; drifted: brightness \(\d", page)


def test_the_page_needs_nothing_from_outside_and_forbids_it(written: tuple[Path, pd.DataFrame, dict]):
    page = (written[0] / "index.html").read_text()
    assert "default-src 'none'" in page[: page.index("<style>")]
    assert not re.search(r"<(script|link|img|iframe)[^>]+(src|href)=", page)
    assert not re.search(r"url\(\s*['\"]?https?:", page)


def test_the_same_windows_give_the_same_bytes(written: tuple[Path, pd.DataFrame, dict], tmp_path: Path):
    write(tmp_path / "again")
    files = verify(tmp_path / "again")["files"]
    assert set(files) == {"index.html", "drift.json"}
    assert files == verify(written[0])["files"]


def test_one_drifted_feature_passes_where_it_is_tolerated(tmp_path: Path):
    config = replace(NIGHT, max_drifted_share=0.2)
    _, facts = write(tmp_path / "page", config)
    shares = [test["status"] for test in facts["evidently"]["tests"] if test["name"].startswith("Share")]
    assert shares == ["SUCCESS", "SUCCESS"]
    assert facts["verdict"]["passed"]
    assert "Dataset Drift is NOT detected" in (tmp_path / "page" / "index.html").read_text()


def test_windows_that_are_too_small_make_a_page_that_says_so(tmp_path: Path):
    _, facts = write(tmp_path / "page", replace(NIGHT, min_scenes=9))
    assert facts["evidently"] == {"metrics": [], "tests": []}
    page = (tmp_path / "page" / "index.html").read_text()
    assert "Every keyframe: 48 current against 72 reference keyframes, too few to judge" in page


CODE = """
import sys
import dima_pipeline.pipelines.drift
heavy = {"evidently", "torch", "ray", "matplotlib", "onnxruntime"} & set(sys.modules)
assert not heavy, heavy
import builtins, os
original = builtins.__import__
def watched(name, *rest):
    if name == "evidently":
        assert os.environ["DO_NOT_TRACK"] == "1", "imported before it was told not to report"
    return original(name, *rest)
builtins.__import__ = watched
import dima_pipeline.monitoring.evidently_page
assert "evidently" in sys.modules
"""


def test_evidently_loads_for_the_page_alone_and_is_told_before_not_to_report(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("DO_NOT_TRACK", raising=False)
    result = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
